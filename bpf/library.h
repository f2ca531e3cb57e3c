/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which files trusted processes may run code from: what the policy asks of
 * libraries (enum bt_libraries). That is the dynamic linker, too, and whatever
 * else is mapped as code: no file is a library by itself.
 *
 * A file is held against the strictest that it fulfils, not against what the
 * policy in force asks for: so a stricter one that comes later takes trust from
 * those alone who map something that it would have refused.
 */
#ifndef BPFTRUST_LIBRARY_H
#define BPFTRUST_LIBRARY_H

/* Keeps @key with those that signed what @image maps; false if there are too
 * many of them. None is ever taken away. */
static __always_inline bool add_signer(struct bt_image *image, u64 key)
{
	for (u32 i = 0; i < BT_SIGNERS; i++) {
		u64 found = __sync_val_compare_and_swap(&image->signers[i], 0, key);

		if (!found || found == key)
			return true;
	}
	return false;
}

static __always_inline bool is_own_executable(const struct bt_image *image,
					      const struct bt_digest *digest)
{
	return digest->algorithm == image->digest.algorithm && digest->size == image->digest.size &&
	       !__builtin_memcmp(digest->bytes, image->digest.bytes, sizeof(digest->bytes));
}

/* Does the policy in force refuse this digest? The rules of one go when another
 * takes effect, so this and the next are asked again then. */
static __noinline bool is_refused(const struct bt_digest *digest)
{
	struct bt_state *guard = guard_state();

	for (u32 i = 0; guard && i < REFRESH_TRIES; i++) {
		struct rule_id id = { .generation = generation_of(guard) };
		bool found = rule(&id, BT_RULE_DIGEST, 0, digest->bytes);

		if (generation_of(guard) == id.generation)
			return found;
	}
	return true;
}

/* May @key's libraries be code of @image? Narrows @rights. */
static __noinline u8 admit_library(struct bt_image *image, u64 key, struct bt_rights *rights)
{
	struct bt_state *guard = guard_state();

	for (u32 i = 0; guard && i < REFRESH_TRIES; i++) {
		u64 generation = generation_of(guard);
		u8 reason = admit_signer(image, generation, key, rights);

		if (generation_of(guard) == generation)
			return reason;
	}
	return BT_REASON_RESOURCES;
}

/* Is @file, whose digest is in @draft, signed as anything? Its verdict goes there. */
static __always_inline u8 judge_mapped(struct file *file, struct draft *draft)
{
	u8 reason;

	if (is_refused(&draft->image.digest))
		return BT_REASON_REVOKED;
	reason = look_for_signature(file);
	if (reason != BT_REASON_NONE)
		return reason;
	if (!draft->image.digest.size)
		return BT_REASON_NO_VERITY;
	judge_file(file, draft);
	return draft->verdict.reason;
}

/*
 * Did a key of the policy sign the file whose verdict is in @draft, for @reason, as a
 * library? The answer is a reason, NONE for yes.
 */
static __always_inline u8 judge_signer(struct draft *draft, struct bt_image *image, u8 reason)
{
	struct verdict *verdict = &draft->verdict;
	u64 key;

	if (reason == BT_REASON_REVOKED)
		return BT_REASON_REVOKED;
	if (reason != BT_REASON_NONE || verdict->kind != BT_KIND_LIBRARY)
		return BT_REASON_UNSIGNED_LIBRARY;
	__builtin_memcpy(&key, verdict->key, sizeof(key));
	reason = admit_library(image, key, &draft->image.rights);
	if (reason != BT_REASON_NONE)
		return reason;
	return add_signer(image, key) ? BT_REASON_NONE : BT_REASON_RESOURCES;
}

/* The strictest of enum bt_libraries that a file fulfils, and why no stricter. */
struct grade {
	u8 libraries;
	u8 reason;
};

static __always_inline struct grade grade_file(struct draft *draft, struct bt_image *image,
					       bool own, u8 reason)
{
	struct grade grade = { BT_LIBRARIES_SIGNED, BT_REASON_NONE };

	if (!draft->image.digest.size) {
		grade.libraries = BT_LIBRARIES_ANY;
		grade.reason = BT_REASON_UNSIGNED_LIBRARY;
		return grade;
	}
	/* Its signature was judged at exec, and is by refresh(). */
	if (own)
		return grade;
	grade.reason = judge_signer(draft, image, reason);
	if (grade.reason == BT_REASON_REVOKED)
		grade.libraries = BT_LIBRARIES_ANY;
	else if (grade.reason != BT_REASON_NONE)
		grade.libraries = BT_LIBRARIES_VERITY;
	return grade;
}

