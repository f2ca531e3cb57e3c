/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * From a file to the BPF object that it stands for: descriptors, and pins.
 *
 * Descriptors are known by the name of their anonymous inode, as those of perf
 * events are, and tokens by another. Only the kernel makes such, and its symbols
 * (bpf_map_fops and so on) may be hidden even from root (kptr_restrict).
 */
#ifndef BPFTRUST_DESCRIPTOR_H
#define BPFTRUST_DESCRIPTOR_H

/* include/uapi/linux/magic.h */
#define ANON_INODE_FS_MAGIC 0x09041934

/* More descriptors, and words of bits, than bpf_loop() can look at (BPF_MAX_LOOPS). */
#define DESCRIPTORS_MAX (1U << 22)

/* kernel/bpf: syscall.c, btf.c, token.c */
#define NAME_SIZE 10
static const char map_name[NAME_SIZE] = "bpf-map";
static const char program_name[NAME_SIZE] = "bpf-prog";
static const char link_name[NAME_SIZE] = "bpf-link";
static const char new_link_name[NAME_SIZE] = "bpf_link"; /* from bpf_link_prime() */
static const char token_name[NAME_SIZE] = "bpf-token";
static const char btf_name[NAME_SIZE] = "btf";

static __always_inline bool is_called(const char *name, const char *other)
{
	for (u32 i = 0; i < NAME_SIZE; i++) {
		if (name[i] != other[i])
			return false;
		if (!name[i])
			return true;
	}
	return true;
}

/* A token's inode is in the bpffs that it is of, but in no directory: it is its
 * own parent (kernel/bpf/token.c, bpf_token_create; fs/file_table.c,
 * alloc_file_pseudo). The root of a bpffs has another name. */
static __always_inline bool is_token(struct dentry *dentry, const char *name)
{
	return BPF_CORE_READ(dentry, d_parent) == dentry && is_called(name, token_name);
}

/* The BPF object that the descriptor's file at @address stands for; of kind NONE if
 * none. Global, so that the verifier walks it once. */
__noinline int object_of_file(u64 address, struct object *object)
{
	struct file *file = bpf_core_cast((void *)address, struct file);
	struct dentry *dentry = file->f_path.dentry;
	u64 magic = file->f_inode->i_sb->s_magic;
	void *private = file->private_data;
	char name[NAME_SIZE] = {};

	if (!object)
		return 0;
	*object = (struct object){};
	if (magic != ANON_INODE_FS_MAGIC && magic != BPF_FS_MAGIC)
		return 0;
	bpf_probe_read_kernel_str(name, sizeof(name), dentry->d_name.name);
	if (magic == BPF_FS_MAGIC) {
		if (is_token(dentry, name))
			*object = (struct object){ .address = (u64) private,
						   .kind = BT_OBJECT_TOKEN };
		return 0;
	}
	if (is_called(name, map_name))
		*object = object_of_map(private);
	else if (is_called(name, program_name))
		*object = object_of_program(private);
	else if (is_called(name, link_name) || is_called(name, new_link_name))
		*object = object_of_link(private);
	else if (is_called(name, btf_name))
		*object = (struct object){ .address = (u64) private, .kind = BT_OBJECT_BTF };
	return 0;
}

/*
 * The object with a record that is pinned at @inode. What kind it is says the
 * record: an address is that of one object.
 */
static __noinline int object_of_pin(struct inode *inode, struct object *object)
{
	void *private = BPF_CORE_READ(inode, i_private);

	*object = (struct object){};
	if (!private || BPF_CORE_READ(inode, i_sb, s_magic) != BPF_FS_MAGIC)
		return 0;
	*object = object_of_map(private);
	if (bpf_map_lookup_elem(&objects, &object->address))
		return 0;
	*object = object_of_program(private);
	if (bpf_map_lookup_elem(&objects, &object->address))
		return 0;
	*object = object_of_link(private);
	if (bpf_map_lookup_elem(&objects, &object->address))
		return 0;
	*object = (struct object){};
	return 0;
}

