/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * digest -> signature -> verdict, for one file, kept with its inode.
 *
 * fs-verity freezes the content but not our xattr. So what is kept carries the
 * number of changes that our xattr had seen when it was computed; a change
 * counts up after it is done (the post_setxattr hooks), hence a verdict that
 * was computed across one no longer fits, whenever it is stored. That a file
 * has no xattr or no verity is never kept.
 */
#ifndef BPFTRUST_VERDICT_H
#define BPFTRUST_VERDICT_H

#include "pkcs7.h"
#include "ring.h"

/* Kept per inode. One word, so that it is read and replaced as a whole. */
struct kept {
	u32 changes; /* of our xattr, since this record exists */
	u32 reserved;
	u64 verdict; /* of the file, see pack_verdict(); 0 for none */
	u8 key[8];
};

/*
 * Memory to work in. Per task: a sleepable program is preempted, so neither
 * per-CPU nor global memory is its own. At most 8,120 bytes on 7.3 (kernel/
 * bpf/bpf_local_storage.c, bpf_selem_alloc), and never certain to be had.
 */
struct scratch {
	struct public_key_bytes public_key;
	struct der_bytes xattr;
	u8 message[BT_FORMATTED_DIGEST_MAX + BT_STATEMENT_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_INODE_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct kept);
} verdicts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_KEYS);
	__type(key, u8[8]);
	__type(value, struct bt_key);
} keys SEC(".maps");

/* The outcome for one file. */
struct verdict {
	u8 reason;
	u16 kind; /* enum bt_kind, where reason is NONE; as wide as it is signed */
	u8 key[8];
};

#define VERDICT_KEPT (1ULL << 63)

static __always_inline u64 pack_verdict(const struct verdict *verdict, u32 changes)
{
	return VERDICT_KEPT | (u64)verdict->kind << 40 | (u64)verdict->reason << 32 | changes;
}

static __always_inline bool unpack_verdict(const struct kept *kept, struct verdict *verdict)
{
	u64 word = *(volatile u64 *)&kept->verdict;

	if (!(word & VERDICT_KEPT) || (u32)word != *(volatile u32 *)&kept->changes)
		return false;
	verdict->reason = word >> 32;
	verdict->kind = word >> 40;
	__builtin_memcpy(verdict->key, kept->key, sizeof(verdict->key));
	return true;
}

static __always_inline bool is_ours(const char *name)
{
	char start[sizeof(BT_XATTR)];

	return bpf_probe_read_kernel_str(start, sizeof(start), name) == sizeof(BT_XATTR) &&
	       !__builtin_memcmp(start, BT_XATTR, sizeof(BT_XATTR));
}

/* Our xattr on this inode was set or removed. */
static __always_inline void xattr_changed(struct inode *inode)
{
	struct kept *kept = bpf_inode_storage_get(&verdicts, inode, NULL, 0);

	if (kept)
		__sync_fetch_and_add(&kept->changes, 1);
}

/* bpf_get_file_xattr()'s error as a reason. */
static __always_inline u8 xattr_reason(int error)
{
	switch (error) {
	case -ENODATA:
		return BT_REASON_NO_SIGNATURE;
	case -EACCES:
		return BT_REASON_UNREADABLE;
	case -ERANGE: /* larger than any that we take */
		return BT_REASON_BAD_SIGNATURE;
	case -ENOMEM:
		return BT_REASON_RESOURCES;
	case -EOPNOTSUPP:
		return BT_REASON_NO_SIGNATURE;
	default:
		return BT_REASON_UNREADABLE;
	}
}

/*
 * Does @key's ring, and that ring alone, verify the message? It holds one key,
 * so the answer says which. Once the ring is gone the answer stays no.
 */
static __always_inline u8 check_signature(struct bt_key *key, struct scratch *scratch,
					  struct bpf_dynptr *message, struct bpf_dynptr *signature)
{
	struct bpf_key *ring;
	int error;

	if (key->lost)
		return BT_REASON_UNKNOWN_KEY;
	ring = bpf_lookup_user_key(key->ring, 0);
	if (!ring) {
		key->lost = 1;
		return BT_REASON_UNKNOWN_KEY;
	}
	if (!is_ring_of(BPF_CORE_READ(ring, key), key, &scratch->public_key)) {
		bpf_key_put(ring);
		key->lost = 1;
		return BT_REASON_UNKNOWN_KEY;
	}
	error = bpf_verify_pkcs7_signature(message, signature, ring);
	bpf_key_put(ring);
	switch (error) {
	case 0:
		return BT_REASON_NONE;
	case -ENOKEY:
		return BT_REASON_UNKNOWN_KEY;
	case -ENOMEM:
		return BT_REASON_RESOURCES;
	default:
		return BT_REASON_BAD_SIGNATURE;
	}
}

/* "FSVerity" as the formatted digest begins (fs/verity/signature.c). */
#define FORMATTED_DIGEST_MAGIC 0x7974697265565346ULL
#define FORMATTED_DIGEST_HEAD 12

/* Puts the formatted digest into the message; its size, or a reason below 0. */
static __always_inline int format_digest(struct file *file, struct scratch *scratch)
{
	struct bt_digest *digest = (void *)scratch->message + sizeof(u64);
	struct bpf_dynptr into;

	*(u64 *)scratch->message = FORMATTED_DIGEST_MAGIC;
	/* 68 bytes, or 6.18 truncates in silence (fs/verity/measure.c) */
	if (bpf_dynptr_from_mem(scratch->message + sizeof(u64), sizeof(*digest), 0, &into))
		return -BT_REASON_RESOURCES;
	if (bpf_get_fsverity_digest(file, &into))
		return -BT_REASON_NO_VERITY;
	if (digest->algorithm == FS_VERITY_HASH_ALG_SHA256 && digest->size == 32)
		return FORMATTED_DIGEST_HEAD + 32;
	if (digest->algorithm == FS_VERITY_HASH_ALG_SHA512 && digest->size == 64)
		return FORMATTED_DIGEST_HEAD + 64;
	return -BT_REASON_NO_VERITY;
}

