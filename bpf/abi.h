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
 * bytes of grant. Today's guard knows no grants and refuses what has one.
 */
struct bt_statement {
	__u16 kind; /* enum bt_kind */
	__u16 grant_size;
	__u32 reserved; /* 0 */
};

/* What a loader's programs, or it itself, may do beyond commands and types. */
enum bt_ability {
	BT_ABILITY_WRITE_USER,	    /* programs write the memory of processes */
	BT_ABILITY_WRITE_KERNEL,    /* programs change the kernel's state, see kfuncs.txt */
	BT_ABILITY_OVERRIDE_RETURN, /* programs change what kernel functions return */
	BT_ABILITY_SEND_SIGNAL,	    /* programs send signals */
	BT_ABILITY_OTHER_KFUNCS,    /* programs call functions that bpftrust does not know */
	BT_ABILITY_OWN_CODE,	    /* executable memory that is no file's: a JIT */
	BT_ABILITY_DELEGATE,	    /* BPF tokens */
	BT_ABILITY_CHILDREN,	    /* a fork keeps trust */
};

#define BT_GRANT_MAX 512
#define BT_SIGNATURE_MAX 3072
#define BT_STATEMENT_MAX (sizeof(struct bt_statement) + BT_GRANT_MAX)

/* "FSVerity", algorithm, size, digest: at most SHA-512 */
#define BT_FORMATTED_DIGEST_MAX (8 + 2 + 2 + 64)

/* ---- between the kernel side and user space --------------------------- */

/*
 * Why a process may not call bpf(). A closed list: it grows, a name is never
 * used again for something else. The event and `status` show the name.
 */
enum bt_reason {
	BT_REASON_NONE,		    /* trusted */
	BT_REASON_NO_SIGNATURE,	    /* executed from a file without our xattr */
	BT_REASON_BEFORE,	    /* running since before enforcement began */
	BT_REASON_NO_VERITY,	    /* our xattr, but the content may change */
	BT_REASON_BAD_SIGNATURE,    /* malformed, or not over this content */
	BT_REASON_UNKNOWN_KEY,	    /* no key of the policy made it */
	BT_REASON_WRONG_KIND,	    /* signed, but not as a loader */
	BT_REASON_UNREADABLE,	    /* its xattr can't be read by who runs it */
	BT_REASON_TRACED,	    /* executed while a debugger was attached */
	BT_REASON_FILTERED,	    /* a seccomp filter can answer for the kernel */
	BT_REASON_KERNEL_STARTED,   /* executed by a kernel thread */
	BT_REASON_UNSIGNED_SCRIPT,  /* executed as the interpreter of a file */
	BT_REASON_UNSIGNED_LIBRARY, /* executed with a loader of somebody's choice */
	BT_REASON_WRITABLE_CODE,    /* made memory executable that it can write */
	BT_REASON_UNKNOWN_COMMAND,  /* a bpf() command newer than this policy */
	BT_REASON_RESOURCES,	    /* no memory or slot to decide with */
};

/* What an event is about. */
enum bt_action {
	BT_ACTION_EXEC = 1, /* a file with our xattr was executed */
	BT_ACTION_BPF,	    /* bpf() was called */
	BT_ACTION_TAINT,    /* a trusted address space lost trust */
	BT_ACTION_TRACE,    /* somebody reached for a trusted process */
};

enum bt_outcome {
	BT_OUTCOME_ALLOWED = 1,
	BT_OUTCOME_DENIED,
	BT_OUTCOME_WOULD_DENY, /* audit mode */
};

/* Numbers that both sides must agree on. */
enum bt_limit {
	BT_FIRST_IMAGE = 256, /* images count from here; below, a standing is a bt_reason */
	BT_ADOPTED = 1024,    /* thread groups at most */
	BT_EVENTS = 4096,     /* slots of the history */
	BT_KEYS = 4096,	      /* keys at most */
};

#define BT_DIGEST_MAX 64
#define BT_COMM_SIZE 16
#define BT_NAME_SIZE 32
#define BT_PATH_SIZE 384
#define BT_PUBLIC_KEY_MAX 552 /* RSA with 4,096 bits takes 526; a multiple of 8 */

