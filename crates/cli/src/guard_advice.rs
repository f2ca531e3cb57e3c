//! What to type next after an error of the guard.

use std::io::ErrorKind;
use std::path::Path;

use bpftrust_guard::{Error, Mode, POLICY, Policy, PolicyError, TextError};

use rustix::io::Errno;

use crate::advice::advised;

/// Adds to the guard's errors what to type next.
pub fn explain<T>(result: bpftrust_guard::Result<T>) -> anyhow::Result<T> {
    result.map_err(|error| match help(&error) {
        Some(help) => advised(error, help),
        None => error.into(),
    })
}

/// Reads a policy: that of this host, unless another is named.
pub fn load_policy(path: Option<&Path>) -> anyhow::Result<Policy> {
    Policy::load(path.unwrap_or(Path::new(POLICY))).map_err(advise_policy)
}

/// Adds to an error of a policy what to type next.
pub fn advise_policy(error: PolicyError) -> anyhow::Error {
    let PolicyError::Text(TextError::Read { source, .. }) = &error else {
        return error.into();
    };
    let help = match source.kind() {
        ErrorKind::NotFound => {
            "a policy names who may sign, for example: [publisher.acme] \
             certificates = [\"acme.pem\"]"
        }
        ErrorKind::PermissionDenied => "type 'sudo bpftrust …'",
        _ => return error.into(),
    };
    advised(error, help)
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
        Error::Sealed => "a sealed guard ends when the machine is rebooted",
        Error::OtherMountNamespace => {
            "type 'nsenter --mount=/proc/1/ns/mnt bpftrust enforce --seal'"
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
        Error::OtherMode {
            running: Mode::Audit,
            ..
        } => "type 'bpftrust policy apply --audit'",
        Error::OtherMode { .. } => "type 'bpftrust release' and 'bpftrust enforce --audit'",
        Error::Release { .. } => "it takes CAP_MAC_ADMIN in the initial user namespace",
        Error::Evict { source } => match Errno::from_io_error(source)? {
            Errno::PERM => "it takes CAP_MAC_ADMIN in the initial user namespace",
            _ => "type 'bpftrust status' to see whether the guard is whole",
        },
        Error::Policy { source } => match Errno::from_io_error(source)? {
            Errno::PERM => "it takes CAP_MAC_ADMIN in the initial user namespace",
            Errno::STALE | Errno::BUSY => "somebody else brought a policy; type it again",
            _ => "type 'bpftrust status' to see whether the guard is whole",
        },
        Error::Damaged { .. } => "type 'bpftrust release' with the version that started it",
        _ => return None,
    };
    Some(text)
}
