//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

/// What went wrong, with what, and the kernel's own word on it as the source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call on a keyring or a key failed.
    #[error("can't {operation} {thing}")]
    Keyring {
        /// What was tried, as a verb: `create keyring`, `seal keyring`.
        operation: &'static str,
        /// The name or serial of the keyring or key.
        thing: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// `add_key` of a certificate failed: the kernel can't use this certificate.
    #[error("the kernel will not accept the certificate {description:?}: {meaning}")]
    Certificate {
        /// The description under which it was to be added.
        description: String,
        /// What the kernel's error means for a certificate.
        meaning: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel takes no such name for a key or keyring.
    #[error(
        "{name:?} can't name a key: it must have 1 to 4095 bytes, no NUL, and not begin with a dot"
    )]
    KeyName {
        /// The name that was asked for.
        name: String,
    },
    /// The kernel described a key in a form that this program doesn't know.
    #[error("the kernel describes key {serial} in an unknown form: {text:?}")]
    KeyDescription {
        /// The key.
        serial: i32,
        /// What the kernel said.
        text: String,
    },
    /// A file or directory that says something about this host can't be read.
    #[error("can't read {path:?}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// The result of what this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;
