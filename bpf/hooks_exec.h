/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Executing, forking and ending.
 */
#ifndef BPFTRUST_HOOKS_EXEC_H
#define BPFTRUST_HOOKS_EXEC_H

SEC("lsm.s/bprm_committed_creds")
int BPF_PROG(bt_exec, struct linux_binprm *bprm)
{
	struct decision decision = { .action = BT_ACTION_EXEC, .outcome = BT_OUTCOME_DENIED };
	u64 task = bpf_get_current_task();
	struct bt_image *image = NULL;
	struct draft *draft = NULL;

	/* Most that execute have no standing. */
	if (bpf_map_lookup_elem(&tasks, &task)) {
		image = launcher_of(task);
		if (image) {
			draft = take_shared_draft();
			if (draft)
				take_launch(image, &draft->script);
			image = NULL;
		}
		forget_task(task);
	}
	decision.reason = look_for_signature(bprm->file);
	if (decision.reason == BT_REASON_NO_SIGNATURE) {
		if (draft)
			give_back_draft(draft);
		return 0;
	}
	if (decision.reason == BT_REASON_NONE) {
		if (!draft)
			draft = take_shared_draft();
		decision.reason = draft ? judge_exec(bprm, draft) : BT_REASON_RESOURCES;
	}
	if (draft && decision.reason == BT_REASON_NONE) {
		image = own_image(task, &draft->image);
		if (!image)
			decision.reason = BT_REASON_RESOURCES;
	}
	if (image) {
		decision.outcome = BT_OUTCOME_ALLOWED;
		/* The dynamic linker then ignores LD_PRELOAD and its like. */
		if (!audit)
			bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	} else {
		set_entry(task, decision.reason, BPF_ANY);
	}
	report(&decision, draft ? &draft->image : NULL);
	if (draft)
		give_back_draft(draft);
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

#endif
