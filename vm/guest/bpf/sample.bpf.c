// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What tests sign: maps with and without content, a program that is attached to what
 * its object says and one that is not, and a CO-RE relocation. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* include/uapi/linux/bpf.h */
#define BPF_MAP_TYPE_HASH 1
#define XDP_PASS 2

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, int);
	__type(value, int);
} seen SEC(".maps");

struct task_struct {
	int pid;
} __attribute__((preserve_access_index));

const volatile int limit = 7;
int hits;

SEC("fentry/bpf_fentry_test1")
int on_test(void *ctx __attribute__((unused)))
{
	struct task_struct *task = (void *)bpf_get_current_task();
	int key = limit, pid = BPF_CORE_READ(task, pid);

	hits++;
	bpf_map_update_elem(&seen, &key, &pid, 0);
	return 0;
}

SEC("xdp")
int pass(void *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
