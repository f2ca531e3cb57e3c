/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Breaking the glass: a permit lifts the seal for a time. It names the nonce of
 * this guard, which ends with it and with its first use.
 */
#ifndef BPFTRUST_PERMIT_H
#define BPFTRUST_PERMIT_H

/*
 * Another nonce, by who holds `changing`. That it is none that was before is all
 * that it is for: what names it must be signed in any case.
 */
static __always_inline bool renew_nonce(struct bt_state *guard)
{
	struct incoming *in = incoming();
	u64 *bytes, now = bpf_ktime_get_boot_ns();

	if (!in)
		return false;
	sha256_begin(&in->sha);
	__builtin_memcpy(in->input.bytes, guard->nonce, sizeof(guard->nonce));
	bytes = (void *)(in->input.bytes + sizeof(guard->nonce));
	*bytes = now;
	sha256_add(&in->sha, &in->input, sizeof(guard->nonce) + sizeof(now));
	sha256_end(&in->sha);
	__builtin_memcpy(guard->nonce, in->sha.state, sizeof(guard->nonce));
	return true;
}

/* By who holds `changing`. */
static __noinline u8 permit_alone(struct bt_state *guard, const struct order_at *at)
{
	struct scratch *scratch = take_scratch();
	u64 until;
	u8 reason;

	if (!scratch)
		return BT_REASON_RESOURCES;
	reason = judge_order(guard, scratch, at, BT_KIND_PERMIT);
	if (reason != BT_REASON_NONE)
		return reason;
	if (!is_about(order_in(scratch), guard->nonce))
		return BT_REASON_WRONG_NONCE;
	until = order_in(scratch)->until;
	if (until <= bpf_ktime_get_boot_ns() / NANOSECONDS)
		return BT_REASON_EXPIRED;
	/* First: what works once must not work again. */
	if (!renew_nonce(guard))
		return BT_REASON_RESOURCES;
	*(volatile u64 *)&guard->lifted = until;
	return BT_REASON_NONE;
}

/* The answer to prctl(BT_PRCTL_PERMIT), and the reason if it is refused. */
static __always_inline int permit(struct bt_state *guard, const struct order_at *at, u8 *reason)
{
	if (!may_change_policy())
		return -EPERM;
	if (!seal || !generation_of(guard))
		return -EINVAL;
	if (__sync_val_compare_and_swap(&guard->changing, 0, 1))
		return -EBUSY;
	*reason = permit_alone(guard, at);
	__sync_lock_test_and_set(&guard->changing, 0);
	return order_error(*reason) ?: -EALREADY;
}

#endif
