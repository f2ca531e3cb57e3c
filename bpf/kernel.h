/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What we use of the kernel's types, relocated against the running kernel's
 * BTF (CO-RE): only the named fields matter, not their order or size. Kept by
 * hand instead of a generated vmlinux.h so that a reader sees all that we
 * depend on.
 */
#ifndef BPFTRUST_KERNEL_H
#define BPFTRUST_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

/* include/uapi/asm-generic/errno-base.h, errno.h */
#define EPERM 1
#define EEXIST 17
#define E2BIG 7
#define ENOMEM 12
#define EACCES 13
#define EBUSY 16
#define EINVAL 22
#define ERANGE 34
#define ENODATA 61
#define EBADMSG 74
#define EOPNOTSUPP 95
#define EALREADY 114
#define ESTALE 116
#define ENOKEY 126
#define EKEYEXPIRED 127
#define EKEYREVOKED 128
#define EKEYREJECTED 129

/* include/uapi/linux/fsverity.h */
#define FS_VERITY_HASH_ALG_SHA256 1
#define FS_VERITY_HASH_ALG_SHA512 2

/* include/uapi/linux/sched.h, mman-common.h; include/linux/{binfmts,key,mm,ptrace,sched}.h */
#define CLONE_VM 0x100
#define PROT_WRITE 0x2
#define PROT_EXEC 0x4
#define VM_EXEC 0x4
#define LSM_UNSAFE_PTRACE 2
#define PTRACE_MODE_ATTACH 2
#define KEY_NEED_SEARCH 4
#define KEY_NEED_LINK 5
#define KEY_NEED_UNLINK 7
#define KEY_FLAG_UID_KEYRING 9
#define PF_FORKNOEXEC 0x00000040
#define PF_KTHREAD 0x00200000

/* include/uapi/linux/mount.h */
#define MS_REMOUNT 32
#define MS_BIND 4096
#define MS_MOVE 8192
#define MS_PROPAGATION (15 << 17) /* unbindable, private, slave, shared */

/* include/uapi/linux/capability.h, perf_event.h: _IOW('$', 8, __u32) */
#define CAP_MAC_ADMIN 33
#define PERF_EVENT_IOC_SET_BPF 0x40042408

/* include/uapi/linux/if_tun.h: _IOR('T', 224 and 225, int); kcm.h */
#define TUNSETSTEERINGEBPF 0x800454e0
#define TUNSETFILTEREBPF 0x800454e1
#define SIOCKCMATTACH 0x89e0

/* include/linux/socket.h, include/uapi/asm-generic/socket.h, if_packet.h,
 * netfilter_ipv4/ip_tables.h; IPv6 has the same number as IPv4 */
#define SOL_IP 0
#define SOL_SOCKET 1
#define SOL_IPV6 41
#define SOL_PACKET 263
#define SO_ATTACH_BPF 50
#define SO_ATTACH_REUSEPORT_EBPF 52
#define PACKET_FANOUT_DATA 22
#define IPT_SO_SET_REPLACE 64

/* include/uapi/linux/magic.h, include/linux/fs.h */
#define BPF_FS_MAGIC 0xcafe4a11
#define PROC_SUPER_MAGIC 0x9fa0
#define FMODE_WRITE 2

#define PERF_FILE "[perf_event]" /* kernel/events/core.c, perf_event_open */

/* include/uapi/linux/bpf.h: map types, map flags and arguments that we use */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_STRUCT_OPS = 26,
	BPF_MAP_TYPE_INODE_STORAGE = 28,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum bpf_prog_type {
	BPF_PROG_TYPE_CGROUP_SKB = 8,
	BPF_PROG_TYPE_STRUCT_OPS = 27,
	BPF_PROG_TYPE_EXT = 28,
	BPF_PROG_TYPE_SYSCALL = 31,
};
enum bpf_attach_type {
	BPF_CGROUP_INET_INGRESS = 0,
	BPF_TRACE_RAW_TP = 23,
	BPF_MODIFY_RETURN = 26,
	BPF_XDP = 37,
	BPF_PERF_EVENT = 41,
	BPF_STRUCT_OPS = 44,
	BPF_TCX_INGRESS = 46,
	BPF_TCX_EGRESS = 47,
};
enum bpf_link_type {
	BPF_LINK_TYPE_STRUCT_OPS = 9,
};
enum {
	BPF_F_LINK = 1U << 13,
	BPF_F_TOKEN_FD = 1U << 16,
};
enum {
	BPF_ANY,
	BPF_NOEXIST,
};
enum {
	BPF_F_NO_PREALLOC = 1U << 0,
};
enum {
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1U << 0,
};
enum {
	BPF_F_BPRM_SECUREEXEC = 1U << 0,
};

