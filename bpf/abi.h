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
 * bytes of grant: none, or one struct bt_grant.
 */
struct bt_statement {
	__u16 kind; /* enum bt_kind */
	__u16 grant_size;
	__u32 reserved; /* 0 */
};

#define BT_NAME_SIZE 32

/*
 * Sets of the kernel's numbers, a bit each (uapi/linux/bpf.h). What has a
 * number that no bit stands for is nobody's.
 */
struct bt_rights {
	__u64 commands;	   /* enum bpf_cmd */
	__u64 programs;	   /* enum bpf_prog_type */
	__u64 maps;	   /* enum bpf_map_type */
	__u64 attaches[2]; /* enum bpf_attach_type */
	__u64 abilities;   /* enum bt_ability */
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
	BT_ABILITY_INSPECT,	    /* it itself reads objects of others */
	BT_ABILITY_LAUNCH_SCRIPTS,  /* it itself starts loaders on signed scripts */
};

/* What every bpf() call of a loader takes besides rights: bits of a set that grant,
 * publisher and policy add to, and none takes from. */
enum bt_requirement {
	BT_REQUIRE_TOKEN = 1,		/* a BPF token of its owner's */
	BT_REQUIRE_SCRIPT = 2,		/* a signed script that it was started to run */
	BT_REQUIRE_SIGNED_PROGRAMS = 4, /* programs whose signature the kernel verified */
	BT_REQUIRE_KNOWN = 7,
};

/* What a script may have besides: bits. */
enum bt_script_right {
	BT_SCRIPT_PARAMETERS = 1, /* who starts it gives it words */
	BT_SCRIPT_UNSAFE = 2,	  /* its loader is started with --unsafe */
	BT_SCRIPT_KNOWN = 3,
};

/* What a signature lets a loader, or a script in it, do. */
struct bt_grant {
	__u16 size;		 /* of all this: a larger one is of a form to come */
	__u16 required;		 /* enum bt_requirement */
	__u16 script;		 /* enum bt_script_right; of a loader 0 */
	__u16 reserved;		 /* 0 */
	__u64 version;		 /* at most 2^63 - 1 */
	__u64 not_after;	 /* seconds since the epoch; 0 for no end */
	__u8 name[BT_NAME_SIZE]; /* of the loader, NUL-padded; at least one NUL */
	struct bt_rights rights;
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
	BT_REASON_UNSIGNED_SCRIPT,  /* executed as the interpreter of a file, or runs no
				       script that was signed and must */
	BT_REASON_UNSIGNED_LIBRARY, /* executed with a loader of somebody's choice */
	BT_REASON_WRITABLE_CODE,    /* made memory executable that it can write */
	BT_REASON_UNKNOWN_COMMAND,  /* a bpf() command newer than this policy */
	BT_REASON_RESOURCES,	    /* no memory or slot to decide with */
	BT_REASON_NOT_GRANTED,	    /* beyond what signature and policy allow */
	BT_REASON_EXPIRED,	    /* the grant's not-after has passed */
	BT_REASON_TOO_OLD,	    /* a higher version is required, or was seen */
	BT_REASON_REVOKED,	    /* the policy refuses its digest, key or name */
	BT_REASON_NOT_OWNER,	    /* the object is another's */
	BT_REASON_SEALED,	    /* what is sealed can't be taken away or changed */
	BT_REASON_KEPT_ON,	    /* would switch the guard off from outside of BPF */
	BT_REASON_WRONG_NONCE,	    /* a permit of another boot, or one that was used */
	BT_REASON_NO_TOKEN,	    /* called without the token that it must use */
	BT_REASON_UNSIGNED_PROGRAM, /* the kernel verified no signature of the program */
};

/* What an event is about. */
enum bt_action {
	BT_ACTION_EXEC = 1, /* a file with our xattr was executed */
	BT_ACTION_BPF,	    /* bpf() was called */
	BT_ACTION_TAINT,    /* a trusted address space lost trust */
	BT_ACTION_TRACE,    /* somebody reached for a trusted process */
	BT_ACTION_ATTACH,   /* a program was attached without bpf() */
	BT_ACTION_POLICY,   /* another policy took effect, or was refused */
	BT_ACTION_OBJECT,   /* somebody reached for a program, map, link or token */
	BT_ACTION_PIN,	    /* a pin of ours was about to be taken away */
	BT_ACTION_MOUNT,    /* so was the mount that the pins are in */
	BT_ACTION_ANCHOR,   /* somebody reached for the process that holds them, too */
	BT_ACTION_KEYRING,  /* a keyring was about to be taken away */
	BT_ACTION_SYSCTL,   /* a setting was about to be written */
	BT_ACTION_PERMIT,   /* a permit lifted the seal, or was refused */
	BT_ACTION_SCRIPT,   /* a launcher was given a script */
};

