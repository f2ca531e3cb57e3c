/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Memory of a task's own: where a sleepable program may be preempted, no other is.
 */
#ifndef BPFTRUST_MEMORY_H
#define BPFTRUST_MEMORY_H

/*
 * How often task storage is asked for. 7.3 gives none while another CPU holds a lock
 * of the allocator's (mm/slub.c, kmalloc_nolock): seen once in some ten thousand
 * execs on two CPUs, and over after a dozen tries. What can't be had so often in a
 * row is exhausted. Kernels before wait for memory, each time.
 */
#define MEMORY_TRIES 1024

static __always_inline u32 memory_tries(void)
{
	return bpf_core_field_exists(struct bpf_local_storage_map, selem_ma) ? 1 : MEMORY_TRIES;
}

/* Defines take_NAME(): what current has in the task storage @map, zeros if it had
 * nothing; NULL if there is no memory. */
#define TAKES_MEMORY(name, map)                                                         \
	static int ask_for_##name(u64 index, void *unused)                              \
	{                                                                               \
		return bpf_task_storage_get(&map, bpf_get_current_task_btf(), NULL,     \
					    BPF_LOCAL_STORAGE_GET_F_CREATE) != NULL;    \
	}                                                                               \
                                                                                        \
	static __noinline typeof(map.value) take_##name(void)                           \
	{                                                                               \
		bpf_loop(memory_tries(), ask_for_##name, NULL, 0);                      \
		return bpf_task_storage_get(&map, bpf_get_current_task_btf(), NULL, 0); \
	}

#endif
