/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who made which program, map and token: publisher and loader name. By address,
 * which is one object's until the *_free hook; a program's is that of its
 * bpf_prog_aux, because the verifier may move the program itself (kernel/bpf/
 * core.c, bpf_prog_realloc). A link is its program's, so it needs no record.
 *
 * What has no record was made before enforcement, or by the kernel. It is
 * nobody's: only who may inspect reaches it.
 */
#ifndef BPFTRUST_OBJECT_H
#define BPFTRUST_OBJECT_H

#define OBJECTS_MAX 65536

/* Without what the kernel knows: id and label. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OBJECTS_MAX);
	__type(key, u64);
	__type(value, struct bt_owned);
} objects SEC(".maps");

/* Whose pins a thread may take away (BT_PRCTL_EVICT). Gone with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct bt_owner);
} evictions SEC(".maps");

TAKES_MEMORY(eviction, evictions)

/* An object as records know it. */
struct object {
	u64 address; /* 0: no object */
	u32 kind;    /* enum bt_object */
	u32 type;    /* enum bpf_prog_type, bpf_map_type */
	u32 id;	     /* BPF's own, where it has one */
};

/* Records that @image made what is at @address; false if there is no room. */
static __noinline bool own(u64 address, u32 object, u32 type, const struct bt_image *image)
{
	struct bt_owned owned = { .object = object, .type = type };

	owned.pid = bpf_get_current_pid_tgid() >> 32;
	__builtin_memcpy(owned.publisher, image->publisher, sizeof(owned.publisher));
	__builtin_memcpy(owned.loader, image->grant.name, sizeof(owned.loader));
	if (!bpf_map_update_elem(&objects, &address, &owned, BPF_ANY))
		return true;
	count_starved();
	return false;
}

/* The hint of the key that the program at @address counts as signed by; 0 for none,
 * and for what is no program. */
static __always_inline u64 signer_of(u64 address)
{
	struct bt_owned *owned = bpf_map_lookup_elem(&objects, &address);
	u64 signer = 0;

	if (owned)
		__builtin_memcpy(&signer, owned->signer, sizeof(signer));
	return signer;
}

/* Is it a program with a record that counts as unsigned? A link is as its program. */
static __always_inline bool is_unsigned(u64 address)
{
	struct bt_owned *owned = bpf_map_lookup_elem(&objects, &address);

	return owned && owned->object == BT_OBJECT_PROGRAM && !signer_of(address);
}

static __always_inline void disown(u64 address)
{
	bpf_map_delete_elem(&objects, &address);
}

static __always_inline bool is_same_name(const u8 *a, const u8 *b)
{
	const u64 *left = (void *)a, *right = (void *)b;
	u64 difference = 0;

	for (u32 i = 0; i < BT_NAME_SIZE / sizeof(u64); i++)
		difference |= left[i] ^ right[i];
	return !difference;
}

static __always_inline bool is_owned_by(u64 address, const u8 *publisher, const u8 *loader)
{
	struct bt_owned *owned = bpf_map_lookup_elem(&objects, &address);

	return owned && is_same_name(owned->publisher, publisher) &&
	       is_same_name(owned->loader, loader);
}

/* Is the object at @address @image's owner's, publisher and loader name? */
static __noinline bool is_owner(const struct bt_image *image, u64 address)
{
	return is_owned_by(address, image->publisher, image->grant.name);
}

/* Is the object at @address his? The answer is a reason, NONE for yes. */
static __always_inline u8 judge_owner(const struct standing *standing, u64 address)
{
	u8 reason = distrust(standing);

	if (reason == BT_REASON_NONE && !is_owner(standing->image, address))
		return BT_REASON_NOT_OWNER;
	return reason;
}

/*
 * The same, and where he may use signed programs alone it is no other. Who has an
 * unsigned one keeps it, so it is remembered that he does.
 */
