//! Calls of libbpf and `bpf()` that no library has a safe form of.
#![allow(
    unsafe_code,
    reason = "libbpf-rs neither generates loaders nor offers signatures"
)]

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use libbpf_rs::libbpf_sys as raw;

/// Has libbpf generate a loader instead of loading: its instructions, and its data.
///
/// `hash`: the loader compares its map's hash with that of the data.
pub(crate) fn generate(
    object: NonNull<raw::bpf_object>,
    hash: bool,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut options = raw::gen_loader_opts {
        sz: size_of::<raw::gen_loader_opts>() as raw::size_t,
        gen_hash: hash,
        ..Default::default()
    };
    // SAFETY: an open object, which the caller keeps open; the options live longer than
    // the load that fills them in.
    answer(unsafe { raw::bpf_object__gen_loader(object.as_ptr(), &raw mut options) })?;
    // SAFETY: the same object, which has not been loaded.
    answer(unsafe { raw::bpf_object__load(object.as_ptr()) })?;
    // SAFETY: now libbpf has put there as many bytes as it says, which are the object's
    // until that is closed (`gen_loader.c`, bpf_gen__finish).
    let copy = |at: *const std::ffi::c_char, size: u32| unsafe {
        slice::from_raw_parts(at.cast::<u8>(), size as usize).to_vec()
    };
    Ok((
        copy(options.insns, options.insns_sz),
        copy(options.data, options.data_sz),
    ))
}

/// Is libbpf to pin this map of an open object by its name?
pub(crate) fn is_pinned_by_name(map: NonNull<raw::bpf_map>) -> bool {
    // SAFETY: a map of an object that the caller keeps open.
    !unsafe { raw::bpf_map__pin_path(map.as_ptr()) }.is_null()
}

fn answer(result: c_int) -> io::Result<c_int> {
    match result {
        0.. => Ok(result),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// # Safety
/// `fd` is new and nobody else's, or an error.
unsafe fn own(fd: c_int) -> io::Result<OwnedFd> {
    let fd = answer(fd)?;
    // SAFETY: the caller says so.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The map of a loader: an array with this one value, for the program alone whose
/// instructions have that SHA-256, frozen.
pub(crate) fn metadata_map(value: &[u8], program: &[u8; 32]) -> io::Result<OwnedFd> {
    let options = raw::bpf_map_create_opts {
        sz: size_of::<raw::bpf_map_create_opts>() as raw::size_t,
        excl_prog_hash: program.as_ptr().cast(),
        excl_prog_hash_size: 32,
        ..Default::default()
    };
    let size = u32::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: what the options point at is borrowed; the descriptor is new.
    let map = unsafe {
        own(raw::bpf_map_create(
            raw::BPF_MAP_TYPE_ARRAY,
            c"__loader.map".as_ptr(),
            4,
            size,
            1,
            &raw const options,
        ))
    }?;
    let fd = map.as_raw_fd();
    let key = 0_u32;
    // SAFETY: key and value have the sizes that the map was made with.
    answer(unsafe {
        raw::bpf_map_update_elem(fd, (&raw const key).cast(), value.as_ptr().cast(), 0)
    })?;
    // SAFETY: no memory is involved.
    answer(unsafe { raw::bpf_map_freeze(fd) })?;
    Ok(map)
}

/// Has the kernel compute the map's hash, which the loader then compares.
pub(crate) fn hash(map: &OwnedFd) -> io::Result<()> {
    let mut hash = [0_u8; 32];
    let mut info = raw::bpf_map_info {
        hash: (&raw mut hash) as u64,
        hash_size: 32,
        ..Default::default()
    };
    let mut size = size_of_val(&info) as u32;
    // SAFETY: as many bytes as are said, of a struct whose one address is of as many as
    // it says.
    answer(unsafe { raw::bpf_map_get_info_by_fd(map.as_raw_fd(), &raw mut info, &raw mut size) })
        .map(drop)
}

/// `union bpf_attr` as far as `BPF_PROG_LOAD` of a loader needs it.
#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u64; 2],
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    between: [u32; 13],
    fd_array: u64,
    core: [u64; 2],
    prog_token_fd: u32,
    fd_array_cnt: u32,
    signature: u64,
    signature_size: u32,
    keyring_id: i32,
}

const _: () = {
    assert!(std::mem::offset_of!(ProgLoad, fd_array) == 120);
    assert!(std::mem::offset_of!(ProgLoad, signature) == 152);
    assert!(size_of::<ProgLoad>() == 168);
};

/// Loads a loader with its signature, to be verified by that keyring. `bound`: the
/// signature covers the map, too.
pub(crate) fn load(
    loader: &[u8],
    map: &OwnedFd,
    bound: bool,
    signature: &[u8],
    keyring: i32,
) -> io::Result<OwnedFd> {
    const LICENSE: &CStr = c"Dual BSD/GPL";
    const SLEEPABLE: u32 = 1 << 4;
    let maps = [map.as_raw_fd()];
    let mut attributes = ProgLoad {
        prog_type: raw::BPF_PROG_TYPE_SYSCALL,
        insn_cnt: u32::try_from(loader.len() / 8).map_err(io::Error::other)?,
        insns: loader.as_ptr().addr() as u64,
        license: LICENSE.as_ptr().addr() as u64,
        prog_flags: SLEEPABLE,
        prog_name: *b"__loader.prog\0\0\0",
        fd_array: maps.as_ptr().addr() as u64,
        fd_array_cnt: bound.into(),
        signature: signature.as_ptr().addr() as u64,
        signature_size: u32::try_from(signature.len()).map_err(io::Error::other)?,
        keyring_id: keyring,
        ..Default::default()
    };
    // SAFETY: the kernel reads what the addresses are of, all of which outlives the
    // call, and within the lengths beside them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            raw::BPF_PROG_LOAD,
            &raw mut attributes,
            size_of::<ProgLoad>(),
        )
    };
    match c_int::try_from(fd) {
        // SAFETY: the kernel has just made it.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs a loader on this context, which it writes to.
pub(crate) fn run(loader: &OwnedFd, context: &mut [u8]) -> io::Result<()> {
    let mut options = raw::bpf_test_run_opts {
        sz: size_of::<raw::bpf_test_run_opts>() as raw::size_t,
        ctx_in: context.as_ptr().cast(),
        ctx_size_in: u32::try_from(context.len()).map_err(io::Error::other)?,
        ctx_out: ptr::null_mut(),
        ..Default::default()
    };
    // The kernel writes the context back to where it was (net/bpf/test_run.c,
    // bpf_prog_test_run_syscall).
    options.ctx_in = context.as_mut_ptr().cast();
    // SAFETY: as many bytes as are said, borrowed to be written to.
    answer(unsafe { raw::bpf_prog_test_run_opts(loader.as_raw_fd(), &raw mut options) })?;
    answer(options.retval.cast_signed()).map(drop)
}

/// A descriptor that a loader left.
pub(crate) fn take(fd: i32) -> io::Result<OwnedFd> {
    if fd <= 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the loader has just made it and told nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins an object.
pub(crate) fn pin(object: impl AsFd, path: &CStr) -> io::Result<()> {
    // SAFETY: a string with its end.
    answer(unsafe { raw::bpf_obj_pin(object.as_fd().as_raw_fd(), path.as_ptr()) }).map(drop)
}