/* Judges the @size bytes of our xattr in @scratch against @file's digest. */
static __always_inline u8 judge(struct file *file, struct scratch *scratch, u32 size,
				struct verdict *verdict)
{
	struct bt_envelope *envelope = (void *)scratch->xattr.at;
	struct bt_statement *statement = (void *)(envelope + 1);
	u32 statement_size, signature_size, message_size;
	struct bpf_dynptr message, signature;
	struct bt_key *key;
	int formatted;

	if (size < sizeof(*envelope) || envelope->magic != BT_MAGIC || envelope->form != BT_FORM ||
	    envelope->reserved)
		return BT_REASON_BAD_SIGNATURE;
	statement_size = envelope->statement_size;
	signature_size = envelope->signature_size;
	if (statement_size > BT_STATEMENT_MAX || signature_size > BT_SIGNATURE_MAX ||
	    !signature_size || size != sizeof(*envelope) + statement_size + signature_size)
		return BT_REASON_BAD_SIGNATURE;
	formatted = format_digest(file, scratch);
	if (formatted < 0)
		return -formatted;
	if (!pkcs7_shape(&scratch->xattr, sizeof(*envelope) + statement_size, size))
		return BT_REASON_BAD_SIGNATURE;
	__builtin_memcpy(verdict->key, envelope->key, sizeof(verdict->key));
	key = bpf_map_lookup_elem(&keys, verdict->key);
	if (!key)
		return BT_REASON_UNKNOWN_KEY;

	if (!statement_size) {
		verdict->kind = key->bare;
	} else {
		/* This form knows no grants: what has one means less than it says. */
		if (statement_size != sizeof(*statement) || statement->grant_size ||
		    statement->reserved)
			return BT_REASON_BAD_SIGNATURE;
		verdict->kind = statement->kind;
		if (formatted == FORMATTED_DIGEST_HEAD + 32)
			__builtin_memcpy(scratch->message + FORMATTED_DIGEST_HEAD + 32, statement,
					 sizeof(*statement));
		else
			__builtin_memcpy(scratch->message + FORMATTED_DIGEST_HEAD + 64, statement,
					 sizeof(*statement));
	}
	message_size = formatted + statement_size;
	/* Said again for the verifier, which lost it in a register that it split. */
	barrier_var(signature_size);
	if (signature_size > BT_SIGNATURE_MAX)
		return BT_REASON_BAD_SIGNATURE;
	if (bpf_dynptr_from_mem(scratch->message, message_size, 0, &message) ||
	    bpf_dynptr_from_mem(scratch->xattr.at + sizeof(*envelope) + statement_size,
				signature_size, 0, &signature))
		return BT_REASON_RESOURCES;
	return check_signature(key, scratch, &message, &signature);
}

/*
 * Where the first look for the xattr may write. Everybody's, for nobody reads
 * it: the answer is the error code.
 */
static u8 sink[8];

/* NO_SIGNATURE and its like at the cost of one look; NONE where there is one. */
static __noinline u8 look_for_xattr(struct file *file)
{
	struct bpf_dynptr into;
	int size;

	if (bpf_dynptr_from_mem(sink, sizeof(sink), 0, &into))
		return BT_REASON_RESOURCES;
	size = bpf_get_file_xattr(file, BT_XATTR, &into);
	return size >= 0 || size == -ERANGE ? BT_REASON_NONE : xattr_reason(size);
}

/* Does this outcome follow from the xattr and frozen content alone? */
static __always_inline bool may_keep(u8 reason)
{
	return reason == BT_REASON_NONE || reason == BT_REASON_BAD_SIGNATURE ||
	       reason == BT_REASON_UNKNOWN_KEY;
}

/*
 * A function of its own, as each that has a dynptr: its stack slots can't be
 * used for anything else in the same frame.
 */
static __noinline int judge_anew(struct file *file, struct verdict *verdict)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct bpf_dynptr into;
	struct scratch *scratch;
	int size;

	scratch = bpf_task_storage_get(&scratches, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!scratch || bpf_dynptr_from_mem(&scratch->xattr, sizeof(scratch->xattr), 0, &into)) {
		verdict->reason = BT_REASON_RESOURCES;
		return 0;
	}
	size = bpf_get_file_xattr(file, BT_XATTR, &into);
	if (size < 0)
		verdict->reason = xattr_reason(size);
	else
		verdict->reason = judge(file, scratch, size, verdict);
	bpf_task_storage_delete(&scratches, task);
	return 0;
}

/* What @file's signature makes of it. */
static __always_inline void judge_file(struct file *file, struct verdict *verdict)
{
	struct inode *inode = file->f_inode;
	struct kept *kept;
	u32 changes;

	kept = bpf_inode_storage_get(&verdicts, inode, NULL, 0);
	if (kept && unpack_verdict(kept, verdict))
		return;
	verdict->reason = look_for_xattr(file);
	if (verdict->reason != BT_REASON_NONE)
		return;
	/* Before the xattr is read, or a change in between would go uncounted. */
	kept = bpf_inode_storage_get(&verdicts, inode, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	changes = kept ? *(volatile u32 *)&kept->changes : 0;
	judge_anew(file, verdict);
	if (!kept || !may_keep(verdict->reason))
		return;
	__builtin_memcpy(kept->key, verdict->key, sizeof(kept->key));
	*(volatile u64 *)&kept->verdict = pack_verdict(verdict, changes);
}

#endif
