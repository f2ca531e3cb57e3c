//! Seccomp filters, those that answer for the kernel and those that don't.
//!
//! Each has its say only on a call that nobody makes, and allows all others:
//! what counts is what it could answer.

use super::sys;
use libc::{BPF_A, BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use std::io;

/// A call that nobody makes.
const UNUSED: u32 = libc::SYS_lookup_dcookie as u32;

/// Installs the filter of that name; `None` if there is none.
pub fn install(kind: &str) -> Option<io::Result<()>> {
    let action = match kind {
        "allow" => libc::SECCOMP_RET_ALLOW,
        "log" => libc::SECCOMP_RET_LOG,
        "errno-eperm" => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        "errno-enosys" => libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        "kill-unused" => libc::SECCOMP_RET_KILL_PROCESS,
        "kill-thread-unused" => libc::SECCOMP_RET_KILL_THREAD,
        "trap-unused" => libc::SECCOMP_RET_TRAP,
        "errno-0" => libc::SECCOMP_RET_ERRNO,
        "trace" => libc::SECCOMP_RET_TRACE,
        "notifier" | "notifier-unheard" => libc::SECCOMP_RET_USER_NOTIF,
        "listener-unasked" => libc::SECCOMP_RET_ALLOW,
        "accumulator" => {
            return Some(sys::install_filter(&program(BPF_RET | BPF_A, 0), false));
        }
        _ => return None,
    };
    let listens = matches!(kind, "notifier" | "listener-unasked");
    Some(sys::install_filter(
        &program(BPF_RET | BPF_K, action),
        listens,
    ))
}

/// For the unused call this instruction, for all others "allow".
fn program(code: u32, k: u32) -> [sock_filter; 4] {
    let instruction = |code: u32, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    [
        // The call's number is the first word of struct seccomp_data.
        instruction(BPF_LD | BPF_W | BPF_ABS, 0, 0),
        instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, UNUSED),
        instruction(code, 0, k),
        instruction(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ]
}
