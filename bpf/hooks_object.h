/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Objects are their owners': who gets a descriptor of one, or takes away its
 * pin.
 */
#ifndef BPFTRUST_HOOKS_OBJECT_H
#define BPFTRUST_HOOKS_OBJECT_H

/* A descriptor is about to be made: of a new map, by id, by pin (kernel/bpf/
 * syscall.c, bpf_map_new_fd). */
SEC("lsm/bpf_map")
int BPF_PROG(bt_map_fd, struct bpf_map *map)
{
	struct object object = object_of_map(map);

	if (!may_reach(&object))
		DENY_BLOCK();
	return 0;
}

/* The same of a program (bpf_prog_new_fd). */
SEC("lsm/bpf_prog")
int BPF_PROG(bt_prog_fd, struct bpf_prog *prog)
{
	struct object object = object_of_program(prog);

	if (!may_reach(&object))
		DENY_BLOCK();
	return 0;
}

/*
 * A descriptor arrives: over a socket, from another process, out of io_uring.
 * Who may inspect receives what has no record, too: what nobody made under
 * enforcement, and BTF.
 */
SEC("lsm/file_receive")
int BPF_PROG(bt_receive, struct file *file)
{
	struct object object;

	/* As a number: the function takes no pointer of a hook's. */
	object_of_file(argument(ctx, 0), &object);
	if (object.kind && !may_reach(&object))
		DENY_BLOCK();
	return 0;
}

/*
 * A pin is opened as a file, which shows what a map holds (kernel/bpf/inode.c,
 * bpffs_map_open), or a process's own memory is. Nothing but this hook sees
 * that.
 */
SEC("lsm/file_open")
int BPF_PROG(bt_open, struct file *file)
{
	unsigned long magic = file->f_inode->i_sb->s_magic;
	struct object object;

	if (magic == PROC_SUPER_MAGIC && writes_own_memory(file))
		runs_own_code();
	if (magic != BPF_FS_MAGIC)
		return 0;
	object_of_pin(file->f_inode, &object);
	if (object.kind && !may_reach(&object))
		DENY_BLOCK();
	return 0;
}

/*
 * May current take the pin at @dentry away, or make another of it? With the last
 * pin goes the object, and what it is attached to; one more keeps it, whatever
 * its owner does.
 */
static __always_inline bool may_change_pin(u64 dentry)
{
	struct inode *inode = BPF_CORE_READ((struct dentry *)dentry, d_inode);
	struct decision decision = { .action = BT_ACTION_OBJECT, .outcome = BT_OUTCOME_ALLOWED };
	struct standing standing;
	struct bt_owner *owner;
	struct object object;

	if (!inode || BPF_CORE_READ(inode, i_sb, s_magic) != BPF_FS_MAGIC || !armed())
		return true;
	object_of_pin(inode, &object);
	owner = bpf_task_storage_get(&evictions, bpf_get_current_task_btf(), NULL, 0);
	if (!object.kind)
		return !owner;
	decision.subject = object.id;
	decision.object = object.kind;
	decision.number = object.type;
	if (owner) {
		/* In audit mode, too: who evicts tries every pin there is. */
		if (!is_owned_by(object.address, owner->publisher, owner->loader))
			return false;
		report(&decision, NULL);
		return true;
	}
	standing = known_current();
	decision.reason = judge_owner(&standing, object.address);
	return !refuse(&decision, standing.image);
}

SEC("lsm/inode_unlink")
int BPF_PROG(bt_unpin, struct inode *dir, struct dentry *dentry)
{
	if (!may_change_pin(argument(ctx, 1)))
		DENY_BLOCK();
	return 0;
}

/* A file system of BPF takes hard links (kernel/bpf/inode.c, bpf_dir_iops). */
SEC("lsm/inode_link")
int BPF_PROG(bt_hardlink, struct dentry *old_dentry)
{
	if (!may_change_pin(argument(ctx, 0)))
		DENY_BLOCK();
	return 0;
}

/* What is renamed, and what that takes the place of. */
SEC("lsm/inode_rename")
int BPF_PROG(bt_repin, struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir,
	     struct dentry *new_dentry)
{
	if (!may_change_pin(argument(ctx, 1)) || !may_change_pin(argument(ctx, 3)))
		DENY_BLOCK();
	return 0;
}

#endif