/* What a right is asked for: which of the sets of struct bt_rights, and so what
 * the number beside it means. Or an object that somebody reached for, with its
 * type as number. */
enum bt_object {
	BT_OBJECT_NONE,
	BT_OBJECT_COMMAND,
	BT_OBJECT_PROGRAM,
	BT_OBJECT_MAP,
	BT_OBJECT_ATTACH,
	BT_OBJECT_ABILITY,
	BT_OBJECT_LINK,
	BT_OBJECT_BTF,
	BT_OBJECT_TOKEN,
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
	BT_KEYS = 4096,	      /* keys at most, and as many publishers */
	BT_RULES = 131072,    /* rules at most */
	BT_KFUNCS = 1024,     /* functions of the kernel that programs may call, at most */
	BT_SIGNERS = 4,	      /* keys that sign the libraries of one process, at most */
	BT_TOKENS = 4,	      /* tokens that are remembered of one process */
};

#define BT_DIGEST_MAX 64
#define BT_COMM_SIZE 16
#define BT_PATH_SIZE 384
#define BT_FILE_SIZE 256
#define BT_CGROUP_SIZE 64
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
	__u32 target;		 /* BT_ACTION_TRACE, _ANCHOR: the pid reached for;
				    BT_ACTION_OBJECT: the object's id */
	__u32 command;		 /* BT_ACTION_BPF: enum bpf_cmd */
	__u8 action;		 /* enum bt_action */
	__u8 outcome;		 /* enum bt_outcome */
	__u8 reason;		 /* enum bt_reason */
	__u8 object;		 /* enum bt_object: what was not granted */
	__u8 key[8];		 /* hint of the key that verified the executable, or 0 */
	struct bt_digest digest; /* of the executable; size 0 without fs-verity */
	__u8 comm[BT_COMM_SIZE];
	__u8 path[BT_PATH_SIZE];	/* of the executable, NUL-terminated; cut off from
				    the front in favour of the name if too long */
	__u8 file[BT_FILE_SIZE];	/* BT_ACTION_TAINT: of the file whose code it was, if of
				    one, or its name alone; BT_ACTION_SCRIPT: of the
				    script; NUL-terminated */
	__u32 number;			/* of the object */
	struct bt_digest script_digest; /* of the script that it runs; size 0 for none */
	__u8 script[BT_NAME_SIZE];	/* what its grant calls it */
	__u8 cgroup[BT_CGROUP_SIZE];	/* last part of its cgroup's path, such as
					   "agent.service"; NUL-terminated, cut off at the
					   end if too long, empty for the root */
	struct bt_rights takes;		/* all that was asked for besides the command, had or
					   not: what the call takes. 0 where it was allowed,
					   and for what a token delegates */
	__u64 closing;			/* equals sequence when the record is whole */
};

/*
 * What a policy asks of files that trusted processes run code from, besides
 * their own executable. From the strictest on: a larger number asks for less.
 */
enum bt_libraries {
	BT_LIBRARIES_SIGNED, /* signed as a library by a key of the policy */
	BT_LIBRARIES_VERITY, /* content that can't change: fs-verity */
	BT_LIBRARIES_ANY,    /* nothing */
};

/* What a script is to an address space. */
enum bt_script_state {
	BT_SCRIPT_NONE,
	BT_SCRIPT_JUDGING,  /* a launcher is being given it */
	BT_SCRIPT_LAUNCHES, /* a launcher's: its next exec starts a loader on it */
	BT_SCRIPT_SPOILT,   /* a launcher was given a second one: it starts none */
	BT_SCRIPT_RUNS,	    /* a loader's */
};

struct bt_script {
	__u64 inode; /* LAUNCHES: its address; descriptor 0 must be of it */
	__u32 state; /* enum bt_script_state */
	struct bt_digest digest;
	__u8 key[8];		      /* hint of the key that signed it */
	__u8 publisher[BT_NAME_SIZE]; /* whose that was, as the policy called him then */
	__u8 launcher[8];	      /* RUNS: hint of the key that signed the launcher */
	__u32 granted;		      /* `grant` was signed; else the loader's alone holds */
	__u32 reserved;		      /* 0 */
	struct bt_grant grant;
};

