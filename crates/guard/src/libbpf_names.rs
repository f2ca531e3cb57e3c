//! The names that libbpf has for the kernel's types.

#![allow(
    unsafe_code,
    reason = "four functions that libbpf-rs has no safe form of"
)]

use std::ffi::{CStr, c_char};

use libbpf_rs::libbpf_sys::{
    libbpf_bpf_attach_type_str, libbpf_bpf_link_type_str, libbpf_bpf_map_type_str,
    libbpf_bpf_prog_type_str,
};

/// The name of an `enum bpf_prog_type`.
pub(crate) fn program(number: u32) -> Option<&'static str> {
    // SAFETY: any number may be asked for, and the answer is as `text` needs it.
    unsafe { text(libbpf_bpf_prog_type_str(number)) }
}

/// The name of an `enum bpf_map_type`.
pub(crate) fn map(number: u32) -> Option<&'static str> {
    // SAFETY: as above.
    unsafe { text(libbpf_bpf_map_type_str(number)) }
}

/// The name of an `enum bpf_attach_type`.
pub(crate) fn attach(number: u32) -> Option<&'static str> {
    // SAFETY: as above.
    unsafe { text(libbpf_bpf_attach_type_str(number)) }
}

/// The name of an `enum bpf_link_type`.
pub(crate) fn link(number: u32) -> Option<&'static str> {
    // SAFETY: as above.
    unsafe { text(libbpf_bpf_link_type_str(number)) }
}

/// # Safety
/// `name` is NULL or a constant string: what `libbpf_bpf_*_type_str` return
/// (`tools/lib/bpf/libbpf.c`, a table of literals).
unsafe fn text(name: *const c_char) -> Option<&'static str> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller says that it is a constant string.
    unsafe { CStr::from_ptr(name) }.to_str().ok()
}
