//! The system calls that have no safe wrapper.
#![allow(
    unsafe_code,
    reason = "fork, unshare, close_range and bpf have no safe wrappers, nor have some of libbpf's functions"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// `bpf(BPF_TOKEN_CREATE)` of a bpffs; without one it fails with `EBADF`, if not
/// before. The token is closed when executing (`kernel/bpf/token.c`).
pub fn token_create(bpffs: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Errno> {
    /// `token_create` of `union bpf_attr` (`include/uapi/linux/bpf.h`).
    #[repr(C)]
    struct Attributes {
        flags: u32,
        bpffs_fd: i32,
    }
    const BPF_TOKEN_CREATE: libc::c_int = 36;
    let attributes = Attributes {
        flags: 0,
        bpffs_fd: bpffs.map_or(-1, |bpffs| bpffs.as_raw_fd()),
    };
    // SAFETY: the kernel reads as many bytes as are given, and takes the rest for 0.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_TOKEN_CREATE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    match i32::try_from(result) {
        // SAFETY: the kernel has just made it for us.
        Ok(file @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(file) }),
        _ => Err(last_error()),
    }
}

/// libbpf's functions that libbpf-rs does not have.
#[cfg(feature = "libbpf-rs")]
pub mod libbpf {
    use std::ffi::CStr;
    use std::io;
    use std::ptr::NonNull;

    use libbpf_rs::libbpf_sys::{
        bpf_object, bpf_object__open_file, bpf_object__open_mem, bpf_object_open_opts,
        bpf_program__expected_attach_type, size_t,
    };
    use libbpf_rs::{AsRawLibbpf, ObjectBuilder, OpenObject, OpenProgram};

    /// The builder's options, and the path that a token is of. They point into both,
    /// and so are for as long as both are there.
    pub fn options(builder: &ObjectBuilder, bpffs: &CStr) -> bpf_object_open_opts {
        // SAFETY: it points to what the builder holds, which nobody changes now.
        let mut options = unsafe { *builder.as_libbpf_object().as_ptr() };
        options.bpf_token_path = bpffs.as_ptr();
        options
    }

    pub fn open_file(
        builder: &ObjectBuilder,
        bpffs: &CStr,
        object: &CStr,
    ) -> libbpf_rs::Result<OpenObject> {
        let options = options(builder, bpffs);
        // SAFETY: path and options are valid; libbpf copies of them what it keeps.
        opened(unsafe { bpf_object__open_file(object.as_ptr(), &raw const options) })
    }

    pub fn open_memory(
        builder: &ObjectBuilder,
        bpffs: &CStr,
        object: &[u8],
    ) -> libbpf_rs::Result<OpenObject> {
        let options = options(builder, bpffs);
        let (start, size) = (object.as_ptr().cast(), object.len() as size_t);
        // SAFETY: as above, and libelf reads no more than the size given.
        opened(unsafe { bpf_object__open_mem(start, size, &raw const options) })
    }

    /// NULL, and then `errno`, means failure (`libbpf_ptr()` of `libbpf_internal.h`).
    fn opened(object: *mut bpf_object) -> libbpf_rs::Result<OpenObject> {
        let object = NonNull::new(object).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: it was just opened, is not loaded, and nobody else has it.
        Ok(unsafe { OpenObject::from_ptr(object) })
    }

    /// The `enum bpf_attach_type` that a program is to be loaded for.
    pub fn attach_type(program: &OpenProgram<'_>) -> u32 {
        // SAFETY: the program is its object's, which is borrowed.
        unsafe { bpf_program__expected_attach_type(program.as_libbpf_object().as_ptr()) }
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
