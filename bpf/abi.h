/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Every byte that crosses between files, user space and the kernel side.
 *
 * The Rust types of crates/guard are generated from these through BTF. All
 * integers are little endian; no struct has implicit padding (asserted below).
 */
#ifndef BPFTRUST_ABI_H
#define BPFTRUST_ABI_H

/* ---- on disk: the extended attribute ---------------------------------- */

#define BT_XATTR "user.bpftrust"

/* One xattr fits an ext4 block of 4 KiB: 4,040 bytes was the most seen. */
#define BT_XATTR_MAX 4096

#define BT_MAGIC 0x54465042 /* "BPFT" */
#define BT_FORM 1

/*
 * The xattr is: envelope, statement (statement_size bytes), PKCS#7
 * (signature_size bytes), and nothing else.
 *
 * A bare signature (what `fsverity sign` writes) has statement_size 0; its
 * kind is then what the policy says of its publisher.
 */
struct bt_envelope {
	__u32 magic;
	__u16 form;
	__u16 statement_size;
	__u32 signature_size;
	__u32 reserved; /* 0 */
	/*
	 * Which key to try: the first 8 bytes of the SHA-256 of the signing
	 * certificate's DER SubjectPublicKeyInfo. A hint, never evidence:
	 * verification against that key's own ring is the proof.
	 */
	__u8 key[8];
};

enum bt_kind {
	BT_KIND_NONE,
	BT_KIND_LOADER,
	BT_KIND_LIBRARY,
	BT_KIND_SCRIPT,
	BT_KIND_POLICY,
	BT_KIND_PERMIT,
};

/*
 * The signed message is: struct fsverity_formatted_digest (uapi/linux/
 * fsverity.h), then the statement. A statement is this header and grant_size
 * bytes of grant; without one the policy's default applies.
 */
struct bt_statement {
	__u16 kind; /* enum bt_kind */
	__u16 grant_size;
	__u32 reserved; /* 0 */
};

#define BT_GRANT_MAX 512
#define BT_STATEMENT_MAX (sizeof(struct bt_statement) + BT_GRANT_MAX)

/* "FSVerity", algorithm, size, digest: at most SHA-512 */
#define BT_FORMATTED_DIGEST_MAX (8 + 2 + 2 + 64)

_Static_assert(sizeof(struct bt_envelope) == 24, "bt_envelope is packed");
_Static_assert(sizeof(struct bt_statement) == 8, "bt_statement is packed");

#endif
