/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who made which program and map: publisher and loader name. By address, which
 * is one object's until the *_free hook; a program's is that of its bpf_prog_aux,
 * because the verifier may move the program itself (kernel/bpf/core.c,
 * bpf_prog_realloc).
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

/* Adds what the kernel knows of the object at @address. */
static __always_inline void describe_object(struct bt_owned *owned, u64 address)
{
	struct bpf_prog_aux *aux = (void *)address;
	struct bpf_map *map = (void *)address;

	if (owned->object == BT_OBJECT_PROGRAM) {
		BPF_CORE_READ_INTO(&owned->id, aux, id);
		BPF_CORE_READ_INTO(&owned->label, aux, name);
	} else {
		BPF_CORE_READ_INTO(&owned->id, map, id);
		BPF_CORE_READ_INTO(&owned->label, map, name);
	}
}

#endif
