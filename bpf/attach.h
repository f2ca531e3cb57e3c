/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Attaching: which attach type a call asks for, also where it isn't bpf() that
 * is called. A program whose type or attach type is fixed when it is loaded
 * (tracing, LSM) was judged then.
 */
#ifndef BPFTRUST_ATTACH_H
#define BPFTRUST_ATTACH_H

/* Where union bpf_attr has them (include/uapi/linux/bpf.h). */
#define ATTR_ATTACH_TYPE 8 /* of LINK_CREATE, PROG_ATTACH, PROG_DETACH */
#define ATTR_TRACEPOINT 0  /* of RAW_TRACEPOINT_OPEN: address of the name */
#define ATTR_LINK 0	   /* of LINK_UPDATE, LINK_DETACH, ITER_CREATE, OBJ_GET_INFO_BY_FD */
#define ATTR_PINNED 8	   /* of OBJ_PIN */
#define ATTR_RUN 0	   /* of PROG_TEST_RUN */
#define ATTR_LINKED 0	   /* program of LINK_CREATE, */
#define ATTR_ATTACHED 4	   /* of PROG_ATTACH, */
#define ATTR_TRACING 8	   /* of RAW_TRACEPOINT_OPEN */

/* No attach type is asked for. */
#define ATTACHES_NOTHING (~0U)

/*
 * Which attach type does this call ask for? The kernel holds the type against
 * the program afterwards (kernel/bpf/syscall.c, bpf_prog_attach_check_attach_type).
 * @attr is the kernel's copy: nobody changes it meanwhile.
 */
static __always_inline u32 attach_of(u32 command, u64 attr)
{
	u64 name = 0;
	u32 type = ATTACHES_NOTHING;

	switch (command) {
	case BT_COMMAND_LINK_CREATE:
	case BT_COMMAND_PROG_ATTACH:
	case BT_COMMAND_PROG_DETACH:
		bpf_probe_read_kernel(&type, sizeof(type), (void *)(attr + ATTR_ATTACH_TYPE));
		/* One that can't be read is no type of the kernel's. */
		return type;
	case BT_COMMAND_RAW_TRACEPOINT_OPEN:
		/* Without a name it is a program whose target is fixed. */
		bpf_probe_read_kernel(&name, sizeof(name), (void *)(attr + ATTR_TRACEPOINT));
		return name ? BPF_TRACE_RAW_TP : ATTACHES_NOTHING;
	default:
		return ATTACHES_NOTHING;
	}
}

/* Does this call take a descriptor that may be a link's? Then @fd is that. */
static __always_inline bool takes_link(u32 command, u64 attr, u32 *fd)
{
	switch (command) {
	case BT_COMMAND_LINK_UPDATE:
	case BT_COMMAND_LINK_DETACH:
	case BT_COMMAND_ITER_CREATE:
	case BT_COMMAND_OBJ_GET_INFO_BY_FD:
		return !bpf_probe_read_kernel(fd, sizeof(*fd), (void *)(attr + ATTR_LINK));
	case BT_COMMAND_OBJ_PIN:
		return !bpf_probe_read_kernel(fd, sizeof(*fd), (void *)(attr + ATTR_PINNED));
	default:
		return false;
	}
}

/*
 * Links of freplace programs have the attach type 0, which else is that of a
 * cgroup_skb program for ingress: who may load no cgroup_skb programs means
 * freplace.
 */
static __always_inline bool is_freplace(const struct bt_rights *rights, u32 command, u32 type)
{
	return command == BT_COMMAND_LINK_CREATE && type == BPF_CGROUP_INET_INGRESS &&
	       has(rights->programs, BPF_PROG_TYPE_EXT) &&
	       !has(rights->programs, BPF_PROG_TYPE_CGROUP_SKB);
}

/* ---- rtnetlink --------------------------------------------------------- */

/* include/uapi/linux/netlink.h, rtnetlink.h, if_link.h, pkt_cls.h */
#define NETLINK_ROUTE 0
#define RTM_NEWLINK 16
#define RTM_SETLINK 19
#define RTM_NEWROUTE 24
#define RTM_NEWTFILTER 44
#define RTM_NEWACTION 48
#define LINK_ATTRIBUTES 32 /* behind struct nlmsghdr and struct ifinfomsg */
#define LWTUNNEL_ENCAP_BPF 6
#define RTA_ENCAP_TYPE 21
#define IFLA_XDP 43
#define IFLA_XDP_FD 1
#define NLA_TYPE_MASK 0x3fff
#define NLA_KIND 1	    /* TCA_KIND, TCA_ACT_KIND */
#define KIND_BPF 0x00667062 /* "bpf" */
#define NETLINK_ALIGN(size) (((size) + 3) & ~3U)

/* More than this in one send is taken for an attachment of every kind. */
#define MESSAGES_MAX 65536

struct nlmsghdr {
	u32 nlmsg_len;
	u16 nlmsg_type;
	u16 nlmsg_flags;
	u32 nlmsg_seq;
	u32 nlmsg_pid;
};

struct nlattr {
	u16 nla_len;
	u16 nla_type;
};

/* What a send asks rtnetlink for. */
struct netlink_scan {
	u64 at;	  /* address of what is left */
	u32 left; /* bytes */
	bool attaches_xdp;
	bool detaches_xdp;
	bool is_tc;	/* a filter or action of kind "bpf" */
	bool is_tunnel; /* a route with programs */
};

/* A run of attributes. Of several with one type the kernel takes the last, so
 * all are looked at. */
