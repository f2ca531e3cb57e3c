/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * bpf(), and the programs and maps that come of it.
 */
#ifndef BPFTRUST_HOOKS_BPF_H
#define BPFTRUST_HOOKS_BPF_H

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

/*
 * What concerns objects and no hook of theirs sees. There is none for a link or
 * BTF by id: who may not inspect gets none of them. A link by its pin is looked
 * at when it is used; it could be changed for another meanwhile by who shares
 * the table of descriptors, so by the loader's own code.
 */
static __always_inline void
ask_about_objects(struct decision *decision, const struct standing *standing, u32 command, u64 attr)
{
	struct object link;
	struct file *file;
	u32 fd;

	if (decision->reason != BT_REASON_NONE || !standing->image)
		return;
	if (command == BT_COMMAND_LINK_GET_FD_BY_ID || command == BT_COMMAND_BTF_GET_FD_BY_ID)
		ask(decision, standing, BT_OBJECT_ABILITY, BT_ABILITY_INSPECT);
	if (command == BT_COMMAND_LINK_GET_FD_BY_ID && decision->reason == BT_REASON_NONE)
		standing->image->inspects = 1;
	if (takes_link(command, attr, &fd)) {
		file = file_of_current(fd);
		object_of_file((u64)file, &link);
		if (link.kind == BT_OBJECT_LINK) {
			decision->reason = judge_reach(standing, link.address);
			decision->object = BT_OBJECT_LINK;
			decision->number = link.type;
		}
	}
	if (decision->reason == BT_REASON_NONE && standing->image->inspects &&
	    !only_reads(command)) {
		decision->reason = BT_REASON_NOT_OWNER;
		decision->object = BT_OBJECT_COMMAND;
		decision->number = command;
	}
}

/*
 * Looks whose signature a load offers, for bt_load(): a program of its own, for only
 * one that may sleep may look a keyring up. It decides nothing.
 */
SEC("lsm.s/bpf")
int BPF_PROG(bt_signature, int command)
{
	struct signing *signing;
	struct standing standing;

	if (command != BT_COMMAND_PROG_LOAD || !armed())
		return 0;
	/* What a load left that came to nothing. */
	signing = signing_of_current();
	if (signing)
		signing->signer = 0;
	standing = known_current();
	if (is_trusted(&standing) && (standing.required & BT_REQUIRE_SIGNED_PROGRAMS))
		look_at_signature(argument(ctx, 1));
	return 0;
}

/*
 * A SYSCALL program is being run: which one, with no descriptor between
 * (net/bpf/test_run.c). No hook of the security framework comes after the descriptor is
 * taken; this one decides nothing, it says who signed what the program loads.
 */
SEC("fentry/bpf_prog_test_run_syscall")
int BPF_PROG(bt_run, struct bpf_prog *prog)
{
	struct signing *signing;

	if (!armed())
		return 0;
	signing = signing_of_current();
	if (signing)
		signing->runner = signer_of((u64)prog->aux);
	return 0;
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
	heed_signer(&decision, &standing, command, argument(ctx, 1));
	attach = attach_of(command, argument(ctx, 1));
	if (attach != ATTACHES_NOTHING && !is_freplace(&standing.rights, command, attach))
		ask(&decision, &standing, BT_OBJECT_ATTACH, attach);
	if (command == BT_COMMAND_TOKEN_CREATE)
		ask(&decision, &standing, BT_OBJECT_ABILITY, BT_ABILITY_DELEGATE);
	ask_about_token(&decision, &standing, command, argument(ctx, 1));
	ask_about_objects(&decision, &standing, command, argument(ctx, 1));
	if (command == BT_COMMAND_PROG_TEST_RUN)
		ask_about_run(&decision, &standing, argument(ctx, 1));
	if (decision.reason == BT_REASON_NONE && seal && !let_pass())
		decision.reason = BT_REASON_RESOURCES;
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
	standing = known_current();
	ask(&decision, &standing, BT_OBJECT_MAP, map->map_type);
	inner = BPF_CORE_READ(map, inner_map_meta);
	if (inner)
		ask(&decision, &standing, BT_OBJECT_MAP, BPF_CORE_READ(inner, map_type));
	if (map->map_type == BPF_MAP_TYPE_STRUCT_OPS && !(map->map_flags & BPF_F_LINK))
		ask(&decision, &standing, BT_OBJECT_ATTACH, BPF_STRUCT_OPS);
	require_token(&decision, &standing, argument(ctx, 2));
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
	u64 abilities, signer;

	if (!armed())
		return 0;
	standing = known_current();
	/* 6.12 has no such argument, and nothing that is signed. */
	signer = require_signature(&decision, &standing, prog, argument(ctx, 3));
	ask(&decision, &standing, BT_OBJECT_PROGRAM, type);
	if (attach && type != BPF_PROG_TYPE_STRUCT_OPS)
		ask(&decision, &standing, BT_OBJECT_ATTACH, attach);
	/* The hook's argument is NULL on 6.12 and 6.18 (kernel/bpf/syscall.c,
	 * bpf_prog_load). */
	require_token(&decision, &standing, (u64)BPF_CORE_READ(prog, aux, token));
	/* No grant reaches so far. */
	if (decision.reason == BT_REASON_NONE && answers_for_security(prog)) {
		decision.reason = BT_REASON_NOT_GRANTED;
		decision.object = BT_OBJECT_ATTACH;
		decision.number = attach;
	}
	if (decision.reason == BT_REASON_NONE || audit) {
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
	record_signer((u64)prog->aux, signer);
	return 0;
}

SEC("lsm/bpf_map_free")
int BPF_PROG(bt_map_end, struct bpf_map *map)
{
	disown(argument(ctx, 0));
	return 0;
}

SEC("lsm/bpf_prog_free")
int BPF_PROG(bt_load_end, struct bpf_prog *prog)
{
	disown((u64)prog->aux);
	return 0;
}

#endif
