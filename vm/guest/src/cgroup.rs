//! A cgroup around each test, so that nothing outlives it.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A cgroup that is emptied and removed by [`Cgroup::end`].
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes an empty one.
    pub fn new(name: &str) -> Result<Self> {
        let path = Path::new("/sys/fs/cgroup").join(format!("test.{name}"));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// The file that a process joins it by.
    pub fn procs(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// Kills every process in it and removes it.
    pub fn end(self) -> Result<()> {
        let file = self.0.join("cgroup.kill");
        fs::write(&file, "1").with_context(|| format!("cannot write {}", file.display()))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.0).is_err() {
            if Instant::now() > deadline {
                let left = fs::read_to_string(self.procs()).unwrap_or_default();
                bail!(
                    "processes that cannot be killed are left: {}",
                    left.trim().replace('\n', ", ")
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
