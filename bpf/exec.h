/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What executing a file makes of a process: the file's verdict, how it is
 * executed, what the policy says, and whether a later statement is known.
 */
#ifndef BPFTRUST_EXEC_H
#define BPFTRUST_EXEC_H

/* Of several signatures for the same content by one publisher, that of the
 * highest version counts, of all that were ever seen. Without a grant it is 0. */
struct seen_id {
	u8 digest[32];
	u8 publisher[BT_NAME_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct seen_id);
	__type(value, u64);
} seen SEC(".maps");

/* How often the highest version may be raised by others meanwhile. */
#define SEEN_TRIES 8

/* Is its version the highest that was seen? Then that is kept. */
static __noinline u8 judge_version(const struct bt_digest *digest, const u8 *publisher, u64 version)
{
	u64 zero = 0, *highest, found;
	struct seen_id id;

	__builtin_memcpy(id.digest, digest->bytes, sizeof(id.digest));
	__builtin_memcpy(id.publisher, publisher, sizeof(id.publisher));
	highest = bpf_map_lookup_elem(&seen, &id);
	/* Below any other, so that none needs to be remembered. */
	if (!highest && !version)
		return BT_REASON_NONE;
	if (!highest) {
		bpf_map_update_elem(&seen, &id, &zero, BPF_NOEXIST);
		highest = bpf_map_lookup_elem(&seen, &id);
	}
	if (!highest) {
		count_starved();
		return BT_REASON_RESOURCES;
	}
	for (u32 i = 0; i < SEEN_TRIES; i++) {
		found = *(volatile u64 *)highest;
		if (version < found)
			return BT_REASON_TOO_OLD;
		if (version == found ||
		    __sync_val_compare_and_swap(highest, found, version) == found)
			return BT_REASON_NONE;
	}
	return BT_REASON_RESOURCES;
}

/*
 * Descriptors stay open over exec where who opened them wants it. Another's can't
 * be closed here, so who is executed with one is not trusted, unless he may
 * inspect. The table is his own by now (fs/exec.c, begin_new_exec), and what is
 * to be closed is closed.
 */
static __noinline u8 judge_inheritance(struct bt_image *image, const struct bt_rights *rights)
{
	struct descriptor_scan scan = { .owner = image };

	if (!scan_descriptors(&scan))
		return BT_REASON_RESOURCES;
	image->unsigned_programs = scan.has_unsigned;
	if (!scan.found.kind &&
	    !(scan.has_unsigned && (image->required & BT_REQUIRE_SIGNED_PROGRAMS)))
		return BT_REASON_NONE;
	if (!allows(rights, BT_OBJECT_ABILITY, BT_ABILITY_INSPECT))
		return scan.found.kind ? BT_REASON_NOT_OWNER : BT_REASON_UNSIGNED_PROGRAM;
	/* Who only reads has no use of it. */
	image->unsigned_programs = 0;
	image->inspects = 1;
	return BT_REASON_NONE;
}

/*
 * The image of a loader whose verdict is in @draft, for current, into @draft->image.
 * The answer is a reason, NONE for trust. A function for the sake of the stack: what
 * makes the verdict needs nearly all of it.
 */
static __noinline u8 judge_loader(struct linux_binprm *bprm, struct draft *draft)
{
	struct verdict *verdict = &draft->verdict;
	struct bt_image *image = &draft->image;
	struct bt_rights rights;
	u32 required;
	u8 reason;

	reason = launch_reason(
		bprm, verdict->granted && !verdict->grant.rights.commands &&
			      has(verdict->grant.rights.abilities, BT_ABILITY_LAUNCH_SCRIPTS));
	if (reason != BT_REASON_NONE)
		return reason;
	image->started = bpf_ktime_get_boot_ns();
	image->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(image->comm, sizeof(image->comm));
	image->granted = verdict->granted;
	__builtin_memcpy(&image->grant, &verdict->grant, sizeof(image->grant));
	if (image->script.state) {
		reason = judge_start(bprm, draft);
		if (reason != BT_REASON_NONE)
			return reason;
		image->script.state = BT_SCRIPT_RUNS;
		image->script.inode = 0;
	}
	reason = refresh(image, &rights, &required);
	if (reason == BT_REASON_NONE)
		reason = judge_version(&image->digest, image->publisher, image->grant.version);
	if (reason == BT_REASON_NONE && image->script.state)
		reason = judge_version(&image->script.digest, image->script.publisher,
				       image->script.grant.version);
	return reason == BT_REASON_NONE ? judge_inheritance(image, &rights) : reason;
}

/*
 * What executing @bprm->file makes of current, into @draft->image. The answer is a reason,
 * NONE for trust. Global, so that the verifier walks it once, wherever the draft is.
 */
__noinline u32 judge_exec(struct linux_binprm *bprm __arg_trusted, struct draft *draft)
{
	struct verdict *verdict;
	struct bt_image *image;

	if (!draft)
		return BT_REASON_RESOURCES;
	verdict = &draft->verdict;
	image = &draft->image;
	if (draft->script.state)
		__builtin_memcpy(&image->script, &draft->script, sizeof(image->script));
	judge_file(bprm->file, draft);
	__builtin_memcpy(image->key, verdict->key, sizeof(image->key));
	if (verdict->reason != BT_REASON_NONE)
		return verdict->reason;
	if (verdict->kind != BT_KIND_LOADER)
		return BT_REASON_WRONG_KIND;
	__builtin_memcpy(&image->digest, &verdict->digest, sizeof(image->digest));
	return judge_loader(bprm, draft);
}

#endif
