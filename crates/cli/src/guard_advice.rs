//! What to type next after an error of the guard.

use std::io::ErrorKind;

use bpftrust_guard::Error;

use crate::advice::advised;

/// Adds to the guard's errors what to type next.
pub fn explain<T>(result: bpftrust_guard::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| match help(&error) {
        Some(help) => advised(error, help),
        None => error.into(),
    })
}

fn help(error: &Error) -> Option<&'static str> {
    let text = match error {
        Error::NotRoot => "type 'sudo bpftrust …'",
        Error::Pin { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "type 'sudo bpftrust …'"
        }
        Error::AlreadyEnforcing => {
            "see 'bpftrust status'; to start anew, type 'bpftrust release' first"
        }
        Error::NotEnforcing => "type 'bpftrust enforce'",
        Error::Incomplete { .. } => {
            "type 'bpftrust enforce' to start, or 'bpftrust release' to clean up"
        }
        Error::NoBpffs { .. } => "type 'mount -t bpf bpf /sys/fs/bpf'",
        Error::Kernel {
            operation: "load" | "attach" | "open",
            ..
        }
        | Error::Ineffective => "type 'bpftrust check' to see what this kernel lacks",
        Error::Damaged { .. } => "type 'bpftrust release' with the version that started it",
        _ => return None,
    };
    Some(text)
}
