/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Programs whose signature the kernel verified, for who may load no others
 * (BT_REQUIRE_SIGNED_PROGRAMS).
 *
 * The kernel verifies what a load offers, against the keyring that the caller names
 * (kernel/bpf/syscall.c, bpf_prog_verify_signature; Linux 6.18). So the gate looks
 * whose keyring that is, before it is used: it must be one of the policy's, and
 * sealed with the policy's key alone in it (ring.h). A seal stays, so what was seen
 * is still so when the kernel verifies. That it did is known when the load arrives
 * at bpf_prog_load: a signature that does not verify ends it before.
 *
 * What a light skeleton's SYSCALL program loads has no signature of its own: it
 * counts as signed by who signed that program.
 */
#ifndef BPFTRUST_SIGNED_H
#define BPFTRUST_SIGNED_H

#define SIG_VERIFIED 1 /* 7.3: enum bpf_sig_verdict */

/* The kernel's keyrings are named by what is below every serial
 * (include/linux/verification.h, system_keyring_id_check). */
#define SYSTEM_RINGS 3

struct ring_id {
	u64 generation;
	u64 serial;
};

/* The policy's keys by their rings: hints. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2 * BT_KEYS);
	__type(key, struct ring_id);
	__type(value, u64);
} rings SEC(".maps");

/* What a thread is about, from the gate to the hook of what it does. */
struct signing {
	u64 signer;  /* of what it loads: hint of the key whose ring it names, or 0 */
	u64 runner;  /* of the SYSCALL program that it runs, or 0 */
	s32 keyring; /* that it names */
	u32 reserved;
	struct bt_key key; /* room to work in */
	struct public_key_bytes public_key;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct signing);
} signings SEC(".maps");

TAKES_MEMORY(signing, signings)

/* Makes @key, which is being taken, known by its ring; the error, or 0. */
static __always_inline int name_ring(const struct bt_key *key)
{
	struct ring_id id = { .generation = key->generation, .serial = key->ring };
	u64 hint;

	if (key->place != BT_RING_OWN)
		return 0;
	__builtin_memcpy(&hint, key->hint, sizeof(hint));
	return bpf_map_update_elem(&rings, &id, &hint, BPF_ANY);
}

static __always_inline struct signing *signing_of_current(void)
{
	return bpf_task_storage_get(&signings, bpf_get_current_task_btf(), NULL, 0);
}

/* Does the ring of @signing->key hold that and nothing else, for good? */
static __noinline bool proves_ring(struct signing *signing)
{
	struct bpf_key *ring = bpf_lookup_user_key(signing->key.ring, 0);
	bool own = false;

	if (ring) {
		own = is_ring_of((u64)BPF_CORE_READ(ring, key), &signing->key,
				 &signing->public_key);
		bpf_key_put(ring);
	}
	if (!own)
		close_key(&signing->key);
	return own;
}

/* The hint of the key of the policy @generation that alone is in the keyring that
 * @signing names; 0 if there is none. Whether it may sign is asked later. */
static __always_inline u64 signer_by_ring(struct signing *signing, u64 generation)
{
	struct ring_id id = { .generation = generation };
	u8 place[8] = {};
	u64 *found, hint;

	/* A negative one is the caller's own (KEY_SPEC_*). */
	if (signing->keyring < 0)
		return 0;
	if (signing->keyring < SYSTEM_RINGS) {
		place[0] = BT_RING_BUILTIN + signing->keyring;
		__builtin_memcpy(&hint, place, sizeof(hint));
		return hint;
	}
	id.serial = signing->keyring;
	found = bpf_map_lookup_elem(&rings, &id);
	if (!found)
		return 0;
	hint = *found;
	if (!take_key(&signing->key, generation, (u8 *)&hint) || signing->key.lost ||
	    signing->key.place != BT_RING_OWN || signing->key.ring != id.serial)
		return 0;
	return proves_ring(signing) ? hint : 0;
}

/* Remembers whose signature the load with these @attr offers. */
static __always_inline void look_at_signature(u64 attr)
{
	union bpf_attr *offered = (void *)attr;
	struct bt_state *guard = guard_state();
	struct signing *signing;

	if (!bpf_core_field_exists(offered->signature))
		return;
	signing = take_signing();
	if (!signing || !guard)
		return;
	if (!BPF_CORE_READ(offered, signature))
		return;
	signing->keyring = BPF_CORE_READ(offered, keyring_id);
	signing->signer = signer_by_ring(signing, generation_of(guard));
}

/* Does the kernel say the same, where it says what it verified? */
static __always_inline bool is_verified(struct bpf_prog *prog, const struct signing *signing)
{
	struct bpf_prog_aux *aux = BPF_CORE_READ(prog, aux);
	s32 serial;

	if (!bpf_core_field_exists(aux->sig))
		return true;
	serial = BPF_CORE_READ(aux, sig.keyring_serial);
	return BPF_CORE_READ(aux, sig.verdict) == SIG_VERIFIED &&
	       serial == (signing->keyring < SYSTEM_RINGS ? 0 : signing->keyring);
}