/* Its path, or the last part of it. */
static __always_inline const void *name_file(struct file *file, struct draft *draft)
{
	char *name = (char *)draft->text.at;

	if (bpf_path_d_path(&file->f_path, name, BT_FILE_SIZE) < 0)
		bpf_probe_read_kernel_str(name, BT_FILE_SIZE,
					  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	return name;
}

/* Is that enough for the policy @generation? */
static __always_inline bool suffices(const struct grade *grade, u64 generation)
{
	struct bt_policy *policy = policy_of(generation);

	return policy && grade->libraries <= policy->libraries;
}

/* Takes @image's trust for a file of this @grade, or remembers that it maps one. */
static __always_inline void settle(struct bt_image *image, const struct grade *grade,
				   u64 generation, const void *name)
{
	if (suffices(grade, generation))
		__sync_fetch_and_or(&image->libraries, 1U << grade->libraries);
	else
		taint_by(image, grade->reason, name);
}

/* The image of current if that is trusted. */
static __noinline struct bt_image *trusted_image(void)
{
	struct standing standing = standing_of_current();

	return is_trusted(&standing) ? standing.image : NULL;
}

/* What the launcher @image, current's, is given as script: may it be one? */
static __always_inline u8 launches_file(struct file *file, struct draft *draft,
					struct bt_image *image, u8 reason)
{
	struct decision decision = { .action = BT_ACTION_SCRIPT, .outcome = BT_OUTCOME_ALLOWED };

	decision.reason = take_script(file, draft, image, reason);
	if (decision.reason != BT_REASON_NONE)
		decision.outcome = BT_OUTCOME_DENIED;
	decision.file = (u64)name_file(file, draft);
	report(&decision, image);
	return decision.reason;
}

/*
 * Does what is kept of @file say already that its code may be @image's? Without memory
 * to work in, and without another look at the file: content under fs-verity does not
 * change while the inode is there. What is false here runs_file() judges.
 */
static __noinline bool runs_known_file(struct file *file, struct bt_image *image)
{
	struct kept *kept = bpf_inode_storage_get(&verdicts, file->f_inode, NULL, 0);
	struct grade grade = { BT_LIBRARIES_SIGNED, BT_REASON_NONE };
	struct bt_state *guard = guard_state();
	struct bt_rights rights;
	struct verdict known;
	u64 key;

	if (!kept || !guard || !recall(kept, &known) || known.reason != BT_REASON_NONE)
		return false;
	__builtin_memcpy(&key, known.key, sizeof(key));
	if (!is_own_executable(image, &known.digest) &&
	    (known.kind != BT_KIND_LIBRARY || is_refused(&known.digest) ||
	     admit_library(image, key, &rights) != BT_REASON_NONE || !add_signer(image, key)))
		return false;
	settle(image, &grade, generation_of(guard), NULL);
	return true;
}

/*
 * Code of @file becomes code of @image, current's, or, @as_script, that of a loader
 * which it starts. The answer is the reason why not the latter. This and the above are
 * functions for the sake of the stack: together they need more than 512 bytes.
 */
static __noinline int runs_file(struct file *file, struct bt_image *image, bool as_script)
{
	struct grade grade = { BT_LIBRARIES_ANY, BT_REASON_RESOURCES };
	struct bt_state *guard = guard_state();
	struct draft *draft;
	u8 reason = BT_REASON_NONE;
	u64 generation;
	bool own;

	if (!guard)
		return BT_REASON_RESOURCES;
	generation = generation_of(guard);
	draft = take_draft();
	if (!draft) {
		settle(image, &grade, generation, NULL);
		return BT_REASON_RESOURCES;
	}
	__builtin_memset(&draft->image.digest, 0, sizeof(draft->image.digest));
	measure(file, &draft->image.digest);
	own = !as_script && is_own_executable(image, &draft->image.digest);
	if (as_script || (!own && draft->image.digest.size))
		reason = judge_mapped(file, draft);
	if (as_script) {
		reason = launches_file(file, draft, image, reason);
		give_back_draft(draft);
		return reason;
	}
	grade = grade_file(draft, image, own, reason);
	generation = generation_of(guard);
	settle(image, &grade, generation,
	       suffices(&grade, generation) ? NULL : name_file(file, draft));
	give_back_draft(draft);
	return BT_REASON_NONE;
}

#endif
