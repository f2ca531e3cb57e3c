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

	if (!standing.image || standing.reason != BT_REASON_NONE)
		return;
	if (allows(&standing.rights, BT_OBJECT_ABILITY, BT_ABILITY_OWN_CODE))
		standing.image->own_code = 1;
	else
		taint(standing.image, BT_REASON_WRITABLE_CODE);
}

/*
 * Executable memory that is not a file's: what runs there was not signed.
 * Anonymous memory has no file; PROT_WRITE beside PROT_EXEC is no better. What
 * is a file's comes here, too, the executable itself and its PT_INTERP included.
 */
SEC("lsm.s/mmap_file")
int BPF_PROG(bt_mmap, struct file *file, unsigned long reqprot, unsigned long prot)
{
	struct bt_image *image;

	if (!(prot & PROT_EXEC))
		return 0;
	if (!argument(ctx, 0) || (prot & PROT_WRITE))
		runs_own_code();
	if (!argument(ctx, 0))
		return 0;
	image = trusted_image();
	/* 6.12 and 6.18 delete the second test, and 7.3 wants it. */
	if (image && file)
		runs_file(file, image);
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
