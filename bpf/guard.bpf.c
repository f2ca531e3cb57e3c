// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * bpftrust's kernel side: it decides; user space configures and reports.
 *
 *   bprm_committed_creds   exec: whatever trust there was ends; the file's
 *                          signature and the circumstances decide anew
 *   task_alloc, task_free  fork: an own record, or a shared one with CLONE_VM
 *   bpf                    every command of bpf(), by one table
 *   mmap_file,             code that was not signed costs the address space
 *   file_mprotect          its trust
 *   ptrace_access_check,   nobody untrusted reaches into a trusted process
 *   ptrace_traceme
 *   inode_post_setxattr,   a changed signature is judged again
 *   inode_post_removexattr
 *
 * A hook gathers, calls the one function that decides, reports. What can't be
 * decided is refused; an exec never fails because of us, it gets no trust.
 *
 * A pointer argument may be NULL although the verifier holds otherwise, and
 * then deletes the test (kernel/bpf/btf.c, btf_ctx_access): where it may,
 * hooks read it through bpf_get_func_arg() first.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "abi.h"
#include "image.h"
#include "launch.h"
#include "policy.h"
#include "report.h"
#include "verdict.h"

char LICENSE[] SEC("license") = "GPL";

/* Not used here: user space takes these types from this object's BTF. */
const volatile struct {
	struct bt_envelope envelope;
	struct bt_statement statement;
	enum bt_kind kind;
	enum bt_ability ability;
	enum bt_reason reason;
	enum bt_action action;
	enum bt_outcome outcome;
	enum bt_command command;
	enum bt_limit limit;
} exported;

/*
 * How a hook says no. The return value is a constant in its own basic block:
 * 6.12's verifier takes no other shape for certain (it wants the range of what
 * an LSM program returns).
 */
#define DENY_BLOCK()                 \
	do {                         \
		asm volatile("" ::); \
		return -EPERM;       \
	} while (0)

/* Nothing is decided before the tasks that run already were marked. */
static __always_inline bool armed(void)
{
	struct bt_state *guard = guard_state();

	return guard && *(volatile u64 *)&guard->started;
}

static __always_inline u64 argument(void *ctx, u32 index)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, index, &value);
	return value;
}

SEC("lsm.s/bprm_committed_creds")
int BPF_PROG(bt_exec, struct linux_binprm *bprm)
{
	u64 task = bpf_get_current_task();
	struct bt_image image = {};
	struct verdict verdict = {};
	struct standing standing;

	forget_task(task);
	judge_file(bprm->file, &verdict);
	if (verdict.reason == BT_REASON_NO_SIGNATURE)
		return 0;
	if (verdict.reason == BT_REASON_NONE && verdict.kind != BT_KIND_LOADER)
		verdict.reason = BT_REASON_WRONG_KIND;
	if (verdict.reason == BT_REASON_NONE)
		verdict.reason = launch_reason(bprm);
	__builtin_memcpy(image.key, verdict.key, sizeof(image.key));
	if (verdict.reason != BT_REASON_NONE) {
		set_entry(task, verdict.reason, BPF_ANY);
		report(BT_ACTION_EXEC, BT_OUTCOME_DENIED, verdict.reason, 0, &image);
		return 0;
	}
	image.started = bpf_ktime_get_boot_ns();
	image.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(image.comm, sizeof(image.comm));
	if (!own_image(task, &image)) {
		set_entry(task, BT_REASON_RESOURCES, BPF_ANY);
		report(BT_ACTION_EXEC, BT_OUTCOME_DENIED, BT_REASON_RESOURCES, 0, &image);
		return 0;
	}
	standing = standing_of(task);
	if (standing.image)
		measure(bprm->file, &standing.image->digest);
	/* The dynamic linker then ignores LD_PRELOAD and its like. */
	if (!audit)
		bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	report(BT_ACTION_EXEC, BT_OUTCOME_ALLOWED, BT_REASON_NONE, 0, standing.image);
	return 0;
}

SEC("lsm/task_alloc")
int BPF_PROG(bt_fork, struct task_struct *task, unsigned long clone_flags)
{
	inherit(bpf_get_current_task(), argument(ctx, 0), clone_flags & CLONE_VM);
	return 0;
}

SEC("lsm/task_free")
int BPF_PROG(bt_exit, struct task_struct *task)
{
	forget_task(argument(ctx, 0));
	return 0;
}

/* Reports a refusal, if @reason is one. In audit mode nothing is refused. */
static __always_inline bool refuse(u8 action, u8 reason, u32 subject, struct bt_image *image)
{
	if (reason == BT_REASON_NONE)
		return false;
	report(action, BT_OUTCOME_DENIED, reason, subject, image);
	return !audit;
}

/* Reports an allowed command once per image: a map is read often. */
static __always_inline void report_allowed(struct bt_image *image, u32 command)
{
	u64 bit = 1ULL << (command & 63);

	if (!(__sync_fetch_and_or(&image->commands, bit) & bit))
		report(BT_ACTION_BPF, BT_OUTCOME_ALLOWED, BT_REASON_NONE, command, image);
}

SEC("lsm/bpf")
int BPF_PROG(bt_bpf, int command)
{
	struct standing standing;
	u8 reason;

	if (!armed())
		return 0;
	standing = standing_of_current();
	reason = decide(&standing, command);
	if (refuse(BT_ACTION_BPF, reason, command, standing.image))
		DENY_BLOCK();
	if (reason == BT_REASON_NONE && standing.image)
		report_allowed(standing.image, command);
	return 0;
}

