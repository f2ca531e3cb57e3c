//! What fails, and what is missing then.

use std::fmt;
use std::io;

/// Why a process was not taken under a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Only who has all privileges delegates some.
    #[error("to delegate BPF takes root in the initial user namespace")]
    NotRoot,
    /// Root of the initial namespace needs no token, and would keep its files.
    #[error("the user is root, who is not to be confined so")]
    RootUser,
    /// A user namespace is entered by a whole process.
    #[error("the process has several threads, and only one can enter a user namespace")]
    Threads,
    /// The kernel makes no token that allows nothing.
    #[error("nothing is delegated")]
    Empty,
    /// The kernel refused a step.
    #[error("cannot {step}")]
    Kernel {
        /// Which.
        step: Step,
        /// Its error.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn at(step: Step) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Kernel {
            step,
            source: errno.into(),
        }
    }

    /// What is missing, where that is known from step and error.
    pub fn missing(&self) -> Option<&'static str> {
        let Self::Kernel { step, source } = self else {
            return None;
        };
        match (step, source.raw_os_error()?) {
            (Step::Unshare, libc::ENOSPC | libc::EPERM) => {
                Some("user namespaces are limited: see sysctl user.max_user_namespaces")
            }
            (Step::Open, libc::ENODEV) => Some("the kernel has no bpffs (CONFIG_BPF_SYSCALL)"),
            (Step::Delegate, libc::EINVAL) => Some("BPF tokens came with Linux 6.9"),
            (Step::Delegate, libc::EPERM) => {
                Some("that takes CAP_SYS_ADMIN in the initial user namespace")
            }
            (Step::Place, libc::ENOENT) => Some("there is no directory /sys/fs/bpf"),
            _ => None,
        }
    }
}

/// A step on the way under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Step {
    /// A socket pair, and a process at its other end.
    Helper,
    /// The user's groups.
    Groups,
    /// The namespaces.
    Unshare,
    /// A bpffs that belongs to the user namespace.
    Open,
    /// The user, in the namespace.
    Map,
    /// What the bpffs delegates.
    Delegate,
    /// The bpffs itself.
    Create,
    /// The user.
    Become,
    /// The bpffs in its place.
    Place,
    /// All capabilities but a few.
    Drop,
    /// Descriptors that are nobody's business.
    Close,
}

impl Step {
    /// All of them.
    const ALL: [Self; 11] = [
        Self::Helper,
        Self::Groups,
        Self::Unshare,
        Self::Open,
        Self::Map,
        Self::Delegate,
        Self::Create,
        Self::Become,
        Self::Place,
        Self::Drop,
        Self::Close,
    ];

    /// The step of this number.
    pub(crate) fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as u8 == number)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helper => "start the process that delegates",
            Self::Groups => "take the user's groups",
            Self::Unshare => "make a user and a mount namespace",
            Self::Open => "begin a bpffs",
            Self::Map => "map the user into the namespace",
            Self::Delegate => "have the bpffs delegate",
            Self::Create => "make the bpffs",
            Self::Become => "become the user",
            Self::Place => "mount the bpffs",
            Self::Drop => "drop privileges",
            Self::Close => "keep descriptors from what is executed",
        })
    }
}
