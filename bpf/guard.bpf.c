// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * bpftrust's kernel side: it decides; user space configures and reports.
 *
 *   bprm_committed_creds   exec: whatever trust there was ends; the file's
 *                          signature and the circumstances decide anew
 *   task_alloc, task_free  fork: an own record, or a shared one with CLONE_VM
 *   bpf                    every command of bpf(), and what it attaches to
 *   bpf_map_create,        rights by type, and what a program can do; who made
 *   bpf_prog_load,         what, until its *_free
 *   bpf_map_free,
 *   bpf_prog_free
 *   file_ioctl,            programs attached without bpf(): perf, XDP and tc by
 *   file_ioctl_compat,     rtnetlink
 *   netlink_send
 *   mmap_file,             code that was not signed costs the address space
 *   file_mprotect          its trust
 *   ptrace_access_check,   nobody untrusted reaches into a trusted process
 *   ptrace_traceme
 *   inode_post_setxattr,   a changed signature is judged again
 *   inode_post_removexattr
 *   task_prctl             another policy takes effect
 *
 * A hook gathers, calls the one function that decides, reports. What can't be
 * decided is refused; an exec never fails because of us, it gets no trust.
 *
 * A pointer argument may be NULL although the verifier holds otherwise, and
 * then deletes the test (kernel/bpf/btf.c, btf_ctx_access): where it may,
 * hooks read it through bpf_get_func_arg() first.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Each builds on those before it. */
#include "abi.h"
#include "report.h"
#include "image.h"
#include "policy.h"
#include "entitle.h"
#include "verdict.h"
#include "launch.h"
#include "program.h"
#include "object.h"
#include "attach.h"
#include "apply.h"

char LICENSE[] SEC("license") = "GPL";

/* Not used here: user space takes these types from this object's BTF. */
const volatile struct {
	struct bt_envelope envelope;
	struct bt_statement statement;
	enum bt_kind kind;
	enum bt_ability ability;
	enum bt_reason reason;
	enum bt_action action;
	enum bt_outcome outcome;
	enum bt_command command;
	enum bt_object object;
	enum bt_ring ring;
	enum bt_rule_kind rule_kind;
	enum bt_handover handover;
	enum bt_limit limit;
	struct bt_policy policy;
	struct bt_publisher publisher;
	struct bt_rule rule;
	struct bt_owned owned;
	struct bt_question question;
} exported;

/*
 * How a hook says no. The return value is a constant in its own basic block:
 * 6.12's verifier takes no other shape for certain (it wants the range of what
 * an LSM program returns).
 */
#define DENY_BLOCK()                 \
	do {                         \
		asm volatile("" ::); \
		return -EPERM;       \
	} while (0)

/* Nothing is decided before the tasks that run already were marked. */
static __always_inline bool armed(void)
{
	struct bt_state *guard = guard_state();

	return guard && *(volatile u64 *)&guard->started;
}

static __always_inline u64 argument(void *ctx, u32 index)
{
	u64 value = 0;

	bpf_get_func_arg(ctx, index, &value);
	return value;
}

/* Of several signatures for the same content by one publisher, that of the
 * highest version counts, of all that were ever seen. Without a grant it is 0. */
struct seen_id {
	u8 digest[32];
	u8 publisher[BT_NAME_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct seen_id);
	__type(value, u64);
} seen SEC(".maps");

/* How often the highest version may be raised by others meanwhile. */
#define SEEN_TRIES 8

/* Is its version the highest that was seen? Then that is kept. */
static __noinline u8 judge_version(const struct bt_image *image)
{
	u64 version = image->grant.version, zero = 0, *highest, found;
	struct seen_id id;

	__builtin_memcpy(id.digest, image->digest.bytes, sizeof(id.digest));
	__builtin_memcpy(id.publisher, image->publisher, sizeof(id.publisher));
	highest = bpf_map_lookup_elem(&seen, &id);
	/* Below any other, so that none needs to be remembered. */
	if (!highest && !version)
		return BT_REASON_NONE;
	if (!highest) {
		bpf_map_update_elem(&seen, &id, &zero, BPF_NOEXIST);
		highest = bpf_map_lookup_elem(&seen, &id);
	}
	if (!highest) {
		count_starved();
		return BT_REASON_RESOURCES;
	}
	for (u32 i = 0; i < SEEN_TRIES; i++) {
		found = *(volatile u64 *)highest;
		if (version < found)
			return BT_REASON_TOO_OLD;
		if (version == found ||
		    __sync_val_compare_and_swap(highest, found, version) == found)
			return BT_REASON_NONE;
	}
	return BT_REASON_RESOURCES;
}

