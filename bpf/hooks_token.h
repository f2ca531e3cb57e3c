/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * BPF tokens: made within the rights of who makes them, and used by their owner
 * alone, as long as he may.
 */
#ifndef BPFTRUST_HOOKS_TOKEN_H
#define BPFTRUST_HOOKS_TOKEN_H

/*
 * Whether one may be made was asked before the command. A token delegates what its
 * bpffs was mounted with, however much that is (kernel/bpf/token.c,
 * bpf_token_create). Of attach types it has 64.
 */
SEC("lsm/bpf_token_create")
int BPF_PROG(bt_token_create, struct bpf_token *token)
{
	struct decision decision = { .action = BT_ACTION_BPF, .subject = BT_COMMAND_TOKEN_CREATE };
	struct standing standing;

	if (!armed())
		return 0;
	standing = known_current();
	decision.reason = distrust(&standing);
	ask_for_all(&decision, &standing, BT_OBJECT_COMMAND, BPF_CORE_READ(token, allowed_cmds),
		    standing.rights.commands);
	ask_for_all(&decision, &standing, BT_OBJECT_MAP, BPF_CORE_READ(token, allowed_maps),
		    standing.rights.maps);
	ask_for_all(&decision, &standing, BT_OBJECT_PROGRAM, BPF_CORE_READ(token, allowed_progs),
		    standing.rights.programs);
	ask_for_all(&decision, &standing, BT_OBJECT_ATTACH, BPF_CORE_READ(token, allowed_attachs),
		    standing.rights.attaches[0]);
	if (decision.reason == BT_REASON_NONE && standing.image &&
	    !own_token((void *)argument(ctx, 0), standing.image))
		decision.reason = BT_REASON_RESOURCES;
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	return 0;
}

/* 6.18 calls it twice for one token. */
SEC("lsm/bpf_token_free")
int BPF_PROG(bt_token_end, struct bpf_token *token)
{
	forget_token(argument(ctx, 0));
	return 0;
}

/*
 * A token is about to stand for @command. Refused, the kernel goes on without it:
 * what the caller then may by himself is judged as if he had named none.
 */
SEC("lsm/bpf_token_cmd")
int BPF_PROG(bt_token_use, struct bpf_token *token, int command)
{
	struct decision decision = { .action = BT_ACTION_BPF, .subject = command };
	struct standing standing;

	if (!armed())
		return 0;
	standing = known_current();
	decision.reason = judge_owner(&standing, argument(ctx, 0));
	if (decision.reason == BT_REASON_NOT_OWNER)
		decision.object = BT_OBJECT_TOKEN;
	/* The command itself was asked for at the gate. */
	ask(&decision, &standing, BT_OBJECT_ABILITY, BT_ABILITY_DELEGATE);
	if (decision.reason == BT_REASON_NONE && standing.image)
		remember_token(standing.image, token_number(argument(ctx, 0)));
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	return 0;
}

/*
 * A token is about to stand for a capability: when something is made with it, and
 * when a program that was is attached (kernel/bpf/syscall.c,
 * bpf_prog_attach_check_attach_type).
 */
SEC("lsm/bpf_token_capable")
int BPF_PROG(bt_token_capable, struct bpf_token *token, int capability)
{
	struct decision decision = { .action = BT_ACTION_OBJECT, .object = BT_OBJECT_TOKEN };
	struct standing standing;

	if (!armed())
		return 0;
	standing = known_current();
	decision.subject = token_number(argument(ctx, 0));
	decision.reason = judge_owner(&standing, argument(ctx, 0));
	ask(&decision, &standing, BT_OBJECT_ABILITY, BT_ABILITY_DELEGATE);
	if (refuse(&decision, standing.image))
		DENY_BLOCK();
	return 0;
}

#endif
