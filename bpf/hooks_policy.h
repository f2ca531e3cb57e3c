/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What verdicts follow from: signatures that change, another policy, permits.
 */
#ifndef BPFTRUST_HOOKS_POLICY_H
#define BPFTRUST_HOOKS_POLICY_H

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

/* How the answer to prctl() leaves, see DENY_BLOCK: 0 would mean "not mine". */
#define ANSWER(error, code)                  \
	do {                                 \
		if ((error) == -(code)) {    \
			asm volatile("" ::); \
			return -(code);      \
		}                            \
	} while (0)

SEC("lsm.s/task_prctl")
int BPF_PROG(bt_prctl, int option, unsigned long first, unsigned long second, unsigned long third,
	     unsigned long fourth)
{
	struct decision decision = { .outcome = BT_OUTCOME_ALLOWED };
	struct bt_state *guard = guard_state();
	int error;

	if ((option != BT_PRCTL_POLICY && option != BT_PRCTL_PERMIT) || !guard)
		return 0;
	if (option == BT_PRCTL_POLICY) {
		struct handover given = {
			.from = first,
			.size = second,
			.order = { .from = third, .size = fourth },
		};

		decision.action = BT_ACTION_POLICY;
		error = apply(guard, &given, &decision.reason);
	} else {
		struct order_at at = { .from = first, .size = second };

		decision.action = BT_ACTION_PERMIT;
		error = permit(guard, &at, &decision.reason);
	}
	bpf_task_storage_delete(&scratches, bpf_get_current_task_btf());
	if (decision.reason != BT_REASON_NONE)
		decision.outcome = BT_OUTCOME_DENIED;
	if (error == -EALREADY || decision.reason != BT_REASON_NONE)
		report(&decision, NULL);
	ANSWER(error, EALREADY);
	ANSWER(error, EPERM);
	ANSWER(error, EBUSY);
	ANSWER(error, ESTALE);
	ANSWER(error, E2BIG);
	ANSWER(error, ENOMEM);
	ANSWER(error, EACCES);
	ANSWER(error, ENOKEY);
	ANSWER(error, EKEYREVOKED);
	ANSWER(error, EKEYREJECTED);
	ANSWER(error, EKEYEXPIRED);
	ANSWER(error, ERANGE);
	ANSWER(error, EBADMSG);
	asm volatile("" ::);
	return -EINVAL;
}

#endif
