//! BPF tokens: what a process without privileges may do with `bpf()`, delegated by
//! one that has them.
//!
//! A token is made from a bpffs that was mounted with `delegate_*` options, which
//! takes `CAP_SYS_ADMIN` in the initial user namespace, for another user namespace
//! (`kernel/bpf/token.c`, `kernel/bpf/inode.c`). [`enter()`] does both sides of
//! that: it takes the calling process into a user namespace of its own, with such a
//! bpffs where libbpf looks for it, and leaves it no capability but three in there.
//! What is executed then makes its own token: libbpf does so by itself.

mod delegation;
mod enter;
mod error;
mod sys;

pub use delegation::Delegation;
pub use enter::{BPFFS, TOKEN_PATH_VARIABLE, User, enter};
pub use error::{Error, Step};
