//! Which files the dynamic linker would map for a program, found without running
//! any of them: what glibc's `ld.so` does in secure execution, which is how
//! trusted loaders are executed (ld.so(8), glibc's elf/dl-load.c).
//!
//! What depends on the processor (glibc-hwcaps) is found in all its variants.
//! What a program opens itself (`dlopen`) is found where it has a note that says so, as
//! systemd has; else it is in no table and can't be found.

mod cache;
mod needs;
mod search;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

pub use search::libraries;

/// What a program maps.
#[derive(Debug, Default)]
pub struct Libraries {
    /// The dynamic linker and the libraries, each once, by its real path.
    pub files: Vec<PathBuf>,
    /// What is needed and not there.
    pub missing: Vec<Missing>,
    /// What is found only through the place of the executable, where nothing is
    /// looked for in secure execution.
    pub misplaced: Vec<Missing>,
}

/// Something that a file needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    /// As the file names it.
    pub name: OsString,
    /// The file.
    pub needed_by: PathBuf,
}

/// A root directory: `/`, or that of a test.
#[derive(Clone, Debug)]
struct Tree(PathBuf);

impl Tree {
    /// Where an absolute path is.
    fn place(&self, path: &Path) -> PathBuf {
        let inside = path
            .components()
            .filter(|component| !matches!(component, Component::RootDir));
        self.0.join(inside.collect::<PathBuf>())
    }

    /// The other way round.
    fn name(&self, place: &Path) -> PathBuf {
        match place.strip_prefix(&self.0) {
            Ok(inside) => Path::new("/").join(inside),
            Err(_) => place.to_owned(),
        }
    }
}

/// What stands for something else in a search path (ld.so(8), "Dynamic string
/// tokens").
#[derive(Debug)]
struct Tokens<'a> {
    /// The directory of the file that has the search path.
    origin: &'a Path,
    /// "lib/x86_64-linux-gnu" and the like.
    lib: &'a OsStr,
    /// "x86_64" and the like.
    platform: &'a str,
}
