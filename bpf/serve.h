/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What user space runs: the start of enforcement, questions of tests, and the
 * iterators by which it reads.
 */
#ifndef BPFTRUST_SERVE_H
#define BPFTRUST_SERVE_H

/* Thread groups that the admin vouches for (--adopt), and the images made for
 * them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_ADOPTED);
	__type(key, u32);
	__type(value, u64);
} adopted SEC(".maps");

static __always_inline void mark(struct task_struct *task)
{
	struct bt_image *image = NULL;
	u64 key = (u64)task;
	u32 tgid = task->tgid;
	u64 *id;

	if (bpf_map_lookup_elem(&tasks, &key))
		return;
	id = bpf_map_lookup_elem(&adopted, &tgid);
	if (id)
		image = image_by_id(*id);
	if (!image) {
		set_entry(key, BT_REASON_BEFORE, BPF_NOEXIST);
		return;
	}
	/* Its tracer acts through it, and stays. */
	if (BPF_CORE_READ(task, ptrace))
		image->reason = BT_REASON_TRACED;
	__sync_fetch_and_add(&image->tasks, 1);
	if (!set_entry(key, *id, BPF_NOEXIST))
		__sync_fetch_and_sub(&image->tasks, 1);
}

/*
 * Run once by `enforce`, when all hooks are attached and before it ends: marks
 * every task that runs already, and from then on the hooks decide. A task that
 * is forked meanwhile is at the end of the list or inherits its parent's mark;
 * one that is executed meanwhile has been decided on and keeps that.
 */
SEC("syscall")
int bt_arm(struct bt_arming *arming)
{
	struct bt_state *guard = guard_state();
	struct task_struct *task;
	struct bpf_iter_task it;

	if (!guard || guard->started || !guard->generation)
		return BT_ARMED_NOT;
	if (seal && !audit) {
		u32 answer = take_hold(arming->directory);

		if (answer != BT_ARMED)
			return answer;
	}
	bpf_rcu_read_lock();
	bpf_iter_task_new(&it, NULL, BPF_TASK_ITER_ALL_THREADS);
	while ((task = bpf_iter_task_next(&it)))
		mark(task);
	bpf_iter_task_destroy(&it);
	bpf_rcu_read_unlock();
	guard->form = BT_FORM;
	guard->audit = audit;
	guard->sealed = seal && !audit;
	wall_clock(guard);
	*(volatile u64 *)&guard->started = bpf_ktime_get_boot_ns();
	return BT_ARMED;
}

/*
 * The function that decides about rights, with questions of user space's: run
 * by tests, so that what is said of policies elsewhere is what is decided here.
 */
SEC("syscall")
int bt_decide(struct bt_question *asked)
{
	struct bt_question question;

	if (bpf_probe_read_kernel(&question, sizeof(question), asked))
		return 1;
	intersect(&question.grant, &question.publisher);
	intersect(&question.grant, &question.policy);
	asked->reason = judge_right(&question.grant, question.object, question.number);
	asked->effective.commands = question.grant.commands;
	asked->effective.programs = question.grant.programs;
	asked->effective.maps = question.grant.maps;
	asked->effective.attaches[0] = question.grant.attaches[0];
	asked->effective.attaches[1] = question.grant.attaches[1];
	asked->effective.abilities = question.grant.abilities;
	return 0;
}

static int hash_again(u64 index, const u32 *size)
{
	struct incoming *in = incoming();

	if (!in)
		return 1;
	sha256_add(&in->sha, &in->input, *size);
	return 0;
}

/* The hash function by itself: run by tests. */
SEC("syscall")
int bt_sha256(struct bt_hash *asked)
{
	struct bt_state *guard = guard_state();
	struct incoming *in = incoming();
	u32 size = asked->size;

	/* What is being taken over may be in there. */
	if (!in || !guard || __sync_val_compare_and_swap(&guard->changing, 0, 1))
		return 1;
	sha256_begin(&in->sha);
	bpf_probe_read_kernel(&in->input, sizeof(in->input), asked->message);
	bpf_loop(asked->times, hash_again, &size, 0);
	sha256_end(&in->sha);
	for (u32 i = 0; i < SHA256_SIZE / sizeof(u32); i++)
		((u32 *)asked->digest)[i] = in->sha.state[i];
	__sync_lock_test_and_set(&guard->changing, 0);
	return 0;
}

/* What user space may read, as bytes of abi.h: iterators pinned beside us. */
static __always_inline int show(struct bpf_iter__bpf_map_elem *ctx, u32 size)
{
	struct seq_file *seq = ctx->meta->seq;
	void *value = ctx->value;

	if (value)
		bpf_seq_write(seq, value, size);
	return 0;
}

SEC("iter/bpf_map_elem")
int bt_show_state(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_state));
}

SEC("iter/bpf_map_elem")
int bt_show_events(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_event));
}

SEC("iter/bpf_map_elem")
int bt_show_images(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_image));
}

SEC("iter/bpf_map_elem")
int bt_show_keys(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_key));
}

SEC("iter/bpf_map_elem")
int bt_show_tokens(struct bpf_iter__bpf_map_elem *ctx)
{
	return show(ctx, sizeof(struct bt_token));
}

/* All objects, and to whom they belong. */
static __always_inline void show_object(struct seq_file *seq, const struct object *object,
					const char *label)
{
	struct bt_owned *owned = bpf_map_lookup_elem(&objects, &object->address);
	struct bt_owned shown = {};

	if (owned)
		__builtin_memcpy(&shown, owned, sizeof(shown));
	shown.id = object->id;
	shown.object = object->kind;
	shown.type = object->type;
	bpf_probe_read_kernel_str(shown.label, sizeof(shown.label), label);
	bpf_seq_write(seq, &shown, sizeof(shown));
}

SEC("iter/bpf_prog")
int bt_show_progs(struct bpf_iter__bpf_prog *ctx)
{
	struct bpf_prog *prog = ctx->prog;
	struct object object;

	if (!prog)
		return 0;
	object = object_of_program(prog);
	show_object(ctx->meta->seq, &object, prog->aux->name);
	return 0;
}

SEC("iter/bpf_map")
int bt_show_maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	struct object object;

	if (!map)
		return 0;
	object = object_of_map(map);
	show_object(ctx->meta->seq, &object, map->name);
	return 0;
}

SEC("iter/bpf_link")
int bt_show_links(struct bpf_iter__bpf_link *ctx)
{
	struct bpf_link *link = ctx->link;
	struct object object;

	if (!link)
		return 0;
	object = object_of_link(link);
	show_object(ctx->meta->seq, &object, link_label(link));
	return 0;
}

#endif