/* May @signer's programs be @image's? As his libraries; narrows @rights. */
static __always_inline u8 admit_program(struct bt_image *image, u64 signer,
					struct bt_rights *rights)
{
	return signer ? admit_library(image, signer, rights) : BT_REASON_UNSIGNED_PROGRAM;
}

/*
 * Narrows @standing's rights to what who signed @prog may give, where it must be
 * signed: the right of a program is its loader's and its signer's. Returns the hint
 * of that key, 0 if nothing has to be signed. @inner: a SYSCALL program loads it.
 */
static __always_inline u64 require_signature(struct decision *decision, struct standing *standing,
					     struct bpf_prog *prog, bool inner)
{
	struct signing *signing;
	u64 signer = 0;

	if (decision->reason != BT_REASON_NONE || !standing->image ||
	    !(standing->required & BT_REQUIRE_SIGNED_PROGRAMS))
		return 0;
	signing = signing_of_current();
	if (signing && inner)
		signer = signing->runner;
	else if (signing && is_verified(prog, signing))
		signer = signing->signer;
	if (signing)
		signing->signer = 0;
	decision->reason = admit_program(standing->image, signer, &standing->rights);
	if (decision->reason != BT_REASON_NONE) {
		decision->object = BT_OBJECT_PROGRAM;
		decision->number = BPF_CORE_READ(prog, type);
	}
	return signer;
}

/* Records who signed the program at @address. */
static __always_inline void record_signer(u64 address, u64 signer)
{
	struct bt_owned *owned = bpf_map_lookup_elem(&objects, &address);

	if (owned)
		__builtin_memcpy(owned->signer, &signer, sizeof(owned->signer));
}

/* Does this call attach a program? Then @fd is its descriptor. */
static __always_inline bool attaches_program(u32 command, u64 attr, u32 *fd)
{
	u32 at;

	switch (command) {
	case BT_COMMAND_LINK_CREATE:
		at = ATTR_LINKED;
		break;
	case BT_COMMAND_PROG_ATTACH:
		at = ATTR_ATTACHED;
		break;
	case BT_COMMAND_RAW_TRACEPOINT_OPEN:
		at = ATTR_TRACING;
		break;
	default:
		return false;
	}
	return !bpf_probe_read_kernel(fd, sizeof(*fd), (void *)(attr + at));
}

/*
 * A program is about to be attached: narrows @standing's rights to what who signed it
 * may give. For a struct_ops map's link no program is named.
 */
static __always_inline void heed_signer(struct decision *decision, struct standing *standing,
					u32 command, u64 attr)
{
	struct object program;
	u64 signer;
	u32 fd;

	if (decision->reason != BT_REASON_NONE || !standing->image ||
	    !(standing->required & BT_REQUIRE_SIGNED_PROGRAMS) ||
	    !attaches_program(command, attr, &fd))
		return;
	object_of_file((u64)file_of_current(fd), &program);
	if (program.kind != BT_OBJECT_PROGRAM)
		return;
	signer = signer_of(program.address);
	decision->reason = admit_program(standing->image, signer, &standing->rights);
	if (decision->reason != BT_REASON_NONE) {
		decision->object = BT_OBJECT_PROGRAM;
		decision->number = program.type;
	}
}

/*
 * A program is about to be run: one that calls bpf() must count as signed, by a key
 * that may still sign. Another of the loader's own may be put in its place before the
 * kernel takes the descriptor, so whose what it loads is bt_run says.
 */
static __always_inline void ask_about_run(struct decision *decision,
					  const struct standing *standing, u64 attr)
{
	struct signing *signing = signing_of_current();
	struct bt_rights rights;
	struct object program;
	u64 signer;
	u32 fd;

	if (signing)
		signing->runner = 0;
	if (decision->reason != BT_REASON_NONE || !standing->image ||
	    !(standing->required & BT_REQUIRE_SIGNED_PROGRAMS))
		return;
	signing = take_signing();
	if (!signing || bpf_probe_read_kernel(&fd, sizeof(fd), (void *)(attr + ATTR_RUN))) {
		decision->reason = BT_REASON_RESOURCES;
		return;
	}
	object_of_file((u64)file_of_current(fd), &program);
	if (program.kind != BT_OBJECT_PROGRAM || program.type != BPF_PROG_TYPE_SYSCALL)
		return;
	signer = signer_of(program.address);
	__builtin_memcpy(&rights, &standing->rights, sizeof(rights));
	decision->reason = admit_program(standing->image, signer, &rights);
	if (decision->reason != BT_REASON_NONE) {
		decision->object = BT_OBJECT_PROGRAM;
		decision->number = program.type;
	}
}

#endif
