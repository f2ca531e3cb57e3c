//! fs-verity: the digest that stands for the whole content of a file.
//!
//! [`Descriptor::compute`] makes it from any reader, and [`Descriptor::of_file`] from a
//! file on all CPUs, the way the kernel does (`fs/verity/enable.c`) and `fsverity digest`
//! prints it. [`enable`] makes a
//! file's content immutable and [`measure`] asks the kernel for its digest.
//!
//! The form is fixed by `include/uapi/linux/fsverity.h` and
//! `Documentation/filesystems/fsverity.rst` of the kernel.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod descriptor;
mod digest;
mod error;
mod hasher;
mod ioctl;
mod large;
mod merkle;
mod parameters;
#[cfg(target_arch = "x86_64")]
mod rounds;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

pub use descriptor::Descriptor;
pub use digest::{Digest, ParseDigestError};
pub use error::Error;
pub use ioctl::{enable, measure};
pub use parameters::{Algorithm, MAX_SALT, Parameters};
