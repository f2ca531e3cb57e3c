/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From what was signed to what may be done: grant, publisher's ceiling, policy's
 * ceiling, and all that the policy refuses.
 *
 * The outcome is kept with the image, together with the generation of the
 * policy that it follows from; under another policy it is worked out anew at
 * the next question. What a policy, or time, takes away does not come back
 * without an exec.
 */
#ifndef BPFTRUST_ENTITLE_H
#define BPFTRUST_ENTITLE_H

/* Policies that may follow each other while one question is being answered. */
#define REFRESH_TRIES 4

/* Keys in the maps of the policy begin with its generation, so that a whole
 * policy takes effect when that number changes. */
struct key_id {
	u64 generation;
	u8 hint[8];
};

struct publisher_id {
	u64 generation;
	u64 number;
};

struct rule_id {
	u64 generation;
	u32 kind; /* enum bt_rule_kind */
	u32 publisher;
	u8 bytes[32];
};

/* Not preallocated: they are written only while a policy is brought. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * BT_KEYS);
	__type(key, struct key_id);
	__type(value, struct bt_key);
} keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * BT_KEYS);
	__type(key, struct publisher_id);
	__type(value, struct bt_publisher);
} publishers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * BT_RULES);
	__type(key, struct rule_id);
	__type(value, u64);
} rules SEC(".maps");

struct publisher_name {
	u8 bytes[BT_NAME_SIZE];
};

/* The policy in force and the one before or after it, by generation. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct bt_policy);
} policies SEC(".maps");

static __always_inline u64 generation_of(struct bt_state *guard)
{
	return *(volatile u64 *)&guard->generation;
}

static __always_inline struct bt_policy *policy_of(u64 generation)
{
	u32 slot = generation & 1;

	return bpf_map_lookup_elem(&policies, &slot);
}

/*
 * Seconds since the epoch, by the highest wall time that was seen: it goes on
 * from there with the time since boot, whatever is done to the wall clock. TAI,
 * for that is the wall clock that a program may read: a host that knows the
 * difference to UTC is that much (37 s) ahead.
 */
static __always_inline u64 wall_clock(struct bt_state *guard)
{
	u64 boot = bpf_ktime_get_boot_ns();
	u64 ahead = bpf_ktime_get_tai_ns() - boot;
	u64 known = *(volatile u64 *)&guard->clock;

	if (ahead > known) {
		__sync_val_compare_and_swap(&guard->clock, known, ahead);
		known = ahead;
	}
	return (boot + known) / NANOSECONDS;
}

static __always_inline u64 *rule(struct rule_id *id, u32 kind, u32 publisher, const u8 *bytes)
{
	struct bt_policy *policy = policy_of(id->generation);

	/* Of most policies; that there are none costs less to see than to look one up. */
	if (policy && !policy->rules)
		return NULL;
	id->kind = kind;
	id->publisher = publisher;
	__builtin_memcpy(id->bytes, bytes, sizeof(id->bytes));
	return bpf_map_lookup_elem(&rules, id);
}

static __always_inline u32 count_signers(const struct bt_image *image)
{
	u32 count = 0;

	for (u32 i = 0; i < BT_SIGNERS; i++)
		count += *(volatile u64 *)&image->signers[i] != 0;
	return count;
}

/*
 * A library's code has the rights of the process that maps it. So nobody's
 * library gives more than he may grant himself, and who may sign only loaders of
 * certain names signs libraries only for his own. Global, as entitle(): the verifier
 * looks at it once, not at each call.
 */
__noinline u32 admit_signer(struct bt_image *image, u64 generation, u64 signer,
			    struct bt_rights *rights)
{
	struct key_id key_id = { .generation = generation };
	struct publisher_id publisher_id = { .generation = generation };
	struct bt_publisher *publisher;
	struct bt_key *key, *own;

