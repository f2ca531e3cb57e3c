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
#include "exec.h"
#include "program.h"
#include "object.h"
#include "attach.h"
#include "apply.h"
#include "serve.h"

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
