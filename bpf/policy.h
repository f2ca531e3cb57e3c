/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who may call bpf(), by command. One table and one deciding function: hooks
 * gather, call it, and report.
 *
 * The untrusted may not even list: BPF_*_GET_NEXT_ID and the *_INFO commands
 * tell an attacker what watches him. What stays visible without bpf() (names
 * in bpffs, /proc/PID/fdinfo) needs no privilege of BPF to read.
 */
#ifndef BPFTRUST_POLICY_H
#define BPFTRUST_POLICY_H

/* Who may use a command. */
enum who {
	NOBODY,	 /* also every command that this table does not know */
	TRUSTED, /* a process that runs only signed code */
};

/* enum bpf_cmd (uapi/linux/bpf.h) up to 7.3: number, name, who. */
#define BT_COMMANDS(ROW)                              \
	ROW(0, MAP_CREATE, TRUSTED)                   \
	ROW(1, MAP_LOOKUP_ELEM, TRUSTED)              \
	ROW(2, MAP_UPDATE_ELEM, TRUSTED)              \
	ROW(3, MAP_DELETE_ELEM, TRUSTED)              \
	ROW(4, MAP_GET_NEXT_KEY, TRUSTED)             \
	ROW(5, PROG_LOAD, TRUSTED)                    \
	ROW(6, OBJ_PIN, TRUSTED)                      \
	ROW(7, OBJ_GET, TRUSTED)                      \
	ROW(8, PROG_ATTACH, TRUSTED)                  \
	ROW(9, PROG_DETACH, TRUSTED)                  \
	ROW(10, PROG_TEST_RUN, TRUSTED)               \
	ROW(11, PROG_GET_NEXT_ID, TRUSTED)            \
	ROW(12, MAP_GET_NEXT_ID, TRUSTED)             \
	ROW(13, PROG_GET_FD_BY_ID, TRUSTED)           \
	ROW(14, MAP_GET_FD_BY_ID, TRUSTED)            \
	ROW(15, OBJ_GET_INFO_BY_FD, TRUSTED)          \
	ROW(16, PROG_QUERY, TRUSTED)                  \
	ROW(17, RAW_TRACEPOINT_OPEN, TRUSTED)         \
	ROW(18, BTF_LOAD, TRUSTED)                    \
	ROW(19, BTF_GET_FD_BY_ID, TRUSTED)            \
	ROW(20, TASK_FD_QUERY, TRUSTED)               \
	ROW(21, MAP_LOOKUP_AND_DELETE_ELEM, TRUSTED)  \
	ROW(22, MAP_FREEZE, TRUSTED)                  \
	ROW(23, BTF_GET_NEXT_ID, TRUSTED)             \
	ROW(24, MAP_LOOKUP_BATCH, TRUSTED)            \
	ROW(25, MAP_LOOKUP_AND_DELETE_BATCH, TRUSTED) \
	ROW(26, MAP_UPDATE_BATCH, TRUSTED)            \
	ROW(27, MAP_DELETE_BATCH, TRUSTED)            \
	ROW(28, LINK_CREATE, TRUSTED)                 \
	ROW(29, LINK_UPDATE, TRUSTED)                 \
	ROW(30, LINK_GET_FD_BY_ID, TRUSTED)           \
	ROW(31, LINK_GET_NEXT_ID, TRUSTED)            \
	ROW(32, ENABLE_STATS, TRUSTED)                \
	ROW(33, ITER_CREATE, TRUSTED)                 \
	ROW(34, LINK_DETACH, TRUSTED)                 \
	ROW(35, PROG_BIND_MAP, TRUSTED)               \
	ROW(36, TOKEN_CREATE, TRUSTED)                \
	ROW(37, PROG_STREAM_READ_BY_FD, TRUSTED)      \
	ROW(38, PROG_ASSOC_STRUCT_OPS, TRUSTED)

/* The names go to user space through BTF. */
#define ROW_NAME(number, name, who) BT_COMMAND_##name = number,
enum bt_command {
	BT_COMMANDS(ROW_NAME) BT_COMMAND_COUNT
};
#undef ROW_NAME

#define ROW_WHO(number, name, who) [number] = who,
static const u8 command_table[BT_COMMAND_COUNT] = { BT_COMMANDS(ROW_WHO) };
#undef ROW_WHO

/*
 * May somebody of @standing use @command? The answer is a reason, NONE for
 * yes.
 */
static __always_inline u8 decide(const struct standing *standing, u32 command)
{
	if (command >= BT_COMMAND_COUNT || command_table[command] == NOBODY)
		return BT_REASON_UNKNOWN_COMMAND;
	if (!is_trusted(standing))
		return standing->reason ?: BT_REASON_RESOURCES;
	return BT_REASON_NONE;
}

#endif
