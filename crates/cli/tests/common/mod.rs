//! A place for one test, with the built program and keys.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A directory that goes away with the test.
pub struct Place {
    directory: TempDir,
}

/// How a run of `bpftrust` ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Place {
    /// Has `keys/key.pem` and `keys/certificate.pem`.
    pub fn new() -> Self {
        let place = Self::empty();
        place.keygen("keys");
        place
    }

    pub fn empty() -> Self {
        // Beside the build and not in /tmp, which may be without user xattrs.
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn copy(&self, from: impl AsRef<Path>, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(from, &path).unwrap();
        path
    }

    /// An ELF executable.
    pub fn loader(&self, name: &str) -> PathBuf {
        self.copy("/bin/sh", name)
    }

    pub fn keygen(&self, name: &str) {
        self.run(["keygen", "--algorithm", "p256", "--out", name])
            .expect(0);
    }

    /// `bpftrust`, in this place.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_bpftrust"))
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Run {
            code: output.status.code().expect("it ends by itself"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `bpftrust sign` with the key of this place.
    pub fn sign<'a>(&self, more: impl IntoIterator<Item = &'a str>) -> Run {
        let keys = [
            "sign",
            "--key",
            "keys/key.pem",
            "--certificate",
            "keys/certificate.pem",
        ];
        self.run(keys.into_iter().chain(more))
    }
}

impl Run {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.out.contains(text), "no {text:?} in {self:?}");
        self
    }

    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.err.contains(text), "no {text:?} in {self:?}");
        self
    }
}
