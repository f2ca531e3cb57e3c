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

/* Does the policy in force refuse every loader of this name? */
static __always_inline bool is_refused_name(struct bt_state *guard, const u8 *loader)
{
	struct rule_id id = { .generation = generation_of(guard) };
	u64 *least = rule(&id, BT_RULE_NAME, 0, loader);

	return least && *least == BT_VERSION_REFUSED;
}

/*
 * The answer to prctl(BT_PRCTL_EVICT). Sealed, it takes a policy that refuses him. A
 * function for the sake of the stack, which a policy needs nearly all of.
 */
static __noinline int let_evict(struct bt_state *guard, u64 from, u64 size)
{
	int error = -EALREADY;
	struct bt_owner *owner;

	if (!may_change_policy())
		return -EPERM;
	if (size != sizeof(*owner))
		return -EINVAL;
	owner = take_eviction();
	if (!owner)
		return -ENOMEM;
	if (bpf_copy_from_user(owner, sizeof(*owner), (void *)from))
		error = -EINVAL;
	else if (seal_holds(guard) && !is_refused_name(guard, owner->loader))
		error = -EPERM;
	if (error != -EALREADY)
		bpf_task_storage_delete(&evictions, bpf_get_current_task_btf());
	return error;
}

/* The answer to prctl(BT_PRCTL_RELEASE). */
static __always_inline int let_release(struct bt_state *guard)
{
	if (!may_change_policy() || seal_holds(guard))
		return -EPERM;
	*(volatile u64 *)&guard->started = 0;
	return -EALREADY;
}

/* Another policy, or a permit; a refused one is an event, as one that is taken. */
static __always_inline int take_order(struct bt_state *guard, u8 action,
				      const struct handover *given)
{
	struct decision decision = { .action = action, .outcome = BT_OUTCOME_ALLOWED };
	int error;

	if (action == BT_ACTION_POLICY)
		error = apply(guard, given, &decision.reason);
	else
		error = permit(guard, &given->order, &decision.reason);
	give_back_scratch();
	if (decision.reason != BT_REASON_NONE)
		decision.outcome = BT_OUTCOME_DENIED;
	if (error == -EALREADY || decision.reason != BT_REASON_NONE)
		report(&decision, NULL);
	return error;
}

/* What root asks of the guard (enum bt_handover). */
SEC("lsm.s/task_prctl")
int BPF_PROG(bt_prctl, int option, unsigned long first, unsigned long second, unsigned long third,
	     unsigned long fourth)
{
	struct bt_state *guard = guard_state();
	struct handover given = {};
	int error;

	if (!guard)
		return 0;
	if (option == BT_PRCTL_POLICY) {
		given.from = first;
		given.size = second;
		given.order.from = third;
		given.order.size = fourth;
		error = take_order(guard, BT_ACTION_POLICY, &given);
	} else if (option == BT_PRCTL_PERMIT) {
		given.order.from = first;
		given.order.size = second;
		error = take_order(guard, BT_ACTION_PERMIT, &given);
	} else if (option == BT_PRCTL_EVICT && armed()) {
		error = let_evict(guard, first, second);
	} else if (option == BT_PRCTL_RELEASE && armed()) {
		error = let_release(guard);
	} else {
		return 0;
	}
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
