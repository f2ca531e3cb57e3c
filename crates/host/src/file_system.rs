//! Whether the file systems that hold given paths can hold signed files: they
//! need fs-verity and extended attributes of the `user.` kind.
//!
//! Asked of a file that is there already; nothing is written.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::mounts::{Mount, Mounts};
use crate::{Root, Unknown};

/// Where executables usually are. Only those that exist are looked at.
pub const USUAL_PATHS: [&str; 3] = ["/usr", "/usr/local", "/opt"];

/// How many names are looked at in search of a file to ask about.
const SEARCH_LIMIT: usize = 10_000;

/// Asks the kernel whether the file system of this open regular file has
/// fs-verity. Given by the caller, because this crate knows nothing of fs-verity.
pub trait AskVerity: Fn(BorrowedFd<'_>) -> Result<bool, Unknown> {}

impl<F: Fn(BorrowedFd<'_>) -> Result<bool, Unknown>> AskVerity for F {}

/// What holds a path, and what can be signed there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSystem {
    /// The path that was asked about, as it was given.
    pub path: PathBuf,
    /// The mount that holds it.
    pub mount: Result<Mount, Unknown>,
    /// fs-verity can be enabled on files there.
    pub verity: Result<bool, Unknown>,
    /// Files there can have `user.` attributes.
    pub attributes: Result<bool, Unknown>,
}

impl FileSystem {
    /// Looks at what holds `path`.
    pub fn probe(
        root: &Root,
        mounts: &Result<Mounts, Unknown>,
        path: &Path,
        ask: &impl AskVerity,
    ) -> Self {
        let real = match root.path(path).canonicalize() {
            Ok(real) => real,
            Err(error) => {
                let unknown = Unknown(error.to_string());
                return Self {
                    path: path.to_owned(),
                    mount: Err(unknown.clone()),
                    verity: Err(unknown.clone()),
                    attributes: Err(unknown),
                };
            }
        };
        let mount = mounts.clone().and_then(|mounts| {
            let mount = mounts.holding(&root.host_path(&real)).cloned();
            mount.ok_or_else(|| Unknown("no mount holds it".to_owned()))
        });
        let (verity, attributes) = match regular_file(&real) {
            Ok(Some(file)) => (ask(file.as_fd()), has_attributes(file.as_fd())),
            Ok(None) => {
                let unknown = Unknown("no readable file there to ask about".to_owned());
                (Err(unknown.clone()), Err(unknown))
            }
            Err(error) => {
                let unknown = Unknown(error.to_string());
                (Err(unknown.clone()), Err(unknown))
            }
        };
        Self {
            path: path.to_owned(),
            mount,
            verity,
            attributes,
        }
    }

    /// Whether signed files can be there. One "no" settles it.
    pub fn can_hold_signed(&self) -> Result<bool, Unknown> {
        match (&self.verity, &self.attributes) {
            (Ok(false), _) | (_, Ok(false)) => Ok(false),
            (Err(unknown), _) | (_, Err(unknown)) => Err(unknown.clone()),
            (Ok(true), Ok(true)) => Ok(true),
        }
    }
}

/// `user.` attributes: a file system without them says so even when asked for
/// one that isn't there.
fn has_attributes(file: BorrowedFd<'_>) -> Result<bool, Unknown> {
    let mut nothing = [0u8; 0];
    match rustix::fs::fgetxattr(file, "user.bpftrust", &mut nothing) {
        Ok(_) | Err(Errno::NODATA | Errno::RANGE) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(Unknown::new("getxattr", &error)),
    }
}

/// `path`, or some regular file below it on the same file system, nearest first.
/// Symbolic links are not followed.
fn regular_file(path: &Path) -> io::Result<Option<File>> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_file() {
        return open(path).map(Some);
    }
    let mut seen = 0;
    let mut directories = VecDeque::from([path.to_owned()]);
    while let Some(directory) = directories.pop_front() {
        let Ok(entries) = directory.read_dir() else {
            continue;
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > SEARCH_LIMIT {
                return Ok(None);
            }
            let path = entry.path();
            match entry.metadata() {
                Ok(inner) if inner.dev() != metadata.dev() => (),
                Ok(inner) if inner.is_dir() => directories.push_back(path),
                Ok(inner) if inner.is_file() => {
                    if let Ok(file) = open(&path) {
                        return Ok(Some(file));
                    }
                }
                _ => (),
            }
        }
    }
    Ok(None)
}

/// The name may have become something else since it was looked at: neither a
/// symbolic link nor a FIFO without a writer must lead us on or hold us up.
fn open(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(file)
}
