//! What tests are written with: a directory of their own, programs, files,
//! and patience.

use crate::process::{Background, Output, Program};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A path as a word.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path of ASCII")
}

/// The machine, as one test sees it.
#[derive(Debug)]
pub struct Guest {
    dir: PathBuf,
    started: usize,
}

impl Guest {
    /// A fresh directory for `name`, on the disk that supports fs-verity.
    pub(crate) fn new(part: &str, name: &str) -> Result<Self> {
        let dir = Path::new("/work").join(part).join(name.replace("::", "."));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        std::env::set_current_dir(&dir)
            .with_context(|| format!("cannot enter {}", dir.display()))?;
        Ok(Self { dir, started: 0 })
    }

    /// A path in the test's own directory, which is also its current one.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs a program to its end; `Program` has more to choose.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let (program, args) = words.split_first().context("nothing to run")?;
        Program::new(program).args(args).run()
    }

    /// Runs a shell command to its end.
    pub fn shell(&self, command: &str) -> Result<Output> {
        self.run(&["/bin/sh", "-c", command])
    }

    /// Starts a program in the background, until the test ends.
    pub fn start(&mut self, program: Program) -> Result<Background> {
        self.started += 1;
        let log = self.path(&format!("background-{}.log", self.started));
        program.start(log)
    }

    /// Writes a file into the test's directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Writes an executable script into the test's directory.
    pub fn script(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.write(name, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))?;
        Ok(path)
    }

    /// Copies a file, with its mode, into the test's directory.
    pub fn copy(&self, from: impl AsRef<Path>, name: &str) -> Result<PathBuf> {
        let (from, path) = (from.as_ref(), self.path(name));
        fs::copy(from, &path)
            .with_context(|| format!("cannot copy {} to {}", from.display(), path.display()))?;
        Ok(path)
    }

    /// Asks `condition` until it gives a value; `what` says in the error what
    /// did not come about.
    pub fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = condition().with_context(|| format!("waiting for {what}"))? {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{what} did not come about within {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a background program has printed `text`.
    pub fn wait_until_says(&self, program: &mut Background, text: &str) -> Result<()> {
        let what = format!("{text:?} in the output");
        self.wait_for(&what, Duration::from_secs(30), || {
            let ended = program.status()?;
            let said = program.said();
            match (said.contains(text), ended) {
                (true, _) => Ok(Some(())),
                (false, None) => Ok(None),
                (false, Some(status)) => bail!("it ended with status {status} and said: {said}"),
            }
        })
    }
}

/// A setting of the kernel that comes back when the test ends.
#[derive(Debug)]
pub struct Setting(&'static str, String);

impl Setting {
    /// Gives it this value.
    pub fn set(path: &'static str, value: &str) -> Result<Self> {
        let old = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        fs::write(path, value).with_context(|| format!("cannot write {path}"))?;
        Ok(Self(path, old))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // The tests that follow do not depend on it.
        let _ = fs::write(self.0, &self.1);
    }
}