/* include/uapi/linux/bpf.h, so the same on every kernel */
struct bpf_sysctl {
	__u32 write;
	__u32 file_pos;
};

struct bpf_insn {
	__u8 code;
	__u8 registers; /* dst_reg in the low half, src_reg in the high one */
	__s16 off;
	__s32 imm;
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct dentry;

struct super_block {
	unsigned long s_magic;
	struct dentry *s_root;
};

struct inode {
	struct super_block *i_sb;
	void *i_private;
};

struct key_type;

/* security/keys: a keyring's content hangs in an associative array */
struct assoc_array_ptr;

struct assoc_array_node {
	struct assoc_array_ptr *slots[16];
};

struct assoc_array {
	struct assoc_array_ptr *root;
	unsigned long nr_leaves_on_tree;
};

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long bx;
	unsigned long cx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};

struct key_restriction {
	struct key *key;
	struct key_type *keytype;
};

union key_payload {
	void *data[4];
};

typedef struct {
	u32 val;
} kuid_t;

struct key {
	s32 serial;
	kuid_t uid;
	unsigned long flags;
	char *description;
	union key_payload payload;
	struct assoc_array keys;
	struct key_restriction *restrict_link;
	u32 perm;
};

/* include/crypto/public_key.h */
struct public_key {
	void *key;
	u32 keylen;
};

struct bpf_key {
	struct key *key;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct qstr {
	const unsigned char *name;
};

struct dentry {
	struct inode *d_inode;
	struct qstr d_name;
	struct dentry *d_parent;
	struct super_block *d_sb;
};

struct vfsmount {
	struct super_block *mnt_sb;
};

struct list_head {
	struct list_head *next;
};

/* fs/mount.h; mnt_slave_list is a hlist_head since 6.17 */
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct list_head mnt_mounts;
	struct list_head mnt_child;
	struct list_head mnt_share;
	struct list_head mnt_slave_list;
	struct mnt_namespace *mnt_ns;
};

