//! The two ioctls of fs-verity (`include/uapi/linux/fsverity.h`).
#![allow(unsafe_code, reason = "ioctls have no safe interface")]

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{self, Opcode, Setter, Updater, opcode};

use crate::{Algorithm, Digest, Error, Parameters};

/// Makes the content of a regular file immutable for good and verified at each
/// read. `file` is open for reading, and nobody has it open for writing.
///
/// Returns when the whole file was hashed: this takes as long as reading it.
///
/// # Errors
/// A variant of [`Error`] by what the kernel said.
pub fn enable(file: impl AsFd, parameters: &Parameters) -> Result<(), Error> {
    let salt = parameters.salt();
    let argument = EnableArgument {
        version: 1,
        hash_algorithm: parameters.algorithm().number().into(),
        block_size: parameters.block_size(),
        salt_size: salt.len() as u32,
        salt_ptr: salt.as_ptr() as u64,
        ..EnableArgument::default()
    };
    // SAFETY: the opcode takes a pointer to `struct fsverity_enable_arg`, whose
    // layout `EnableArgument` has, and only reads it; `salt_ptr` points to
    // `salt_size` bytes that `parameters` keeps alive over the call.
    unsafe { ioctl::ioctl(file, Setter::<ENABLE, EnableArgument>::new(argument)) }
        .map_err(Error::enabling)
}

/// The digest of a file as the kernel holds it, or `None` if fs-verity is not
/// enabled on it.
///
/// # Errors
/// [`Error::Unsupported`] if the file system has no fs-verity,
/// [`Error::UnknownDigest`] for a hash function from the future.
pub fn measure(file: impl AsFd) -> Result<Option<Digest>, Error> {
    let mut measured = Measured {
        algorithm: 0,
        size: MAX_DIGEST as u16,
        bytes: [0; MAX_DIGEST],
    };
    // SAFETY: the opcode takes a pointer to `struct fsverity_digest`, a header
    // followed by as many bytes as its `digest_size` says; `Measured` has this
    // layout and that many bytes, and every bit pattern is valid in it.
    let result = unsafe { ioctl::ioctl(file, Updater::<MEASURE, Measured>::new(&mut measured)) };
    match result {
        Ok(()) => measured.digest().map(Some),
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(Error::measuring(errno)),
    }
}

/// The longest digest, SHA-512's, in bytes.
const MAX_DIGEST: usize = 64;

const ENABLE: Opcode = opcode::write::<EnableArgument>(b'f', 133);
/// The size in this number is that of the header alone.
const MEASURE: Opcode = opcode::read_write::<[u16; 2]>(b'f', 134);

/// `struct fsverity_enable_arg`
#[repr(C)]
#[derive(Default)]
struct EnableArgument {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest` with room for any digest
#[repr(C)]
struct Measured {
    algorithm: u16,
    size: u16,
    bytes: [u8; MAX_DIGEST],
}

impl Measured {
    fn digest(&self) -> Result<Digest, Error> {
        let unknown = || Error::UnknownDigest {
            algorithm: self.algorithm,
            size: self.size,
        };
        let algorithm = Algorithm::from_number(self.algorithm).ok_or_else(unknown)?;
        let bytes = self.bytes.get(..self.size.into()).ok_or_else(unknown)?;
        Digest::new(algorithm, bytes).ok_or_else(unknown)
    }
}

const _: () = assert!(size_of::<EnableArgument>() == 128);
const _: () = assert!(size_of::<Measured>() == 68);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_those_of_the_header_file() {
        // printf("%x", FS_IOC_ENABLE_VERITY) with linux/fsverity.h on x86-64
        assert_eq!(ENABLE, 0x4080_6685);
        assert_eq!(MEASURE, 0xc004_6686);
    }

    #[test]
    fn a_digest_of_unknown_form_is_no_digest() {
        for (algorithm, size) in [(0, 32), (3, 32), (1, 31), (1, 64), (2, 32), (1, 65535)] {
            let measured = Measured {
                algorithm,
                size,
                bytes: [0; MAX_DIGEST],
            };
            assert!(matches!(
                measured.digest(),
                Err(Error::UnknownDigest { .. })
            ));
        }
    }

    #[test]
    fn a_file_without_verity_support_says_so() {
        // /proc has no ioctls at all
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(matches!(measure(&file), Err(Error::Unsupported { .. })));
        assert!(matches!(
            enable(&file, &Parameters::default()),
            Err(Error::Unsupported { .. })
        ));
    }
}