/*
 * What executing @bprm->file makes of current, into @scratch->image. The answer
 * is a reason, NONE for trust.
 */
static __always_inline u8 judge_exec(struct linux_binprm *bprm, struct scratch *scratch)
{
	struct verdict *verdict = &scratch->verdict;
	struct bt_image *image = &scratch->image;
	struct bt_rights rights;
	u8 reason;

	__builtin_memset(image, 0, sizeof(*image));
	judge_file(bprm->file, scratch);
	__builtin_memcpy(image->key, verdict->key, sizeof(image->key));
	if (verdict->reason != BT_REASON_NONE)
		return verdict->reason;
	if (verdict->kind != BT_KIND_LOADER)
		return BT_REASON_WRONG_KIND;
	reason = launch_reason(bprm);
	if (reason != BT_REASON_NONE)
		return reason;
	measure(bprm->file, &image->digest);
	image->started = bpf_ktime_get_boot_ns();
	image->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(image->comm, sizeof(image->comm));
	image->granted = verdict->granted;
	__builtin_memcpy(&image->grant, &verdict->grant, sizeof(image->grant));
	reason = refresh(image, &rights);
	return reason == BT_REASON_NONE ? judge_version(image) : reason;
}

SEC("lsm.s/bprm_committed_creds")
int BPF_PROG(bt_exec, struct linux_binprm *bprm)
{
	struct decision decision = { .action = BT_ACTION_EXEC, .outcome = BT_OUTCOME_DENIED };
	struct task_struct *current = bpf_get_current_task_btf();
	u64 task = bpf_get_current_task();
	struct bt_image *image = NULL;
	struct scratch *scratch = NULL;

	forget_task(task);
	decision.reason = look_for_signature(bprm->file);
	if (decision.reason == BT_REASON_NO_SIGNATURE)
		return 0;
	if (decision.reason == BT_REASON_NONE) {
		scratch = bpf_task_storage_get(&scratches, current, NULL,
					       BPF_LOCAL_STORAGE_GET_F_CREATE);
		decision.reason = scratch ? judge_exec(bprm, scratch) : BT_REASON_RESOURCES;
	}
	if (scratch && decision.reason == BT_REASON_NONE) {
		image = own_image(task, &scratch->image);
		if (!image)
			decision.reason = BT_REASON_RESOURCES;
	}
	if (image) {
		decision.outcome = BT_OUTCOME_ALLOWED;
		/* The dynamic linker then ignores LD_PRELOAD and its like. */
		if (!audit)
			bpf_bprm_opts_set(bprm, BPF_F_BPRM_SECUREEXEC);
	} else {
		set_entry(task, decision.reason, BPF_ANY);
	}
	report(&decision, scratch ? &scratch->image : NULL);
	if (scratch)
		bpf_task_storage_delete(&scratches, current);
	return 0;
}

SEC("lsm/task_alloc")
int BPF_PROG(bt_fork, struct task_struct *task, unsigned long clone_flags)
{
	inherit(bpf_get_current_task(), argument(ctx, 0), clone_flags & CLONE_VM);
	return 0;
}

SEC("lsm/task_free")
int BPF_PROG(bt_exit, struct task_struct *task)
{
	forget_task(argument(ctx, 0));
	return 0;
}

/* Reports a refusal, if @decision is one. In audit mode nothing is refused. */
static __always_inline bool refuse(struct decision *decision, struct bt_image *image)
{
	if (decision->reason == BT_REASON_NONE)
		return false;
	decision->outcome = BT_OUTCOME_DENIED;
	report(decision, image);
	return !audit;
}

/* Asks for one right more, unless one was refused already. */
static __always_inline void ask(struct decision *decision, const struct standing *standing,
				u32 object, u32 number)
{
	if (decision->reason != BT_REASON_NONE)
		return;
	decision->reason = decide(standing, object, number);
	/* A reason against all of it is not about this one right. */
	if (decision->reason == BT_REASON_NONE || standing->reason != BT_REASON_NONE)
		return;
	decision->object = object;
	decision->number = number;
}

