//! System calls that tests make and no safe library offers.
#![allow(
    unsafe_code,
    reason = "bpf() has no safe wrapper, and tests must be able to call it wrongly; nor has a prctl() \
              of our own"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Calls `bpf(command, attributes, size)` and returns what the kernel does: a
/// descriptor for some commands, 0 for most.
pub fn bpf(command: u32, attributes: &mut [u8]) -> io::Result<i64> {
    // SAFETY: the kernel reads, and for some commands writes, `attributes` only
    // within its length. Pointers inside it are the caller's numbers, which the
    // kernel checks like those of any process; a test that gives one to a
    // command that writes through it must own the memory there.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// As [`bpf`], for a command that returns a descriptor.
pub fn bpf_fd(command: u32, attributes: &mut [u8]) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Calls `prctl(option, bytes, size)`: how a policy is handed to the guard.
pub fn prctl(option: i32, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the guard only reads, and within the length; an option that it
    // does not take is one that no kernel knows.
    match unsafe { libc::prctl(option, bytes.as_ptr(), bytes.len(), 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
