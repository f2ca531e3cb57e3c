/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a sealed guard stands on outside of BPF: the pins, the mount that they
 * are in, and the process that holds links and keyrings besides.
 *
 * A link ends with its last pin and descriptor. Pins end with the file system
 * that they are in, and that with its last mount: by umount of it or, lazily,
 * of any mount above it; by the removal of a directory that is a mountpoint in
 * another namespace (fs/namei.c, detach_mounts()); with its mount namespace.
 * The initial one never ends (kernel/nsproxy.c, init_nsproxy), so that is where
 * the pins must be seen, and there every way to take the mount away is refused.
 */
#ifndef BPFTRUST_PROTECT_H
#define BPFTRUST_PROTECT_H

/* Mounts from the pins' up to the root of the namespace, at most. */
#define MOUNTS_ABOVE 16

/* Directories from a pin up to ours. */
#define PINS_DEPTH 3

/* Steps of a walk over a tree of mounts: each takes two at most, and a
 * namespace has 100,000 unless fs.mount-max says more. Beyond: refused. */
#define WALK_STEPS (1 << 20)

#define PARENTS_MAX 4096

/* The kernel's own objects, by address. Shown to nobody. */
struct held {
	u64 bpffs;     /* the super_block of the pins */
	u64 directory; /* the dentry of ours in it */
	u64 mount;     /* the struct mount by which the initial namespace sees it */
	u64 initial;   /* that mnt_namespace */
	u64 started;   /* start_boottime of the anchor */
	u64 init;      /* the task_struct of PID 1 */
	u64 root;      /* the mount that was its root when the guard was armed */
	u64 switched;  /* 1 once it was seen to have another */
};

/* Started in an initramfs, which PID 1 has yet to leave. */
const volatile bool early = false;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct held);
} holds SEC(".maps");

/* 1 for a thread whose call the gate has let pass, until the latch has seen it. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u32);
} passes SEC(".maps");

TAKES_MEMORY(pass, passes)

/* Tells the latch that the gate lets current's call pass; false for no memory. */
static __always_inline bool let_pass(void)
{
	u32 *passed = take_pass();

	if (!passed) {
		count_starved();
		return false;
	}
	*passed = 1;
	return true;
}

/* What is held, or NULL if nothing is sealed. */
static __always_inline struct held *sealed(void)
{
	struct bt_state *guard = guard_state();
	u32 zero = 0;

	if (!guard || !*(volatile u64 *)&guard->started || !guard->sealed || !seal_holds(guard))
		return NULL;
	return bpf_map_lookup_elem(&holds, &zero);
}

static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (void *)mnt - bpf_core_field_offset(struct mount, mnt);
}

/* The ancestor of current with that pid: all tasks are descendants of the idle
 * task, 0. NULL if it is none. */
static __noinline u64 ancestor(int pid)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	for (u32 i = 0; i < PARENTS_MAX; i++) {
		int its = BPF_CORE_READ(task, pid);

		if (its == pid)
			return (u64)task;
		if (!its)
			return 0;
		task = BPF_CORE_READ(task, real_parent);
	}
	return 0;
}

static __always_inline u64 root_of(u64 task)
{
	return (u64)BPF_CORE_READ((struct task_struct *)task, fs, root.mnt);
}

/*
 * Is PID 1 still in the initramfs that the guard was started in? Mounts move there, the
 * pins with them, until it is at the real root (run-init(8), switch_root(8), systemd's
 * src/shared/switch-root.c). Once seen to have left it is never there again.
 */
static __noinline bool in_initramfs(struct held *held)
{
	if (!early || *(volatile u64 *)&held->switched)
		return false;
	if (root_of(held->init) == held->root)
		return true;
	*(volatile u64 *)&held->switched = 1;
	return false;
}

/* The directory of the pins, and current as the anchor. Run once, before
 * anything is refused. An enum bt_armed. */
static __noinline u32 take_hold(u32 descriptor)
{
	struct task_struct *current = (void *)bpf_get_current_task();
	struct file *directory = file_of_current(descriptor);
	struct bt_state *guard = guard_state();
	u32 zero = 0;
	struct held *held = bpf_map_lookup_elem(&holds, &zero);
	struct task_struct *idle = (void *)ancestor(0);
	struct mount *mount;

	if (!directory || !guard || !held)
		return BT_ARMED_NOT;
	held->init = ancestor(1);
	held->root = root_of(held->init);
	/* Without these it would never be seen to leave. */
	if (early && (!held->init || !held->root))
		return BT_ARMED_ENDLESS;
	mount = mount_of(BPF_CORE_READ(directory, f_path.mnt));
	held->directory = (u64)BPF_CORE_READ(directory, f_path.dentry);
	held->bpffs = (u64)BPF_CORE_READ(mount, mnt.mnt_sb);
	held->mount = (u64)mount;
	held->initial = (u64)BPF_CORE_READ(idle, nsproxy, mnt_ns);
	held->started = BPF_CORE_READ(current, group_leader, start_boottime);
	guard->anchor = bpf_get_current_pid_tgid() >> 32;
	if (held->initial && held->initial == (u64)BPF_CORE_READ(mount, mnt_ns) &&
	    BPF_CORE_READ(mount, mnt.mnt_sb, s_magic) == BPF_FS_MAGIC)
		return BT_ARMED;
	return BT_ARMED_ELSEWHERE;
}