/* struct fsverity_digest (uapi/linux/fsverity.h) with room for SHA-512. */
struct bt_digest {
	__u16 algorithm; /* FS_VERITY_HASH_ALG_* */
	__u16 size;	 /* bytes */
	__u8 bytes[BT_DIGEST_MAX];
};

/*
 * One slot of the history of events. Its writer makes `closing` differ from
 * `sequence` while the slot is being written.
 */
struct bt_event {
	__u64 sequence; /* 1 for the first event since enforcement began */
	__u64 busy;	/* held by a writer */
	__u64 time;	/* nanoseconds, CLOCK_BOOTTIME */
	__u32 pid;	/* thread group, as the initial PID namespace has it */
	__u32 tid;
	__u32 uid;
	__u32 target;		 /* BT_ACTION_TRACE: the pid reached for */
	__u32 command;		 /* BT_ACTION_BPF: enum bpf_cmd */
	__u8 action;		 /* enum bt_action */
	__u8 outcome;		 /* enum bt_outcome */
	__u8 reason;		 /* enum bt_reason */
	__u8 reserved;		 /* 0 */
	__u8 key[8];		 /* hint of the key that verified the executable, or 0 */
	struct bt_digest digest; /* of the executable; size 0 without fs-verity */
	__u8 comm[BT_COMM_SIZE];
	__u8 path[BT_PATH_SIZE]; /* of the executable, NUL-terminated; cut off from
				    the front in favour of the name if too long */
	__u8 padding[4];	 /* 0 */
	__u64 closing;		 /* equals sequence when the record is whole */
};

/* What one address space may do. Shared by everything that shares it. */
struct bt_image {
	__u64 commands; /* bit set of bpf() commands already reported as allowed */
	__u64 started;	/* nanoseconds, CLOCK_BOOTTIME: its exec */
	__u32 tasks;	/* threads and CLONE_VM children that share it */
	__u32 pid;	/* thread group that it was made for */
	__u8 reason;	/* enum bt_reason: not NONE once trust is lost */
	__u8 adopted;	/* trusted by the admin's word (--adopt), not by exec */
	__u8 reserved[2];
	struct bt_digest digest;
	__u8 key[8];
	__u8 comm[BT_COMM_SIZE];
};

/* A key that may sign, found by its hint (struct bt_envelope). */
struct bt_key {
	__u32 ring; /* serial of the keyring that holds this key and no other */
	__u8 bare;  /* enum bt_kind that a bare signature of it means */
	__u8 lost;  /* the ring is gone: never look it up again */
	__u16 public_key_size;
	__u8 hint[8];		      /* its own key in the map, for readers */
	__u8 publisher[BT_NAME_SIZE]; /* NUL-padded */
	/* subjectPublicKey of its certificate (RFC 5280, 4.1), zero-padded */
	__u8 public_key[BT_PUBLIC_KEY_MAX];
};

/* The whole guard's state: one slot. */
struct bt_state {
	__u64 started;	    /* nanoseconds, CLOCK_BOOTTIME: when it was armed; 0 before */
	__u64 booted;	    /* nanoseconds since the epoch, by the wall clock at the start */
	__u64 events;	    /* number of the newest event */
	__u64 lost;	    /* events that found their slot busy */
	__u64 images;	    /* number of the newest image */
	__u64 starved;	    /* records that could not be made for want of room: a
			       trusted task's is its trust, another's its reason */
	__u64 reasons;	    /* tasks whose entry is a reason, not an image */
	__u64 refusals[32]; /* by reason */
	__u32 audit;
	__u32 form; /* BT_FORM of the guard that runs */
};

_Static_assert(sizeof(struct bt_digest) == 68, "bt_digest is packed");
_Static_assert(sizeof(struct bt_event) % 8 == 0, "bt_event is packed");
_Static_assert(sizeof(struct bt_image) == 120, "bt_image is packed");
_Static_assert(sizeof(struct bt_key) == 600, "bt_key is packed");
_Static_assert(sizeof(struct bt_envelope) == 24, "bt_envelope is packed");
_Static_assert(sizeof(struct bt_statement) == 8, "bt_statement is packed");

#endif