/* What one address space may do. Shared by everything that shares it. */
struct bt_image {
	__u64 reported;	  /* bit set of bpf() commands already reported as allowed */
	__u64 started;	  /* nanoseconds, CLOCK_BOOTTIME: its exec */
	__u64 generation; /* of the policy that `rights` follow from; 0 for none yet */
	__u64 busy;	  /* held by who writes `rights` */
	__u32 tasks;	  /* threads and CLONE_VM children that share it */
	__u32 pid;	  /* thread group that it was made for */
	__u8 reason;	  /* enum bt_reason: not NONE once trust is lost */
	__u8 adopted;	  /* trusted by the admin's word (--adopt), not by exec */
	__u8 granted;	  /* `grant` was signed; else the policy's default holds */
	__u8 own_code;	  /* has used BT_ABILITY_OWN_CODE */
	struct bt_digest digest;
	__u8 key[8];
	__u8 comm[BT_COMM_SIZE];
	__u8 publisher[BT_NAME_SIZE]; /* who signed, as the policy called him then */
	struct bt_grant grant;
	struct bt_rights rights; /* in effect */
	/* Keys that signed libraries which it maps, 0 for none, and with how many
	 * of them `rights` were worked out. */
	__u64 signers[BT_SIGNERS];
	__u32 heeded;
	__u32 libraries;	/* 1 << enum bt_libraries: the strictest that each file that it
			    maps fulfils */
	__u8 inspects;		/* has a descriptor of another's object */
	__u8 required;		/* enum bt_requirement: what goes with `rights` */
	__u8 unsigned_programs; /* has, or had, programs whose signature did not count */
	__u8 reserved[5];
	__u32 tokens[BT_TOKENS]; /* that it made or used, by number; 0 for none */
	struct bt_script script;
};

/* An object that a trusted process made, as readers are shown it. */
struct bt_owned {
	__u32 id;		      /* BPF's own, 0 while it has none; a token's is ours */
	__u16 object;		      /* enum bt_object: PROGRAM, MAP or TOKEN */
	__u16 reserved;		      /* 0 */
	__u32 type;		      /* enum bpf_prog_type or bpf_map_type */
	__u32 pid;		      /* thread group that made it */
	__u8 label[BT_COMM_SIZE];     /* its name in the kernel */
	__u8 publisher[BT_NAME_SIZE]; /* the owner: who signed the loader, */
	__u8 loader[BT_NAME_SIZE];    /* and the name that he gave it */
	__u8 signer[8]; /* PROGRAM: hint of the key that it counts as signed by, or 0 */
};

/* A BPF token that exists. */
struct bt_token {
	__u64 made;		      /* nanoseconds, CLOCK_BOOTTIME */
	__u32 id;		      /* from 1 on */
	__u32 pid;		      /* thread group that made it */
	__u8 comm[BT_COMM_SIZE];      /* its name then */
	__u8 publisher[BT_NAME_SIZE]; /* the owner, as of struct bt_owned */
	__u8 loader[BT_NAME_SIZE];
	struct bt_rights delegates; /* as its bpffs was mounted: a token can do no more */
};

/*
 * prctl(BT_PRCTL_EVICT, owner, size): the calling thread may from now on take
 * away the pins of this owner's objects, and no other's. Answers as
 * BT_PRCTL_POLICY does.
 */
struct bt_owner {
	__u8 publisher[BT_NAME_SIZE];
	__u8 loader[BT_NAME_SIZE];
};

/* ---- the policy, as user space hands it to the kernel side ------------- */

/*
 * prctl(BT_PRCTL_POLICY, policy, size, order, order_size): another policy takes
 * effect, wholly or not at all; without an order if both are 0.
 * prctl(BT_PRCTL_PERMIT, order, order_size): a permit lifts the seal.
 * An LSM hook can't answer 0, so EALREADY says that it is done.
 */
enum bt_handover {
	BT_PRCTL_POLICY = 0x62707400, /* "bpt" */
	BT_PRCTL_PERMIT,
	BT_PRCTL_EVICT,
	BT_PRCTL_RELEASE,	      /* nothing is decided from now on */
	BT_POLICY_MAGIC = 0x4c4f5042, /* "BPOL" */
	BT_POLICY_FORM = 2,
	BT_ORDER_FORM = 1,
};

/* "BPForder": no other message that keys of ours sign begins so. */
#define BT_ORDER_MAGIC 0x726564726f465042ULL

#define BT_NONCE_SIZE 32 /* as a SHA-256 */

