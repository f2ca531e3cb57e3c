/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The guard's state, and the history of what it decided.
 *
 * The history is a ring of slots in an array that user space reads through a
 * pinned iterator: readers need no bpf() and take nothing from each other. A
 * slot that is overwritten before it was read shows as a gap in the numbers.
 */
#ifndef BPFTRUST_REPORT_H
#define BPFTRUST_REPORT_H

#define NANOSECONDS 1000000000ULL

const volatile bool audit = false;

/* Until reboot nothing in user space takes the guard away, and only what a policy
 * key signed changes the policy. */
const volatile bool seal = false;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct bt_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BT_EVENTS);
	__type(key, u32);
	__type(value, struct bt_event);
} events SEC(".maps");

static __always_inline struct bt_state *guard_state(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
}

/*
 * Does the seal hold now? From the first policy on, but while a permit lifts it:
 * by the time since boot, which nobody sets.
 */
static __always_inline bool seal_holds(struct bt_state *guard)
{
	return seal && *(volatile u64 *)&guard->generation &&
	       bpf_ktime_get_boot_ns() / NANOSECONDS >= *(volatile u64 *)&guard->lifted;
}

/* A record that could not be made for want of room. */
static __always_inline void count_starved(void)
{
	struct bt_state *guard = guard_state();

	if (guard)
		__sync_fetch_and_add(&guard->starved, 1);
}

/* The fs-verity digest of @file; size 0 if it has none. @digest is map memory. */
static __noinline int measure(struct file *file, struct bt_digest *digest)
{
	struct bpf_dynptr into;

	/* 68 bytes, or 6.18 truncates in silence (fs/verity/measure.c) */
	if (bpf_dynptr_from_mem(digest, sizeof(*digest), 0, &into) ||
	    bpf_get_fsverity_digest(file, &into))
		digest->size = 0;
	return 0;
}

/*
 * Path and digest of what current executes. An image knows its digest; of the
 * others it is what the kernel says, and PR_SET_MM_EXE_FILE can make it lie.
 */