struct attribute_scan {
	u64 at;
	u32 left;
	bool attaches_xdp;
	bool detaches_xdp;
};

/* Takes the attribute at the front; false if there is none. */
static __always_inline bool next_attribute(struct attribute_scan *scan, struct nlattr *attribute,
					   u64 *content)
{
	u32 step;

	if (scan->left < sizeof(*attribute) ||
	    bpf_probe_read_kernel(attribute, sizeof(*attribute), (void *)scan->at) ||
	    attribute->nla_len < sizeof(*attribute) || attribute->nla_len > scan->left)
		return false;
	*content = scan->at + sizeof(*attribute);
	step = NETLINK_ALIGN((u32)attribute->nla_len);
	scan->at += step;
	scan->left = step > scan->left ? 0 : scan->left - step;
	return true;
}

static int scan_xdp_attribute(u64 index, struct attribute_scan *scan)
{
	struct nlattr attribute;
	u64 content;
	s32 fd = -1;

	if (!next_attribute(scan, &attribute, &content))
		return 1;
	if ((attribute.nla_type & NLA_TYPE_MASK) != IFLA_XDP_FD)
		return 0;
	bpf_probe_read_kernel(&fd, sizeof(fd), (void *)content);
	scan->attaches_xdp |= fd >= 0;
	scan->detaches_xdp |= fd < 0;
	return 0;
}

static int scan_link_attribute(u64 index, struct attribute_scan *scan)
{
	struct attribute_scan xdp = {};
	struct nlattr attribute;
	u64 content;

	if (!next_attribute(scan, &attribute, &content))
		return 1;
	if ((attribute.nla_type & NLA_TYPE_MASK) != IFLA_XDP)
		return 0;
	xdp.at = content;
	xdp.left = attribute.nla_len - sizeof(attribute);
	bpf_loop(xdp.left / sizeof(attribute), scan_xdp_attribute, &xdp, 0);
	scan->attaches_xdp |= xdp.attaches_xdp;
	scan->detaches_xdp |= xdp.detaches_xdp;
	return 0;
}

/*
 * An attribute "kind" that says "bpf", at any depth: actions are nested in the
 * options of filters of every kind. Attributes begin at multiples of four.
 */
static int scan_kind(u64 index, struct netlink_scan *scan)
{
	struct {
		struct nlattr head;
		u32 kind;
	} words = {};

	if (bpf_probe_read_kernel(&words, sizeof(words), (void *)(scan->at + index * 4)))
		return 1;
	if ((words.head.nla_type & NLA_TYPE_MASK) != NLA_KIND || words.head.nla_len < 7)
		return 0;
	/* Seven bytes are a name without its NUL. */
	if (words.head.nla_len == 7)
		words.kind &= 0xffffff;
	scan->is_tc |= words.kind == KIND_BPF;
	return scan->is_tc;
}

/* An encapsulation by programs, at any depth: next hops have their own. The type
 * has 16 bits and, in the kernel's policy, no other size. */
static int scan_encapsulation(u64 index, struct netlink_scan *scan)
{
	struct {
		struct nlattr head;
		u16 type;
	} words = {};

	if (bpf_probe_read_kernel(&words, sizeof(words), (void *)(scan->at + index * 4)))
		return 1;
	scan->is_tunnel |= (words.head.nla_type & NLA_TYPE_MASK) == RTA_ENCAP_TYPE &&
			   words.head.nla_len >= 6 && words.type == LWTUNNEL_ENCAP_BPF;
	return scan->is_tunnel;
}

static int scan_message(u64 index, struct netlink_scan *scan)
{
	struct attribute_scan attributes = {};
	struct nlmsghdr header;
	u32 step, length;

	if (scan->left < sizeof(header) ||
	    bpf_probe_read_kernel(&header, sizeof(header), (void *)scan->at))
		return 1;
	length = header.nlmsg_len;
	if (length < sizeof(header) || length > scan->left)
		return 1;
	if ((header.nlmsg_type == RTM_NEWLINK || header.nlmsg_type == RTM_SETLINK) &&
	    length > LINK_ATTRIBUTES) {
		attributes.at = scan->at + LINK_ATTRIBUTES;
		attributes.left = length - LINK_ATTRIBUTES;
		bpf_loop(attributes.left / sizeof(struct nlattr), scan_link_attribute, &attributes,
			 0);
		scan->attaches_xdp |= attributes.attaches_xdp;
		scan->detaches_xdp |= attributes.detaches_xdp;
	}
	if (header.nlmsg_type == RTM_NEWTFILTER || header.nlmsg_type == RTM_NEWACTION)
		bpf_loop(length / 4, scan_kind, scan, 0);
	if (header.nlmsg_type == RTM_NEWROUTE)
		bpf_loop(length / 4, scan_encapsulation, scan, 0);
	step = NETLINK_ALIGN(length);
	scan->at += step;
	scan->left = step > scan->left ? 0 : scan->left - step;
	return 0;
}

/* netlink_rcv_skb() (net/netlink/af_netlink.c) takes all messages of a send. */
static __always_inline void scan_netlink(struct sk_buff *skb, struct netlink_scan *scan)
{
	scan->at = (u64)BPF_CORE_READ(skb, data);
	scan->left = BPF_CORE_READ(skb, len);
	if (bpf_loop(MESSAGES_MAX, scan_message, scan, 0) == MESSAGES_MAX)
		scan->attaches_xdp = scan->detaches_xdp = scan->is_tc = scan->is_tunnel = true;
}

#endif
