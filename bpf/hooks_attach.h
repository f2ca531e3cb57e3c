/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Where programs are attached without bpf().
 */
#ifndef BPFTRUST_HOOKS_ATTACH_H
#define BPFTRUST_HOOKS_ATTACH_H

/*
 * Calls that attach a program by its descriptor and that no hook of programs
 * sees. Who is trusted holds his own alone, and their types were judged when he
 * loaded them; without trust one can be inherited.
 */
static __always_inline bool may_act_by_descriptor(bool is_tc)
{
	struct decision decision = { .action = BT_ACTION_ATTACH };
	struct standing standing;

	if (!armed())
		return true;
	standing = standing_of_current();
	decision.reason = distrust(&standing);
	if (decision.reason == BT_REASON_NONE || !holds_program())
		return true;
	if (is_tc) {
		note_asked(&decision.asked, BT_OBJECT_ATTACH, BPF_TCX_INGRESS);
		note_asked(&decision.asked, BT_OBJECT_ATTACH, BPF_TCX_EGRESS);
	}
	return !refuse(&decision, standing.image);
}

/* Perf events take programs of trusted loaders alone, whoever holds them
 * (kernel/events/core.c, _perf_ioctl). */
static __always_inline bool may_attach_to_perf(struct file *file)
{
	struct decision decision = { .action = BT_ACTION_ATTACH };
	char name[sizeof(PERF_FILE)];
	struct standing standing;

	if (!armed())
		return true;
	bpf_probe_read_kernel_str(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	if (__builtin_memcmp(name, PERF_FILE, sizeof(name)))
		return true;
	standing = entitled_current();
	ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_PERF_EVENT);
	return !refuse(&decision, standing.image);
}

static __always_inline bool may_ioctl(struct file *file, u32 command)
{
	switch (command) {
	case PERF_EVENT_IOC_SET_BPF:
		return may_attach_to_perf(file);
	case TUNSETSTEERINGEBPF:
	case TUNSETFILTEREBPF:
	case SIOCKCMATTACH:
		return may_act_by_descriptor(false);
	default:
		return true;
	}
}

SEC("lsm/file_ioctl")
int BPF_PROG(bt_ioctl, struct file *file, unsigned int command)
{
	if (!may_ioctl(file, command))
		DENY_BLOCK();
	return 0;
}

/* Of 32-bit processes. */
SEC("lsm/file_ioctl_compat")
int BPF_PROG(bt_ioctl32, struct file *file, unsigned int command)
{
	if (!may_ioctl(file, command))
		DENY_BLOCK();
	return 0;
}

/* Options that take a program's descriptor, or, of xt_bpf, a rule that may. */
static __always_inline bool takes_program(int level, int option)
{
	switch (level) {
	case SOL_SOCKET:
		return option == SO_ATTACH_BPF || option == SO_ATTACH_REUSEPORT_EBPF;
	case SOL_PACKET:
		return option == PACKET_FANOUT_DATA;
	case SOL_IP:
	case SOL_IPV6:
		return option == IPT_SO_SET_REPLACE;
	default:
		return false;
	}
}

SEC("lsm/socket_setsockopt")
int BPF_PROG(bt_setsockopt, struct socket *sock, int level, int option)
{
	if (takes_program(level, option) && !may_act_by_descriptor(false))
		DENY_BLOCK();
	return 0;
}

/*
 * XDP, tc and lightweight tunnels' programs by rtnetlink. A filter or action of
 * kind "bpf" may hold a classic program, so from who is not trusted it is refused
 * only if he holds another; nor does it say for certain whether packets come or
 * go.
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
	if ((scan.is_tc || scan.is_tunnel) && !may_act_by_descriptor(scan.is_tc))
		DENY_BLOCK();
	if (!scan.attaches_xdp && !scan.detaches_xdp && !scan.is_tc)
		return 0;
	standing = entitled_current();
	trusted = is_trusted(&standing);
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
