/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who may do what. Rights are sets of the kernel's numbers; one function says
 * whether they allow something, and one whether somebody may have it done.
 * Hooks gather, ask, and report.
 *
 * The untrusted may not even list: BPF_*_GET_NEXT_ID and the *_INFO commands
 * tell an attacker what watches him. What stays visible without bpf() (names
 * in bpffs, /proc/PID/fdinfo) needs no privilege of BPF to read.
 */
#ifndef BPFTRUST_POLICY_H
#define BPFTRUST_POLICY_H

/* enum bpf_cmd (uapi/linux/bpf.h) up to 7.3: number, name. */
#define BT_COMMANDS(ROW)                     \
	ROW(0, MAP_CREATE)                   \
	ROW(1, MAP_LOOKUP_ELEM)              \
	ROW(2, MAP_UPDATE_ELEM)              \
	ROW(3, MAP_DELETE_ELEM)              \
	ROW(4, MAP_GET_NEXT_KEY)             \
	ROW(5, PROG_LOAD)                    \
	ROW(6, OBJ_PIN)                      \
	ROW(7, OBJ_GET)                      \
	ROW(8, PROG_ATTACH)                  \
	ROW(9, PROG_DETACH)                  \
	ROW(10, PROG_TEST_RUN)               \
	ROW(11, PROG_GET_NEXT_ID)            \
	ROW(12, MAP_GET_NEXT_ID)             \
	ROW(13, PROG_GET_FD_BY_ID)           \
	ROW(14, MAP_GET_FD_BY_ID)            \
	ROW(15, OBJ_GET_INFO_BY_FD)          \
	ROW(16, PROG_QUERY)                  \
	ROW(17, RAW_TRACEPOINT_OPEN)         \
	ROW(18, BTF_LOAD)                    \
	ROW(19, BTF_GET_FD_BY_ID)            \
	ROW(20, TASK_FD_QUERY)               \
	ROW(21, MAP_LOOKUP_AND_DELETE_ELEM)  \
	ROW(22, MAP_FREEZE)                  \
	ROW(23, BTF_GET_NEXT_ID)             \
	ROW(24, MAP_LOOKUP_BATCH)            \
	ROW(25, MAP_LOOKUP_AND_DELETE_BATCH) \
	ROW(26, MAP_UPDATE_BATCH)            \
	ROW(27, MAP_DELETE_BATCH)            \
	ROW(28, LINK_CREATE)                 \
	ROW(29, LINK_UPDATE)                 \
	ROW(30, LINK_GET_FD_BY_ID)           \
	ROW(31, LINK_GET_NEXT_ID)            \
	ROW(32, ENABLE_STATS)                \
	ROW(33, ITER_CREATE)                 \
	ROW(34, LINK_DETACH)                 \
	ROW(35, PROG_BIND_MAP)               \
	ROW(36, TOKEN_CREATE)                \
	ROW(37, PROG_STREAM_READ_BY_FD)      \
	ROW(38, PROG_ASSOC_STRUCT_OPS)

/* The names go to user space through BTF. */
#define ROW_NAME(number, name) BT_COMMAND_##name = number,
enum bt_command {
	BT_COMMANDS(ROW_NAME) BT_COMMAND_COUNT
};
#undef ROW_NAME

/* What both allow. crates/signature computes the same (grant.rs). */
static __always_inline void intersect(struct bt_rights *rights, const struct bt_rights *with)
{
	rights->commands &= with->commands;
	rights->programs &= with->programs;
	rights->maps &= with->maps;
	rights->attaches[0] &= with->attaches[0];
	rights->attaches[1] &= with->attaches[1];
	rights->abilities &= with->abilities;
}

static __always_inline bool has(u64 set, u32 number)
{
	return number < 64 && (set >> number & 1);
}

/* May who has these @rights have @number of @object (enum bt_object)? A number
 * without a bit is nobody's. */
static __always_inline bool allows(const struct bt_rights *rights, u32 object, u32 number)
{
	switch (object) {
	case BT_OBJECT_COMMAND:
		return has(rights->commands, number);
	case BT_OBJECT_PROGRAM:
		return has(rights->programs, number);
	case BT_OBJECT_MAP:
		return has(rights->maps, number);
	case BT_OBJECT_ATTACH:
		return number < 64 ? has(rights->attaches[0], number)
				   : has(rights->attaches[1], number - 64);
	case BT_OBJECT_ABILITY:
		return has(rights->abilities, number);
	default:
		return false;
	}
}

/* The same as a reason, NONE for yes. */
static __always_inline u8 judge_right(const struct bt_rights *rights, u32 object, u32 number)
{
	if (allows(rights, object, number))
		return BT_REASON_NONE;
	if (object == BT_OBJECT_COMMAND && number >= BT_COMMAND_COUNT)
		return BT_REASON_UNKNOWN_COMMAND;
	return BT_REASON_NOT_GRANTED;
}

/*
 * May somebody of @standing (with rights: entitled_current()) have @number of
 * @object? The answer is a reason, NONE for yes.
 */
static __always_inline u8 decide(const struct standing *standing, u32 object, u32 number)
{
	u8 reason = distrust(standing);

	if (reason == BT_REASON_NONE)
		return judge_right(&standing->rights, object, number);
	if (object == BT_OBJECT_COMMAND && number >= BT_COMMAND_COUNT)
		return BT_REASON_UNKNOWN_COMMAND;
	return reason;
}

#endif
