// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * bpftrust's kernel side: it decides; user space configures and reports.
 *
 *   bprm_committed_creds   exec: whatever trust there was ends; the file's
 *                          signature and the circumstances decide anew
 *   task_alloc, task_free  fork: an own record, or a shared one with CLONE_VM
 *   bpf                    every command of bpf(), and what it attaches to; whose
 *                          keyring the signature of a program is to be verified by
 *   bpf_prog_test_run_syscall
 *                          which program it is that calls bpf() (no LSM hook)
 *   bpf_map_create,        rights by type, and what a program can do; who made
 *   bpf_prog_load,         what, until its *_free
 *   bpf_token_create,
 *   bpf_token_cmd,         a token is its owner's, and used within his rights
 *   bpf_token_capable,
 *   bpf_map_free,
 *   bpf_prog_free,
 *   bpf_token_free
 *   bpf_map, bpf_prog,     a descriptor of an object is made or arrives, its
 *   file_receive,          memory is mapped, its pin is opened or taken away:
 *   file_open,             who owns it?
 *   inode_unlink,
 *   inode_rename,
 *   mmap_file
 *   file_ioctl,            programs attached without bpf(): perf and tun, XDP
 *   file_ioctl_compat,     and tc by rtnetlink, sockets
 *   netlink_send,
 *   socket_setsockopt
 *   mmap_file,             code that was not signed costs the address space
 *   file_mprotect          its trust; libraries are judged like loaders, and so is
 *                          a script that a launcher maps
 *   ptrace_access_check,   nobody untrusted reaches into a trusted process
 *   ptrace_traceme
 *   inode_post_setxattr,   a changed signature is judged again
 *   inode_post_removexattr
 *   task_prctl             another policy takes effect, or none any more; a permit
 *                          lifts the seal; pins of one owner may be taken away
 *   cgroup/sysctl          the switch that would silence all of this stays on
 *
 * Sealed, also:
 *   bpf, of the root cgroup without the gate nobody calls bpf()
 *   inode_unlink,          the pins stay
 *   inode_rmdir,
 *   inode_rename
 *   sb_umount, sb_mount,   the mount that they are in stays, and stays in sight
 *   move_mount,
 *   sb_pivotroot
 *   task_kill,             nobody ends or enters the process that holds links
 *   file_send_sigiotask,   and keyrings besides
 *   task_setrlimit,
 *   ptrace_access_check
 *   key_permission,        the keyrings stay
 *   key_alloc
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
#include "memory.h"
#include "draft.h"
#include "verdict.h"
#include "launch.h"
#include "object.h"
#include "descriptor.h"
#include "script.h"
#include "exec.h"
#include "library.h"
#include "program.h"
#include "attach.h"
#include "signed.h"
#include "sha256.h"
#include "order.h"
#include "apply.h"
#include "permit.h"
#include "protect.h"
#include "serve.h"
#include "hook.h"
#include "token.h"

/* The programs; each stands alone. */
#include "hooks_exec.h"
#include "hooks_bpf.h"
#include "hooks_memory.h"
#include "hooks_object.h"
#include "hooks_token.h"
#include "hooks_attach.h"
#include "hooks_trace.h"
#include "hooks_policy.h"
#include "hooks_protect.h"
#include "hooks_keyring.h"

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
	enum bt_libraries libraries;
	struct bt_policy policy;
	struct bt_publisher publisher;
	struct bt_rule rule;
	struct bt_owned owned;
	struct bt_token token;
	enum bt_requirement requirement;
	enum bt_script_right script_right;
	enum bt_script_state script_state;
	struct bt_owner owner;
	struct bt_question question;
	struct bt_arming arming;
	enum bt_armed armed;
	struct bt_order order;
	struct bt_hash hash;
} exported;