/*
 * Executable memory that is not a file's: what runs there was not signed.
 * Anonymous memory has no file; PROT_WRITE beside PROT_EXEC is no better.
 */
SEC("lsm/mmap_file")
int BPF_PROG(bt_mmap, struct file *file, unsigned long reqprot, unsigned long prot)
{
	struct standing standing;

	if (!(prot & PROT_EXEC))
		return 0;
	standing = standing_of_current();
	if (is_trusted(&standing) && (!argument(ctx, 0) || (prot & PROT_WRITE)))
		taint(standing.image, BT_REASON_WRITABLE_CODE);
	return 0;
}

/*
 * The same for memory that becomes executable later, a file's included: the
 * dynamic linker maps code as code. What was code already stays it, unless it
 * was written to: such private pages hang in the area's anon_vma.
 */
SEC("lsm/file_mprotect")
int BPF_PROG(bt_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	struct standing standing;

	if (!(prot & PROT_EXEC))
		return 0;
	standing = standing_of_current();
	if (is_trusted(&standing) &&
	    (!(BPF_CORE_READ(vma, vm_flags) & VM_EXEC) || !BPF_CORE_READ(vma, vm_file) ||
	     BPF_CORE_READ(vma, anon_vma) || (prot & PROT_WRITE)))
		taint(standing.image, BT_REASON_WRITABLE_CODE);
	return 0;
}

/* May @tracer reach into @target? The answer is a reason, NONE for yes. */
static __always_inline u8 may_trace(struct standing *tracer, struct standing *target)
{
	if (!is_trusted(target) || is_trusted(tracer))
		return BT_REASON_NONE;
	return tracer->reason ?: BT_REASON_RESOURCES;
}

/* Every way to write a process's memory or take its descriptors asks for
 * PTRACE_MODE_ATTACH (kernel/ptrace.c, mm/process_vm_access.c, fs/proc/base.c,
 * kernel/pid.c pidfd_getfd). */
SEC("lsm/ptrace_access_check")
int BPF_PROG(bt_trace, struct task_struct *child, unsigned int mode)
{
	struct standing tracer, target;
	u8 reason;

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	target = standing_of(argument(ctx, 0));
	tracer = standing_of_current();
	reason = may_trace(&tracer, &target);
	if (refuse(BT_ACTION_TRACE, reason, BPF_CORE_READ(child, tgid), tracer.image))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(bt_traceme, struct task_struct *parent)
{
	struct standing tracer, target;
	u8 reason;

	target = standing_of_current();
	tracer = standing_of(argument(ctx, 0));
	reason = may_trace(&tracer, &target);
	if (refuse(BT_ACTION_TRACE, reason, BPF_CORE_READ(parent, tgid), target.image))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/inode_post_setxattr")
int BPF_PROG(bt_setxattr, struct dentry *dentry, const char *name)
{
	if (is_ours(name))
		xattr_changed(dentry->d_inode);
	return 0;
}

SEC("lsm/inode_post_removexattr")
int BPF_PROG(bt_removexattr, struct dentry *dentry, const char *name)
{
	if (is_ours(name))
		xattr_changed(dentry->d_inode);
	return 0;
}

/* Thread groups that the admin vouches for (--adopt), and the images made for
 * them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_ADOPTED);
	__type(key, u32);
	__type(value, u64);
} adopted SEC(".maps");

static __always_inline void mark(struct task_struct *task)
{
	struct bt_image *image = NULL;
	u64 key = (u64)task;
	u32 tgid = task->tgid;
	u64 *id;

	if (bpf_map_lookup_elem(&tasks, &key))
		return;
	id = bpf_map_lookup_elem(&adopted, &tgid);
	if (id)
		image = image_by_id(*id);
	if (!image) {
		set_entry(key, BT_REASON_BEFORE, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&image->tasks, 1);
	if (!set_entry(key, *id, BPF_NOEXIST))
		__sync_fetch_and_sub(&image->tasks, 1);
}

/*
 * Run once by `enforce`, when all hooks are attached and before it ends: marks
 * every task that runs already, and from then on the hooks decide. A task that
 * is forked meanwhile is at the end of the list or inherits its parent's mark;
 * one that is executed meanwhile has been decided on and keeps that.
 */
SEC("syscall")
int bt_arm(void *ctx)
{
	struct bt_state *guard = guard_state();
	struct task_struct *task;
	struct bpf_iter_task it;

	if (!guard || guard->started)
		return 1;
	bpf_rcu_read_lock();
	bpf_iter_task_new(&it, NULL, BPF_TASK_ITER_ALL_THREADS);
	while ((task = bpf_iter_task_next(&it)))
		mark(task);
	bpf_iter_task_destroy(&it);
	bpf_rcu_read_unlock();
	guard->form = BT_FORM;
	guard->audit = audit;
	*(volatile u64 *)&guard->started = bpf_ktime_get_boot_ns();
	return 0;
}

/* What user space may read, as bytes of abi.h: iterators pinned beside us. */
static __always_inline int show(struct bpf_iter__bpf_map_elem *ctx, u32 size)
{
	struct seq_file *seq = ctx->meta->seq;
	void *value = ctx->value;

	if (value)
		bpf_seq_write(seq, value, size);
	return 0;
}

SEC("iter/bpf_map_elem")
int bt_show_state(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_state));
}

SEC("iter/bpf_map_elem")
int bt_show_events(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_event));
}

SEC("iter/bpf_map_elem")
int bt_show_images(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_image));
}

SEC("iter/bpf_map_elem")
int bt_show_keys(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_key));
}
