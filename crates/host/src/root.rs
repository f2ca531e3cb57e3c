//! Where facts are read from, and the answer "could not tell".

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The directory that `/proc`, `/sys` and `/dev` are looked up in: `/`, or in
/// tests a tree that plays another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The host itself.
    pub fn host() -> Self {
        Self::at("/")
    }

    /// A tree that stands for a host.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Whether this is the host itself, which may be asked by system calls too.
    pub(crate) fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where the host's absolute `path` is found.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The path on the host of what was found at `found`.
    pub(crate) fn host_path(&self, found: &Path) -> PathBuf {
        let base = self.0.canonicalize().unwrap_or_else(|_| self.0.clone());
        match found.strip_prefix(&base) {
            Ok(rest) => Path::new("/").join(rest),
            Err(_) => found.to_owned(),
        }
    }

    /// The trimmed text of a file; `None` if there is no such file.
    pub(crate) fn text(&self, path: &str) -> Result<Option<String>, Unknown> {
        match std::fs::read(self.path(path)) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Unknown::new(path, &error)),
        }
    }

    /// The value of a sysctl such as `kernel.kptr_restrict`; `None` if this
    /// kernel has none of that name.
    pub(crate) fn sysctl(&self, name: &str) -> Result<Option<u32>, Unknown> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let Some(text) = self.text(&path)? else {
            return self.proc_is_mounted().map(|()| None);
        };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Unknown(format!("{name} is {text:?}, which is no number"))),
        }
    }

    /// Without `/proc` what is missing there says nothing.
    pub(crate) fn proc_is_mounted(&self) -> Result<(), Unknown> {
        if self.has("/proc/sys")? {
            Ok(())
        } else {
            Err(Unknown("/proc is not mounted".to_owned()))
        }
    }

    /// Whether something exists under this name.
    pub(crate) fn has(&self, path: &str) -> Result<bool, Unknown> {
        self.path(path)
            .try_exists()
            .map_err(|error| Unknown::new(path, &error))
    }
}

/// Why a fact could not be established: neither a yes nor a no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

impl Unknown {
    pub(crate) fn new(what: impl fmt::Display, why: &dyn fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
