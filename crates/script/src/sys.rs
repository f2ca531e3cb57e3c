//! The two calls that the standard library has not.

#![allow(
    unsafe_code,
    reason = "mapping a file and closing descriptors take raw calls"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// Makes `file` descriptor 0 and closes every other but 1 and 2. Nothing of this
/// program holds one that it goes on to use.
pub fn keep_as_input(file: File) -> io::Result<()> {
    // SAFETY: plain numbers; `file` is open, and 0 is nobody's afterwards.
    if unsafe { libc::dup2(file.as_raw_fd(), 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    if file.as_raw_fd() == 0 {
        // It was closed when this program was started, and is what is kept.
        std::mem::forget(file);
    } else {
        drop(file);
    }
    // SAFETY: plain numbers. What they stand for is this program's to close: it has no
    // other thread, and uses none of them again.
    if unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Maps descriptor 0 shared and executable, which is how the kernel side is handed a
/// script (`bpf/script.h`). Nothing is ever run, or read, from there.
pub fn show_to_the_guard() -> io::Result<()> {
    // SAFETY: the kernel chooses a free place, and nobody uses it.
    let place = unsafe {
        libc::mmap(
            ptr::null_mut(),
            1,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_SHARED,
            0,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The value of the xattr `name` of `file`; nothing if it has none that fits `size`.
pub fn xattr(file: &File, name: &std::ffi::CStr, size: usize) -> Vec<u8> {
    let mut value = vec![0_u8; size];
    // SAFETY: a string that ends, and as many bytes as are said.
    let length = unsafe {
        libc::fgetxattr(
            file.as_raw_fd(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    value.truncate(usize::try_from(length).unwrap_or(0));
    value
}
