/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Reaching into a process.
 */
#ifndef BPFTRUST_HOOKS_TRACE_H
#define BPFTRUST_HOOKS_TRACE_H

/*
 * May @tracer reach into @target? The answer is a reason, NONE for yes. Nobody
 * reaches into the trusted: who did would have another's rights, and go on having
 * them when he is trusted no more, for what he attached to or opened stays.
 */
static __always_inline u8 judge_trace(const struct standing *tracer, const struct standing *target)
{
	if (!is_trusted(target))
		return BT_REASON_NONE;
	return distrust(tracer) ?: BT_REASON_TRACED;
}

/* Every way to write a process's memory or take its descriptors asks for
 * PTRACE_MODE_ATTACH (kernel/ptrace.c, mm/process_vm_access.c, fs/proc/base.c,
 * kernel/pid.c pidfd_getfd). */
SEC("lsm/ptrace_access_check")
int BPF_PROG(bt_trace, struct task_struct *child, unsigned int mode)
{
	struct decision decision = { .action = BT_ACTION_TRACE };
	struct standing tracer, target;

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	target = standing_of(argument(ctx, 0));
	tracer = standing_of_current();
	decision.subject = BPF_CORE_READ(child, tgid);
	decision.reason = judge_trace(&tracer, &target);
	if (refuse(&decision, tracer.image))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(bt_traceme, struct task_struct *parent)
{
	struct decision decision = { .action = BT_ACTION_TRACE };
	struct standing tracer, target;

	target = standing_of_current();
	tracer = standing_of(argument(ctx, 0));
	decision.subject = BPF_CORE_READ(parent, tgid);
	decision.reason = judge_trace(&tracer, &target);
	if (refuse(&decision, target.image))
		DENY_BLOCK();
	return 0;
}

#endif