	if (!image || !rights)
		return BT_REASON_RESOURCES;
	__builtin_memcpy(key_id.hint, &signer, sizeof(key_id.hint));
	key = bpf_map_lookup_elem(&keys, &key_id);
	if (!key)
		return BT_REASON_UNKNOWN_KEY;
	/* It was a publisher's when the file was mapped. */
	if (key->orders)
		return BT_REASON_WRONG_KIND;
	if (key->refused)
		return BT_REASON_REVOKED;
	publisher_id.number = key->publisher;
	publisher = bpf_map_lookup_elem(&publishers, &publisher_id);
	if (!publisher)
		return BT_REASON_UNKNOWN_KEY;
	if (publisher->restricted) {
		__builtin_memcpy(key_id.hint, image->key, sizeof(key_id.hint));
		own = bpf_map_lookup_elem(&keys, &key_id);
		if (!own || image->adopted || own->publisher != key->publisher)
			return BT_REASON_NOT_GRANTED;
	}
	intersect(rights, &publisher->ceiling);
	return BT_REASON_NONE;
}

static __always_inline u32 admit_signers(struct bt_image *image, u64 generation,
					 struct bt_rights *rights)
{
	for (u32 i = 0; i < BT_SIGNERS; i++) {
		u64 signer = *(volatile u64 *)&image->signers[i];
		u32 reason =
			signer ? admit_signer(image, generation, signer, rights) : BT_REASON_NONE;

		if (reason != BT_REASON_NONE)
			return reason;
	}
	return BT_REASON_NONE;
}

/* Does the policy that @id is of refuse what has this digest and grant? Without a
 * grant that is zeros, and no rule has an empty name. */
static __always_inline u32 judge_rules(struct rule_id *id, const struct bt_digest *digest,
				       const struct bt_grant *grant)
{
	u64 *least;

	if (rule(id, BT_RULE_DIGEST, 0, digest->bytes))
		return BT_REASON_REVOKED;
	least = rule(id, BT_RULE_NAME, 0, grant->name);
	if (least && *least == BT_VERSION_REFUSED)
		return BT_REASON_REVOKED;
	if (least && grant->version < *least)
		return BT_REASON_TOO_OLD;
	return BT_REASON_NONE;
}

/* The code of who signed the script that @image runs, and of who signed the launcher
 * that started it, acts with its rights: each gives no more than by a library. */
static __always_inline u32 admit_script_signers(struct bt_image *image, u64 generation,
						struct bt_rights *rights)
{
	u64 script, launcher;
	u32 reason;

	__builtin_memcpy(&script, image->script.key, sizeof(script));
	__builtin_memcpy(&launcher, image->script.launcher, sizeof(launcher));
	reason = admit_signer(image, generation, script, rights);
	if (reason == BT_REASON_NONE && launcher != script)
		reason = admit_signer(image, generation, launcher, rights);
	return reason;
}

/* What @image runs: its signers limit it, and so does its own grant, if it has one. */
__noinline u32 admit_script(struct bt_image *image, u64 generation, struct bt_rights *rights,
			    u32 *required)
{
	struct rule_id id = { .generation = generation };
	u32 reason;

	if (!image || !rights || !required)
		return BT_REASON_RESOURCES;
	reason = admit_script_signers(image, generation, rights);
	if (reason != BT_REASON_NONE)
		return reason;
	reason = judge_rules(&id, &image->script.digest, &image->script.grant);
	if (reason != BT_REASON_NONE)
		return reason;
	if (image->script.granted)
		intersect(rights, &image->script.grant.rights);
	*required |= image->script.grant.required;
	return BT_REASON_NONE;
}

/*
 * What @image may do under the policy @generation, into @rights, what it takes
 * besides, into @required, and its publisher's @name; the answer is a reason,
 * NONE for something. An adopted process has no signature to judge: it is as one
 * signed without a grant.
 */