/*
 * What a policy key signs. It comes as a signature in an xattr does: struct
 * bt_envelope, this in place of the statement, PKCS#7 over this alone.
 */
struct bt_order {
	__u64 magic;	/* BT_ORDER_MAGIC */
	__u16 form;	/* BT_ORDER_FORM */
	__u16 kind;	/* enum bt_kind: POLICY or PERMIT */
	__u32 reserved; /* 0 */
	__u64 until;	/* PERMIT: seconds, CLOCK_BOOTTIME; POLICY: 0 */
	/* POLICY: SHA-256 of the policy with its tables, where each `generation`,
	 * `ring` and `lost` is 0, for those are one boot's; PERMIT: the nonce. */
	__u8 subject[BT_NONCE_SIZE];
};

/*
 * This header, then `publishers` struct bt_publisher, `keys` struct bt_key and
 * `rules` struct bt_rule, one behind the other.
 */
struct bt_policy {
	__u32 magic;	  /* BT_POLICY_MAGIC */
	__u16 form;	  /* BT_POLICY_FORM */
	__u8 libraries;	  /* enum bt_libraries */
	__u8 required;	  /* enum bt_requirement: of every loader */
	__u64 generation; /* one more than that of the policy in force */
	__u32 publishers;
	__u32 keys;
	__u32 rules;
	__u16 audit;		   /* as the guard was started; it can't be changed */
	__u8 sealed_boot;	   /* for `bpftrust boot`; the guard only looks that it is 0 or 1 */
	__u8 reserved;		   /* 0 */
	struct bt_rights ceiling;  /* no right goes beyond */
	struct bt_rights fallback; /* what a signature without a grant means */
	__u64 serial;		   /* a sealed guard takes only a higher one than it had */
};

/* Who holds keys. Named by its place in the policy, from 0 on. */
struct bt_publisher {
	__u8 name[BT_NAME_SIZE]; /* NUL-padded */
	__u8 restricted;	 /* may sign only loaders that a rule names */
	__u8 required;		 /* enum bt_requirement: of his loaders */
	__u8 reserved[6];
	struct bt_rights ceiling;
};

/* Where a key is looked for. */
enum bt_ring {
	BT_RING_OWN,	   /* in a keyring that holds it and no other */
	BT_RING_BUILTIN,   /* the kernel's: .builtin_trusted_keys, */
	BT_RING_SECONDARY, /* .secondary_trusted_keys, */
	BT_RING_PLATFORM,  /* .platform */
};

/*
 * A key that may sign, found by its hint (struct bt_envelope). For a keyring of
 * the kernel the hint is the number of the ring and seven zeros: it is asked
 * where no key has the hint of a signature.
 */
struct bt_key {
	__u32 ring;	 /* serial of the keyring that holds this key and no other */
	__u8 bare;	 /* enum bt_kind that a bare signature of it means */
	__u8 lost;	 /* the ring is gone: never look it up again */
	__u8 place;	 /* enum bt_ring */
	__u8 refused;	 /* it signs nothing any more */
	__u32 publisher; /* its place in the policy */
	__u16 public_key_size;
	__u8 orders;	  /* it signs policies and permits, and no file */
	__u8 reserved;	  /* 0 */
	__u64 generation; /* of the policy that this entry belongs to */
	__u8 hint[8];
	__u8 name[BT_NAME_SIZE]; /* the publisher's, for readers */
	/* subjectPublicKey of its certificate (RFC 5280, 4.1), zero-padded */
	__u8 public_key[BT_PUBLIC_KEY_MAX];
};

enum bt_rule_kind {
	BT_RULE_DIGEST, /* refused: the first 32 bytes of an fs-verity digest */
	BT_RULE_NAME,	/* a loader's name: the least version in force */
	BT_RULE_SIGNS,	/* a loader's name that a restricted publisher may sign */
};

/* The least version of a name that is refused altogether. */
#define BT_VERSION_REFUSED (~0ULL)

struct bt_rule {
	__u32 kind;	 /* enum bt_rule_kind */
	__u32 publisher; /* BT_RULE_SIGNS: its place in the policy; else 0 */
	__u8 bytes[32];	 /* the digest's beginning, or the name, NUL-padded */
	__u64 value;	 /* BT_RULE_NAME: the least version; else 0 */
};

/* One question to the function that decides, and its answer (bt_decide). */
struct bt_question {
	struct bt_rights grant;
	struct bt_rights publisher;
	struct bt_rights policy;
	__u32 object; /* enum bt_object */
	__u32 number;
	__u32 reason; /* the answer: enum bt_reason */
	__u32 reserved;
	struct bt_rights effective; /* the answer */
};

