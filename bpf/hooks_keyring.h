/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A sealed guard's keyrings: they hang in root's user keyring, and those of the
 * first policy in the anchor's, too.
 */
#ifndef BPFTRUST_HOOKS_KEYRING_H
#define BPFTRUST_HOOKS_KEYRING_H

/* What the names of our keyrings begin with, before the number of their policy
 * (crates/guard, apply.rs), and their permissions once they are closed
 * (crates/host, keyring.rs). */
#define RING_NAME "bpftrust."
#define RING_CLOSED 0x08010000

/* A name with any number, and NUL. */
#define RING_NAME_MAX 32

/* include/uapi/linux/keyctl.h: what empties a keyring, ends it, or closes it */
#define KEYCTL_REVOKE 3
#define KEYCTL_CHOWN 4
#define KEYCTL_SETPERM 5
#define KEYCTL_CLEAR 7
#define KEYCTL_SET_TIMEOUT 15
#define KEYCTL_INVALIDATE 21
#define KEYCTL_RESTRICT_KEYRING 29
#define KEYCTL_ENDING                                                                           \
	(1U << KEYCTL_REVOKE | 1U << KEYCTL_CHOWN | 1U << KEYCTL_SETPERM | 1U << KEYCTL_CLEAR | \
	 1U << KEYCTL_SET_TIMEOUT | 1U << KEYCTL_RESTRICT_KEYRING)

/* Numbers of keyctl(): of 64 bits, also with the bit of x32, and of 32. None is
 * another call's that comes by here for the same (arch/x86/entry/syscalls). */
#define NR_KEYCTL 250
#define NR_X32 0x40000000
#define NR_IA32_KEYCTL 288

/*
 * Is this call to be the end of @ring, of which it asks for @need? The registers
 * are the kernel's copy: no thread of the caller changes them. To search is asked
 * for the ring itself by KEYCTL_INVALIDATE alone, else for what is in it.
 */
static __always_inline bool ends_keyring(struct key *ring, u32 need)
{
	struct pt_regs *regs = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	/* The rest of the register is the caller's to choose (arch/x86/entry/common.c,
	 * do_syscall_64). */
	u32 call = BPF_CORE_READ(regs, orig_ax) & ~NR_X32, operation;
	s32 named;

	if (call == NR_KEYCTL) {
		operation = BPF_CORE_READ(regs, di);
		named = BPF_CORE_READ(regs, si);
	} else if (call == NR_IA32_KEYCTL) {
		operation = BPF_CORE_READ(regs, bx);
		named = BPF_CORE_READ(regs, cx);
	} else {
		return false;
	}
	if (need == KEY_NEED_SEARCH)
		return operation == KEYCTL_INVALIDATE &&
		       (named < 0 || named == BPF_CORE_READ(ring, serial));
	return operation < 32 && KEYCTL_ENDING >> operation & 1;
}

/* Root's user keyring (security/keys/process_keys.c, look_up_user_keyrings)? */
static __always_inline bool is_user_keyring(struct key *key)
{
	return BPF_CORE_READ(key, flags) & 1UL << KEY_FLAG_UID_KEYRING &&
	       !BPF_CORE_READ(key, uid.val);
}

/* Closed, and of our name? Who makes one of his own so loses the same. */
static __always_inline bool is_held_ring(struct key *key)
{
	char name[sizeof(RING_NAME)];

	if (BPF_CORE_READ(key, perm) != RING_CLOSED)
		return false;
	bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(key, description));
	return !__builtin_memcmp(name, RING_NAME, sizeof(name) - 1);
}

/* Has it the name of the keyring of the policy in force? One keyring has one link
 * of a name, and the later takes the place of the earlier. */
static __always_inline bool is_named_as_in_force(struct key *key)
{
	struct bt_state *guard = guard_state();
	char name[RING_NAME_MAX];
	u64 number = 0;
	u32 at;

	bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(key, description));
	if (!guard || __builtin_memcmp(name, RING_NAME, sizeof(RING_NAME) - 1))
		return false;
	for (at = sizeof(RING_NAME) - 1; at < sizeof(name); at++) {
		u32 digit = name[at] - '0';

		if (digit > 9)
			break;
		number = number * 10 + digit;
	}
	return number == generation_of(guard);
}

/*
 * Who may search a ring may also invalidate it (security/keys/keyctl.c,
 * keyctl_invalidate_key), and nobody needs to but the exec that verifies with
 * it: bt_exec has scratch memory then. A refused search is no event, for every
 * search by root for another key passes by here. The rings of a policy that is in
 * force no more may go.
 */
SEC("lsm/key_permission")
int BPF_PROG(bt_keyring)
{
	struct key *key = (void *)(argument(ctx, 0) & ~1UL);
	u32 need = argument(ctx, 2);

	if (!sealed())
		return 0;
	if (is_user_keyring(key)) {
		if (ends_keyring(key, need) && hold(BT_ACTION_KEYRING, 0))
			DENY_BLOCK();
		return 0;
	}
	if (need == KEY_NEED_SEARCH && is_held_ring(key) &&
	    !bpf_task_storage_get(&scratches, bpf_get_current_task_btf(), NULL, 0))
		DENY_BLOCK();
	if ((need == KEY_NEED_UNLINK || need == KEY_NEED_LINK) && is_named_as_in_force(key) &&
	    hold(BT_ACTION_KEYRING, 0))
		DENY_BLOCK();
	return 0;
}

/* A key is made; if it is a keyring, it is linked next. */
SEC("lsm/key_alloc")
int BPF_PROG(bt_new_key, struct key *key)
{
	struct key *new = (void *)argument(ctx, 0);

	if (sealed() && is_named_as_in_force(new) && hold(BT_ACTION_KEYRING, 0))
		DENY_BLOCK();
	return 0;
}

#endif
