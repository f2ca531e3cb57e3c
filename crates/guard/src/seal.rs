//! A guard that nothing in user space ends: the process that holds it besides
//! its pins, and the root cgroup.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::thread;

use rustix::fs::{Mode as FileMode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::process::{Pid, Signal, kill_process};

use crate::enforce::{begin, lock};
use crate::pins::Pins;
use crate::{Error, Mode, Policy, Result, Seal};

/// The name of the process that holds a sealed guard, as `ps` shows it.
const ANCHOR: &str = "bpftrust-anchor";

/// Never chosen when memory runs out (proc_pid_oom_score_adj(5)).
const SPARED: &str = "-1000";

/// What holds a sealed guard besides its pins, as long as this process has it:
/// the links, our directory in bpffs and so its mount, and in the process
/// keyring the keyrings.
#[derive(Debug)]
pub struct Anchor {
    _links: Vec<OwnedFd>,
    _directory: File,
}

impl Anchor {
    /// Holds it for ever.
    pub fn hold(self) -> ! {
        loop {
            thread::park();
        }
    }
}

/// Where a sealed guard is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// At the root that stays: from now on the mounts that it stands on do not move.
    Root,
    /// In an initramfs: they may move until PID 1 has another root (`bpf/protect.h`,
    /// `in_initramfs`).
    Initramfs,
}

/// Starts the guard sealed: until reboot nothing in user space ends it. This
/// process becomes its anchor; call it on the first thread, in a process of its
/// own.
///
/// # Errors
/// As [`enforce`](crate::enforce); [`Error::OtherMountNamespace`].
pub fn seal(policy: &Policy, stage: Stage) -> Result<Anchor> {
    // First, so that who may not is told so.
    drop(lock()?);
    set_apart()?;
    let links = begin(policy, Mode::Enforce, &[], Some(stage))?;
    Ok(Anchor {
        _links: links,
        _directory: Pins::standard().open()?,
    })
}

/// Gives this process its name, and takes it out of the reach of what kills by
/// group or by need: it goes to the root cgroup, which has no `cgroup.kill`, and
/// is not chosen when memory runs out.
fn set_apart() -> Result<()> {
    let failed = |path: &str| {
        let path = path.into();
        move |source| Error::Pin {
            operation: "write",
            path,
            source,
        }
    };
    let name = "/proc/self/comm";
    fs::write(name, ANCHOR).map_err(failed(name))?;
    let score = "/proc/self/oom_score_adj";
    fs::write(score, SPARED).map_err(failed(score))?;
    move_to_root_cgroup(0)
}

/// Moves a process to the root cgroup, 0 for this one.
fn move_to_root_cgroup(pid: u32) -> Result<()> {
    let procs = "cgroup.procs";
    let file = openat(
        root_cgroup()?,
        procs,
        OFlags::WRONLY | OFlags::CLOEXEC,
        FileMode::empty(),
    );
    file.map_err(io::Error::from)
        .and_then(|file| File::from(file).write_all(pid.to_string().as_bytes()))
        .map_err(|source| Error::Pin {
            operation: "write",
            path: procs.into(),
            source,
        })
}

/// Brings the anchor of a sealed guard back to the root cgroup, out of which systemd
/// takes whatever runs there when it starts (`src/core/cgroup.c`,
/// `manager_setup_cgroup`).
///
/// # Errors
/// [`Error::Pin`].
pub fn return_anchor(seal: &Seal) -> Result<()> {
    match is_anchor(seal.anchor) {
        true => move_to_root_cgroup(seal.anchor),
        false => Ok(()),
    }
}

/// Whether the process of that number is an anchor still. Only for readers:
/// others can take its name.
pub(crate) fn is_anchor(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == ANCHOR)
}

/// Ends the process of that number, if it is an anchor: it would hold the links.
///
/// # Errors
/// [`Error::Anchor`].
pub(crate) fn end_anchor(pid: u32) -> Result<()> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(process) = process.filter(|_| is_anchor(pid)) else {
        return Ok(());
    };
    match kill_process(process, Signal::KILL) {
        // It went meanwhile.
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::Anchor {
            pid,
            source: errno.into(),
        }),
    }
}

/// The root of the cgroup v2 hierarchy, whether or where it is mounted.
///
/// # Errors
/// [`Error::Pin`]: `ENODEV` on a kernel without cgroups.
pub(crate) fn root_cgroup() -> Result<OwnedFd> {
    let open = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )
    };
    open().map_err(|errno| Error::Pin {
        operation: "mount",
        path: "cgroup2".into(),
        source: errno.into(),
    })
}
