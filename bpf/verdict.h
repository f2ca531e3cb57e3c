/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * digest -> signature -> verdict, for one file, kept with its inode: who signed
 * it, as what, and with which grant. What that allows is another question.
 *
 * fs-verity freezes the content but not our xattr. So what is kept carries the
 * number of changes that our xattr had seen when it was computed; a change
 * counts up after it is done (the post_setxattr hooks), hence a verdict that
 * was computed across one no longer fits, whenever it is stored. That a file
 * has no xattr or no verity is never kept. It holds for one policy's keys, so it
 * carries the policy's generation, too.
 */
#ifndef BPFTRUST_VERDICT_H
#define BPFTRUST_VERDICT_H

#include "pkcs7.h"
#include "ring.h"

/*
 * Kept per inode. `sequence` is odd while somebody writes, who then is alone;
 * a reader who finds it changed has read nothing.
 */
struct kept {
	u64 sequence;
	u64 generation; /* of the policy; 0 for no verdict */
	u32 changes;	/* of our xattr, since this record exists */
	u32 judged;	/* `changes` when the verdict was computed */
	struct verdict verdict;
};

/*
 * A verdict that another policy overtook is computed once more. One takes some
 * milliseconds, of a task that others may keep waiting; who brings policies
 * faster than that again and again gets no wrong verdict but RESOURCES.
 */
#define JUDGE_TRIES 16

/* A statement with a grant. */
#define STATEMENT_SIZE (sizeof(struct bt_statement) + sizeof(struct bt_grant))

/*
 * Memory to judge a signature in. Per task: a sleepable program is preempted, so
 * neither per-CPU nor global memory is its own. At most 8,120 bytes on 7.3 (kernel/
 * bpf/bpf_local_storage.c, bpf_selem_alloc), and never certain to be had.
 */
struct scratch {
	struct public_key_bytes public_key;
	struct der_bytes xattr;
	u8 message[BT_FORMATTED_DIGEST_MAX + STATEMENT_SIZE];
	struct bt_key key;
};

_Static_assert(sizeof(struct scratch) <= 8120, "scratch fits task storage");

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

TAKES_MEMORY(scratch, scratches)

static __always_inline void give_back_scratch(void)
{
	bpf_task_storage_delete(&scratches, bpf_get_current_task_btf());
}

static __always_inline bool is_current(struct kept *kept)
{
	struct bt_state *guard = guard_state();

	return guard && *(volatile u64 *)&kept->generation == generation_of(guard) &&
	       *(volatile u32 *)&kept->judged == *(volatile u32 *)&kept->changes;
}

/* Takes what is kept, if it holds and nobody writes it. */
static __always_inline bool recall(struct kept *kept, struct verdict *verdict)
{
	u64 sequence = *(volatile u64 *)&kept->sequence;

	if ((sequence & 1) || !is_current(kept))
		return false;
	__builtin_memcpy(verdict, &kept->verdict, sizeof(*verdict));
	barrier();
	return *(volatile u64 *)&kept->sequence == sequence;
}