static __always_inline struct fdtable *descriptors_of_current(void)
{
	return bpf_get_current_task_btf()->files->fdt;
}

/* What is behind current's descriptor @fd now; NULL if nothing is. */
static __always_inline struct file *file_of_current(u32 fd)
{
	struct fdtable *table = descriptors_of_current();
	struct file *file = NULL;

	if (fd < table->max_fds)
		bpf_probe_read_kernel(&file, sizeof(file), table->fd + fd);
	return file;
}

/*
 * A look at all descriptors of a task. Places are addresses, and not counted from 0 on:
 * what the verifier knows of a number it would follow through all rounds.
 */
struct descriptor_scan {
	u64 next_word; /* of bits, one for each slot that may have a file */
	u64 last_word;
	u64 open;		      /* what is left of the word before */
	struct file **slots;	      /* that word's */
	const struct bt_image *owner; /* looks for what is not his; else for programs */
	struct object found;
	bool has_unsigned; /* a program of his own */
	bool failed;
};

/* By the only bit of a word, where it is: "Using de Bruijn Sequences to Index a 1 in a
 * Computer Word" (Leiserson, Prokop, Randall 1998); BPF has no instruction for it. */
#define DE_BRUIJN 0x03f79d71b4cb0a89ULL
static const u8 bit_places[64] = {
	0,  1,	48, 2,	57, 49, 28, 3,	61, 58, 50, 42, 38, 29, 17, 4,	62, 55, 59, 36, 53, 51,
	43, 22, 45, 39, 33, 30, 24, 18, 12, 5,	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21,
	44, 32, 23, 11, 46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,	13, 8,	7,  6,
};

/* Takes the next word, or looks at the next open descriptor of the one that was taken. */
static int scan_descriptor(u64 index, struct descriptor_scan *scan)
{
	struct file *file = NULL;
	struct object object;
	u64 bit;

	if (!scan->open) {
		if (scan->next_word == scan->last_word)
			return 1;
		if (bpf_probe_read_kernel(&scan->open, sizeof(scan->open),
					  (void *)scan->next_word)) {
			scan->failed = true;
			return 1;
		}
		scan->next_word += sizeof(scan->open);
		scan->slots += 64;
		return 0;
	}
	bit = scan->open & -scan->open;
	scan->open ^= bit;
	bpf_probe_read_kernel(&file, sizeof(file), scan->slots + bit_places[bit * DE_BRUIJN >> 58]);
	if (!file)
		return 0;
	object_of_file((u64)file, &object);
	if (!object.kind || object.kind == BT_OBJECT_BTF)
		return 0;
	scan->has_unsigned |= object.kind == BT_OBJECT_PROGRAM && is_unsigned(object.address);
	if (scan->owner ? is_owner(scan->owner, object.address) : object.kind != BT_OBJECT_PROGRAM)
		return 0;
	scan->found = object;
	return 1;
}

/* Looks until something is found; false if not all could be looked at. */
static __always_inline bool scan_descriptors(struct descriptor_scan *scan)
{
	struct fdtable *table = descriptors_of_current();
	u32 count = table->max_fds;

	scan->slots = table->fd - 64;
	scan->next_word = (u64)table->open_fds;
	/* A multiple of the bits of a word (fs/file.c, alloc_fdtable). */
	scan->last_word = scan->next_word + count / 64 * sizeof(scan->open);
	return count <= DESCRIPTORS_MAX &&
	       bpf_loop(count + count / 64 + 1, scan_descriptor, scan, 0) >= 0 && !scan->failed;
}

/*
 * Does current hold a program's descriptor? Such act by other calls than bpf(),
 * too. One without trust can only have inherited it.
 */
static __always_inline bool holds_program(void)
{
	struct descriptor_scan scan = {};

	return !scan_descriptors(&scan) || scan.found.kind;
}

#endif
