/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * How a policy takes effect, wholly or not at all: what it says is written under
 * the number of a generation that nobody asks for yet, then that number becomes
 * the one in force.
 *
 * User space hands it over by prctl(), for bpf() is refused to who is not
 * signed, and no map of ours can be written from there. A sealed guard takes only
 * what a policy key signed: what is copied in is hashed as it is, and nothing of
 * it counts before the signature over the hash was verified.
 */
#ifndef BPFTRUST_APPLY_H
#define BPFTRUST_APPLY_H

/* Room for what is copied in; for who holds `changing`. */
struct incoming {
	struct bt_policy policy;
	struct sha256 sha; /* of all of it, as a policy key signs it */
	union {
		struct bt_policy head;
		struct bt_publisher publisher;
		struct bt_key key;
		struct bt_rule rule;
		union sha256_input input;
	};
	struct public_key_bytes public_key;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct incoming);
} incomings SEC(".maps");

static __always_inline struct incoming *incoming(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&incomings, &zero);
}

/* A table that is copied in, an entry at a time. */
struct intake {
	u64 from; /* address in user space */
	u64 generation;
	int error;
	bool hashed; /* for an order: each entry as it was copied, before it is used */
};

static int take_publisher(u64 index, struct intake *intake)
{
	struct publisher_id id = { .generation = intake->generation, .number = index };
	struct incoming *in = incoming();

	if (!in)
		return 1;
	intake->error = bpf_copy_from_user(&in->publisher, sizeof(in->publisher),
					   (void *)(intake->from + index * sizeof(in->publisher)));
	/* It may ask for what this version does not know. */
	if (!intake->error && in->publisher.required & ~BT_REQUIRE_KNOWN)
		intake->error = -EINVAL;
	if (intake->error)
		return 1;
	if (intake->hashed)
		sha256_add(&in->sha, &in->input, sizeof(in->publisher));
	intake->error = bpf_map_update_elem(&publishers, &id, &in->publisher, BPF_NOEXIST);
	return !!intake->error;
}

/*
 * Is the ring of the key that is being taken there, and its own? Who hands an
 * ordered policy over may choose no ring that verifies nothing: nobody could
 * change the policy any more.
 */
static __noinline bool has_ring(struct incoming *in)
{
	struct bpf_key *ring;
	bool own;

	if (in->key.place != BT_RING_OWN || !in->key.public_key_size)
		return true;
	ring = bpf_lookup_user_key(in->key.ring, 0);
	if (!ring)
		return false;
	own = is_ring_of((u64)BPF_CORE_READ(ring, key), &in->key, &in->public_key);
	bpf_key_put(ring);
	return own;
}

static int take_key_entry(u64 index, struct intake *intake)
{
	struct key_id id = { .generation = intake->generation };
	struct incoming *in = incoming();
	u32 ring;

	if (!in)
		return 1;
	intake->error = bpf_copy_from_user(&in->key, sizeof(in->key),
					   (void *)(intake->from + index * sizeof(in->key)));
	if (intake->error)
		return 1;
	/* The ring is one boot's; it is believed for what it holds (ring.h). */
	ring = in->key.ring;
	in->key.ring = 0;
	in->key.generation = 0;
	in->key.lost = 0;
	if (intake->hashed)
		sha256_add(&in->sha, &in->input, sizeof(in->key));
	in->key.ring = ring;
	in->key.generation = intake->generation;
	if (intake->hashed && !has_ring(in)) {
		intake->error = -EINVAL;
		return 1;
	}
	__builtin_memcpy(id.hint, in->key.hint, sizeof(id.hint));
	intake->error =
		bpf_map_update_elem(&keys, &id, &in->key, BPF_NOEXIST) ?: name_ring(&in->key);
	return !!intake->error;
}

static int take_rule(u64 index, struct intake *intake)
{
	struct rule_id id = { .generation = intake->generation };
	struct incoming *in = incoming();

	if (!in)
		return 1;
	intake->error = bpf_copy_from_user(&in->rule, sizeof(in->rule),
					   (void *)(intake->from + index * sizeof(in->rule)));
	if (intake->error)
		return 1;
	if (intake->hashed)
		sha256_add(&in->sha, &in->input, sizeof(in->rule));
	id.kind = in->rule.kind;
	id.publisher = in->rule.publisher;
	__builtin_memcpy(id.bytes, in->rule.bytes, sizeof(id.bytes));
	intake->error = bpf_map_update_elem(&rules, &id, &in->rule.value, BPF_NOEXIST);
	return !!intake->error;
}

/* Every entry of another generation than @keep goes. */
static long drop_other(struct bpf_map *map, const u64 *key, void *value, u64 *keep)
{
	if (*key != *keep)
		bpf_map_delete_elem(map, key);
	return 0;
}

static __always_inline void drop_others(u64 keep)
{
	bpf_for_each_map_elem(&publishers, drop_other, &keep, 0);
	bpf_for_each_map_elem(&keys, drop_other, &keep, 0);
	bpf_for_each_map_elem(&rings, drop_other, &keep, 0);
	bpf_for_each_map_elem(&rules, drop_other, &keep, 0);
}

/* So that who is revoked is known to be, before he calls bpf() again. */
static long refresh_image(struct bpf_map *map, const u64 *key, struct bt_image *image, void *ctx)
{
	struct bt_rights rights;
	u32 required;

	refresh(image, &rights, &required);
	return 0;
}

