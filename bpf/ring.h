/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A keyring is believed for what it holds, not for its number: once a ring is
 * gone its serial can be given to another (security/keys/key.c,
 * key_alloc_serial), and uid 0 can make keyrings until it is.
 *
 * So before a ring verifies anything it must be sealed and hold one key, the
 * one that the policy names. A seal can't be taken off, so what was seen is
 * still so when the signature is checked: a sealed ring only ever loses keys.
 */
#ifndef BPFTRUST_RING_H
#define BPFTRUST_RING_H

/* Low bits of an assoc_array_ptr (include/linux/assoc_array_priv.h). */
#define ASSOC_ARRAY_PTR_META 1
#define ASSOC_ARRAY_PTR_BITS 3

#define ASSOC_ARRAY_FAN_OUT 16

/* enum asymmetric_payload_bits (include/keys/asymmetric-subtype.h) */
#define ASYM_CRYPTO 0

/* Room for a public key that is compared. */
struct public_key_bytes {
	u64 words[BT_PUBLIC_KEY_MAX / sizeof(u64)];
};

/*
 * KEYCTL_RESTRICT_KEYRING without a type: nothing can be added any more. It is
 * the one restriction that has neither a type nor a key (security/keys/
 * keyring.c, keyring_restrict; crypto/asymmetric_keys/asymmetric_type.c,
 * asymmetric_restriction_alloc).
 */
static __always_inline bool is_sealed(struct key *ring)
{
	struct key_restriction *restriction = BPF_CORE_READ(ring, restrict_link);

	return restriction && !BPF_CORE_READ(restriction, key) &&
	       !BPF_CORE_READ(restriction, keytype);
}

/* The one key in a ring; NULL if there is none, or more than one. */
static __always_inline struct key *only_key(struct key *ring)
{
	u64 root = (u64)BPF_CORE_READ(ring, keys.root), slot = 0;
	struct assoc_array_node *node;

	if (BPF_CORE_READ(ring, keys.nr_leaves_on_tree) != 1 ||
	    (root & ASSOC_ARRAY_PTR_BITS) != ASSOC_ARRAY_PTR_META)
		return NULL;
	node = (void *)(root & ~ASSOC_ARRAY_PTR_BITS);
	for (u32 i = 0; i < ASSOC_ARRAY_FAN_OUT && !slot; i++)
		bpf_probe_read_kernel(&slot, sizeof(slot),
				      __builtin_preserve_access_index(&node->slots[i]));
	return slot & ASSOC_ARRAY_PTR_META ? NULL : (void *)(slot & ~ASSOC_ARRAY_PTR_BITS);
}

/* Is the struct key at @address the ring of @key? @bytes is room to work in.
 * Global, so that the verifier looks at it once and not at each call. */
__noinline bool is_ring_of(u64 address, const struct bt_key *key, struct public_key_bytes *bytes)
{
	struct key *ring = (void *)address, *only;
	struct public_key *public_key;
	u64 difference = 0;
	const u64 *expected;
	u32 size;

	if (!key || !bytes || !is_sealed(ring))
		return false;
	expected = (void *)key->public_key;
	size = key->public_key_size;
	only = only_key(ring);
	if (!only)
		return false;
	public_key = BPF_CORE_READ(only, payload.data[ASYM_CRYPTO]);
	if (!size || size > sizeof(*bytes) || BPF_CORE_READ(public_key, keylen) != size)
		return false;
	__builtin_memset(bytes, 0, sizeof(*bytes));
	/* Said again for the verifier, which lost it in a register that was split. */
	barrier_var(size);
	if (size > sizeof(*bytes))
		return false;
	if (bpf_probe_read_kernel(bytes, size, BPF_CORE_READ(public_key, key)))
		return false;
	for (u32 i = 0; i < sizeof(*bytes) / sizeof(u64); i++)
		difference |= bytes->words[i] ^ expected[i];
	return !difference;
}

#endif
