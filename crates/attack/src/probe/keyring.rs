//! Keyrings, by their numbers.
#![allow(
    unsafe_code,
    reason = "neither add_key() nor keyctl() has a safe wrapper, and what they are called by matters"
)]

use super::sys::check;
use libc::c_char;
use std::arch::asm;
use std::io;
use std::ptr::null;

/// Takes everything out of a keyring.
pub fn clear(ring: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_CLEAR, ring) }).map(drop)
}

/// The same, with more in the register of the call's number than is looked at.
pub fn clear_wide(ring: i32) -> io::Result<()> {
    let number = 1 << 32 | libc::SYS_keyctl;
    let result: i64;
    // SAFETY: no memory is involved; what the kernel overwrites is said.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") i64::from(libc::KEYCTL_CLEAR),
            in("rsi") i64::from(ring),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer(result)
}

/// The same by the way of 32 bits.
pub fn clear_32(ring: i32) -> io::Result<()> {
    /// `arch/x86/entry/syscalls/syscall_32.tbl`
    const KEYCTL: i32 = 288;
    let result: i32;
    // SAFETY: no memory is involved; rbx, which the compiler keeps for itself, is as
    // before.
    unsafe {
        asm!(
            "xchg {operation:r}, rbx",
            "int 0x80",
            "xchg {operation:r}, rbx",
            operation = inout(reg) u64::from(libc::KEYCTL_CLEAR) => _,
            inlateout("eax") KEYCTL => result,
            in("ecx") ring,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    answer(result.into())
}

/// What the kernel returns, without the C library.
fn answer(result: i64) -> io::Result<()> {
    match i32::try_from(result) {
        Ok(error @ ..0) => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(()),
    }
}

/// Puts a certificate into a keyring.
pub fn add(ring: i32, certificate: &[u8]) -> io::Result<()> {
    // SAFETY: a NUL-terminated type, no description, and as many bytes as are
    // said.
    check(unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"asymmetric".as_ptr(),
            null::<c_char>(),
            certificate.as_ptr(),
            certificate.len(),
            ring,
        )
    })
    .map(drop)
}
