//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

use crate::Mode;

/// What went wrong: operation, thing, and the cause as the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Only uid 0 may.
    #[error("only root can do this")]
    NotRoot,
    /// There is a guard already.
    #[error("bpftrust is enforcing already")]
    AlreadyEnforcing,
    /// There is no guard.
    #[error("bpftrust is not enforcing")]
    NotEnforcing,
    /// The guard is sealed.
    #[error("the guard is sealed: nothing in user space changes or ends it")]
    Sealed,
    /// A seal only holds in the initial mount namespace.
    #[error(
        "the pins of a sealed guard must be in the initial mount namespace, or they would end with this one"
    )]
    OtherMountNamespace,
    /// A seal of an initramfs holds mounts once PID 1 has left that.
    #[error(
        "PID 1 and its root can't be found above this process, so its leaving the initramfs would never be seen"
    )]
    EndlessInitramfs,
    /// `enforce` was interrupted: hooks may be attached, none refuses.
    #[error("an earlier `bpftrust enforce` was interrupted: {} is left over and refuses nothing", path.display())]
    Incomplete {
        /// The guard's directory.
        path: PathBuf,
    },
    /// Somebody else starts or stops the guard now.
    #[error("another bpftrust is starting or stopping the guard right now")]
    Busy,
    /// Somebody took the new policy's keyring away while it was not in force yet.
    #[error("the policy is in force, but its keyring {name} is gone: nothing new is trusted")]
    KeyringGone {
        /// The keyring.
        name: String,
    },
    /// bpffs is not mounted where it belongs.
    #[error("{path} is not a BPF file system")]
    NoBpffs {
        /// Where it should be.
        path: &'static str,
    },
    /// A file operation in bpffs failed.
    #[error("can't {operation} {}", path.display())]
    Pin {
        /// As a verb.
        operation: &'static str,
        /// The pin or directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// What the guard shows of itself is not what this version knows.
    #[error("{} holds something that this version of bpftrust can't read", path.display())]
    Damaged {
        /// The pin.
        path: PathBuf,
    },
    /// The kernel didn't take the programs, a map or a link.
    #[error("can't {operation} {thing}")]
    Kernel {
        /// As a verb.
        operation: &'static str,
        /// Program, map or link.
        thing: String,
        /// libbpf's answer.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The kernel side didn't take the policy.
    #[error("the kernel side does not take the policy")]
    Policy {
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The kernel side goes on deciding.
    #[error("the kernel side does not let go")]
    Release {
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The kernel side didn't take the permit.
    #[error("the kernel side does not take the permit")]
    Permit {
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The kernel side doesn't let pins of others be removed.
    #[error("the kernel side does not let anybody's objects be evicted")]
    Evict {
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// The process that holds a seal's links didn't end.
    #[error("can't end the anchor, process {pid}")]
    Anchor {
        /// Its number.
        pid: u32,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// There is no seal to lift.
    #[error("the guard is not sealed")]
    NotSealed,
    /// The kernel gives no random bytes.
    #[error("can't get random bytes")]
    Random {
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// A policy can't turn enforcement into audit, or back.
    #[error("the guard was started in mode {running}, which no policy changes to {mode}")]
    OtherMode {
        /// The guard's.
        running: Mode,
        /// What was asked for.
        mode: Mode,
    },
    /// The kernel side didn't begin to decide.
    #[error("the kernel side did not start to decide (it answered {answer})")]
    NotArmed {
        /// What `bt_arm` returned.
        answer: u32,
    },
    /// The kernel side's hash function didn't run.
    #[error("the kernel side did not hash (it answered {answer})")]
    NotHashed {
        /// What `bt_sha256` returned.
        answer: u32,
    },
    /// The signer didn't sign.
    #[error("can't sign")]
    Sign {
        /// Why.
        #[source]
        source: bpftrust_signature::Error,
    },
    /// What the signer signed does not verify with its own certificate.
    #[error("the signature that was just made does not verify")]
    SignedWrongly,
    /// All is attached, and yet nothing is refused.
    #[error("all hooks are attached, but bpf() of this very process was not refused")]
    Ineffective,
    /// The hooks are unpinned, and yet `bpf()` is refused.
    #[error("the hooks are unpinned, but bpf() is still refused: somebody else holds their links")]
    StillHeld,
    /// More than the kernel side has room for.
    #[error("{count} {what} are more than the {limit} that the kernel side has room for")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A keyring or key operation failed.
    #[error(transparent)]
    Keyring(#[from] bpftrust_host::Error),
}

/// The result of what this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;