/* Of a version's number as text. */
#define BT_VERSION_SIZE 32

/* The whole guard's state: one slot. */
struct bt_state {
	__u64 started;		   /* nanoseconds, CLOCK_BOOTTIME: when it was armed; 0 before */
	__u64 booted;		   /* nanoseconds since the epoch, by the wall clock at the start */
	__u64 events;		   /* number of the newest event */
	__u64 lost;		   /* events that found their slot busy */
	__u64 images;		   /* number of the newest image */
	__u64 starved;		   /* records that could not be made for want of room: a
			       trusted task's is its trust, another's its reason */
	__u64 reasons;		   /* tasks whose entry is a reason, not an image */
	__u64 refusals[32];	   /* by reason */
	__u64 generation;	   /* of the policy in force; 0 before the first */
	__u64 changed;		   /* nanoseconds, CLOCK_BOOTTIME: when it took effect */
	__u64 changing;		   /* held by who brings another policy */
	__u64 clock;		   /* the highest wall time seen, less the time since boot then,
			       in nanoseconds: so time goes on from there */
	__u64 serial;		   /* the highest of a policy that was in force */
	__u64 lifted;		   /* seconds, CLOCK_BOOTTIME: a permit lifts the seal until then */
	__u8 nonce[BT_NONCE_SIZE]; /* what the next permit must name */
	__u32 audit;
	__u32 form;		       /* BT_FORM of the guard that runs */
	__u32 sealed;		       /* nothing in user space takes the guard away until reboot */
	__u32 anchor;		       /* sealed: thread group that holds links and keyrings */
	__u32 libraries;	       /* enum bt_libraries, of the policy in force */
	__u32 tokens;		       /* number of the newest token */
	__u8 version[BT_VERSION_SIZE]; /* of bpftrust that started it: text, padded with NUL */
};

/* A message to be hashed, and its SHA-256 (bt_hash). */
#define BT_HASH_MAX 640
struct bt_hash {
	__u32 size;	 /* of the message, which is hashed */
	__u32 times;	 /* this often, one behind the other */
	__u8 digest[32]; /* the answer */
	__u8 message[BT_HASH_MAX];
};

/* What `enforce` tells bt_arm. */
struct bt_arming {
	__u32 directory; /* sealed: descriptor of that of the pins */
	__u32 reserved;
};

/* The answer of bt_arm. */
enum bt_armed {
	BT_ARMED,
	BT_ARMED_NOT,	    /* no policy, or armed already */
	BT_ARMED_ELSEWHERE, /* sealed: not in the initial mount namespace */
	BT_ARMED_ENDLESS,   /* sealed in an initramfs: its end could not be seen */
};

_Static_assert(sizeof(struct bt_digest) == 68, "bt_digest is packed");
_Static_assert(sizeof(struct bt_event) % 8 == 0, "bt_event is packed");
_Static_assert(sizeof(struct bt_rights) == 48, "bt_rights is packed");
_Static_assert(sizeof(struct bt_grant) == 104, "bt_grant is packed");
_Static_assert(sizeof(struct bt_script) == 240, "bt_script is packed");
_Static_assert(sizeof(struct bt_image) == 624, "bt_image is packed");
_Static_assert(sizeof(struct bt_owned) == 104, "bt_owned is packed");
_Static_assert(sizeof(struct bt_token) == 144, "bt_token is packed");
_Static_assert(sizeof(struct bt_owner) == 64, "bt_owner is packed");
_Static_assert(sizeof(struct bt_policy) == 136, "bt_policy is packed");
_Static_assert(sizeof(struct bt_order) == 56, "bt_order is packed");
_Static_assert(sizeof(struct bt_hash) == 680, "bt_hash is packed");
_Static_assert(sizeof(struct bt_state) % 8 == 0, "bt_state is packed");
_Static_assert(sizeof(struct bt_publisher) == 88, "bt_publisher is packed");
_Static_assert(sizeof(struct bt_key) == 616, "bt_key is packed");
_Static_assert(sizeof(struct bt_rule) == 48, "bt_rule is packed");
_Static_assert(sizeof(struct bt_question) == 208, "bt_question is packed");
_Static_assert(sizeof(struct bt_envelope) == 24, "bt_envelope is packed");
_Static_assert(sizeof(struct bt_statement) == 8, "bt_statement is packed");

#endif
