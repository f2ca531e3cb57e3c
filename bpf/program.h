/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a program can do, judged from its instructions as user space gave them:
 * the hook bpf_prog_load comes before the verifier rewrites any (kernel/bpf/
 * syscall.c, bpf_prog_load; 7.3: verifier.c, bpf_check). Subprograms are among
 * them. What a light skeleton's loader program loads passes the same hook
 * (kernel/bpf/syscall.c, bpf_sys_bpf).
 */
#ifndef BPFTRUST_PROGRAM_H
#define BPFTRUST_PROGRAM_H

/* include/uapi/linux/bpf.h, bpf_common.h */
#define INSN_CALL 0x85		/* BPF_JMP | BPF_CALL */
#define INSN_CALL_REGISTER 0x8d /* BPF_JMP | BPF_CALL | BPF_X */
#define PSEUDO_HELPER 0
#define PSEUDO_CALL 1
#define PSEUDO_KFUNC_CALL 2
#define HELPERS_END 212 /* the list is closed: new functions are kfuncs */

#define ABILITY(name) (1ULL << BT_ABILITY_##name)

/* What calling a function of the kernel takes, by its BTF id; filled before the
 * guard is armed out of kfuncs.txt. What is not there takes OTHER_KFUNCS. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_KFUNCS);
	__type(key, u32);
	__type(value, u64);
} kfuncs SEC(".maps");

/* What calling a helper takes (include/uapi/linux/bpf.h, ___BPF_FUNC_MAPPER). */
static __always_inline u64 helper_takes(u32 helper)
{
	switch (helper) {
	case 36: /* probe_write_user */
		return ABILITY(WRITE_USER);
	case 58: /* override_return */
		return ABILITY(OVERRIDE_RETURN);
	case 109: /* send_signal */
	case 117: /* send_signal_thread */
		return ABILITY(SEND_SIGNAL);
	case 104: /* sysctl_set_new_value */
	case 159: /* bprm_opts_set */
		return ABILITY(WRITE_KERNEL);
	default:
		return helper < HELPERS_END ? 0 : ABILITY(OTHER_KFUNCS);
	}
}

/* @offset says whose BTF the id is of; 0 is the kernel's own, without modules. */
static __always_inline u64 kfunc_takes(u32 id, s32 offset)
{
	u64 *abilities = offset ? NULL : bpf_map_lookup_elem(&kfuncs, &id);

	return abilities ? *abilities : ABILITY(OTHER_KFUNCS);
}

/* What a call with these registers, offset and immediate takes. Global, so that the
 * verifier walks a scan once and not for each answer. */
__noinline u64 call_takes(u32 registers, s32 offset, u32 callee)
{
	switch (registers >> 4) {
	case PSEUDO_HELPER:
		return helper_takes(callee);
	case PSEUDO_CALL:
		return 0;
	case PSEUDO_KFUNC_CALL:
		return kfunc_takes(callee, offset);
	default:
		return ABILITY(OTHER_KFUNCS);
	}
}

struct program_scan {
	u64 instructions; /* address */
	u64 abilities;
};

/* The second half of a 64-bit load has the code 0, or the verifier refuses it. */
static int scan_call(u64 index, struct program_scan *scan)
{
	struct bpf_insn insn;

	if (bpf_probe_read_kernel(&insn, sizeof(insn),
				  (void *)(scan->instructions + index * sizeof(insn)))) {
		scan->abilities = ~0ULL;
		return 1;
	}
	if (insn.code == INSN_CALL_REGISTER)
		scan->abilities |= ABILITY(OTHER_KFUNCS);
	if (insn.code == INSN_CALL)
		scan->abilities |= call_takes(insn.registers, insn.off, insn.imm);
	return 0;
}

#define SECURITY "security_"

/*
 * Would @prog answer for a function that asks security modules, so for the hooks
 * here (BPF_MODIFY_RETURN)? bpf() takes an answer above 0 for a yes (kernel/bpf/
 * syscall.c, __sys_bpf). What is not known counts as such. The types of modules
 * are numbered after the kernel's own, and none of those asks.
 */
static __always_inline bool answers_for_security(struct bpf_prog *prog)
{
	struct btf *btf = BPF_CORE_READ(prog, aux, attach_btf);
	u32 id = BPF_CORE_READ(prog, aux, attach_btf_id);
	char start[sizeof(SECURITY)] = {};
	struct btf_type **types, *type = NULL;

	if (prog->expected_attach_type != BPF_MODIFY_RETURN)
		return false;
	if (!btf || BPF_CORE_READ(btf, base_btf))
		return !btf;
	types = BPF_CORE_READ(btf, types);
	if (id >= BPF_CORE_READ(btf, nr_types) ||
	    bpf_probe_read_kernel(&type, sizeof(type), types + id) ||
	    bpf_probe_read_kernel_str(start, sizeof(start),
				      BPF_CORE_READ(btf, strings) + BPF_CORE_READ(type, name_off)) <
		    0)
		return true;
	return !__builtin_memcmp(start, SECURITY, sizeof(start));
}

/* The abilities (enum bt_ability, a bit each) that @prog takes. */
static __always_inline u64 program_takes(struct bpf_prog *prog, u64 address)
{
	struct program_scan scan = {
		.instructions = address + bpf_core_field_offset(struct bpf_prog, insnsi),
	};
	u32 length = prog->len;

	/* Its return value takes the place of the function's. */
	if (prog->expected_attach_type == BPF_MODIFY_RETURN)
		scan.abilities |= ABILITY(OVERRIDE_RETURN);
	if (bpf_loop(length, scan_call, &scan, 0) != length)
		return ~0ULL;
	return scan.abilities;
}

#endif
