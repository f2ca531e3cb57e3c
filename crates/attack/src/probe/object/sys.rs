//! System calls on descriptors of objects.
#![allow(
    unsafe_code,
    reason = "memory that is an object's, and a descriptor that is known by its number alone"
)]

use super::super::sys::{PAGE, check};
use libc::c_int;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

/// Maps a page of an object together with whoever else has it mapped.
pub fn map_shared(object: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: at an address of the kernel's choice: no memory in use changes.
    let at = unsafe {
        libc::mmap(
            null_mut(),
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            object.as_raw_fd(),
            0,
        )
    };
    match at {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Leaves a descriptor open under this number for what is executed.
pub fn leave_open(object: &impl AsRawFd, fd: c_int) -> io::Result<()> {
    // SAFETY: no memory is involved; the number is nobody's here.
    check(unsafe { libc::dup2(object.as_raw_fd(), fd) }).map(drop)
}

/// A descriptor that was open when this process was executed.
pub fn inherited(fd: c_int) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved; the copy is nobody else's.
    let copy = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as c_int) })
}
