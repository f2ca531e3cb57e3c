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

/* Does the policy in force refuse every loader of this name? */
static __always_inline bool is_refused_name(struct bt_state *guard, const u8 *loader)
{
	struct rule_id id = { .generation = generation_of(guard) };
	u64 *least = rule(&id, BT_RULE_NAME, 0, loader);

	return least && *least == BT_VERSION_REFUSED;
}

/* The answer to prctl(BT_PRCTL_EVICT). Sealed, it takes a policy that refuses him. */
static __always_inline int let_evict(struct bt_state *guard, u64 from, u64 size)
{
	int error = -EALREADY;
	struct task_struct *current = bpf_get_current_task_btf();
	struct bt_owner *owner;

	if (size != sizeof(*owner))
		return -EINVAL;
	owner = bpf_task_storage_get(&evictions, current, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!owner)
		return -ENOMEM;
	if (bpf_copy_from_user(owner, sizeof(*owner), (void *)from))
		error = -EINVAL;
	else if (seal_holds(guard) && !is_refused_name(guard, owner->loader))
		error = -EPERM;
	if (error != -EALREADY)
		bpf_task_storage_delete(&evictions, current);
	return error;
}

/* What root asks of a guard that decides, besides another policy. */
SEC("lsm.s/task_prctl")
int BPF_PROG(bt_admin, int option, unsigned long from, unsigned long size)
{
	struct bt_state *guard = guard_state();
	int error = -EALREADY;

	if ((option != BT_PRCTL_EVICT && option != BT_PRCTL_RELEASE) || !guard || !armed())
		return 0;
	if (!may_change_policy())
		error = -EPERM;
	else if (option == BT_PRCTL_EVICT)
		error = let_evict(guard, from, size);
	else if (seal_holds(guard))
		error = -EPERM;
	else
		*(volatile u64 *)&guard->started = 0;
	ANSWER(error, EALREADY);
	ANSWER(error, EPERM);
	ANSWER(error, ENOMEM);
	asm volatile("" ::);
	return -EINVAL;
}

#endif