__noinline u32 entitle(struct bt_image *image, u64 generation, struct bt_rights *rights,
		       u32 *required, struct publisher_name *name)
{
	struct key_id key_id = { .generation = generation };
	struct publisher_id publisher_id = { .generation = generation };
	struct rule_id id = { .generation = generation };
	struct bt_policy *policy = policy_of(generation);
	struct bt_publisher *publisher;
	struct bt_key *key;
	u32 reason;

	if (!image || !rights || !required || !name || !policy)
		return BT_REASON_RESOURCES;
	if (image->granted)
		__builtin_memcpy(rights, &image->grant.rights, sizeof(*rights));
	else
		__builtin_memcpy(rights, &policy->fallback, sizeof(*rights));
	intersect(rights, &policy->ceiling);
	*required = policy->required | image->grant.required;
	if (image->adopted)
		return BT_REASON_NONE;
	__builtin_memcpy(key_id.hint, image->key, sizeof(key_id.hint));
	key = bpf_map_lookup_elem(&keys, &key_id);
	if (!key)
		return BT_REASON_UNKNOWN_KEY;
	if (key->orders)
		return BT_REASON_WRONG_KIND;
	if (key->refused)
		return BT_REASON_REVOKED;
	reason = judge_rules(&id, &image->digest, &image->grant);
	if (reason != BT_REASON_NONE)
		return reason;
	publisher_id.number = key->publisher;
	publisher = bpf_map_lookup_elem(&publishers, &publisher_id);
	if (!publisher)
		return BT_REASON_UNKNOWN_KEY;
	if (publisher->restricted && !rule(&id, BT_RULE_SIGNS, key->publisher, image->grant.name))
		return BT_REASON_NOT_GRANTED;
	intersect(rights, &publisher->ceiling);
	*required |= publisher->required;
	__builtin_memcpy(name->bytes, publisher->name, sizeof(name->bytes));
	return BT_REASON_NONE;
}

static __always_inline bool runs_script(const struct bt_image *image)
{
	return image->script.state == BT_SCRIPT_RUNS;
}

static __always_inline bool has_expired(struct bt_image *image, struct bt_state *guard)
{
	u64 end = image->granted ? image->grant.not_after : 0;
	u64 other = runs_script(image) ? image->script.grant.not_after : 0;

	if (other && (!end || other < end))
		end = other;
	return end && wall_clock(guard) > end;
}

/* Trust that is lost stays lost, for the first of all reasons. In audit mode
 * none is. */
static __always_inline void lose_trust(struct bt_image *image, u8 reason)
{
	if (!audit && image->reason == BT_REASON_NONE && reason != BT_REASON_NONE)
		*(volatile u8 *)&image->reason = reason;
}

/*
 * Do the rights that @image keeps follow from this policy, and from all that
 * signed what it maps?
 */
static __always_inline bool has_rights(struct bt_image *image, u64 generation)
{
	return *(volatile u64 *)&image->generation == generation &&
	       *(volatile u32 *)&image->heeded == count_signers(image);
}

/*
 * Keeps @rights with @image, unless somebody who shares it does so, or has for
 * a later policy or more signers. Each set is one word, so a reader meanwhile
 * has the old one or the new one.
 */
static __always_inline void keep_rights(struct bt_image *image, u64 generation, u32 heeded,
					const struct bt_rights *rights, u32 required)
{
	if (__sync_val_compare_and_swap(&image->busy, 0, 1))
		return;
	if (image->generation < generation ||
	    (image->generation == generation && image->heeded < heeded)) {
		__builtin_memcpy(&image->rights, rights, sizeof(*rights));
		*(volatile u8 *)&image->required = required;
		__sync_lock_test_and_set(&image->heeded, heeded);
		__sync_lock_test_and_set(&image->generation, generation);
	}
	__sync_lock_test_and_set(&image->busy, 0);
}

/*
 * What @image may do under the policy in force, into @rights, and what it takes
 * besides, into @required. Returns the reason why nothing, NONE for something.
 */
