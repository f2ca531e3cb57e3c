//! The files that a command line means: those named, and those inside
//! directories.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};

use crate::input::{open_regular, require_regular};
use crate::output::escaped;

/// A file that is meant.
#[derive(Clone, Debug)]
pub struct Member {
    /// How to name it to the user.
    pub path: PathBuf,
    /// The path inside the directory that was named, if one was.
    pub inside: Option<PathBuf>,
    root: Option<Arc<OwnedFd>>,
}

impl Member {
    /// Opens it for reading. A file of a directory is reached without following
    /// any symbolic link below that directory, whoever puts one there meanwhile.
    pub fn open(&self) -> anyhow::Result<File> {
        let (Some(root), Some(inside)) = (&self.root, &self.inside) else {
            return open_regular(&self.path);
        };
        open_beneath(root, inside).with_context(|| format!("opening {}", escaped(&self.path)))
    }
}

/// Opens a regular file below a directory, without following any symbolic link. Looks
/// before it opens, as [`open_regular`] does.
///
/// # Errors
/// Those of openat2(2): `ELOOP` if a link is on the way, `EXDEV` if the path leads out
/// of the directory; and if it is no regular file.
pub fn open_beneath(root: impl AsFd, inside: &Path) -> anyhow::Result<File> {
    let open = |flags| -> anyhow::Result<File> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = flags | OFlags::CLOEXEC;
        let file = File::from(openat2(&root, inside, flags, Mode::empty(), resolve)?);
        require_regular(&file.metadata()?)?;
        Ok(file)
    };
    open(OFlags::PATH)?;
    open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
}

/// What a command line names.
pub enum Named {
    /// A file, or something that is none and will say so when opened.
    File(Member),
    /// The regular files in a directory and below, in order of path.
    Directory(Vec<Member>),
}

/// Looks at one path of the command line.
///
/// # Errors
/// If a directory can't be read.
pub fn named(path: &Path) -> anyhow::Result<Named> {
    if !path.is_dir() {
        return Ok(Named::File(Member {
            path: path.to_owned(),
            inside: None,
            root: None,
        }));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = openat(rustix::fs::CWD, path, flags, Mode::empty())
        .with_context(|| format!("opening directory {}", escaped(path)))?;
    let mut paths = Vec::new();
    collect(path, &mut paths)?;
    paths.sort();
    let root = Arc::new(root);
    let members = paths.into_iter().map(|file| Member {
        inside: file.strip_prefix(path).map(Path::to_owned).ok(),
        path: file,
        root: Some(Arc::clone(&root)),
    });
    Ok(Named::Directory(members.collect()))
}

/// Regular files with content below `directory`; symbolic links are not followed.
fn collect(directory: &Path, paths: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let reading = || format!("reading directory {}", escaped(&directory));
        for entry in fs::read_dir(&directory).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let kind = entry.file_type().with_context(reading)?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                paths.push(entry.path());
            }
        }
    }
    Ok(())
}

/// May anybody execute it?
pub fn is_executable(file: &File) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

/// `path` with `suffix` added to its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
    name.push(suffix);
    path.with_file_name(name)
}
