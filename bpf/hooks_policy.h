/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What verdicts follow from: signatures that change, another policy.
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
int BPF_PROG(bt_prctl, int option, unsigned long policy, unsigned long size)
{
	struct decision decision = { .action = BT_ACTION_POLICY, .outcome = BT_OUTCOME_ALLOWED };
	struct bt_state *guard = guard_state();
	int error;

	if (option != BT_PRCTL_POLICY || !guard)
		return 0;
	error = apply(guard, policy, size);
	if (error == -EPERM && guard->sealed) {
		decision.outcome = BT_OUTCOME_DENIED;
		decision.reason = BT_REASON_SEALED;
	}
	if (error == -EALREADY || decision.reason != BT_REASON_NONE)
		report(&decision, NULL);
	ANSWER(error, EALREADY);
	ANSWER(error, EPERM);
	ANSWER(error, EBUSY);
	ANSWER(error, ESTALE);
	ANSWER(error, E2BIG);
	ANSWER(error, ENOMEM);
	asm volatile("" ::);
	return -EINVAL;
}

#endif