/* Keeps a verdict, unless somebody else is about to. */
static __always_inline void keep(struct kept *kept, const struct verdict *verdict, u64 generation,
				 u32 changes)
{
	u64 sequence = *(volatile u64 *)&kept->sequence;

	if ((sequence & 1) ||
	    __sync_val_compare_and_swap(&kept->sequence, sequence, sequence + 1) != sequence)
		return;
	__builtin_memcpy(&kept->verdict, verdict, sizeof(*verdict));
	kept->judged = changes;
	kept->generation = generation;
	__sync_fetch_and_add(&kept->sequence, 1);
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

/* The key of the policy @generation with this hint, copied: its place in the map
 * may be given to another while a signature is being verified. */
static __always_inline bool take_key(struct bt_key *copy, u64 generation, const u8 *hint)
{
	struct key_id id = { .generation = generation };
	struct bt_key *key;

	__builtin_memcpy(id.hint, hint, sizeof(id.hint));
	key = bpf_map_lookup_elem(&keys, &id);
	if (!key)
		return false;
	bpf_probe_read_kernel(copy, sizeof(*copy), key);
	return copy->generation == generation && !__builtin_memcmp(copy->hint, hint, 8);
}

/* The ring of @key is gone, or another's: it is never looked up again. */
static __always_inline void close_key(const struct bt_key *key)
{
	struct key_id id = { .generation = key->generation };
	struct bt_key *entry;

	__builtin_memcpy(id.hint, key->hint, sizeof(id.hint));
	entry = bpf_map_lookup_elem(&keys, &id);
	if (entry && entry->ring == key->ring)
		entry->lost = 1;
}

/*
 * Does @key's ring, and that ring alone, verify the message? A ring of our own
 * holds one key, so the answer says which. Once it is gone the answer stays no.
 */
static __noinline u8 check_signature(struct bt_key *key, struct scratch *scratch,
				     struct bpf_dynptr *message, struct bpf_dynptr *signature)
{
	struct bpf_key *ring;
	int error;

	if (key->lost)
		return BT_REASON_UNKNOWN_KEY;
	if (key->place == BT_RING_OWN)
		ring = bpf_lookup_user_key(key->ring, 0);
	else
		ring = bpf_lookup_system_key(key->place - BT_RING_BUILTIN);
	if (!ring) {
		close_key(key);
		return BT_REASON_UNKNOWN_KEY;
	}
	if (key->place == BT_RING_OWN &&
	    !is_ring_of((u64)BPF_CORE_READ(ring, key), key, &scratch->public_key)) {
		bpf_key_put(ring);
		close_key(key);
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

/* Takes the grant out of a statement of ours, if it is of the one form. */
static __always_inline bool take_grant(const struct bt_statement *statement,
				       struct verdict *verdict)
{
	const struct bt_grant *grant = (void *)(statement + 1);

	if (grant->size != sizeof(*grant) || grant->required & ~BT_REQUIRE_KNOWN ||
	    grant->script & ~BT_SCRIPT_KNOWN || grant->reserved || grant->version >> 63 ||
	    !grant->name[0] || grant->name[BT_NAME_SIZE - 1])
		return false;
	__builtin_memcpy(&verdict->grant, grant, sizeof(*grant));
	verdict->granted = 1;
	return true;
}

/* Takes the kind and what is granted out of the @size bytes of a statement. */
static __always_inline u8 take_statement(const struct bt_statement *statement, u32 size,
					 struct verdict *verdict)
{
	if (statement->reserved || size != sizeof(*statement) + statement->grant_size)
		return BT_REASON_BAD_SIGNATURE;
	if (statement->grant_size &&
	    (statement->grant_size != sizeof(struct bt_grant) || !take_grant(statement, verdict)))
		return BT_REASON_BAD_SIGNATURE;
	verdict->kind = statement->kind;
	return BT_REASON_NONE;
}

/*
 * The kernel's keyrings that the policy names, for a signature whose key it
 * does not name. Which key of such a ring signed is not known.
 */
static __always_inline u8 ask_system_rings(u64 generation, struct scratch *scratch,
					   struct bpf_dynptr *message, struct bpf_dynptr *signature,
					   struct verdict *verdict)
{
	u8 reason = BT_REASON_UNKNOWN_KEY;

	for (u8 place = BT_RING_BUILTIN; place <= BT_RING_PLATFORM; place++) {
		u8 hint[8] = { place };

		if (!take_key(&scratch->key, generation, hint))
			continue;
		reason = check_signature(&scratch->key, scratch, message, signature);
		if (reason != BT_REASON_NONE)
			continue;
		__builtin_memcpy(verdict->key, hint, sizeof(hint));
		if (!verdict->kind)
			verdict->kind = scratch->key.bare;
		return BT_REASON_NONE;
	}
	return reason;
}

/* Judges the @size bytes of our xattr in @scratch against @file's digest. */
static __always_inline u8 judge(struct file *file, struct scratch *scratch, u32 size,
				u64 generation, struct verdict *verdict)
{
	struct bt_envelope *envelope = (void *)scratch->xattr.at;
	struct bt_statement *statement = (void *)(envelope + 1);
	u32 statement_size, signature_size, message_size;
	struct bpf_dynptr message, signature;
	int formatted;
	bool known;
	u8 reason;

	if (size < sizeof(*envelope) || envelope->magic != BT_MAGIC || envelope->form != BT_FORM ||
	    envelope->reserved)
		return BT_REASON_BAD_SIGNATURE;
	statement_size = envelope->statement_size;
	signature_size = envelope->signature_size;
	if (statement_size > STATEMENT_SIZE || signature_size > BT_SIGNATURE_MAX ||
	    !signature_size || size != sizeof(*envelope) + statement_size + signature_size)
		return BT_REASON_BAD_SIGNATURE;
	formatted = format_digest(file, scratch);
	if (formatted < 0)
		return -formatted;
	__builtin_memcpy(&verdict->digest, scratch->message + sizeof(u64), sizeof(verdict->digest));
	if (!pkcs7_shape(&scratch->xattr, sizeof(*envelope) + statement_size, size))
		return BT_REASON_BAD_SIGNATURE;
	__builtin_memcpy(verdict->key, envelope->key, sizeof(verdict->key));
	known = take_key(&scratch->key, generation, verdict->key);
	if (known && scratch->key.refused)
		return BT_REASON_REVOKED;
	/* A policy key is no publisher's, and what it says of files counts nothing. */
	if (known && scratch->key.orders)
		return BT_REASON_WRONG_KIND;
	if (!statement_size) {
		verdict->kind = known ? scratch->key.bare : BT_KIND_NONE;
	} else {
		reason = take_statement(statement, statement_size, verdict);
		if (reason != BT_REASON_NONE)
			return reason;
		bpf_probe_read_kernel(scratch->message + (formatted == FORMATTED_DIGEST_HEAD + 32
								  ? FORMATTED_DIGEST_HEAD + 32
								  : FORMATTED_DIGEST_HEAD + 64),
				      STATEMENT_SIZE, statement);
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
	if (known)
		return check_signature(&scratch->key, scratch, &message, &signature);
	return ask_system_rings(generation, scratch, &message, &signature, verdict);
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

/* Does this outcome follow from the xattr, frozen content and the policy alone? */
static __always_inline bool may_keep(u8 reason)
{
	return reason == BT_REASON_NONE || reason == BT_REASON_BAD_SIGNATURE ||
	       reason == BT_REASON_UNKNOWN_KEY || reason == BT_REASON_REVOKED;
}

/*
 * A function of its own, as each that has a dynptr: its stack slots can't be
 * used for anything else in the same frame.
 */
static __noinline int judge_anew(struct file *file, struct scratch *scratch, u64 generation,
				 struct verdict *verdict)
{
	struct bpf_dynptr into;
	int size;

	__builtin_memset(verdict, 0, sizeof(*verdict));
	if (bpf_dynptr_from_mem(&scratch->xattr, sizeof(scratch->xattr), 0, &into)) {
		verdict->reason = BT_REASON_RESOURCES;
		return 0;
	}
	size = bpf_get_file_xattr(file, BT_XATTR, &into);
	if (size < 0)
		verdict->reason = xattr_reason(size);
	else
		verdict->reason = judge(file, scratch, size, generation, verdict);
	return 0;
}

/*
 * Is there anything to judge? NO_SIGNATURE and its like at the cost of one look;
 * NONE where there is an xattr or a verdict that is kept.
 */
static __always_inline u8 look_for_signature(struct file *file)
{
	struct kept *kept = bpf_inode_storage_get(&verdicts, file->f_inode, NULL, 0);

	return kept && is_current(kept) ? BT_REASON_NONE : look_for_xattr(file);
}

/* A verdict that is being computed. */
struct judging {
	struct file *file;
	struct scratch *scratch;
	struct draft *draft;
	struct bt_state *guard;
	struct kept *kept;
	u64 generation; /* of the policy that it holds for */
	u32 changes;
	bool overtaken;
};

static int judge_once(u64 index, struct judging *judging)
{
	struct kept *kept = judging->kept;

	judging->generation = generation_of(judging->guard);
	judging->changes = kept ? *(volatile u32 *)&kept->changes : 0;
	judge_anew(judging->file, judging->scratch, judging->generation, &judging->draft->verdict);
	/* The keys of a policy go when another takes effect. */
	judging->overtaken = generation_of(judging->guard) != judging->generation;
	return !judging->overtaken;
}

/*
 * What @file's signature makes of it, into @draft. Global, so that the verifier walks it
 * once; a dynptr takes memory of maps alone, so the scratch is no argument.
 */
__noinline int judge_file(struct file *file __arg_trusted, struct draft *draft)
{
	struct judging judging = { .file = file, .draft = draft, .guard = guard_state() };
	struct inode *inode = file->f_inode;
	struct kept *kept;

	if (!draft)
		return 0;
	/* Before the xattr is read, or a change in between would go uncounted. */
	kept = bpf_inode_storage_get(&verdicts, inode, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (kept && recall(kept, &draft->verdict))
		return 0;
	draft->verdict.reason = BT_REASON_RESOURCES;
	judging.scratch = take_scratch();
	if (!judging.guard || !judging.scratch)
		return 0;
	judging.kept = kept;
	bpf_loop(JUDGE_TRIES, judge_once, &judging, 0);
	if (judging.overtaken)
		draft->verdict.reason = BT_REASON_RESOURCES;
	else if (kept && may_keep(draft->verdict.reason))
		keep(kept, &draft->verdict, judging.generation, judging.changes);
	give_back_scratch();
	return 0;
}

#endif
