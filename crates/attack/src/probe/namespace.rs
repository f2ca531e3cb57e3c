//! Namespaces of the probe's own, and who it is in them.
#![allow(
    unsafe_code,
    reason = "unshare() and the IDs of one thread, which the probe's children have"
)]

use super::sys::check;
use std::fs;
use std::io;
use std::ptr::null;

/// Enters a user namespace of its own, root there where the kernel allows it.
pub fn own_user_namespace() -> io::Result<()> {
    // SAFETY: no memory is involved; the probe's child has one thread.
    let ids = unsafe {
        let ids = (libc::geteuid(), libc::getegid());
        check(libc::unshare(libc::CLONE_NEWUSER))?;
        ids
    };
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {} 1", ids.0))?;
    fs::write("/proc/self/gid_map", format!("0 {} 1", ids.1))
}

/// Enters a mount namespace of its own.
pub fn own_mount_namespace() -> io::Result<()> {
    // SAFETY: no memory is involved; the probe's child has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).map(drop)
}

/// Becomes another user with the group of that number and no other, for good. The
/// own files in /proc stay this process's.
pub fn become_user(id: libc::uid_t) -> io::Result<()> {
    // SAFETY: no memory is involved but an empty list.
    unsafe {
        check(libc::setgroups(0, null()))?;
        check(libc::setresgid(id, id, id))?;
        check(libc::setresuid(id, id, id))?;
        check(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0))
    }
    .map(drop)
}

/// Ends with its parent, also after an exec.
pub fn end_with_parent() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}
