// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Counts what is executed. A tracepoint with BTF is attached by bpf() alone, so
 * it works by a token; a classic one takes perf_event_open().
 */
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

char LICENSE[] SEC("license") = "GPL";

__u64 execs;

SEC("tp_btf/sched_process_exec")
int count(void *ctx __attribute__((unused)))
{
	__sync_fetch_and_add(&execs, 1);
	return 0;
}