static __always_inline void describe_executable(struct bt_event *event,
						const struct bt_image *image)
{
	struct file *file = bpf_get_task_exe_file(bpf_get_current_task_btf());

	event->path[0] = 0;
	event->digest.size = 0;
	if (image && image->digest.size)
		__builtin_memcpy(&event->digest, &image->digest, sizeof(event->digest));
	if (!file)
		return;
	/* "/" is a file that is the root of its mount: crun executes itself from one of its
	 * own (src/libcrun/cloned_binary.c). Then its name alone. */
	if (bpf_path_d_path(&file->f_path, (char *)event->path, sizeof(event->path)) < 0 ||
	    (event->path[0] == '/' && !event->path[1]))
		bpf_probe_read_kernel_str(event->path, sizeof(event->path),
					  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (!event->digest.size)
		measure(file, &event->digest);
	bpf_put_file(file);
}

/* One decision, to be recorded. */
struct decision {
	u8 action;   /* enum bt_action */
	u8 outcome;  /* enum bt_outcome */
	u8 reason;   /* enum bt_reason */
	u8 object;   /* enum bt_object: which right was asked for */
	u32 subject; /* the bpf() command, or the pid or object that was reached for */
	u32 number;  /* of the object */
	u32 reserved;
	u64 file;  /* address of a name in kernel memory, or 0 */
	u64 asked; /* note_asked() */
};

/*
 * What was asked for besides the command, had or not, in 64 bits, for a hook has little
 * stack: a program type, abilities, two map types, three attach types. No hook asks for
 * more of a kind. Types are their numbers and one.
 */
#define ASKED_PROGRAM 0
#define ASKED_ABILITIES 8
#define ASKED_MAP 24
#define ASKED_ATTACH 40

static __always_inline u8 asked_at(u64 asked, u32 place)
{
	return asked >> place;
}

/*
 * @asked, and that @number of @object is; one without a bit is in no grant. Global, so
 * that the verifier walks it once and not for each right that a hook asks for.
 */
__noinline u64 noted(u64 asked, u32 object, u32 number)
{
	u64 entry = number + 1;

	if (number >= (object == BT_OBJECT_ATTACH ? 128 : 64))
		return asked;
	switch (object) {
	case BT_OBJECT_PROGRAM:
		return asked | entry << ASKED_PROGRAM;
	case BT_OBJECT_ABILITY:
		return asked | 1ULL << (ASKED_ABILITIES + (number & 15));
	case BT_OBJECT_MAP:
		return asked | entry << (ASKED_MAP + (asked_at(asked, ASKED_MAP) ? 8 : 0));
	case BT_OBJECT_ATTACH:
		if (!asked_at(asked, ASKED_ATTACH))
			return asked | entry << ASKED_ATTACH;
		if (!asked_at(asked, ASKED_ATTACH + 8))
			return asked | entry << (ASKED_ATTACH + 8);
		return asked | entry << (ASKED_ATTACH + 16);
	default:
		return asked;
	}
}

static __always_inline void note_asked(u64 *asked, u32 object, u32 number)
{
	*asked = noted(*asked, object, number);
}

static __always_inline u64 bit_of(u8 entry)
{
	return entry ? 1ULL << ((entry - 1) & 63) : 0;
}

/* The same as rights. */
static __always_inline void describe_asked(struct bt_rights *takes, u64 asked)
{
	takes->commands = 0;
	takes->programs = bit_of(asked_at(asked, ASKED_PROGRAM));
	takes->maps = bit_of(asked_at(asked, ASKED_MAP)) | bit_of(asked_at(asked, ASKED_MAP + 8));
	takes->attaches[0] = takes->attaches[1] = 0;
	for (u32 place = ASKED_ATTACH; place < 64; place += 8) {
		u8 entry = asked_at(asked, place);

		if (entry <= 64)
			takes->attaches[0] |= bit_of(entry);
		else
			takes->attaches[1] |= bit_of(entry);
	}
	takes->abilities = asked >> ASKED_ABILITIES & 0xffff;
}

/* Has current's process executed nothing since it was forked? Then its trust is its
 * parent's, if that may have children (kernel/fork.c, fs/exec.c). */
static __always_inline bool is_forked(void)
{
	return bpf_get_current_task_btf()->group_leader->flags & PF_FORKNOEXEC;
}

static __always_inline void count_refusal(struct bt_state *guard, u8 reason)
{
	__sync_fetch_and_add(&guard->refusals[reason & 31], 1);
}

/* The last part of the path of current's cgroup in the one hierarchy (cgroup v2). */
static __always_inline void describe_cgroup(struct bt_event *event)
{
	const char *name = bpf_get_current_task_btf()->cgroups->dfl_cgrp->kn->name;

	if (bpf_probe_read_kernel_str(event->cgroup, sizeof(event->cgroup), name) < 0)
		event->cgroup[0] = 0;
}

/*
 * The slot for an event, written but for the executable and what depends on it;
 * NULL if there is none. Who gets one closes it.
 */
static __always_inline struct bt_event *open_event(const struct decision *decision)
{
	struct bt_state *guard = guard_state();
	struct bt_event *event;
	u64 sequence;
	u32 slot;

	if (!guard)
		return NULL;
	if (decision->outcome != BT_OUTCOME_ALLOWED)
		count_refusal(guard, decision->reason);
	sequence = __sync_add_and_fetch(&guard->events, 1);
	slot = (sequence - 1) % BT_EVENTS;
	event = bpf_map_lookup_elem(&events, &slot);
	/* A sleepable writer may be stalled in this slot for a whole round. */
	if (!event || __sync_val_compare_and_swap(&event->busy, 0, 1)) {
		__sync_fetch_and_add(&guard->lost, 1);
		return NULL;
	}
	__sync_lock_test_and_set(&event->closing, 0);
	event->sequence = sequence;
	event->time = bpf_ktime_get_boot_ns();
	event->pid = bpf_get_current_pid_tgid() >> 32;
	event->tid = (u32)bpf_get_current_pid_tgid();
	event->uid = (u32)bpf_get_current_uid_gid();
	event->target = decision->action == BT_ACTION_BPF ? 0 : decision->subject;
	event->command = decision->action == BT_ACTION_BPF ? decision->subject : 0;
	event->action = decision->action;
	event->outcome = decision->outcome == BT_OUTCOME_DENIED && audit ? BT_OUTCOME_WOULD_DENY
									 : decision->outcome;
	event->reason = decision->reason;
	event->object = decision->object;
	event->number = decision->number;
	event->file[0] = 0;
	if (decision->file)
		bpf_probe_read_kernel_str(event->file, sizeof(event->file), (void *)decision->file);
	__builtin_memset(event->key, 0, sizeof(event->key));
	event->script_digest.size = 0;
	event->script[0] = 0;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	describe_asked(&event->takes, decision->asked);
	describe_cgroup(event);
	return event;
}

static __always_inline void close_event(struct bt_event *event)
{
	__sync_lock_test_and_set(&event->closing, event->sequence);
	__sync_lock_test_and_set(&event->busy, 0);
}

/* What an address space would be refused, in audit mode. */
struct repetition {
	u64 mm; /* address */
	u32 pid;
	u32 reserved;
	struct decision decision;
};

/* Of which an event tells already. The oldest are forgotten, and told again. One
 * slot where nothing is audited. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct repetition);
	__type(value, u8);
} repetitions SEC(".maps");

/*
 * Would @decision tell what an event of this address space told already? Where
 * nothing is refused, who would be goes on and asks again, and would push the rest
 * out of the history. What is repeated is counted all the same.
 */
static __noinline bool is_repeated(const struct decision *decision)
{
	struct repetition repetition = {
		.mm = (u64)bpf_get_current_task_btf()->mm,
		.pid = bpf_get_current_pid_tgid() >> 32,
	};
	struct bt_state *guard = guard_state();
	u8 told = 1;

	__builtin_memcpy(&repetition.decision, decision, sizeof(repetition.decision));
	/* -EEXIST, or no room: then it is told. */
	if (bpf_map_update_elem(&repetitions, &repetition, &told, BPF_NOEXIST) != -EEXIST)
		return false;
	if (guard)
		count_refusal(guard, decision->reason);
	return true;
}

/* Records @decision. @image is current's, or NULL. */
static __noinline int report(const struct decision *decision, const struct bt_image *image)
{
	struct bt_event *event = open_event(decision);

	if (!event)
		return 0;
	if (image)
		__builtin_memcpy(event->key, image->key, sizeof(event->key));
	if (image && image->script.state) {
		__builtin_memcpy(&event->script_digest, &image->script.digest,
				 sizeof(event->script_digest));
		__builtin_memcpy(event->script, image->script.grant.name, sizeof(event->script));
	}
	if (decision->outcome != BT_OUTCOME_ALLOWED && is_forked())
		event->takes.abilities |= 1ULL << BT_ABILITY_CHILDREN;
	describe_executable(event, image);
	close_event(event);
	return 0;
}

/* The same from programs that may not ask for the executable. */
static __always_inline void report_briefly(const struct decision *decision)
{
	struct bt_event *event = open_event(decision);

	if (!event)
		return;
	event->path[0] = 0;
	event->digest.size = 0;
	close_event(event);
}

#endif