/* Reports an allowed command once per image: a map is read often. */
static __always_inline void report_allowed(struct bt_image *image, u32 command)
{
	struct decision decision = {
		.action = BT_ACTION_BPF,
		.outcome = BT_OUTCOME_ALLOWED,
		.subject = command,
	};
	u64 bit = 1ULL << (command & 63);

	if (!(__sync_fetch_and_or(&image->reported, bit) & bit))
		report(&decision, image);
}

SEC("lsm/bpf")
int BPF_PROG(bt_bpf, int command)
{
	struct decision decision = { .action = BT_ACTION_BPF, .subject = command };
	struct standing standing;
	u32 attach;

	if (!armed())
		return 0;
	standing = entitled_current();
	ask(&decision, &standing, BT_OBJECT_COMMAND, command);
	attach = attach_of(command, argument(ctx, 1));
	if (attach != ATTACHES_NOTHING && !is_freplace(&standing.rights, command, attach))
		ask(&decision, &standing, BT_OBJECT_ATTACH, attach);
	if (command == BT_COMMAND_TOKEN_CREATE)
		ask(&decision, &standing, BT_OBJECT_ABILITY, BT_ABILITY_DELEGATE);
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	if (decision.reason == BT_REASON_NONE && standing.image)
		report_allowed(standing.image, command);
	return 0;
}

/*
 * The type of a map, also of those that are to be inside it. A struct_ops map
 * without a link attaches by being written to (kernel/bpf/bpf_struct_ops.c).
 */
SEC("lsm/bpf_map_create")
int BPF_PROG(bt_map, struct bpf_map *map)
{
	struct decision decision = { .action = BT_ACTION_BPF, .subject = BT_COMMAND_MAP_CREATE };
	struct standing standing;
	struct bpf_map *inner;

	if (!armed())
		return 0;
	standing = entitled_current();
	ask(&decision, &standing, BT_OBJECT_MAP, map->map_type);
	inner = BPF_CORE_READ(map, inner_map_meta);
	if (inner)
		ask(&decision, &standing, BT_OBJECT_MAP, BPF_CORE_READ(inner, map_type));
	if (map->map_type == BPF_MAP_TYPE_STRUCT_OPS && !(map->map_flags & BPF_F_LINK))
		ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_STRUCT_OPS);
	if (decision.reason == BT_REASON_NONE && standing.image &&
	    !own(argument(ctx, 0), BT_OBJECT_MAP, map->map_type, standing.image))
		decision.reason = BT_REASON_RESOURCES;
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	return 0;
}

/*
 * The type of a program, what it is to be attached to where it says so, and
 * what it can do. For struct_ops the number in expected_attach_type is that of
 * a member (kernel/bpf/verifier.c, check_struct_ops_btf_id).
 */