struct mnt_namespace {
	struct mount *root;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct file {
	unsigned int f_mode;
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
};

struct fs_struct {
	struct path root;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
	unsigned long *open_fds;
};

struct files_struct {
	struct fdtable *fdt;
};

struct sock_filter {
	__u16 code;
	__u8 jt;
	__u8 jf;
	__u32 k;
};

struct sock_fprog_kern {
	u16 len;
	struct sock_filter *filter;
};

struct btf_type {
	u32 name_off;
};

struct btf {
	struct btf_type **types;
	u32 nr_types;
	const char *strings;
	struct btf *base_btf;
};

struct bpf_prog_aux {
	u32 id;
	u32 attach_btf_id;
	struct btf *attach_btf;
	struct bpf_token *token;
	char name[16];
	/* 7.3: what became of its signature (Documentation/bpf/signing.rst) */
	struct {
		s32 keyring_serial;
		u8 keyring_type;
		u8 verdict;
	} sig;
};

struct bpf_prog {
	enum bpf_prog_type type;
	enum bpf_attach_type expected_attach_type;
	u32 len;
	struct bpf_prog_aux *aux;
	struct sock_fprog_kern *orig_prog;
	struct bpf_insn insnsi[0];
};

struct bpf_map {
	enum bpf_map_type map_type;
	u32 map_flags;
	u32 id;
	char name[16];
	struct bpf_map *inner_map_meta;
};

struct bpf_link {
	u32 id;
	enum bpf_link_type type;
	struct bpf_prog *prog;
};

struct bpf_struct_ops_link {
	struct bpf_map *map;
};

struct bpf_token {
	u64 allowed_cmds;
	u64 allowed_maps;
	u64 allowed_progs;
	u64 allowed_attachs;
};

/* Until 7.3 with an allocator of its own (kernel/bpf/bpf_local_storage.c). */
struct bpf_local_storage_map {
	struct {
		void *cache;
	} selem_ma;
};

struct socket;

/* Since 6.18, of PROG_LOAD. */
union bpf_attr {
	struct {
		u64 signature;
		s32 keyring_id;
	};
};

struct sock {
	u16 sk_protocol;
};

struct sk_buff {
	unsigned char *data;
	unsigned int len;
};

struct user_namespace {
	int level;
};

struct cred {
	struct {
		u64 val;
	} cap_effective;
	struct user_namespace *user_ns;
};

struct notification;

struct seccomp_filter {
	struct seccomp_filter *prev;
	struct bpf_prog *prog;
	struct notification *notif;
};

struct seccomp {
	struct seccomp_filter *filter;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

/* include/linux/pid.h: the threads with this number */
struct pid {
	struct hlist_head tasks[1];
};

/* fs/proc/internal.h */
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

/* fs/kernfs, kernel/cgroup: a directory's name */
struct kernfs_node {
	const char *name;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	unsigned int flags;
	unsigned int ptrace;
	struct mm_struct *mm;
	struct hlist_node pid_links[1];
	int pid;
	int tgid;
	u64 start_boottime;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	const struct cred *cred;
	struct seccomp seccomp;
	char comm[16];
};

struct linux_binprm {
	struct file *executable;
	struct file *loader;
	struct file *file;
	unsigned long p;
	int argc;
	int unsafe;
	const char *filename;
	const char *interp;
};

struct vm_area_struct {
	unsigned long vm_flags;
	struct file *vm_file;
	void *anon_vma;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	u64 session_id;
	u64 seq_num;
};

struct bpf_iter__bpf_prog {
	struct bpf_iter_meta *meta;
	struct bpf_prog *prog;
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
};

struct bpf_iter__bpf_link {
	struct bpf_iter_meta *meta;
	struct bpf_link *link;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

#pragma clang attribute pop

/* Opaque to us, with the size that the kernel's uapi fixes. */
struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_iter_task {
	__u64 opaque[3];
} __attribute__((aligned(8)));

enum {
	BPF_TASK_ITER_ALL_PROCS,
	BPF_TASK_ITER_ALL_THREADS,
	BPF_TASK_ITER_PROC_THREADS,
};

/* include/uapi/linux/seccomp.h, bpf_common.h */
#define SECCOMP_RET_ACTION_FULL 0xffff0000U
#define SECCOMP_RET_DATA 0x0000ffffU
#define SECCOMP_RET_ERRNO 0x00050000U
#define SECCOMP_RET_USER_NOTIF 0x7fc00000U
#define SECCOMP_RET_TRACE 0x7ff00000U
#define BPF_CLASS(code) ((code) & 0x07)
#define BPF_RET 0x06
#define BPF_RVAL(code) ((code) & 0x18)
#define BPF_K 0x00
#define BPF_MAXINSNS 4096

/* fs/bpf_fs_kfuncs.c, fs/verity/measure.c, kernel/trace/bpf_trace.c (6.12) */
extern int bpf_get_file_xattr(struct file *file, const char *name__str, struct bpf_dynptr *value_p)
	__attribute__((section(".ksyms")));
extern int bpf_get_fsverity_digest(struct file *file, struct bpf_dynptr *digest_p)
	__attribute__((section(".ksyms")));
extern struct file *bpf_get_task_exe_file(struct task_struct *task)
	__attribute__((section(".ksyms")));
extern void bpf_put_file(struct file *file) __attribute__((section(".ksyms")));
extern int bpf_path_d_path(const struct path *path, char *buf, u64 buf__sz)
	__attribute__((section(".ksyms")));
extern struct bpf_key *bpf_lookup_user_key(u32 serial, u64 flags)
	__attribute__((section(".ksyms")));
extern struct bpf_key *bpf_lookup_system_key(u64 id) __attribute__((section(".ksyms")));
extern void bpf_key_put(struct bpf_key *key) __attribute__((section(".ksyms")));
extern int bpf_verify_pkcs7_signature(struct bpf_dynptr *data, struct bpf_dynptr *sig,
				      struct bpf_key *ring) __attribute__((section(".ksyms")));

/* kernel/bpf/helpers.c, kernel/bpf/task_iter.c */
extern void bpf_rcu_read_lock(void) __attribute__((section(".ksyms")));
extern void bpf_rcu_read_unlock(void) __attribute__((section(".ksyms")));
extern int bpf_iter_task_new(struct bpf_iter_task *it, struct task_struct *task__nullable,
			     unsigned int flags) __attribute__((section(".ksyms")));
extern struct task_struct *bpf_iter_task_next(struct bpf_iter_task *it)
	__attribute__((section(".ksyms")));
extern void bpf_iter_task_destroy(struct bpf_iter_task *it) __attribute__((section(".ksyms")));

#endif
