//! What a loader may be given beside its token, from the least on.

use crate::preload;
use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount_remount};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// What the loader has beside its token: a set of [`PRELOAD`] and the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrangement(u8);

/// `libbpftrust_preload.so`, which gives nobody any right.
pub const PRELOAD: Arrangement = Arrangement(1);
/// The user's group reads tracefs.
pub const TRACEFS: Arrangement = Arrangement(2);
/// Anybody may open perf events of all processes, of the kernel too.
pub const PERF: Arrangement = Arrangement(4);
/// The user's group makes kprobes and uprobes by tracefs, and libbpf finds no other
/// way.
pub const PROBES: Arrangement = Arrangement(8);

const NAMES: &[(Arrangement, &str)] = &[
    (PRELOAD, "preload"),
    (TRACEFS, "tracefs"),
    (PERF, "perf"),
    (PROBES, "probes"),
];

/// The one that has nothing but the token.
pub const TOKEN: Arrangement = Arrangement(0);

/// All that are tried, from the least on.
pub const LEAST_FIRST: &[Arrangement] = &[
    TOKEN,
    PRELOAD,
    TRACEFS,
    PRELOAD.and(TRACEFS),
    PERF,
    PRELOAD.and(PERF),
    TRACEFS.and(PERF),
    PRELOAD.and(TRACEFS).and(PERF),
    TRACEFS.and(PERF).and(PROBES),
    PRELOAD.and(TRACEFS).and(PERF).and(PROBES),
];

/// The order in which to try, so that most need not be: where one fails, so do those
/// that have less; where one works, what is more is not tried.
pub const ASKED: &[usize] = &[0, 1, 7, 6, 5, 3, 4, 2, 8, 9];

const DIRECTORY: &str = "/sys/kernel/tracing";
const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";
/// Debian's.
const PARANOID_DEFAULT: &str = "3";
const EVENTS: &[&str] = &["kprobe_events", "uprobe_events"];
const MODULES: &[&str] = &["btrfs", "f2fs", "md_mod", "nfs", "xfs"];
/// `nogroup`, of `nobody`.
const GROUP: u32 = 65_534;

/// What tools need that the guest lacks.
pub fn prepare() -> Result<()> {
    preload::install()?;
    let clear = Path::new("/usr/bin/clear");
    if !clear.exists() {
        symlink("busybox", clear).context("cannot make clear")?;
    }
    load_modules()?;
    undo()
}

/// Where these are modules, the tools for them find their functions then. One that
/// can't be loaded shows in the reference.
pub fn load_modules() -> Result<()> {
    Command::new("modprobe")
        .args(["--all", "--quiet"])
        .args(MODULES)
        .status()
        .context("cannot run modprobe")
        .map(drop)
}

impl Arrangement {
    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has all that `other` has.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What it has, each in a word.
    pub fn words(self) -> Vec<&'static str> {
        NAMES
            .iter()
            .filter(|(one, _)| self.has(*one))
            .map(|(_, name)| *name)
            .collect()
    }

    /// Gives it, as far as the machine is what gives it.
    pub fn apply(self) -> Result<()> {
        if self.has(TRACEFS) {
            tracefs(GROUP, 0o750)?;
        }
        if self.has(PERF) {
            paranoid("0")?;
        }
        if self.has(PROBES) {
            events(0o660)?;
        }
        Ok(())
    }
}

/// As on a machine that nobody has touched.
pub fn undo() -> Result<()> {
    paranoid(PARANOID_DEFAULT)?;
    events(0o640)?;
    tracefs(0, 0o700)
}

fn paranoid(level: &str) -> Result<()> {
    fs::write(PARANOID, level).with_context(|| format!("cannot write {PARANOID}"))
}

fn events(mode: u32) -> Result<()> {
    for name in EVENTS {
        let path = Path::new(DIRECTORY).join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    }
    Ok(())
}

fn tracefs(gid: u32, mode: u32) -> Result<()> {
    let options = CString::new(format!("gid={gid},mode={mode:o}")).context("no NUL")?;
    mount_remount(DIRECTORY, MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("cannot remount {DIRECTORY}"))
}
