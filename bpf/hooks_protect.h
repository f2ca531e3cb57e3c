/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What nobody may take away: always, the setting that would silence LSM
 * programs; sealed, all that the guard stands on. No signature lets anybody.
 */
#ifndef BPFTRUST_HOOKS_PROTECT_H
#define BPFTRUST_HOOKS_PROTECT_H

#define FTRACE_ENABLED "kernel/ftrace_enabled"

/*
 * On 6.12 and 6.18 a 0 there takes every LSM program out of the kernel's text
 * (kernel/trace/ftrace.c, ftrace_enable_sysctl). This runs at the write, so for
 * descriptors of any age and namespace (fs/proc/proc_sysctl.c,
 * proc_sys_call_handler). All writes are refused: none is needed.
 */
SEC("cgroup/sysctl")
int bt_sysctl(struct bpf_sysctl *ctx)
{
	struct decision decision = {
		.action = BT_ACTION_SYSCTL,
		.outcome = BT_OUTCOME_DENIED,
		.reason = BT_REASON_KEPT_ON,
	};
	char name[32] = {};

	if (!ctx->write || !armed())
		return 1;
	if (bpf_sysctl_get_name(ctx, name, sizeof(name), 0) != sizeof(FTRACE_ENABLED) - 1 ||
	    __builtin_memcmp(name, FTRACE_ENABLED, sizeof(FTRACE_ENABLED)))
		return 1;
	report_briefly(&decision);
	return audit;
}

/*
 * What remains if all links of a sealed guard end: attached to the root cgroup
 * without one, it lasts until somebody detaches it by bpf(), which it refuses once
 * the gate does not answer any more. Attached before the gate, it runs after it
 * (kernel/bpf/trampoline.c, __bpf_trampoline_link_prog).
 */
SEC("lsm_cgroup/bpf")
int BPF_PROG(bt_latch, int command)
{
	u32 *passed;

	if (!armed())
		return 1;
	passed = bpf_task_storage_get(&passes, bpf_get_current_task_btf(), NULL, 0);
	if (!passed || !*passed)
		return 0;
	*passed = 0;
	return 1;
}

/* Reports that something stays as it is. */
static __always_inline bool hold(u8 action, u32 subject)
{
	struct standing standing = standing_of_current();
	struct decision decision = {
		.action = action,
		.reason = BT_REASON_SEALED,
		.subject = subject,
	};

	return refuse(&decision, standing.image);
}

/* A pin, or a directory whose end would detach the mount of the pins. */
static __always_inline bool keeps_entry(u64 dentry)
{
	struct held *held = sealed();

	if (!held || (!is_pin(held, (void *)dentry) && !carries_pins(held, (void *)dentry)))
		return false;
	return hold(BT_ACTION_PIN, 0);
}

