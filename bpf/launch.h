/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How a file is executed: circumstances under which even a signed one gets no
 * trust, because somebody else would act through it.
 */
#ifndef BPFTRUST_LAUNCH_H
#define BPFTRUST_LAUNCH_H

/* A chain of more filters than this counts as one that answers. */
#define FILTERS_MAX 64

struct filter_scan {
	const struct sock_filter *instructions;
	bool answers;
};

/*
 * Can this filter return something to the caller that the kernel did not do:
 * success without the call (errno 0), or what a supervisor or tracer says? A
 * return of the accumulator can be anything.
 */
static int scan_instruction(u64 index, struct filter_scan *scan)
{
	struct sock_filter instruction;
	u32 action;

	if (bpf_probe_read_kernel(&instruction, sizeof(instruction), scan->instructions + index)) {
		scan->answers = true;
		return 1;
	}
	if (BPF_CLASS(instruction.code) != BPF_RET)
		return 0;
	action = instruction.k & SECCOMP_RET_ACTION_FULL;
	scan->answers = BPF_RVAL(instruction.code) != BPF_K || action == SECCOMP_RET_USER_NOTIF ||
			action == SECCOMP_RET_TRACE ||
			(action == SECCOMP_RET_ERRNO && !(instruction.k & SECCOMP_RET_DATA));
	return scan->answers;
}

struct chain_scan {
	struct seccomp_filter *filter;
	bool answers;
};

static int scan_filter(u64 index, struct chain_scan *chain)
{
	struct seccomp_filter *filter = chain->filter;
	struct filter_scan scan = {};
	struct sock_fprog_kern *program;
	u16 length;

	if (!filter)
		return 1;
	/*
	 * The filter as it was installed (kernel/seccomp.c, seccomp_prepare_filter
	 * keeps it for checkpoint/restore); without it nothing can be said.
	 */
	program = BPF_CORE_READ(filter, prog, orig_prog);
	if (!program || BPF_CORE_READ(filter, notif)) {
		chain->answers = true;
		return 1;
	}
	scan.instructions = BPF_CORE_READ(program, filter);
	length = BPF_CORE_READ(program, len);
	bpf_loop(length, scan_instruction, &scan, 0);
	chain->answers = scan.answers;
	chain->filter = BPF_CORE_READ(filter, prev);
	return chain->answers;
}

static __always_inline bool filter_answers(struct task_struct *task)
{
	struct chain_scan chain = { .filter = task->seccomp.filter };

	if (!chain.filter)
		return false;
	bpf_loop(FILTERS_MAX, scan_filter, &chain, 0);
	return chain.answers || chain.filter;
}

/* A usermode helper is a child of kthreadd (kernel/umh.c); so is no init. */
static __always_inline bool kernel_started(struct task_struct *task)
{
	return task->tgid != 1 && (task->real_parent->flags & PF_KTHREAD);
}

/* @launches: it starts loaders on scripts and calls no bpf(), so it may be the
 * interpreter of a file: of that it believes nothing but the name. */
static __always_inline u8 launch_reason(struct linux_binprm *bprm, bool launches)
{
	struct task_struct *task = bpf_get_current_task_btf();

	if (bprm->unsafe & LSM_UNSAFE_PTRACE)
		return BT_REASON_TRACED;
	if (kernel_started(task))
		return BT_REASON_KERNEL_STARTED;
	/* "#!" and binfmt_misc (fs/exec.c, bprm_change_interp; fs/binfmt_misc.c) */
	if ((bprm->interp != bprm->filename && !launches) || bprm->executable)
		return BT_REASON_UNSIGNED_SCRIPT;
	/* 7.3: a binfmt_misc entry that takes the place of PT_INTERP */
	if (bpf_core_field_exists(bprm->loader) && bprm->loader)
		return BT_REASON_UNSIGNED_LIBRARY;
	if (filter_answers(task))
		return BT_REASON_FILTERED;
	return BT_REASON_NONE;
}

#endif
