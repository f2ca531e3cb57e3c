//! `libbpftrust_preload.so`: for loaders under a BPF token that do not name it
//! wherever they could.
//!
//! libbpf names the token when it loads an object. What asks the kernel a question by a
//! load of its own (`fentry_can_attach` of bcc's libbpf-tools), or makes maps and
//! programs one by one (`bpftool`), does not, is refused, and takes another way. Such a
//! loader calls `bpf()` by the C library's `syscall(2)`. This library stands before it:
//! a call that takes a token and names none gets one, made of the bpffs that
//! `LIBBPF_BPF_TOKEN_PATH` names, as libbpf does. Every other call passes as it is, and
//! so does every one where the variable is not set or no token is to be had.
//!
//! It gives no right: the kernel, and bpftrust, judge each call by its token. Where the
//! policy wants libraries signed, it must be.

mod attributes;
mod sys;