SEC("lsm/bpf_prog_load")
int BPF_PROG(bt_load, struct bpf_prog *prog)
{
	struct decision decision = { .action = BT_ACTION_BPF, .subject = BT_COMMAND_PROG_LOAD };
	u32 type = prog->type, attach = prog->expected_attach_type;
	struct standing standing;
	u64 abilities;

	if (!armed())
		return 0;
	standing = entitled_current();
	ask(&decision, &standing, BT_OBJECT_PROGRAM, type);
	if (attach && type != BPF_PROG_TYPE_STRUCT_OPS)
		ask(&decision, &standing, BT_OBJECT_ATTACH, attach);
	if (decision.reason == BT_REASON_NONE) {
		abilities = program_takes(prog, argument(ctx, 0));
		for (u32 i = 0; i <= BT_ABILITY_OTHER_KFUNCS; i++)
			if (has(abilities, i))
				ask(&decision, &standing, BT_OBJECT_ABILITY, i);
	}
	if (decision.reason == BT_REASON_NONE && standing.image &&
	    !own((u64)prog->aux, BT_OBJECT_PROGRAM, type, standing.image))
		decision.reason = BT_REASON_RESOURCES;
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/bpf_map_free")
int BPF_PROG(bt_map_end, struct bpf_map *map)
{
	u64 address = argument(ctx, 0);

	bpf_map_delete_elem(&objects, &address);
	return 0;
}

SEC("lsm/bpf_prog_free")
int BPF_PROG(bt_load_end, struct bpf_prog *prog)
{
	u64 address = (u64)prog->aux;

	bpf_map_delete_elem(&objects, &address);
	return 0;
}

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

/*
 * Costs @image its trust, unless it may have code of its own. That it has is
 * kept, for a policy that takes that away.
 */
static __always_inline void runs_own_code(void)
{
	struct standing standing = entitled_current();

	if (!standing.image || standing.reason != BT_REASON_NONE)
		return;
	if (allows(&standing.rights, BT_OBJECT_ABILITY, BT_ABILITY_OWN_CODE))
		standing.image->own_code = 1;
	else
		taint(standing.image, BT_REASON_WRITABLE_CODE);
}

/*
 * Executable memory that is not a file's: what runs there was not signed.
 * Anonymous memory has no file; PROT_WRITE beside PROT_EXEC is no better.
 */
SEC("lsm/mmap_file")
int BPF_PROG(bt_mmap, struct file *file, unsigned long reqprot, unsigned long prot)
{
	if (!(prot & PROT_EXEC))
		return 0;
	if (!argument(ctx, 0) || (prot & PROT_WRITE))
		runs_own_code();
	return 0;
}

/*
 * The same for memory that becomes executable later, a file's included: the
 * dynamic linker maps code as code. What was code already stays it, unless it
 * was written to: such private pages hang in the area's anon_vma.
 */
SEC("lsm/file_mprotect")
int BPF_PROG(bt_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	if (!(prot & PROT_EXEC))
		return 0;
	if (!(BPF_CORE_READ(vma, vm_flags) & VM_EXEC) || !BPF_CORE_READ(vma, vm_file) ||
	    BPF_CORE_READ(vma, anon_vma) || (prot & PROT_WRITE))
		runs_own_code();
	return 0;
}

/* May @tracer reach into @target? The answer is a reason, NONE for yes. */
static __always_inline u8 may_trace(struct standing *tracer, struct standing *target)
{
	if (!is_trusted(target) || is_trusted(tracer))
		return BT_REASON_NONE;
	return tracer->reason ?: BT_REASON_RESOURCES;
}

/* Every way to write a process's memory or take its descriptors asks for
 * PTRACE_MODE_ATTACH (kernel/ptrace.c, mm/process_vm_access.c, fs/proc/base.c,
 * kernel/pid.c pidfd_getfd). */
SEC("lsm/ptrace_access_check")
int BPF_PROG(bt_trace, struct task_struct *child, unsigned int mode)
{
	struct decision decision = { .action = BT_ACTION_TRACE };
	struct standing tracer, target;

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	target = standing_of(argument(ctx, 0));
	tracer = standing_of_current();
	decision.subject = BPF_CORE_READ(child, tgid);
	decision.reason = may_trace(&tracer, &target);
	if (refuse(&decision, tracer.image))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(bt_traceme, struct task_struct *parent)
{
	struct decision decision = { .action = BT_ACTION_TRACE };
	struct standing tracer, target;

	target = standing_of_current();
	tracer = standing_of(argument(ctx, 0));
	decision.subject = BPF_CORE_READ(parent, tgid);
	decision.reason = may_trace(&tracer, &target);
	if (refuse(&decision, target.image))
		DENY_BLOCK();
	return 0;
}

SEC("lsm/inode_post_setxattr")
int BPF_PROG(bt_setxattr, struct dentry *dentry, const char *name)
{
	if (is_ours(name))
		xattr_changed(dentry->d_inode);
	return 0;
}

SEC("lsm/inode_post_removexattr")
int BPF_PROG(bt_removexattr, struct dentry *dentry, const char *name)
{
	if (is_ours(name))
		xattr_changed(dentry->d_inode);
	return 0;
}

/* How the answer to prctl() leaves, see DENY_BLOCK: 0 would mean "not mine". */
#define ANSWER(error, code)                  \
	do {                                 \
		if ((error) == -(code)) {    \
			asm volatile("" ::); \
			return -(code);      \
		}                            \
	} while (0)

SEC("lsm.s/task_prctl")
int BPF_PROG(bt_prctl, int option, unsigned long policy, unsigned long size)
{
	struct decision decision = { .action = BT_ACTION_POLICY, .outcome = BT_OUTCOME_ALLOWED };
	struct bt_state *guard = guard_state();
	int error;

	if (option != BT_PRCTL_POLICY || !guard)
		return 0;
	error = apply(guard, policy, size);
	if (error == -EALREADY)
		report(&decision, NULL);
	ANSWER(error, EALREADY);
	ANSWER(error, EPERM);
	ANSWER(error, EBUSY);
	ANSWER(error, ESTALE);
	ANSWER(error, E2BIG);
	ANSWER(error, ENOMEM);
	asm volatile("" ::);
	return -EINVAL;
}

/* Thread groups that the admin vouches for (--adopt), and the images made for
 * them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_ADOPTED);
	__type(key, u32);
	__type(value, u64);
} adopted SEC(".maps");

static __always_inline void mark(struct task_struct *task)
{
	struct bt_image *image = NULL;
	u64 key = (u64)task;
	u32 tgid = task->tgid;
	u64 *id;

	if (bpf_map_lookup_elem(&tasks, &key))
		return;
	id = bpf_map_lookup_elem(&adopted, &tgid);
	if (id)
		image = image_by_id(*id);
	if (!image) {
		set_entry(key, BT_REASON_BEFORE, BPF_NOEXIST);
		return;
	}
	__sync_fetch_and_add(&image->tasks, 1);
	if (!set_entry(key, *id, BPF_NOEXIST))
		__sync_fetch_and_sub(&image->tasks, 1);
}

/*
 * Run once by `enforce`, when all hooks are attached and before it ends: marks
 * every task that runs already, and from then on the hooks decide. A task that
 * is forked meanwhile is at the end of the list or inherits its parent's mark;
 * one that is executed meanwhile has been decided on and keeps that.
 */
SEC("syscall")
int bt_arm(void *ctx)
{
	struct bt_state *guard = guard_state();
	struct task_struct *task;
	struct bpf_iter_task it;

	if (!guard || guard->started || !guard->generation)
		return 1;
	bpf_rcu_read_lock();
	bpf_iter_task_new(&it, NULL, BPF_TASK_ITER_ALL_THREADS);
	while ((task = bpf_iter_task_next(&it)))
		mark(task);
	bpf_iter_task_destroy(&it);
	bpf_rcu_read_unlock();
	guard->form = BT_FORM;
	guard->audit = audit;
	wall_clock(guard);
	*(volatile u64 *)&guard->started = bpf_ktime_get_boot_ns();
	return 0;
}

/*
 * The function that decides about rights, with questions of user space's: run
 * by tests, so that what is said of policies elsewhere is what is decided here.
 */
SEC("syscall")
int bt_decide(struct bt_question *asked)
{
	struct bt_question question;

	if (bpf_probe_read_kernel(&question, sizeof(question), asked))
		return 1;
	intersect(&question.grant, &question.publisher);
	intersect(&question.grant, &question.policy);
	asked->reason = judge_right(&question.grant, question.object, question.number);
	asked->effective.commands = question.grant.commands;
	asked->effective.programs = question.grant.programs;
	asked->effective.maps = question.grant.maps;
	asked->effective.attaches[0] = question.grant.attaches[0];
	asked->effective.attaches[1] = question.grant.attaches[1];
	asked->effective.abilities = question.grant.abilities;
	return 0;
}

/* What user space may read, as bytes of abi.h: iterators pinned beside us. */
static __always_inline int show(struct bpf_iter__bpf_map_elem *ctx, u32 size)
{
	struct seq_file *seq = ctx->meta->seq;
	void *value = ctx->value;

	if (value)
		bpf_seq_write(seq, value, size);
	return 0;
}

SEC("iter/bpf_map_elem")
int bt_show_state(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_state));
}

SEC("iter/bpf_map_elem")
int bt_show_events(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_event));
}

SEC("iter/bpf_map_elem")
int bt_show_images(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_image));
}

SEC("iter/bpf_map_elem")
int bt_show_keys(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_key));
}

SEC("iter/bpf_map_elem")
int bt_show_objects(struct bpf_iter__bpf_map_elem *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct bt_owned *owned = ctx->value;
	u64 *address = ctx->key;
	struct bt_owned shown;

	if (!owned || !address)
		return 0;
	__builtin_memcpy(&shown, owned, sizeof(shown));
	describe_object(&shown, *address);
	bpf_seq_write(seq, &shown, sizeof(shown));
	return 0;
}
