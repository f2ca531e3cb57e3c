//! Calls of libbpf and `bpf()` that no library has a safe form of.
#![allow(
    unsafe_code,
    reason = "libbpf-rs neither generates loaders nor offers signatures"
)]

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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

/// `bpf()` itself, of a command that returns a descriptor: libbpf would first try out
/// what the kernel can do, by loading programs that nobody signed.
///
/// # Safety
/// `attributes` are those of the command, and what they point at is there.
unsafe fn open<T>(command: raw::bpf_cmd, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as many bytes as are said; the kernel writes none of them here.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match c_int::try_from(fd) {
        // SAFETY: the kernel has just made it.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `union bpf_attr` as far as `BPF_MAP_CREATE` needs it.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    between: [u32; 2],
    map_name: [u8; 16],
    rest: [u32; 8],
    map_token_fd: i32,
    excl_prog_hash: u64,
    excl_prog_hash_size: u32,
    padding: u32,
}

const _: () = {
    assert!(std::mem::offset_of!(MapCreate, map_token_fd) == 76);
    assert!(std::mem::offset_of!(MapCreate, excl_prog_hash) == 80);
};

/// `BPF_F_TOKEN_FD`, if there is a token, and its descriptor.
fn naming(token: Option<BorrowedFd<'_>>) -> (u32, i32) {
    token.map_or((0, 0), |token| (1 << 16, token.as_raw_fd()))
}

/// The map of a loader: an array with this one value, for the program alone whose
/// instructions have that SHA-256, frozen.
pub(crate) fn metadata_map(
    value: &[u8],
    program: &[u8; 32],
    token: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let (map_flags, map_token_fd) = naming(token);
    let attributes = MapCreate {
        map_type: raw::BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(value.len()).map_err(io::Error::other)?,
        max_entries: 1,
        map_flags,
        map_token_fd,
        map_name: *b"__loader.map\0\0\0\0",
        excl_prog_hash: program.as_ptr().addr() as u64,
        excl_prog_hash_size: 32,
        ..Default::default()
    };
    // SAFETY: its one address is of as many bytes as it says.
    let map = unsafe { open(raw::BPF_MAP_CREATE, &attributes) }?;
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
    prog_token_fd: i32,
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
    token: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    const LICENSE: &CStr = c"Dual BSD/GPL";
    const SLEEPABLE: u32 = 1 << 4;
    let maps = [map.as_raw_fd()];
    let (token_flag, prog_token_fd) = naming(token);
    let attributes = ProgLoad {
        prog_type: raw::BPF_PROG_TYPE_SYSCALL,
        insn_cnt: u32::try_from(loader.len() / 8).map_err(io::Error::other)?,
        insns: loader.as_ptr().addr() as u64,
        license: LICENSE.as_ptr().addr() as u64,
        prog_flags: SLEEPABLE | token_flag,
        prog_token_fd,
        prog_name: *b"__loader.prog\0\0\0",
        fd_array: maps.as_ptr().addr() as u64,
        fd_array_cnt: bound.into(),
        signature: signature.as_ptr().addr() as u64,
        signature_size: u32::try_from(signature.len()).map_err(io::Error::other)?,
        keyring_id: keyring,
        ..Default::default()
    };
    // SAFETY: the kernel reads what the addresses are of, within the lengths beside them.
    unsafe { open(raw::BPF_PROG_LOAD, &attributes) }
}

/// Runs a loader on this context, which it writes to.
pub(crate) fn run(loader: &OwnedFd, context: &mut [u8]) -> io::Result<()> {
    let mut options = raw::bpf_test_run_opts {
        sz: size_of::<raw::bpf_test_run_opts>() as raw::size_t,
        // The kernel writes it back to where it was (net/bpf/test_run.c,
        // bpf_prog_test_run_syscall).
        ctx_in: context.as_mut_ptr().cast(),
        ctx_size_in: u32::try_from(context.len()).map_err(io::Error::other)?,
        ..Default::default()
    };
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
