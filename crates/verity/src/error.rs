//! What can go wrong, by meaning rather than by number.

use std::io;

use rustix::io::Errno;

/// Why a file could not be measured or made immutable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data could not be read to its end.
    #[error("reading the data")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file became longer or shorter while it was being read.
    #[error("reading the data: its size changed meanwhile")]
    Resized,
    /// Not a block size of fs-verity.
    #[error("a block size of {block_size} bytes (expected a power of two from 1024 to 65536)")]
    BlockSize {
        /// What was asked for, in bytes.
        block_size: u32,
    },
    /// More salt than a descriptor holds.
    #[error("a salt of {size} bytes (at most 32 are possible)")]
    SaltSize {
        /// What was asked for, in bytes.
        size: usize,
    },
    /// `ETXTBSY`: somebody holds the file open for writing.
    #[error("enabling fs-verity: the file is open for writing")]
    OpenForWriting {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EEXIST`: fs-verity is enabled on this file already.
    #[error("enabling fs-verity: it is enabled already")]
    AlreadyEnabled {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EOPNOTSUPP` or `ENOTTY`: the file system or the kernel has no fs-verity.
    #[error("the file system has no fs-verity")]
    Unsupported {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EACCES`: no right to write to the file.
    #[error("enabling fs-verity: no right to write to the file")]
    AccessDenied {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EPERM`: an append-only file, or `fs.verity.require_signatures` is set,
    /// which admits only files with a signature built into fs-verity.
    #[error(
        "enabling fs-verity: the file is append-only, or sysctl fs.verity.require_signatures is set"
    )]
    NotPermitted {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EROFS`: the file system is mounted read-only.
    #[error("enabling fs-verity: the file system is read-only")]
    ReadOnly {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `ENOSPC` or `EDQUOT`: no room for the Merkle tree.
    #[error("enabling fs-verity: no space for the hashes")]
    NoSpace {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EFBIG`: the file is too large for fs-verity.
    #[error("enabling fs-verity: the file is too large")]
    TooLarge {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// `EINTR`: a signal came while the file was being read.
    #[error("enabling fs-verity: interrupted")]
    Interrupted {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// Enabling failed for another reason.
    #[error("enabling fs-verity")]
    Enable {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// Measuring failed for another reason.
    #[error("asking the kernel for the fs-verity digest")]
    Measure {
        /// As the kernel said it.
        #[source]
        source: Errno,
    },
    /// The kernel measured with a hash function that this library doesn't know.
    #[error("the kernel gave a digest of unknown form (algorithm {algorithm}, {size} bytes)")]
    UnknownDigest {
        /// `FS_VERITY_HASH_ALG_*`
        algorithm: u16,
        /// Bytes.
        size: u16,
    },
}

impl Error {
    /// What an error number of `FS_IOC_ENABLE_VERITY` means
    /// (`Documentation/filesystems/fsverity.rst`).
    pub(crate) fn enabling(source: Errno) -> Self {
        match source {
            Errno::TXTBSY => Self::OpenForWriting { source },
            Errno::EXIST => Self::AlreadyEnabled { source },
            Errno::OPNOTSUPP | Errno::NOTTY => Self::Unsupported { source },
            Errno::ACCESS => Self::AccessDenied { source },
            Errno::PERM => Self::NotPermitted { source },
            Errno::ROFS => Self::ReadOnly { source },
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { source },
            Errno::FBIG => Self::TooLarge { source },
            Errno::INTR => Self::Interrupted { source },
            _ => Self::Enable { source },
        }
    }

    /// What an error number of `FS_IOC_MEASURE_VERITY` means.
    pub(crate) fn measuring(source: Errno) -> Self {
        match source {
            Errno::OPNOTSUPP | Errno::NOTTY => Self::Unsupported { source },
            _ => Self::Measure { source },
        }
    }
}
