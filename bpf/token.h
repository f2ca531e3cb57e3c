/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * BPF tokens: which exist, what they delegate, and who must use his.
 *
 * The kernel ignores a token that one of its hooks refuses, and goes on with what
 * the caller may do by himself (kernel/bpf/syscall.c, map_create, bpf_prog_load).
 * So the gate refuses who names another's token, and where one is required it is
 * asked for again of what the kernel took (require_token()).
 */
#ifndef BPFTRUST_TOKEN_H
#define BPFTRUST_TOKEN_H

/* Where union bpf_attr has them (include/uapi/linux/bpf.h). */
#define ATTR_MAP_FLAGS 16
#define ATTR_MAP_TOKEN 76
#define ATTR_PROG_FLAGS 44
#define ATTR_PROG_TOKEN 144
#define ATTR_BTF_FLAGS 32
#define ATTR_BTF_TOKEN 36
#define ATTR_OPEN_FLAGS 8 /* of BTF_GET_FD_BY_ID */
#define ATTR_OPEN_TOKEN 12

/* By number, for readers; `objects` has its number by its address. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, OBJECTS_MAX);
	__type(key, u32);
	__type(value, struct bt_token);
} tokens SEC(".maps");

/* Commands that make something, and take a token for it. */
static __always_inline bool takes_token(u32 command)
{
	return command == BT_COMMAND_MAP_CREATE || command == BT_COMMAND_PROG_LOAD ||
	       command == BT_COMMAND_BTF_LOAD;
}

/* Does this call name a token? Then @fd is its descriptor. @attr is the kernel's
 * copy. */
static __always_inline bool names_token(u32 command, u64 attr, u32 *fd)
{
	u32 flags_at, token_at, flags = 0;

	switch (command) {
	case BT_COMMAND_MAP_CREATE:
		flags_at = ATTR_MAP_FLAGS;
		token_at = ATTR_MAP_TOKEN;
		break;
	case BT_COMMAND_PROG_LOAD:
		flags_at = ATTR_PROG_FLAGS;
		token_at = ATTR_PROG_TOKEN;
		break;
	case BT_COMMAND_BTF_LOAD:
		flags_at = ATTR_BTF_FLAGS;
		token_at = ATTR_BTF_TOKEN;
		break;
	case BT_COMMAND_BTF_GET_FD_BY_ID:
		flags_at = ATTR_OPEN_FLAGS;
		token_at = ATTR_OPEN_TOKEN;
		break;
	default:
		return false;
	}
	bpf_probe_read_kernel(&flags, sizeof(flags), (void *)(attr + flags_at));
	return flags & BPF_F_TOKEN_FD &&
	       !bpf_probe_read_kernel(fd, sizeof(*fd), (void *)(attr + token_at));
}

/* The token at @address by its number; 0 if there is no record of it. */
static __always_inline u32 token_number(u64 address)
{
	struct bt_owned *owned = bpf_map_lookup_elem(&objects, &address);

	return owned && owned->object == BT_OBJECT_TOKEN ? owned->id : 0;
}

/* Is there such a token still, of the owner of @image? */
static __always_inline bool is_live(const struct bt_image *image, u32 number)
{
	struct bt_token *token = number ? bpf_map_lookup_elem(&tokens, &number) : NULL;

	return token && is_same_name(token->publisher, image->publisher) &&
	       is_same_name(token->loader, image->grant.name);
}

/* Does @image hold by a token that it made or used, and that still exists? */
static __noinline bool has_token(const struct bt_image *image)
{
	for (u32 i = 0; i < BT_TOKENS; i++)
		if (is_live(image, *(volatile u32 *)&image->tokens[i]))
			return true;
	return false;
}

/* @image made or used a token. It takes the place of one that is gone, or else of
 * the first. */
static __noinline void remember_token(struct bt_image *image, u32 number)
{
	u32 place = BT_TOKENS;

	for (u32 i = 0; i < BT_TOKENS; i++) {
		u32 known = *(volatile u32 *)&image->tokens[i];

		if (known == number)
			return;
		if (place == BT_TOKENS && !is_live(image, known))
			place = i;
	}
	image->tokens[place & (BT_TOKENS - 1)] = number;
}