static __always_inline u8 judge_use(const struct standing *standing, u64 address)
{
	u8 reason = judge_owner(standing, address);

	if (reason != BT_REASON_NONE || !is_unsigned(address))
		return reason;
	if (standing->required & BT_REQUIRE_SIGNED_PROGRAMS)
		return BT_REASON_UNSIGNED_PROGRAM;
	standing->image->unsigned_programs = 1;
	return BT_REASON_NONE;
}

/*
 * May somebody of @standing (with rights: entitled_current()) have a descriptor
 * of the object at @address? The answer is a reason, NONE for yes.
 *
 * Who has one of another's, because he may inspect, only reads from then on
 * (only_reads()): a descriptor can't be taken away, and to look at each that a
 * call names would be to race with who shares the table.
 */
static __always_inline u8 judge_reach(const struct standing *standing, u64 address)
{
	u8 reason = judge_use(standing, address);

	if ((reason != BT_REASON_NOT_OWNER && reason != BT_REASON_UNSIGNED_PROGRAM) ||
	    !allows(&standing->rights, BT_OBJECT_ABILITY, BT_ABILITY_INSPECT))
		return reason;
	standing->image->inspects = 1;
	return BT_REASON_NONE;
}

/* The commands that change nothing, and attach and run nothing. */
static __always_inline bool only_reads(u32 command)
{
	switch (command) {
	case BT_COMMAND_MAP_LOOKUP_ELEM:
	case BT_COMMAND_MAP_GET_NEXT_KEY:
	case BT_COMMAND_MAP_LOOKUP_BATCH:
	case BT_COMMAND_OBJ_GET:
	case BT_COMMAND_OBJ_GET_INFO_BY_FD:
	case BT_COMMAND_PROG_GET_NEXT_ID:
	case BT_COMMAND_MAP_GET_NEXT_ID:
	case BT_COMMAND_BTF_GET_NEXT_ID:
	case BT_COMMAND_LINK_GET_NEXT_ID:
	case BT_COMMAND_PROG_GET_FD_BY_ID:
	case BT_COMMAND_MAP_GET_FD_BY_ID:
	case BT_COMMAND_BTF_GET_FD_BY_ID:
	case BT_COMMAND_LINK_GET_FD_BY_ID:
	case BT_COMMAND_PROG_QUERY:
	case BT_COMMAND_TASK_FD_QUERY:
		return true;
	default:
		return false;
	}
}

static __always_inline struct object object_of_map(struct bpf_map *map)
{
	struct object object = { .address = (u64)map, .kind = BT_OBJECT_MAP };

	object.type = BPF_CORE_READ(map, map_type);
	object.id = BPF_CORE_READ(map, id);
	return object;
}

static __always_inline struct object object_of_program(struct bpf_prog *prog)
{
	struct object object = { .kind = BT_OBJECT_PROGRAM };

	object.address = (u64)BPF_CORE_READ(prog, aux);
	object.type = BPF_CORE_READ(prog, type);
	object.id = BPF_CORE_READ(prog, aux, id);
	return object;
}

/* A link is its program's owner's, or, of struct_ops, its map's (kernel/bpf/
 * bpf_struct_ops.c, bpf_struct_ops_link_create). */
static __always_inline struct object object_of_link(struct bpf_link *link)
{
	struct bpf_struct_ops_link *of_map = (void *)link;
	struct object object = { .kind = BT_OBJECT_LINK };

	object.address = (u64)BPF_CORE_READ(link, prog, aux);
	if (BPF_CORE_READ(link, type) == BPF_LINK_TYPE_STRUCT_OPS)
		object.address = (u64)BPF_CORE_READ(of_map, map);
	object.type = BPF_CORE_READ(link, type);
	object.id = BPF_CORE_READ(link, id);
	return object;
}

/* The name of what a link attaches. */
static __always_inline const char *link_label(struct bpf_link *link)
{
	struct bpf_struct_ops_link *of_map = (void *)link;

	if (BPF_CORE_READ(link, type) == BPF_LINK_TYPE_STRUCT_OPS)
		return (void *)&BPF_CORE_READ(of_map, map)->name;
	return (void *)&BPF_CORE_READ(link, prog, aux)->name;
}

#endif