/* CAP_MAC_ADMIN in the initial user namespace: who may change what security
 * modules enforce (capabilities(7)). */
static __always_inline bool may_change_policy(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return !BPF_CORE_READ(task, cred, user_ns, level) &&
	       (BPF_CORE_READ(task, cred, cap_effective.val) >> CAP_MAC_ADMIN & 1);
}

/* Is this the header of a policy of ours, and are there @size bytes of it? */
static __always_inline int check_policy(const struct bt_policy *policy, u64 size,
					struct bt_state *guard)
{
	if (policy->magic != BT_POLICY_MAGIC || policy->form != BT_POLICY_FORM ||
	    policy->libraries > BT_LIBRARIES_ANY || policy->required & ~BT_REQUIRE_KNOWN ||
	    policy->audit != audit || policy->sealed_boot > 1 || policy->reserved ||
	    policy->serial >> 63)
		return -EINVAL;
	if (policy->publishers > BT_KEYS || policy->keys > BT_KEYS || policy->rules > BT_RULES)
		return -E2BIG;
	if (size != sizeof(*policy) + (u64)policy->publishers * sizeof(struct bt_publisher) +
			    (u64)policy->keys * sizeof(struct bt_key) +
			    (u64)policy->rules * sizeof(struct bt_rule))
		return -EINVAL;
	/* Another was brought since this one was made. */
	return policy->generation == guard->generation + 1 ? 0 : -ESTALE;
}

/* Copies the tables in; the error, or 0. */
static __always_inline int take_tables(struct incoming *in, u64 from, bool hashed)
{
	const struct bt_policy *policy = &in->policy;
	struct intake intake = {
		.from = from,
		.generation = policy->generation,
		.hashed = hashed,
	};
	u32 publishers = policy->publishers, keys = policy->keys, rules = policy->rules;

	if (hashed) {
		sha256_begin(&in->sha);
		__builtin_memcpy(&in->head, policy, sizeof(in->head));
		in->head.generation = 0;
		sha256_add(&in->sha, &in->input, sizeof(in->head));
	}
	intake.from += sizeof(*policy);
	bpf_loop(publishers, take_publisher, &intake, 0);
	if (intake.error)
		return intake.error;
	intake.from += publishers * sizeof(struct bt_publisher);
	bpf_loop(keys, take_key_entry, &intake, 0);
	if (intake.error)
		return intake.error;
	intake.from += keys * sizeof(struct bt_key);
	bpf_loop(rules, take_rule, &intake, 0);
	return intake.error;
}

/* Was exactly what is in the tables now ordered, after what is in force? */
static __noinline u8 judge_policy(struct bt_state *guard, const struct order_at *at)
{
	struct scratch *scratch = take_scratch();
	struct incoming *in = incoming();
	u8 reason;

	if (!scratch || !in)
		return BT_REASON_RESOURCES;
	reason = judge_order(guard, scratch, at, BT_KIND_POLICY);
	if (reason != BT_REASON_NONE)
		return reason;
	sha256_end(&in->sha);
	if (order_in(scratch)->until || !is_about(order_in(scratch), in->sha.state))
		return BT_REASON_BAD_SIGNATURE;
	return in->policy.serial > guard->serial ? BT_REASON_NONE : BT_REASON_TOO_OLD;
}

/* A policy as it is handed over. */
struct handover {
	u64 from;
	u64 size;
	struct order_at order;
};

/* By who holds `changing`. */
static __noinline int apply_alone(struct bt_state *guard, const struct handover *given, u8 *reason)
{
	struct incoming *in = incoming();
	bool ordered = given->order.size;
	struct bt_policy *slot;
	int error;

	if (!in || given->size < sizeof(in->policy))
		return -EINVAL;
	error = bpf_copy_from_user(&in->policy, sizeof(in->policy), (void *)given->from);
	if (error)
		return error;
	error = check_policy(&in->policy, given->size, guard);
	if (error)
		return error;
	if (seal_holds(guard) && !ordered) {
		*reason = BT_REASON_NO_SIGNATURE;
		return order_error(BT_REASON_NO_SIGNATURE);
	}
	slot = policy_of(in->policy.generation);
	if (!slot)
		return -ENOMEM;
	error = take_tables(in, given->from, ordered);
	if (!error && ordered) {
		*reason = judge_policy(guard, &given->order);
		error = order_error(*reason);
	}
	if (error) {
		drop_others(guard->generation);
		return error;
	}
	__builtin_memcpy(slot, &in->policy, sizeof(*slot));
	/* It never goes down, or what a permit let in would let old ones in again. */
	if (in->policy.serial > guard->serial)
		guard->serial = in->policy.serial;
	__sync_fetch_and_add(&guard->generation, 1);
	guard->changed = bpf_ktime_get_boot_ns();
	guard->libraries = slot->libraries;
	bpf_for_each_map_elem(&images, refresh_image, NULL, 0);
	drop_others(guard->generation);
	return -EALREADY;
}

/* The answer to prctl(BT_PRCTL_POLICY), and the reason if its order is refused. */
static __always_inline int apply(struct bt_state *guard, const struct handover *given, u8 *reason)
{
	int error;

	if (!may_change_policy())
		return -EPERM;
	if (__sync_val_compare_and_swap(&guard->changing, 0, 1))
		return -EBUSY;
	error = apply_alone(guard, given, reason);
	__sync_lock_test_and_set(&guard->changing, 0);
	return error;
}

#endif
