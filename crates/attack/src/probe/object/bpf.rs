//! `bpf()` itself: a command and the bytes of its attributes.
#![allow(
    unsafe_code,
    reason = "bpf() has no safe wrapper, and the probe calls it as no library would"
)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Commands of `enum bpf_cmd`.
pub const MAP_CREATE: u32 = 0;
pub const MAP_LOOKUP_ELEM: u32 = 1;
pub const MAP_UPDATE_ELEM: u32 = 2;
pub const PROG_LOAD: u32 = 5;
pub const OBJ_PIN: u32 = 6;
pub const OBJ_GET: u32 = 7;
pub const PROG_ATTACH: u32 = 8;
pub const PROG_TEST_RUN: u32 = 10;
pub const MAP_GET_NEXT_ID: u32 = 12;
pub const PROG_GET_FD_BY_ID: u32 = 13;
pub const MAP_GET_FD_BY_ID: u32 = 14;
pub const OBJ_GET_INFO_BY_FD: u32 = 15;
pub const RAW_TRACEPOINT_OPEN: u32 = 17;
pub const BTF_LOAD: u32 = 18;
pub const BTF_GET_FD_BY_ID: u32 = 19;
pub const MAP_FREEZE: u32 = 22;
pub const MAP_LOOKUP_BATCH: u32 = 24;
pub const LINK_CREATE: u32 = 28;
pub const LINK_UPDATE: u32 = 29;
pub const LINK_GET_FD_BY_ID: u32 = 30;
pub const LINK_DETACH: u32 = 34;
pub const TOKEN_CREATE: u32 = 36;

/// Bytes of attributes: more than any field in use needs. Kernels take zeros
/// beyond what they know.
pub const SIZE: usize = 168;

/// `union bpf_attr`: zeros but for the fields that were set, each at its offset
/// in bytes. What they point at lives as long as they do.
pub struct Attributes<'a> {
    bytes: [u8; SIZE],
    points_at: PhantomData<&'a mut [u8]>,
}

impl<'a> Attributes<'a> {
    pub fn new() -> Self {
        Self {
            bytes: [0; SIZE],
            points_at: PhantomData,
        }
    }

    /// A number of 32 bits.
    pub fn word(mut self, at: usize, value: u32) -> Self {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    /// A descriptor of what stays open as long.
    pub fn file(self, at: usize, file: &'a impl AsFd) -> Self {
        self.word(at, file.as_fd().as_raw_fd().cast_unsigned())
    }

    /// The beginning of a text, in a field of `BPF_OBJ_NAME_LEN` bytes.
    pub fn text(mut self, at: usize, text: &str) -> Self {
        let text = &text.as_bytes()[..text.len().min(15)];
        self.bytes[at..at + text.len()].copy_from_slice(text);
        self
    }

    /// The address of what the kernel reads.
    pub fn input(self, at: usize, bytes: &'a [u8]) -> Self {
        self.address(at, bytes.as_ptr())
    }

    /// The address of what the kernel writes.
    pub fn output(self, at: usize, bytes: &'a mut [u8]) -> Self {
        self.address(at, bytes.as_ptr())
    }

    fn address(mut self, at: usize, address: *const u8) -> Self {
        let address = address.addr() as u64;
        self.bytes[at..at + 8].copy_from_slice(&address.to_ne_bytes());
        self
    }

    /// The number of 32 bits there now: some commands answer in place.
    pub fn answer(&self, at: usize) -> u32 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|index| self.bytes[at + index]);
        u32::from_ne_bytes([a, b, c, d])
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Calls `bpf(command, attributes)` and returns what the kernel does.
pub fn call(command: u32, attributes: &mut Attributes<'_>) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes the attributes only within their
    // length. Addresses in them are of `input`, which no command in use writes
    // to, and of `output`, which is borrowed as long as they are; numbers of
    // `word` fill no field that is an address.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.bytes.as_mut_ptr(),
            attributes.bytes.len(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// As [`call`], for a command that returns a descriptor.
pub fn open(command: u32, attributes: &mut Attributes<'_>) -> io::Result<OwnedFd> {
    let fd = i32::try_from(call(command, attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
