//! What drivers do that no safe library offers.
#![allow(
    unsafe_code,
    reason = "bpf(), fork(), perf_event_open() and memory whose pages come and go have no safe wrapper; \
              nor has the CPU's counter"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

fn checked(result: libc::c_long) -> io::Result<i64> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(other),
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(checked(result)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The CPU's time stamp. Where QEMU counts instructions it is their number
/// (accel/tcg/icount-common.c, `icount_get`).
#[cfg(target_arch = "x86_64")]
pub fn instructions() -> u64 {
    // SAFETY: it reads a counter that every x86-64 CPU has.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Elsewhere nanoseconds, which are as many there.
#[cfg(not(target_arch = "x86_64"))]
pub fn instructions() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicRaw);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Calls `bpf(command, attributes, size)`.
pub fn bpf(command: u32, attributes: &mut [u8]) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes `attributes` within its length only, and
    // checks the pointers inside; drivers give those of memory that they own.
    checked(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    })
}

/// As [`bpf`], for a command that returns a descriptor.
pub fn bpf_fd(command: u32, attributes: &mut [u8]) -> io::Result<OwnedFd> {
    owned(bpf(command, attributes)?)
}

/// A child that ends at once, waited for.
pub fn fork_and_exit() -> io::Result<()> {
    // SAFETY: this process has one thread, and the child only ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: it ends the process without running anything of it.
            unsafe { libc::_exit(0) }
        }
        child => wait(child),
    }
}

/// A child that runs `work` and ends; its process.
pub fn fork(work: impl FnOnce()) -> io::Result<libc::pid_t> {
    // SAFETY: this process has one thread, so the child may do what its parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            work();
            // SAFETY: it ends the process without running anything of it.
            unsafe { libc::_exit(0) }
        }
        child => Ok(child),
    }
}

fn wait(child: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: the kernel writes the status to where it may.
    checked(unsafe { libc::waitpid(child, &raw mut status, 0) }.into())?;
    match status {
        0 => Ok(()),
        other => Err(io::Error::other(format!("a child ended with {other}"))),
    }
}

/// How many bytes [`map_and_unmap`] and [`Pages`] have.
pub const MAPPED: usize = 16 * 4096;

fn map(protection: i32, file: Option<BorrowedFd<'_>>) -> io::Result<*mut libc::c_void> {
    let (flags, fd) = match file {
        Some(file) => (libc::MAP_PRIVATE, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: the kernel chooses where; it takes the place of nothing.
    let at = unsafe { libc::mmap(ptr::null_mut(), MAPPED, protection, flags, fd, 0) };
    match at {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        at => Ok(at),
    }
}

/// Maps and unmaps memory, or a file's beginning, with this protection.
pub fn map_and_unmap(protection: i32, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let at = map(protection, file)?;
    // SAFETY: nobody has seen this mapping.
    checked(unsafe { libc::munmap(at, MAPPED) }.into()).map(drop)
}

/// Memory whose protection changes; it is never read or written.
pub struct Pages(*mut libc::c_void);

impl Pages {
    /// Pages of nothing, or of a file.
    pub fn map(file: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        map(libc::PROT_READ, file).map(Self)
    }

    /// Sets their protection.
    pub fn protect(&self, protection: i32) -> io::Result<()> {
        // SAFETY: the mapping is this one's, and no reference into it exists.
        checked(unsafe { libc::mprotect(self.0, MAPPED, protection) }.into()).map(drop)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nobody else has this mapping. It can't fail for one that exists.
        unsafe { libc::munmap(self.0, MAPPED) };
    }
}

/// A software event that counts nothing (`PERF_COUNT_SW_DUMMY`), of this process.
pub fn perf_event() -> io::Result<OwnedFd> {
    let mut attributes = [0u32; 32];
    attributes[0] = 1; // PERF_TYPE_SOFTWARE
    attributes[1] = 128; // size
    attributes[2] = 9; // PERF_COUNT_SW_DUMMY
    // SAFETY: the kernel reads 128 bytes, which there are.
    owned(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) })
}

/// An ioctl without an argument.
pub fn ioctl(fd: BorrowedFd<'_>, request: u32) -> io::Result<()> {
    // SAFETY: callers give requests that take no pointer.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), 0) }.into()).map(drop)
}

/// A socket of `NETLINK_ROUTE`.
pub fn netlink() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: it takes numbers alone.
    owned(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) }.into())
}

/// `prctl(PR_GET_DUMPABLE)`: an option that changes nothing.
pub fn prctl() -> io::Result<()> {
    // SAFETY: it takes numbers alone.
    checked(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }.into()).map(drop)
}
