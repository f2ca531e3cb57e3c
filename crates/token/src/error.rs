//! What fails, and what is missing then.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{Delegation, Lack};

/// What went wrong; [`Error::missing`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Only who has all privileges delegates some.
    #[error("to delegate BPF takes root in the initial user namespace")]
    NotRoot,
    /// Root of the initial namespace needs no token, and would keep its files.
    #[error("the user is root, who is not to be confined so")]
    RootUser,
    /// User namespaces and capabilities are each thread's own.
    #[error("the process has several threads, and this would reach only one of them")]
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
    /// A name that is none of the kernel's, and no number.
    #[error("no {noun} is called {name:?}")]
    Unknown {
        /// Of what.
        noun: &'static str,
        /// As it was written.
        name: String,
    },
    /// There is no token.
    #[error("no BPF token of {}: {lack}", bpffs.display())]
    NoToken {
        /// The bpffs that it was to be of.
        bpffs: PathBuf,
        /// What is lacking.
        lack: Lack,
    },
    /// A token allows less than is needed.
    #[error("the bpffs at {} does not delegate: {}", bpffs.display(), lacking.in_words())]
    NotDelegated {
        /// The token's bpffs.
        bpffs: PathBuf,
        /// What it does not delegate.
        lacking: Delegation,
        /// What failed for it; nothing where it was only asked for.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// libbpf takes no path with a NUL in it.
    #[cfg(feature = "libbpf-rs")]
    #[error("{} has a NUL in it, which no path has", .0.display())]
    Path(PathBuf),
    /// libbpf failed; more is in its log.
    #[cfg(feature = "libbpf-rs")]
    #[error("cannot {step} the object")]
    Libbpf {
        /// At what.
        step: Loading,
        /// Its error.
        source: libbpf_rs::Error,
    },
}

/// What is done with an object.
#[cfg(feature = "libbpf-rs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loading {
    /// It is read.
    Open,
    /// Its maps and programs are made in the kernel.
    Load,
}

#[cfg(feature = "libbpf-rs")]
impl fmt::Display for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Load => "load",
        })
    }
}

impl Error {
    #[cfg(feature = "libbpf-rs")]
    pub(crate) fn libbpf(step: Loading) -> impl Fn(libbpf_rs::Error) -> Self {
        move |source| Self::Libbpf { step, source }
    }

    pub(crate) fn at(step: Step) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Kernel {
            step,
            source: errno.into(),
        }
    }

    /// What is missing, or what to type next, where that is known.
    pub fn missing(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Kernel { step, source } => step.missing(source.raw_os_error()?).map(Cow::from),
            Self::NoToken { lack, .. } => lack.help().map(Cow::from),
            Self::NotDelegated { lacking, .. } => Some(
                format!("have it mounted with '{lacking}' added, or add that to the grant").into(),
            ),
            #[cfg(feature = "libbpf-rs")]
            Self::Libbpf { step, source } => crate::libbpf::missing(*step, source),
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

    fn missing(self, errno: i32) -> Option<&'static str> {
        match (self, errno) {
            (Self::Unshare, libc::ENOSPC | libc::EPERM) => {
                Some("user namespaces are limited: see sysctl user.max_user_namespaces")
            }
            (Self::Open, libc::ENODEV) => Some("the kernel has no bpffs (CONFIG_BPF_SYSCALL)"),
            (Self::Delegate, libc::EINVAL) => Some("BPF tokens came with Linux 6.9"),
            (Self::Delegate, libc::EPERM) => {
                Some("that takes CAP_SYS_ADMIN in the initial user namespace")
            }
            (Self::Place, libc::ENOENT) => Some("there is no directory /sys/fs/bpf"),
            _ => None,
        }
    }

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