/* Our directory, or what is in it? */
static __always_inline bool is_pin(const struct held *held, struct dentry *dentry)
{
	if ((u64)BPF_CORE_READ(dentry, d_sb) != held->bpffs)
		return false;
	for (u32 i = 0; i < PINS_DEPTH; i++) {
		if ((u64)dentry == held->directory)
			return true;
		dentry = BPF_CORE_READ(dentry, d_parent);
	}
	return false;
}

/* Does a mount between the pins and the root hang on @dentry? Without it that
 * mount is detached, and with it all that is below. */
static __always_inline bool carries_pins(const struct held *held, struct dentry *dentry)
{
	struct mount *mount = (void *)held->mount, *parent;

	for (u32 i = 0; i < MOUNTS_ABOVE; i++) {
		if (BPF_CORE_READ(mount, mnt_mountpoint) == dentry)
			return true;
		parent = BPF_CORE_READ(mount, mnt_parent);
		if (parent == mount)
			break;
		mount = parent;
	}
	return false;
}

/* An address within the kernel, of which verifiers know nothing. */
static __always_inline bool is_list_filled(u64 head)
{
	u64 first = 0;

	bpf_probe_read_kernel(&first, sizeof(first), (void *)head);
	/* A list_head leads back to itself, a hlist_head nowhere. */
	return first && first != head;
}

/* Does what happens below @mount happen elsewhere, too? */
static __always_inline bool is_propagated(struct mount *mount)
{
	return is_list_filled((u64)&mount->mnt_share) ||
	       is_list_filled((u64)&mount->mnt_slave_list);
}

/* A tree of mounts that is looked through. */
struct mount_walk {
	u64 bpffs;
	struct mount *top;
	struct mount *at;
	u8 entered; /* `at` was not looked at before */
	u8 holds;   /* one is of our bpffs */
	u8 spreads; /* one's end would be seen by other mounts */
	u8 done;
};

static __always_inline struct mount *child_of(struct list_head *link)
{
	return (void *)link - bpf_core_field_offset(struct mount, mnt_child);
}

/* One step of fs/namespace.c, next_mnt(). */
static int walk_on(u64 index, struct mount_walk *walk)
{
	struct mount *at = walk->at, *parent = BPF_CORE_READ(at, mnt_parent);
	struct list_head *next;

	if (walk->entered) {
		walk->holds |= (u64)BPF_CORE_READ(at, mnt.mnt_sb) == walk->bpffs;
		walk->spreads |= parent != at && is_propagated(parent);
		next = BPF_CORE_READ(at, mnt_mounts.next);
		if (next != &at->mnt_mounts) {
			walk->at = child_of(next);
			return 0;
		}
		walk->entered = 0;
	}
	if (at == walk->top) {
		walk->done = 1;
		return 1;
	}
	next = BPF_CORE_READ(at, mnt_child.next);
	walk->entered = next != &parent->mnt_mounts;
	walk->at = walk->entered ? child_of(next) : parent;
	return 0;
}

/*
 * Would the pins be out of the initial namespace if @mount, with all below, were
 * taken from where it is? In another namespace, that is so if somebody sees
 * there what happens here: containers, whose mounts are private or slaves,
 * throw away their view of the host.
 */
static __noinline bool takes_pins(const struct held *held, u64 mount)
{
	struct mount_walk walk = {
		.bpffs = held->bpffs,
		.top = (void *)mount,
		.at = (void *)mount,
		.entered = 1,
	};
	struct mount *top = (void *)mount;

	bpf_loop(WALK_STEPS, walk_on, &walk, 0);
	if (!walk.done)
		return true;
	return walk.holds && (walk.spreads || (u64)BPF_CORE_READ(top, mnt_ns) == held->initial);
}

/* Would a mount on @path hide the pins from the initial namespace? */
static __always_inline bool hides_pins(const struct held *held, const struct path *path)
{
	struct dentry *dentry = BPF_CORE_READ(path, dentry);
	struct mount *mount = mount_of(BPF_CORE_READ(path, mnt));

	if ((u64)BPF_CORE_READ(mount, mnt_ns) != held->initial && !is_propagated(mount))
		return false;
	return is_pin(held, dentry) || ((u64)BPF_CORE_READ(mount, mnt.mnt_sb) == held->bpffs &&
					BPF_CORE_READ(dentry, d_sb, s_root) == dentry);
}

static __always_inline u64 namespace_of_current(void)
{
	struct task_struct *current = (void *)bpf_get_current_task();

	return (u64)BPF_CORE_READ(current, nsproxy, mnt_ns);
}

/* Are the pins in current's namespace so that who moves mounts there, whichever
 * they are, may take the pins along? */
static __always_inline bool shares_pins(const struct held *held)
{
	struct mnt_namespace *namespace = (void *)namespace_of_current();

	return takes_pins(held, (u64)BPF_CORE_READ(namespace, root));
}

/* A pid is given again, so the anchor is known by its start, too. */
static __always_inline bool is_anchor(const struct held *held, struct task_struct *task)
{
	struct bt_state *guard = guard_state();

	return guard && (u32)BPF_CORE_READ(task, tgid) == guard->anchor &&
	       BPF_CORE_READ(task, group_leader, start_boottime) == held->started;
}

#endif
