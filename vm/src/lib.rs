//! The test machine, host side: stock Debian kernels in QEMU.
//!
//! A guest is a kernel from Debian's archive, a small initramfs whose `/init`
//! is the `bpftrust-guest` binary, and an ext4 disk with fs-verity that holds
//! real Debian packages. Everything is made without root and cached, so that a
//! second run needs no network.
//!
//! - [`kernels`]: which kernels, and what each cannot do
//! - [`system`]: what is on the disk, and who is PID 1
//! - [`apt`]: packages, from the mirror that this machine already uses
//! - [`disk`], [`dpkg`], [`initramfs`], [`cpio`], [`modules`]: what the guest boots from
//! - [`installed`]: an initramfs as Debian's own tools make it, with bpftrust in it
//! - [`machine`]: one boot, from job to outcome
//! - [`suite`]: the guest tests on one kernel, and all results in one report
//! - [`protocol`]: what host and guest tell each other
//! - [`figures`]: tables of figures that are committed, and what has grown since
//! - [`log`]: what in a kernel's log fails a run

pub mod apt;
pub mod cache;
pub mod cpio;
pub mod disk;
pub mod dpkg;
pub mod figures;
pub mod initramfs;
pub mod installed;
pub mod kernels;
pub mod log;
pub mod machine;
pub mod modules;
pub mod prepare;
pub mod protocol;
pub mod qemu;
pub mod suite;
pub mod system;
pub mod tool;
