//! Keyrings, by their numbers.
#![allow(
    unsafe_code,
    reason = "neither add_key() nor keyctl() has a safe wrapper"
)]

use super::sys::check;
use libc::c_char;
use std::io;
use std::ptr::null;

/// Takes everything out of a keyring.
pub fn clear(ring: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_CLEAR, ring) }).map(drop)
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
