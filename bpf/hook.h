/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What every hook is made of: whether it decides yet, its arguments, one
 * question or more, and the answer no.
 */
#ifndef BPFTRUST_HOOK_H
#define BPFTRUST_HOOK_H

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

/*
 * How the answer to prctl() leaves, see DENY_BLOCK: 0 would mean "not mine". Each
 * block has an instruction of its own, or the compiler makes one of them all, which
 * returns what the verifier knows nothing of.
 */
#define ANSWER(error, code)                                                                    \
	do {                                                                                   \
		if ((error) == -(code)) {                                                      \
			long answer;                                                           \
			asm volatile("%0 = %1 /* " #code " */" : "=r"(answer) : "i"(-(code))); \
			return answer;                                                         \
		}                                                                              \
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

/* Reports a refusal, if @decision is one. In audit mode nothing is refused. */
static __always_inline bool refuse(struct decision *decision, struct bt_image *image)
{
	if (decision->reason == BT_REASON_NONE)
		return false;
	if (audit && is_repeated(decision))
		return false;
	decision->outcome = BT_OUTCOME_DENIED;
	report(decision, image);
	return !audit;
}

/* Asks for one right more. The first that is refused is the answer; the others are
 * noted, for who wants to grant all that a call takes. */
static __always_inline void ask(struct decision *decision, const struct standing *standing,
				u32 object, u32 number)
{
	note_asked(&decision->asked, object, number);
	if (decision->reason != BT_REASON_NONE)
		return;
	decision->reason = decide(standing, object, number);
	/* A reason against all of it is not about this one right. */
	if (decision->reason == BT_REASON_NONE || standing->reason != BT_REASON_NONE)
		return;
	decision->object = object;
	decision->number = number;
}

/* Somebody is about to get hold of @object. False for no. */
static __noinline bool may_reach(const struct object *object)
{
	struct decision decision = { .action = BT_ACTION_OBJECT };
	struct standing standing;

	if (!armed())
		return true;
	standing = known_current();
	decision.subject = object->id;
	decision.object = object->kind;
	decision.number = object->type;
	decision.reason = judge_reach(&standing, object->address);
	return !refuse(&decision, standing.image);
}

#endif
