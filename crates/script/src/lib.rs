//! What `bpftrust-script` makes of a script before it starts a loader on it, and what
//! `bpftrust sign --script` asks of one. No system calls here.
//!
//! The launcher is trusted (`bpf/script.h`), so it has few dependencies and reads
//! little: the first line, and of the xattr two bits. The kernel side judges the rest.

mod granted;
mod script;
mod start;

pub use granted::Granted;
pub use script::{MAX_LINE, MAX_SIZE, Problem, brought_in, check, is_meant, loader_of};
pub use start::{
    DIRECTORIES, Refused, TOKEN_VARIABLE, XATTR, XATTR_MAX, command_line, environment,
};

/// The launcher's own name: as interpreter of a script it means [`DEFAULT_LOADER`].
pub const LAUNCHER: &str = "bpftrust-script";

/// The loader of a script whose first line names none.
pub const DEFAULT_LOADER: &str = "bpftrace";
