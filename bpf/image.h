/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Images: one record per address space that has a standing with the guard.
 *
 * `tasks` names each task's image. Its key is the task_struct's address, which
 * stays one task's until security_task_free() (kernel/fork.c, __put_task_struct)
 * takes the entry away; a failed fork passes there too. Most tasks have no
 * entry: they were executed from a file without our xattr.
 *
 * An untrusted task that has another reason than that needs no record of its
 * own: the entry is the reason. So what the untrusted do takes no image, and at
 * most half of the entries: beyond that they are refused for `no-signature`.
 *
 * Both maps are preallocated: making a record never waits for memory, and a
 * full map costs trust (BT_REASON_RESOURCES), nothing else.
 */
#ifndef BPFTRUST_IMAGE_H
#define BPFTRUST_IMAGE_H

#include "report.h"

#define TASKS_MAX 65536
#define REASONS_MAX (TASKS_MAX / 2)
#define IMAGES_MAX 32768

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TASKS_MAX);
	__type(key, u64);
	__type(value, u64);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IMAGES_MAX);
	__type(key, u64);
	__type(value, struct bt_image);
} images SEC(".maps");

/* What is known of a task: an image, or the reason why there is none. */
struct standing {
	struct bt_image *image;
	u8 reason;
	/* only of entitled_current() and known_current(): */
	u32 required; /* enum bt_requirement */
	struct bt_rights rights;
};

static __always_inline struct bt_image *image_by_id(u64 id)
{
	return id < BT_FIRST_IMAGE ? NULL : bpf_map_lookup_elem(&images, &id);
}

static __always_inline struct standing standing_of(u64 task)
{
	struct standing standing = { .reason = BT_REASON_NO_SIGNATURE };
	u64 *entry = bpf_map_lookup_elem(&tasks, &task);

	if (!entry)
		return standing;
	standing.image = image_by_id(*entry);
	if (standing.image)
		standing.reason = standing.image->reason;
	else
		standing.reason = *entry < BT_FIRST_IMAGE ? *entry : BT_REASON_RESOURCES;
	return standing;
}

static __always_inline struct standing standing_of_current(void)
{
	return standing_of(bpf_get_current_task());
}

/* Whoever is trusted has an image, and the image has no reason against it. */
static __always_inline bool is_trusted(const struct standing *standing)
{
	return standing->image && standing->reason == BT_REASON_NONE;
}

/* Why he is not; NONE if he is. */
static __always_inline u8 distrust(const struct standing *standing)
{
	if (is_trusted(standing))
		return BT_REASON_NONE;
	return standing->reason ?: BT_REASON_RESOURCES;
}

/*
 * Makes @entry (an image's id or a reason) the standing of @task. @flags are
 * those of bpf_map_update_elem().
 */
static __always_inline bool set_entry(u64 task, u64 entry, u64 flags)
{
	struct bt_state *guard = guard_state();
	bool is_reason = entry < BT_FIRST_IMAGE;

	if (!guard)
		return false;
	if (is_reason && __sync_fetch_and_add(&guard->reasons, 1) >= REASONS_MAX)
		goto full;
	if (!bpf_map_update_elem(&tasks, &task, &entry, flags))
		return true;
full:
	if (is_reason)
		__sync_fetch_and_sub(&guard->reasons, 1);
	count_starved();
	return false;
}

/* Lets go of one task's share in an image; the last one takes it away. */
static __always_inline void release_image(u64 id)
{
	struct bt_image *image = image_by_id(id);

	if (image && __sync_fetch_and_sub(&image->tasks, 1) == 1)
		bpf_map_delete_elem(&images, &id);
}

static __always_inline void uncount_reason(void)
{
	struct bt_state *guard = guard_state();

	if (guard)
		__sync_fetch_and_sub(&guard->reasons, 1);
}

/*
 * Ends whatever standing a task had. The entry is made harmless before it is
 * taken away: should that fail (a bucket is busy in an NMI), what is left says
 * no to whoever is given this task_struct next.
 */
static __always_inline void forget_task(u64 task)
{
	u64 *entry = bpf_map_lookup_elem(&tasks, &task);
	u64 id;

	if (!entry)
		return;
	id = *entry;
	*entry = BT_REASON_RESOURCES;
	bpf_map_delete_elem(&tasks, &task);
	if (id < BT_FIRST_IMAGE)
		uncount_reason();
	else
		release_image(id);
}

/*
 * Gives @task an image of its own, a copy of @from (map memory). That may be
 * written to meanwhile, so the copy's rights are worked out anew.
 */
static __always_inline struct bt_image *own_image(u64 task, struct bt_image *from)
{
	struct bt_state *guard = guard_state();
	struct bt_image *image;
	u64 id;

	if (!guard)
		return NULL;
	id = BT_FIRST_IMAGE + __sync_fetch_and_add(&guard->images, 1);
	if (bpf_map_update_elem(&images, &id, from, BPF_NOEXIST)) {
		count_starved();
		return NULL;
	}
	image = bpf_map_lookup_elem(&images, &id);
	if (image) {
		image->tasks = 1;
		image->busy = 0;
		image->generation = 0;
		if (set_entry(task, id, BPF_ANY))
			return image;
	}
	bpf_map_delete_elem(&images, &id);
	return NULL;
}

/*
 * Takes trust from all that share current's address space, because of @file (a
 * name in kernel memory, or NULL).
 */
static __always_inline void taint_by(struct bt_image *image, u8 reason, const void *file)
{
	struct decision decision = {
		.action = BT_ACTION_TAINT,
		.outcome = BT_OUTCOME_DENIED,
		.reason = reason,
		.file = (u64)file,
	};

	if (image->reason != BT_REASON_NONE)
		return;
	report(&decision, image);
	if (!audit)
		image->reason = reason;
}

static __always_inline void taint(struct bt_image *image, u8 reason)
{
	taint_by(image, reason, NULL);
}

#endif
