//! Asking the kernel whether `bpf()` is open to this process.

#![allow(
    unsafe_code,
    reason = "one bpf(2) call that libbpf-rs has no safe function for"
)]

use std::io;

use libbpf_rs::libbpf_sys::bpf_prog_get_next_id;

use crate::{Error, Result};

/// `bpf()`, seen from this process.
pub(crate) struct Gate;

impl Gate {
    /// Whether the harmless `BPF_PROG_GET_NEXT_ID` is refused to this process,
    /// which as uid 0 it is by nobody but an LSM.
    pub(crate) fn is_shut() -> Result<bool> {
        let mut next = 0;
        // SAFETY: the function writes one u32 through the pointer, to a local.
        let answer = unsafe { bpf_prog_get_next_id(0, &mut next) };
        match answer.checked_neg() {
            // ENOENT: there is no program at all.
            Some(0 | libc::ENOENT) => Ok(false),
            Some(libc::EPERM | libc::EACCES) => Ok(true),
            errno => Err(Error::Kernel {
                operation: "ask for",
                thing: "the next BPF program".into(),
                source: io::Error::from_raw_os_error(errno.unwrap_or_default()).into(),
            }),
        }
    }
}
