//! The policy file: whose signatures count on this host, for what, and which do
//! not. `docs/policy.md` describes it.

mod libraries;
mod reading;
mod text;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use bpftrust_signature::{KeyHint, Kind, Name, Requirements, Rights};
use bpftrust_verity::Digest;

use crate::Mode;
use crate::abi::{KEYS, RULES};
use crate::compiled::{Compiled, NotCompiled};
use crate::source::{Source, TextError};
pub use libraries::Libraries;
use reading::Reading;

/// Where the policy is unless the command line names another.
pub const POLICY: &str = "/etc/bpftrust/policy.toml";

/// No policy is larger, in bytes, nor is a file with digests.
pub(crate) const MAX_SIZE: u64 = 32 * 1024 * 1024;

/// A policy that holds together: every file that it names was read, no key
/// stands twice, and nothing in it contradicts its ceiling.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether the guard refuses, or only says what it would refuse.
    pub mode: Mode,
    /// Its number among those that the policy keys sign: a sealed guard takes only
    /// a higher one than it had.
    pub serial: u64,
    /// Whether the guard is sealed from the boot on, whatever the kernel's command line
    /// says.
    pub sealed_boot: bool,
    /// The keys that sign policies and permits for a sealed guard, and no files.
    pub policy_keys: Vec<Signer>,
    /// What files must be that trusted processes run code from.
    pub libraries: Libraries,
    /// What each call of any loader takes besides rights.
    pub requires: Requirements,
    /// What nobody's right goes beyond.
    pub ceiling: Rights,
    /// What a signature without a grant means.
    pub fallback: Rights,
    /// Who may sign, by name.
    pub publishers: Vec<Publisher>,
    /// The oldest version that counts, by the loader's name.
    pub minimum_versions: BTreeMap<Name, u64>,
    /// What does not count, whoever signed it.
    pub refused: Refused,
}

/// Somebody who may sign.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// The policy's name for him.
    pub name: Name,
    /// What no right that he grants goes beyond.
    pub ceiling: Rights,
    /// The names that he may sign; `None` for any, and for none at all.
    pub loaders: Option<BTreeSet<Name>>,
    /// What a bare signature of his means.
    pub bare: Option<Kind>,
    /// The same as of the policy, of his loaders.
    pub requires: Requirements,
    /// How his signatures are known.
    pub keys: Keys,
}

/// What a publisher's signatures are verified with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Keys {
    /// These keys.
    Certificates(Vec<Signer>),
    /// Those that the kernel has.
    Keyring(SystemKeyring),
}

/// A keyring of the kernel (`certs/system_keyring.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SystemKeyring {
    /// Compiled into it: `.builtin_trusted_keys`.
    Builtin,
    /// Added by whom those trust: `.secondary_trusted_keys`.
    Secondary,
    /// From the firmware: `.platform`.
    Platform,
}

impl SystemKeyring {
    /// Its name in a policy.
    pub fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Secondary => "secondary",
            Self::Platform => "platform",
        }
    }
}

/// A key that may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// How signatures refer to it.
    pub hint: KeyHint,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// The key itself: the certificate's subjectPublicKey (RFC 5280, 4.1).
    pub public_key: Vec<u8>,
}

/// What does not count, however it is signed.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// The first [`DIGEST_PREFIX`](Self::DIGEST_PREFIX) bytes of files' digests.
    pub digests: BTreeSet<[u8; Self::DIGEST_PREFIX]>,
    /// Keys, also of publishers.
    pub keys: BTreeSet<KeyHint>,
    /// Names of loaders.
    pub names: BTreeSet<Name>,
}

impl Refused {
    /// Bytes that stand for a digest: all of SHA-256, and half of SHA-512.
    pub const DIGEST_PREFIX: usize = 32;

    /// What stands for a digest in [`digests`](Self::digests).
    pub fn prefix(digest: &Digest) -> [u8; Self::DIGEST_PREFIX] {
        *digest
            .as_bytes()
            .first_chunk()
            .expect("no digest of fs-verity is shorter")
    }
}

/// Why a policy is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The policy can't be read, or what stands in it is wrong.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The file that it names for digests is none.
    #[error("{}:{line}:{column}: refused digests", path.display())]
    Digests {
        /// The policy file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong with the file.
        #[source]
        source: TextError,
    },
    /// A certificate can't be read or is not fit.
    #[error("{}:{line}:{column}: certificate {} of {owner}", path.display(), certificate.display())]
    Certificate {
        /// The policy file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// Whose it should be, in words.
        owner: String,
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It begins as one in compiled form, and is none.
    #[error("{}: not a compiled policy of this version", path.display())]
    Compiled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: NotCompiled,
    },
    /// More than the kernel side has room for.
    #[error("{}: {count} {what} are more than the {limit} that can be", path.display())]
    TooMany {
        /// The policy file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
}

impl PolicyError {
    /// Whether it could not be told what stands in a file, the policy or one
    /// that it names and that is there.
    pub fn is_unreadable(&self) -> bool {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::Text(TextError::Read { .. }) => true,
            Self::Digests {
                source: TextError::Read { source, .. },
                ..
            } => denied(source),
            Self::Certificate { source, .. } => source.downcast_ref().is_some_and(denied),
            _ => false,
        }
    }
}

impl Policy {
    /// The most publishers.
    pub const MAX_PUBLISHERS: usize = KEYS;
    /// The most keys of all publishers.
    pub const MAX_KEYS: usize = KEYS;
    /// The highest [`serial`](Self::serial).
    pub const MAX_SERIAL: u64 = (1 << 63) - 1;
    /// The most [`rules`](Self::rules).
    pub const MAX_RULES: usize = RULES;

    /// Reads a policy and all files that it names, or one in its compiled form.
    ///
    /// # Errors
    /// [`PolicyError`], which says where.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        Compiled::load(path).map(Compiled::into_policy)
    }

    /// Makes sense of what was read from `path`.
    pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, PolicyError> {
        let source = Source::from_bytes(path, bytes)?;
        let file = source.parse()?;
        Reading::new(path, &source).policy(file)
    }

    /// Every key that may sign and is not the kernel's own, with its publisher.
    pub fn signers(&self) -> impl Iterator<Item = (&Publisher, &Signer)> {
        self.publishers.iter().flat_map(|publisher| {
            let signers = match &publisher.keys {
                Keys::Certificates(signers) => &signers[..],
                Keys::Keyring(_) => &[],
            };
            signers.iter().map(move |signer| (publisher, signer))
        })
    }

    /// Digests, names and versions that are looked up one by one.
    pub fn rules(&self) -> usize {
        let loaders = self.publishers.iter().flat_map(|one| &one.loaders);
        self.refused.digests.len()
            + self.refused.names.len()
            + self.minimum_versions.len()
            + loaders.map(BTreeSet::len).sum::<usize>()
    }
}
