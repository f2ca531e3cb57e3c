/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Orders: what a policy key signed for a sealed guard, and whether it did.
 *
 * Only keys of the policy in force that sign orders are asked, so policy keys
 * change only by a policy that one of them signed.
 */
#ifndef BPFTRUST_ORDER_H
#define BPFTRUST_ORDER_H

/* An order, as user space hands it over. */
struct order_at {
	u64 from;
	u64 size; /* 0 for none */
};

#define ORDER_HEAD (sizeof(struct bt_envelope) + sizeof(struct bt_order))

/* The order that judge_order() has read. */
static __always_inline struct bt_order *order_in(struct scratch *scratch)
{
	return (void *)(scratch->xattr.at + sizeof(struct bt_envelope));
}

/*
 * Is this an order of @kind by a policy key? Copied once, so that what was
 * verified is what is read from order_in().
 */
static __noinline u8 judge_order(struct bt_state *guard, struct scratch *scratch,
				 const struct order_at *at, u32 kind)
{
	struct bt_envelope *envelope = (void *)scratch->xattr.at;
	struct bt_order *order = order_in(scratch);
	struct bpf_dynptr message, signature;
	u64 size = at->size;

	if (!size)
		return BT_REASON_NO_SIGNATURE;
	if (size <= ORDER_HEAD || size > ORDER_HEAD + BT_SIGNATURE_MAX)
		return BT_REASON_BAD_SIGNATURE;
	if (bpf_copy_from_user(scratch->xattr.at, size, (void *)at->from))
		return BT_REASON_BAD_SIGNATURE;
	if (envelope->magic != BT_MAGIC || envelope->form != BT_FORM || envelope->reserved ||
	    envelope->statement_size != sizeof(*order) ||
	    envelope->signature_size != size - ORDER_HEAD)
		return BT_REASON_BAD_SIGNATURE;
	if (order->magic != BT_ORDER_MAGIC || order->form != BT_ORDER_FORM || order->reserved)
		return BT_REASON_BAD_SIGNATURE;
	if (order->kind != kind)
		return BT_REASON_WRONG_KIND;
	if (!pkcs7_shape(&scratch->xattr, ORDER_HEAD, size))
		return BT_REASON_BAD_SIGNATURE;
	if (!take_key(&scratch->key, generation_of(guard), envelope->key))
		return BT_REASON_UNKNOWN_KEY;
	if (scratch->key.refused)
		return BT_REASON_REVOKED;
	if (!scratch->key.orders)
		return BT_REASON_WRONG_KIND;
	/* Said again for the verifier, which lost it in a register that it split. */
	size -= ORDER_HEAD;
	barrier_var(size);
	if (!size || size > BT_SIGNATURE_MAX)
		return BT_REASON_BAD_SIGNATURE;
	if (bpf_dynptr_from_mem(scratch->xattr.at + sizeof(*envelope), sizeof(*order), 0,
				&message) ||
	    bpf_dynptr_from_mem(scratch->xattr.at + ORDER_HEAD, size, 0, &signature))
		return BT_REASON_RESOURCES;
	return check_signature(&scratch->key, scratch, &message, &signature);
}

/* Is the order about this? Both are memory of maps. */
static __always_inline bool is_about(const struct bt_order *order, const void *subject)
{
	const u64 *one = (void *)order->subject, *other = subject;
	u64 difference = 0;

	for (u32 i = 0; i < BT_NONCE_SIZE / sizeof(u64); i++)
		difference |= one[i] ^ other[i];
	return !difference;
}

/* How prctl() answers that an order was refused: a number for each reason that
 * calls for something else to be done. */
static __always_inline int order_error(u8 reason)
{
	switch (reason) {
	case BT_REASON_NONE:
		return 0;
	case BT_REASON_NO_SIGNATURE:
		return -EACCES;
	case BT_REASON_UNKNOWN_KEY:
		return -ENOKEY;
	case BT_REASON_REVOKED:
		return -EKEYREVOKED;
	case BT_REASON_WRONG_KIND:
		return -EKEYREJECTED;
	case BT_REASON_TOO_OLD:
		return -ERANGE;
	case BT_REASON_EXPIRED:
		return -EKEYEXPIRED;
	case BT_REASON_WRONG_NONCE:
		return -ESTALE;
	case BT_REASON_RESOURCES:
		return -ENOMEM;
	default:
		return -EBADMSG;
	}
}

#endif
