//! Where packages, disks and kernels are kept between runs.

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The directory that holds everything made once, and the right to change it.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Held while something in the cache is made, so that two runs at the same time
/// make it once.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// Opens `$XDG_CACHE_HOME/bpftrust/vm`, or the same under `~/.cache`.
    pub fn open() -> Result<Self> {
        let base = match std::env::var_os("XDG_CACHE_HOME") {
            Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
            _ => Path::new(&std::env::var_os("HOME").context(
                "neither XDG_CACHE_HOME nor HOME is set; set one, \
                 so that kernels and disks can be kept there",
            )?)
            .join(".cache"),
        };
        let root = base.join("bpftrust/vm");
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the cache directory {}", root.display()))?;
        Ok(Self { root })
    }

    /// A path inside the cache.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits for other runs that make something, and keeps them waiting.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.path("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Makes the directory `name` by `make` unless it is there and was made
    /// from the same `recipe`. It appears whole or not at all.
    pub fn directory(
        &self,
        name: &str,
        recipe: &str,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(name);
        if fs::read_to_string(path.join(RECIPE)).is_ok_and(|made_from| made_from == recipe) {
            return Ok(path);
        }
        let unfinished = self.path(&format!("{name}.unfinished"));
        remove(&unfinished)?;
        fs::create_dir_all(&unfinished)
            .with_context(|| format!("cannot make {}", unfinished.display()))?;
        make(&unfinished)?;
        fs::write(unfinished.join(RECIPE), recipe)
            .with_context(|| format!("cannot write into {}", unfinished.display()))?;
        remove(&path)?;
        fs::rename(&unfinished, &path)
            .with_context(|| format!("cannot put {} in place", path.display()))?;
        Ok(path)
    }
}

/// The file that says what a cached directory was made from.
const RECIPE: &str = ".recipe";

/// Removes a directory tree that may not be there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
