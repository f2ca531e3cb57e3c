/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What is to become of an exec, or of a file that is mapped: memory to work it out in.
 */
#ifndef BPFTRUST_DRAFT_H
#define BPFTRUST_DRAFT_H

/* The outcome for one file. */
struct verdict {
	u8 reason;
	u8 granted; /* whether there is a grant */
	u16 kind;   /* enum bt_kind, where reason is NONE; as wide as it is signed */
	u32 reserved;
	u8 key[8];
	struct bt_grant grant;
	struct bt_digest digest; /* of the file, where reason is NONE */
};

/* Bytes of a command line, or a path. */
struct text_bytes {
	u8 at[BT_FILE_SIZE];
};

struct draft {
	u32 taken; /* whether somebody works in it; 0 of a task's own */
	struct verdict verdict;
	struct bt_image image;
	struct bt_script script; /* that a launcher starts it on */
	struct text_bytes text;
};

/*
 * For execs: task storage is asked for, cleared, and given back after a grace period, all
 * of which is more than a verdict that is kept takes. Who finds these taken, by programs
 * that were preempted or wait for a file, has some of his own.
 */
#define DRAFTS 64
#define DRAFT_TRIES 4

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DRAFTS);
	__type(key, u32);
	__type(value, struct draft);
} shared_drafts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct draft);
} drafts SEC(".maps");

TAKES_MEMORY(draft, drafts)

/* A draft with whatever was in it before; NULL if there is no memory. */
static __noinline struct draft *find_draft(void)
{
	u32 first = bpf_get_smp_processor_id();
	struct draft *draft;

	for (u32 i = 0; i < DRAFT_TRIES; i++) {
		u32 place = (first + i) % DRAFTS;

		draft = bpf_map_lookup_elem(&shared_drafts, &place);
		if (draft && !__sync_val_compare_and_swap(&draft->taken, 0, 1))
			return draft;
	}
	return take_draft();
}

/* One with an empty image and no script, wherever it is. */
static __always_inline struct draft *take_shared_draft(void)
{
	struct draft *draft = find_draft();

	if (draft) {
		__builtin_memset(&draft->image, 0, sizeof(draft->image));
		draft->script.state = BT_SCRIPT_NONE;
	}
	return draft;
}

static __always_inline void give_back_draft(struct draft *draft)
{
	if (draft->taken)
		__sync_lock_test_and_set(&draft->taken, 0);
	else
		bpf_task_storage_delete(&drafts, bpf_get_current_task_btf());
}

#endif