__noinline u32 refresh(struct bt_image *image, struct bt_rights *rights, u32 *required)
{
	struct bt_state *guard = guard_state();
	struct publisher_name name = {};
	struct bt_policy *policy;
	u64 generation;
	u32 heeded, reason;

	if (!image || !rights || !required || !guard)
		return BT_REASON_RESOURCES;
	if (image->reason != BT_REASON_NONE)
		return image->reason;
	for (u32 i = 0; i < REFRESH_TRIES; i++) {
		generation = generation_of(guard);
		if (has_rights(image, generation)) {
			__builtin_memcpy(rights, &image->rights, sizeof(*rights));
			*required = *(volatile u8 *)&image->required;
			reason = BT_REASON_NONE;
		} else {
			heeded = count_signers(image);
			reason = entitle(image, generation, rights, required, &name);
			if (reason == BT_REASON_NONE && runs_script(image))
				reason = admit_script(image, generation, rights, required);
			/* Where they need not sign, it does not matter who did. */
			policy = policy_of(generation);
			if (reason == BT_REASON_NONE && policy &&
			    policy->libraries == BT_LIBRARIES_SIGNED)
				reason = admit_signers(image, generation, rights);
			/* What was read may be another policy's by now. */
			if (generation_of(guard) != generation)
				continue;
			if (reason == BT_REASON_NONE) {
				/* At exec: an owner's name stays, under any policy. */
				if (!image->publisher[0])
					__builtin_memcpy(image->publisher, name.bytes,
							 sizeof(name.bytes));
				keep_rights(image, generation, heeded, rights, *required);
			}
		}
		if (reason == BT_REASON_NONE && has_expired(image, guard))
			reason = BT_REASON_EXPIRED;
		if (reason == BT_REASON_NONE && image->own_code &&
		    !has(rights->abilities, BT_ABILITY_OWN_CODE))
			reason = BT_REASON_WRITABLE_CODE;
		/* Who may call nothing, as a launcher, needs none. */
		if (reason == BT_REASON_NONE && (*required & BT_REQUIRE_SCRIPT) &&
		    rights->commands && !runs_script(image))
			reason = BT_REASON_UNSIGNED_SCRIPT;
		/* A policy may ask for more than those before it did. */
		if (reason == BT_REASON_NONE && image->unsigned_programs &&
		    (*required & BT_REQUIRE_SIGNED_PROGRAMS))
			reason = BT_REASON_UNSIGNED_PROGRAM;
		policy = policy_of(generation);
		if (reason == BT_REASON_NONE && policy &&
		    image->libraries >> (policy->libraries & 3) > 1)
			reason = BT_REASON_UNSIGNED_LIBRARY;
		lose_trust(image, reason);
		return reason;
	}
	return BT_REASON_RESOURCES;
}

/* Current's standing, its rights included. */
static __always_inline struct standing entitled_current(void)
{
	struct standing standing = standing_of_current();

	if (is_trusted(&standing)) {
		/* A fork's record is its parent's until it asks for itself. */
		if (!standing.image->generation)
			standing.image->pid = bpf_get_current_pid_tgid() >> 32;
		standing.reason = refresh(standing.image, &standing.rights, &standing.required);
	}
	return standing;
}

/*
 * Current's standing with the rights that its image keeps, for hooks that come
 * after the gate in the same call, or that give nothing without a later one. They
 * are those under the policy in force, for all images follow one that takes effect
 * (apply.h); that a grant has ended since is seen by the gate.
 */
static __always_inline struct standing known_current(void)
{
	struct standing standing = standing_of_current();

	if (is_trusted(&standing)) {
		__builtin_memcpy(&standing.rights, &standing.image->rights,
				 sizeof(standing.rights));
		standing.required = *(volatile u8 *)&standing.image->required;
	}
	return standing;
}

/*
 * A new task: what shares the address space shares the record, so that neither
 * outlives the other's loss of trust; a fork gets its own, if children may.
 */
static __always_inline void inherit(u64 parent, u64 child, bool shares_memory)
{
	u64 *entry = bpf_map_lookup_elem(&tasks, &parent);
	struct bt_rights rights;
	struct bt_image *image;
	u32 required;
	u64 id;

	forget_task(child); /* there is none, or one that could not be taken away */
	if (!entry)
		return;
	id = *entry;
	image = image_by_id(id);
	if (!image) {
		set_entry(child, id, BPF_ANY);
		return;
	}
	if (!shares_memory) {
		u8 reason = refresh(image, &rights, &required);

		if (reason == BT_REASON_NONE)
			reason = judge_right(&rights, BT_OBJECT_ABILITY, BT_ABILITY_CHILDREN);
		if (reason != BT_REASON_NONE)
			set_entry(child, reason, BPF_ANY);
		else if (!own_image(child, image))
			set_entry(child, BT_REASON_RESOURCES, BPF_ANY);
		return;
	}
	__sync_fetch_and_add(&image->tasks, 1);
	if (!set_entry(child, id, BPF_ANY))
		release_image(id);
}

#endif
