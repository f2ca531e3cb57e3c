/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Memory that code may run from.
 */
#ifndef BPFTRUST_HOOKS_MEMORY_H
#define BPFTRUST_HOOKS_MEMORY_H

/*
 * Costs @image its trust, unless it may have code of its own. That it has is
 * kept, for a policy that takes that away.
 */
static __always_inline void runs_own_code(void)
{
	struct standing standing = known_current();

	if (!is_trusted(&standing))
		return;
	if (allows(&standing.rights, BT_OBJECT_ABILITY, BT_ABILITY_OWN_CODE))
		standing.image->own_code = 1;
	else
		taint(standing.image, BT_REASON_WRITABLE_CODE);
}

/* Is @inode, of /proc, about a thread that has current's address space? */
static __always_inline bool is_own_process(struct inode *inode)
{
	struct task_struct *current = (void *)bpf_get_current_task(), *task;
	struct proc_inode *entry =
		(void *)inode - bpf_core_field_offset(struct proc_inode, vfs_inode);
	struct hlist_node *first = BPF_CORE_READ(entry, pid, tasks[0].first);

	if (!first)
		return false;
	task = (void *)first - bpf_core_field_offset(struct task_struct, pid_links);
	return BPF_CORE_READ(task, mm) == BPF_CORE_READ(current, mm);
}

/*
 * /proc/self/mem, opened for writing: that writes whatever the memory's
 * protection says (fs/proc/base.c, mem_rw). To open another's takes what
 * bt_trace gives.
 */
static __always_inline bool writes_own_memory(struct file *file)
{
	static const char memory[] = "mem";
	char name[sizeof(memory)];

	if (!(file->f_mode & FMODE_WRITE))
		return false;
	bpf_probe_read_kernel_str(name, sizeof(name),
				  BPF_CORE_READ(file, f_path.dentry, d_name.name));
	return !__builtin_memcmp(name, memory, sizeof(memory)) && is_own_process(file->f_inode);
}

/* The memory of a map (kernel/bpf/syscall.c, bpf_map_mmap), which is mapped shared or
 * not at all. Who has lost trust, or inherited the descriptor, has no use of it. */
static __always_inline bool may_map(struct file *file)
{
	struct object object;

	if (!file || BPF_CORE_READ(file, f_inode, i_sb, s_magic) != ANON_INODE_FS_MAGIC)
		return true;
	object_of_file((u64)file, &object);
	return object.kind != BT_OBJECT_MAP || may_reach(&object);
}

/*
 * Executable memory that is not a file's: what runs there was not signed.
 * Anonymous memory has no file; PROT_WRITE beside PROT_EXEC is no better. What
 * is a file's comes here, too, the executable itself and its PT_INTERP included.
 */
SEC("lsm.s/mmap_file")
int BPF_PROG(bt_mmap, struct file *file, unsigned long reqprot, unsigned long prot,
	     unsigned long flags)
{
	struct bt_image *image;
	bool as_script;

	if ((flags & MAP_SHARED) && !may_map((void *)argument(ctx, 0)))
		DENY_BLOCK();
	if (!(prot & PROT_EXEC))
		return 0;
	if (!argument(ctx, 0) || (prot & PROT_WRITE))
		runs_own_code();
	if (!argument(ctx, 0))
		return 0;
	image = trusted_image();
	/* 6.12 and 6.18 delete the second test, and 7.3 wants it. */
	if (image && file) {
		as_script = (flags & MAP_SHARED) && launches_scripts(image);
		if (!as_script && runs_known_file(file, image))
			return 0;
		if (runs_file(file, image, as_script) && as_script && !audit)
			DENY_BLOCK();
	}
	return 0;
}

/*
 * The same for memory that becomes executable later, a file's included: the
 * dynamic linker maps code as code. What was code already stays it, unless it
 * was written to: such private pages hang in the area's anon_vma.
 */
SEC("lsm/file_mprotect")
int BPF_PROG(bt_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	if (!(prot & PROT_EXEC))
		return 0;
	if (!(BPF_CORE_READ(vma, vm_flags) & VM_EXEC) || !BPF_CORE_READ(vma, vm_file) ||
	    BPF_CORE_READ(vma, anon_vma) || (prot & PROT_WRITE))
		runs_own_code();
	return 0;
}

#endif