static __always_inline void forget_token(u64 address)
{
	u32 number = token_number(address);

	if (number)
		bpf_map_delete_elem(&tokens, &number);
	disown(address);
}

static __always_inline u64 delegated_commands(u64 address)
{
	return BPF_CORE_READ((struct bpf_token *)address, allowed_cmds);
}

/* Records that @image made @token; false if there is no room. */
static __noinline bool own_token(struct bpf_token *token, struct bt_image *image)
{
	struct bt_state *guard = guard_state();
	struct bt_token made = {};
	u64 address = (u64)token;
	struct bt_owned *owned;

	if (!guard || !own(address, BT_OBJECT_TOKEN, 0, image))
		return false;
	owned = bpf_map_lookup_elem(&objects, &address);
	made.id = __sync_add_and_fetch(&guard->tokens, 1);
	made.made = bpf_ktime_get_boot_ns();
	made.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(made.comm, sizeof(made.comm));
	__builtin_memcpy(made.publisher, image->publisher, sizeof(made.publisher));
	__builtin_memcpy(made.loader, image->grant.name, sizeof(made.loader));
	made.delegates.commands = delegated_commands(address);
	made.delegates.maps = BPF_CORE_READ(token, allowed_maps);
	made.delegates.programs = BPF_CORE_READ(token, allowed_progs);
	made.delegates.attaches[0] = BPF_CORE_READ(token, allowed_attachs);
	if (!owned || bpf_map_update_elem(&tokens, &made.id, &made, BPF_ANY)) {
		disown(address);
		count_starved();
		return false;
	}
	owned->id = made.id;
	remember_token(image, made.id);
	return true;
}

/* Asks for every number of @object that a token delegates: the first that its
 * maker may not have is reported. */
static __always_inline void ask_for_all(struct decision *decision, const struct standing *standing,
					u32 object, u64 delegated, u64 granted)
{
	u64 excess = delegated & ~granted;

	if (decision->reason != BT_REASON_NONE || !excess)
		return;
	decision->reason = BT_REASON_NOT_GRANTED;
	decision->object = object;
	for (u32 i = 0; i < 64; i++) {
		decision->number = i;
		if (has(excess, i))
			break;
	}
}

/*
 * The gate's part: nobody names a token that is not his owner's. Where one is
 * required, what makes something names one. What acts on a descriptor or looks
 * around can't: it takes a live token that this address space made or used.
 */
static __always_inline void ask_about_token(struct decision *decision,
					    const struct standing *standing, u32 command, u64 attr)
{
	struct object token = {};
	bool is_used = false;
	u32 fd;

	if (decision->reason != BT_REASON_NONE || !standing->image)
		return;
	if (names_token(command, attr, &fd))
		object_of_file((u64)file_of_current(fd), &token);
	if (token.kind == BT_OBJECT_TOKEN) {
		decision->reason = judge_owner(standing, token.address);
		if (decision->reason != BT_REASON_NONE) {
			decision->object = BT_OBJECT_TOKEN;
			return;
		}
		is_used = has(delegated_commands(token.address), command);
	}
	if (is_used || !(standing->required & BT_REQUIRE_TOKEN) ||
	    command == BT_COMMAND_TOKEN_CREATE)
		return;
	if (takes_token(command) || !has_token(standing->image))
		decision->reason = BT_REASON_NO_TOKEN;
}

/* The same of what was made: @token is the one that the kernel took, or 0. */
static __always_inline void require_token(struct decision *decision,
					  const struct standing *standing, u64 token)
{
	if (decision->reason != BT_REASON_NONE || !(standing->required & BT_REQUIRE_TOKEN))
		return;
	if (!token || judge_owner(standing, token) != BT_REASON_NONE)
		decision->reason = BT_REASON_NO_TOKEN;
}

#endif
