//! What to type next after an error of the guard.

use std::io::ErrorKind;
use std::path::Path;

use bpftrust_guard::{Compiled, Error, Mode, POLICY, Policy, PolicyError, TextError};

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
    load_compiled(path).map(Compiled::into_policy)
}

/// The same, with the order to take it.
pub fn load_compiled(path: Option<&Path>) -> anyhow::Result<Compiled> {
    Compiled::load(path.unwrap_or(Path::new(POLICY))).map_err(advise_policy)
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
        Error::EndlessInitramfs => {
            "start it from a script of the initramfs, or later: 'bpftrust enforce --seal'"
        }
        Error::NotEnforcing => "type 'bpftrust enforce'",
        Error::Incomplete { .. } => {
            "type 'bpftrust enforce' to start, or 'bpftrust release' to clean up"
        }
        Error::KeyringGone { .. } => {
            "type 'bpftrust policy apply' with the next policy; 'bpftrust status' says if it is sealed"
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
            Errno::STALE | Errno::BUSY => "somebody else brought a policy; type it again",
            Errno::ACCESS => {
                "the guard is sealed: sign the policy with a policy key, 'bpftrust policy sign \
                 --key KEY.pem --certificate CERT.pem --out OUT FILE', and apply OUT"
            }
            Errno::BADMSG => "its signature is not over this policy; sign it again",
            Errno::RANGE => {
                "its serial is not above the one that 'bpftrust status' shows; raise `serial` in \
                 the policy and sign it again"
            }
            errno => refused_order(errno),
        },
        Error::Permit { source } => match Errno::from_io_error(source)? {
            Errno::STALE => {
                "it names another nonce than 'bpftrust status' shows: a permit works once, on one \
                 machine, until that is started again"
            }
            Errno::KEYEXPIRED => {
                "its time has passed; make another with the boot time that 'bpftrust status' shows"
            }
            Errno::BUSY => "somebody else brings a policy or a permit; type it again",
            Errno::BADMSG => "its signature is not over it; make another",
            errno => refused_order(errno),
        },
        Error::NotSealed => "nothing is to be permitted: type what you want to do",
        Error::Damaged { .. } => {
            "type 'bpftrust release' with the version that started it, or start the machine again"
        }
        _ => return None,
    };
    Some(text)
}

/// What to do when the kernel side does not take what a policy key should have
/// signed.
fn refused_order(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => "it takes CAP_MAC_ADMIN in the initial user namespace",
        Errno::NOKEY => {
            "no policy key of the policy in force signed it, or its keyring is gone; 'bpftrust \
             status' shows them"
        }
        Errno::KEYREVOKED => "the policy in force refuses the key that signed it",
        Errno::KEYREJECTED => {
            "the key that signed it is no policy key, or it was signed as something else"
        }
        _ => "type 'bpftrust status' to see whether the guard is whole",
    }
}
