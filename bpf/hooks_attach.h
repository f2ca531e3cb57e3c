/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where programs are attached without bpf().
 */
#ifndef BPFTRUST_HOOKS_ATTACH_H
#define BPFTRUST_HOOKS_ATTACH_H

/* The one ioctl that attaches a program (kernel/events/core.c, _perf_ioctl). */
static __always_inline bool may_attach_to_perf(struct file *file, u32 command)
{
	struct decision decision = { .action = BT_ACTION_ATTACH };
	char name[sizeof(PERF_FILE)];
	struct standing standing;

	if (command != PERF_EVENT_IOC_SET_BPF || !armed())
		return true;
	bpf_probe_read_kernel_str(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (__builtin_memcmp(name, PERF_FILE, sizeof(name)))
		return true;
	standing = entitled_current();
	ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_PERF_EVENT);
	return !refuse(&decision, standing.image);
}

SEC("lsm/file_ioctl")
int BPF_PROG(bt_ioctl, struct file *file, unsigned int command)
{
	if (!may_attach_to_perf(file, command))
		DENY_BLOCK();
	return 0;
}

/* Of 32-bit processes. */
SEC("lsm/file_ioctl_compat")
int BPF_PROG(bt_ioctl32, struct file *file, unsigned int command)
{
	if (!may_attach_to_perf(file, command))
		DENY_BLOCK();
	return 0;
}

/*
 * XDP and tc programs by rtnetlink. A filter or action of kind "bpf" may hold
 * a classic program, so it says nothing about who is not trusted; nor does it
 * say for certain whether packets come or go.
 */
SEC("lsm/netlink_send")
int BPF_PROG(bt_netlink, struct sock *sk, struct sk_buff *skb)
{
	struct decision decision = { .action = BT_ACTION_ATTACH };
	struct netlink_scan scan = {};
	struct standing standing;
	bool trusted;

	if (BPF_CORE_READ(sk, sk_protocol) != NETLINK_ROUTE || !armed())
		return 0;
	scan_netlink(skb, &scan);
	if (!scan.attaches_xdp && !scan.detaches_xdp && !scan.is_tc)
		return 0;
	standing = entitled_current();
	trusted = standing.image && standing.reason == BT_REASON_NONE;
	if (scan.attaches_xdp || (trusted && scan.detaches_xdp))
		ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_XDP);
	if (trusted && scan.is_tc) {
		ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_TCX_INGRESS);
		ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_TCX_EGRESS);
	}
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	return 0;
}

#endif
