//! The system calls that have no safe wrapper.
#![allow(
    unsafe_code,
    reason = "fork, unshare and close_range have no safe wrappers"
)]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Runs `work` in a child, which ends with it and is to be waited for. `other` is not
/// open there. The caller has no other threads.
pub fn in_child(other: &OwnedFd, work: impl FnOnce()) -> Result<Pid, Errno> {
    // SAFETY: there is one thread, so the child finds no lock that is held.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: the child's copy, which nothing uses: it ends without a drop.
            unsafe { libc::close(other.as_raw_fd()) };
            work();
            // SAFETY: it does not return; what is to be done at exit is the parent's.
            unsafe { libc::_exit(0) }
        }
        child => Pid::from_raw(child)
            .filter(|_| child > 0)
            .ok_or_else(last_error),
    }
}

/// A user namespace, with all capabilities there, and a mount namespace in it.
pub fn unshare() -> Result<(), Errno> {
    // SAFETY: descriptors stay shared as they are.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
}

/// From the first descriptor behind the standard ones on, none survives an exec.
pub fn close_on_exec() -> Result<(), Errno> {
    // SAFETY: no memory is involved, and no descriptor is closed now.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3_u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if result < 0 {
        return Err(last_error());
    }
    Ok(())
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
