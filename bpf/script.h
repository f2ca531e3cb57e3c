/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Scripts. A *launcher* is a trusted process that may start loaders on signed
 * scripts (BT_ABILITY_LAUNCH_SCRIPTS). It opens a script as descriptor 0 and maps
 * it, shared and executable, which nobody else has a use for: so a hook is handed
 * the file that it opened, and judges it. Its next exec of a loader then starts
 * that loader on this script.
 *
 * A launcher is believed that it reads no other file into the loader's input, and
 * for the environment. Not for what the script is or may, nor for the words that
 * the loader is given.
 */
#ifndef BPFTRUST_SCRIPT_H
#define BPFTRUST_SCRIPT_H

/* include/uapi/linux/mman.h; MAP_SHARED_VALIDATE has the bit, too */
#define MAP_SHARED 0x01

/* A loader's command line: "NAME", "--", "-", then parameters; with the right to it
 * "--unsafe" behind the name. */
#define WORDS 3
#define LOADER_NAME_SIZE 32
#define LINE_SIZE 48
static const char unsafe_word[] = "--unsafe";
static const char input_words[] = "--\0-";

_Static_assert(LOADER_NAME_SIZE + sizeof(unsafe_word) + sizeof(input_words) <= LINE_SIZE,
	       "a line is what is looked at");

/* The image of @task if that is a launcher who was given a script. Whether it may still
 * launch one asks take_launch(). */
static __always_inline struct bt_image *launcher_of(u64 task)
{
	struct standing standing = standing_of(task);

	if (!standing.image || standing.image->script.state != BT_SCRIPT_LAUNCHES)
		return NULL;
	return standing.image;
}

/* By the rights that its image keeps: it gives nothing without take_launch(). */
static __always_inline bool launches_scripts(const struct bt_image *image)
{
	return allows(&image->rights, BT_OBJECT_ABILITY, BT_ABILITY_LAUNCH_SCRIPTS);
}

/* The script that @launcher starts a loader on, into @script, if it still may. */
static __noinline int take_launch(struct bt_image *launcher, struct bt_script *script)
{
	struct bt_rights rights;
	u32 required;

	if (refresh(launcher, &rights, &required) == BT_REASON_NONE &&
	    allows(&rights, BT_OBJECT_ABILITY, BT_ABILITY_LAUNCH_SCRIPTS)) {
		__builtin_memcpy(script, &launcher->script, sizeof(*script));
		__builtin_memcpy(script->launcher, launcher->key, sizeof(script->launcher));
	}
	return 0;
}

/* The publisher whose key of the policy in force this is, into @name. */
static __noinline u8 name_publisher(const u8 *key, u8 *name)
{
	struct scratch *scratch = take_scratch();
	struct bt_state *guard = guard_state();
	u8 reason = BT_REASON_UNKNOWN_KEY;

	if (!scratch || !guard)
		return BT_REASON_RESOURCES;
	if (take_key(&scratch->key, generation_of(guard), key)) {
		__builtin_memcpy(name, scratch->key.name, sizeof(scratch->key.name));
		reason = BT_REASON_NONE;
	}
	give_back_scratch();
	return reason;
}

/*
 * Makes @file, whose verdict and digest are in @draft, what the launcher @image
 * starts a loader on. One launcher starts one script: after a second none is known
 * to be the one that it goes on to start.
 */
static __always_inline u8 take_script(struct file *file, struct draft *draft,
				      struct bt_image *image, u8 reason)
{
	struct bt_script *script = &image->script;
	struct verdict *verdict = &draft->verdict;

	if (__sync_val_compare_and_swap(&script->state, BT_SCRIPT_NONE, BT_SCRIPT_JUDGING)) {
		__sync_lock_test_and_set(&script->state, BT_SCRIPT_SPOILT);
		return BT_REASON_UNSIGNED_SCRIPT;
	}
	if (reason == BT_REASON_NO_SIGNATURE)
		return BT_REASON_UNSIGNED_SCRIPT;
	if (reason != BT_REASON_NONE)
		return reason;
	if (verdict->kind != BT_KIND_SCRIPT)
		return BT_REASON_WRONG_KIND;
	reason = name_publisher(verdict->key, script->publisher);
	if (reason != BT_REASON_NONE)
		return reason;
	script->inode = (u64)file->f_inode;
	__builtin_memcpy(&script->digest, &draft->image.digest, sizeof(script->digest));
	__builtin_memcpy(script->key, verdict->key, sizeof(script->key));
	script->granted = verdict->granted;
	__builtin_memcpy(&script->grant, &verdict->grant, sizeof(script->grant));
	if (__sync_val_compare_and_swap(&script->state, BT_SCRIPT_JUDGING, BT_SCRIPT_LAUNCHES) !=
	    BT_SCRIPT_JUDGING)
		return BT_REASON_UNSIGNED_SCRIPT;
	return BT_REASON_NONE;
}

/* Do the bytes at @at begin with these, of a string with its NUL or more? */
#define BEGINS_WITH(at, bytes)                                  \
	({                                                      \
		bool same = true;                               \
		for (u32 k = 0; k < sizeof(bytes) && same; k++) \
			same = (at)[k] == (u8)(bytes)[k];       \
		same;                                           \
	})

/*
 * How many of the words at @start, on the new stack, come before parameters; 0 if they
 * are no loader's on a script. Nobody else has that stack yet (fs/exec.c,
 * begin_new_exec, holds exec_update_lock). Global, so that the verifier walks it once;
 * @bytes are for reading.
 */
__noinline int fixed_words(struct text_bytes *bytes, u64 start)
{
	u32 at = 0, words = WORDS;
	u8 *line;

	if (!bytes)
		return 0;
	line = bytes->at;
	if (bpf_copy_from_user(line, LINE_SIZE, (void *)start))
		return 0;
	while (at < LOADER_NAME_SIZE - 1 && line[at])
		at++;
	if (line[at++])
		return 0;
	if (BEGINS_WITH(line + at, unsafe_word)) {
		at += sizeof(unsafe_word);
		words++;
	}
	return BEGINS_WITH(line + at, input_words) ? words : 0;
}

/*
 * May a launcher start @bprm so on the script in @draft? Descriptor 0 is that very
 * file, and its words are those that the script's grant allows.
 */
static __always_inline u8 judge_start(struct linux_binprm *bprm, struct draft *draft)
{
	const struct bt_script *script = &draft->script;
	struct file *input = file_of_current(0);
	int words = fixed_words(&draft->text, bprm->p);

	if (!input || (u64)BPF_CORE_READ(input, f_inode) != script->inode)
		return BT_REASON_UNSIGNED_SCRIPT;
	if (!words || bprm->argc < words)
		return BT_REASON_UNSIGNED_SCRIPT;
	if (words > WORDS && !(script->grant.script & BT_SCRIPT_UNSAFE))
		return BT_REASON_NOT_GRANTED;
	if (bprm->argc > words && !(script->grant.script & BT_SCRIPT_PARAMETERS))
		return BT_REASON_NOT_GRANTED;
	return BT_REASON_NONE;
}

#endif