SEC("lsm/inode_unlink")
int BPF_PROG(bt_unlink, struct inode *directory, struct dentry *dentry)
{
	if (keeps_entry(argument(ctx, 1)))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/inode_rmdir")
int BPF_PROG(bt_rmdir, struct inode *directory, struct dentry *dentry)
{
	if (keeps_entry(argument(ctx, 1)))
		DENY_BLOCK();
	return 0;
}

/* What is moved, and what it would take the place of. */
SEC("lsm/inode_rename")
int BPF_PROG(bt_rename, struct inode *old_directory, struct dentry *old_dentry,
	     struct inode *new_directory, struct dentry *new_dentry)
{
	if (keeps_entry(argument(ctx, 1)) || keeps_entry(argument(ctx, 3)))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/sb_umount")
int BPF_PROG(bt_umount, struct vfsmount *mnt, int flags)
{
	struct held *held = sealed();

	if (held && takes_pins(held, (u64)mount_of((void *)argument(ctx, 0))) &&
	    hold(BT_ACTION_MOUNT, 0))
		DENY_BLOCK();
	return 0;
}

/*
 * The kernel asks about umount before it takes the lock under which mounts
 * move (fs/namespace.c, do_umount), so nothing may put the pins below a mount
 * meanwhile: mount(2) does not say what it moves, pivot_root moves all.
 */
SEC("lsm/sb_mount")
int BPF_PROG(bt_mount, const char *device, const struct path *path, const char *type,
	     unsigned long flags)
{
	struct held *held = sealed();
	bool moves = flags & MS_MOVE;

	/* These change a mount that is there; MS_BIND goes before the latter
	 * (fs/namespace.c, path_mount). */
	if (!held || flags & MS_REMOUNT || (flags & MS_PROPAGATION && !(flags & MS_BIND)))
		return 0;
	if (in_initramfs(held))
		return 0;
	if (((moves && shares_pins(held)) || hides_pins(held, (void *)argument(ctx, 1))) &&
	    hold(BT_ACTION_MOUNT, 0))
		DENY_BLOCK();
	return 0;
}

/* Is @mount, which the pins are in or below, moved from its place? A copy that
 * has no place yet (open_tree(2)) takes nothing along. */
static __always_inline bool moves_pins(const struct held *held, struct mount *mount)
{
	return (u64)BPF_CORE_READ(mount, mnt_ns) == namespace_of_current() &&
	       takes_pins(held, (u64)mount);
}

/* Also MOVE_MOUNT_SET_GROUP, which lets one mount see what happens below
 * another (fs/namespace.c, do_set_group). */
SEC("lsm/move_mount")
int BPF_PROG(bt_move_mount, const struct path *from, const struct path *to)
{
	struct path *moved = (void *)argument(ctx, 0);
	struct held *held = sealed();

	if (!held || in_initramfs(held))
		return 0;
	if ((moves_pins(held, mount_of(BPF_CORE_READ(moved, mnt))) ||
	     hides_pins(held, (void *)argument(ctx, 1))) &&
	    hold(BT_ACTION_MOUNT, 0))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/sb_pivotroot")
int BPF_PROG(bt_pivot, const struct path *old_path, const struct path *new_path)
{
	struct held *held = sealed();

	if (held && !in_initramfs(held) && shares_pins(held) && hold(BT_ACTION_MOUNT, 0))
		DENY_BLOCK();
	return 0;
}

static __always_inline bool keeps_anchor(u64 task)
{
	struct held *held = sealed();

	if (!held || !is_anchor(held, (void *)task))
		return false;
	return hold(BT_ACTION_ANCHOR, BPF_CORE_READ((struct task_struct *)task, tgid));
}

/* Of user space: the kernel's own signals don't ask (kernel/signal.c,
 * check_kill_permission). Signal 0 only asks whether it is there. */
SEC("lsm/task_kill")
int BPF_PROG(bt_kill, struct task_struct *task)
{
	if ((int)argument(ctx, 2) && keeps_anchor(argument(ctx, 0)))
		DENY_BLOCK();
	return 0;
}

/*
 * F_SETOWN and F_SETSIG have the kernel send a signal of one's choice to a
 * process of one's choice (fs/fcntl.c, send_sigio_to_task), from whatever
 * context data arrives in: so who is current says little, and task_lock() is
 * not for asking.
 */
SEC("lsm/file_send_sigiotask")
int BPF_PROG(bt_sigio, struct task_struct *task)
{
	struct decision decision = {
		.action = BT_ACTION_ANCHOR,
		.outcome = BT_OUTCOME_DENIED,
		.reason = BT_REASON_SEALED,
	};
	struct held *held = sealed();

	if (!held || !is_anchor(held, (void *)argument(ctx, 0)))
		return 0;
	decision.subject = BPF_CORE_READ(task, tgid);
	report_briefly(&decision);
	DENY_BLOCK();
}

/* RLIMIT_CPU kills. */
SEC("lsm/task_setrlimit")
int BPF_PROG(bt_limit_anchor, struct task_struct *task)
{
	if (keeps_anchor(argument(ctx, 0)))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(bt_trace_anchor, struct task_struct *child, unsigned int mode)
{
	if (mode & PTRACE_MODE_ATTACH && keeps_anchor(argument(ctx, 0)))
		DENY_BLOCK();
	return 0;
}

#endif
