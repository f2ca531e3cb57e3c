//! 10 to 14: reaching a trusted process that runs.

use crate::attack::{Attack, CALL};
use crate::lab::{Lab, PATIENCE, Said};
use crate::loaders::LOADER;
use anyhow::Result;

const WRITABLE: &[&str] = &["writable-code"];

pub const ATTACKS: &[Attack] = &[
    Attack::own(
        "10.ld-preload",
        "LD_PRELOAD of a library of somebody's choice",
        |lab| with_variable(lab, "LD_PRELOAD", "evil.so"),
    ),
    Attack::own(
        "10.ld-library-path",
        "LD_LIBRARY_PATH to a directory with another library of the same name",
        |lab| with_variable(lab, "LD_LIBRARY_PATH", "libraries"),
    ),
    Attack::run(
        "10.replaced",
        "another library in the place of one that the loader maps",
        "unsigned",
        "mntns [ bind @/evil.so:%library exec @/loader act mapped %inode bpf 11 ]",
        &["unsigned-library", "not-granted"],
    ),
    Attack::run(
        "10.dlopen",
        "a trusted loader made to load an unsigned library",
        "loader",
        "dlopen @/evil.so bpf 11",
        &["unsigned-library"],
    ),
    reached("11.ptrace", "PTRACE_SEIZE, PTRACE_INTERRUPT", "attach %pid"),
    reached(
        "11.proc-mem",
        "/proc/PID/mem opened for writing",
        "peek-mem %pid",
    ),
    reached("11.vm-writev", "process_vm_writev()", "vm-write %pid"),
    reached("11.pidfd-getfd", "pidfd_getfd()", "steal-fd %pid"),
    Attack::run(
        "11.peer",
        "another trusted process that traces it",
        "peer",
        "attach %pid",
        &[],
    )
    .victim(LOADER, "pid")
    .shows("trace", &["traced"]),
    reached("11.madvise", "process_madvise(MADV_COLD)", "madvise %pid"),
    Attack::run(
        "11.parent",
        "an untrusted parent traces its trusted child",
        "unsigned",
        "beside [ exec @/loader act into @/said touch @/up until @/never ] until @/up attach child",
        &["no-signature"],
    )
    .before(|lab| {
        // Not there the first time.
        let _ = std::fs::remove_file(lab.path("up"));
        Ok(())
    })
    .shows("trace", &["no-signature"]),
    Attack::run(
        "12.anonymous",
        "executable anonymous memory that is writable",
        "loader",
        "anonymous-code bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "12.late",
        "memory that is written, then made executable",
        "loader",
        "late-code bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "12.patched",
        "a private copy of a file's page, written, then made executable",
        "loader",
        "patched-code bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "12.personality",
        "READ_IMPLIES_EXEC",
        "loader",
        "personality bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "12.memfd",
        "a file in memory that is mapped as code and still writable",
        "loader",
        "memfd-code bpf 11",
        &["unsigned-library", "writable-code"],
    ),
    Attack::run(
        "12.self-mem",
        "code written through /proc/self/mem",
        "loader",
        "self-mem bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "13.thread",
        "a thread that breaks the rule for another",
        "loader",
        "thread [ anonymous-code ] bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "13.clone-vm",
        "a child that shares the memory and breaks the rule",
        "loader",
        "share [ anonymous-code ] bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "13.vfork",
        "the same by CLONE_VFORK",
        "loader",
        "vfork [ anonymous-code ] bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "13.fork-washes",
        "a fork after the rule was broken",
        "loader",
        "anonymous-code fork [ bpf 11 ]",
        WRITABLE,
    ),
    Attack::run(
        "14.self-mem",
        "a worker of io_uring opens /proc/self/mem, for code to be written",
        "loader",
        "by-ring self-mem bpf 11",
        WRITABLE,
    ),
    Attack::run(
        "14.poller",
        "the same by a thread that polls a ring",
        "loader",
        "by-poller self-mem bpf 11",
        WRITABLE,
    ),
    reached(
        "14.reach",
        "/proc/PID/mem opened by a worker of io_uring",
        "by-ring peek-mem %pid",
    ),
];

/// Reaches for a trusted process that waits.
const fn reached(number: &'static str, tried: &'static str, actions: &'static str) -> Attack {
    Attack::run(number, tried, "unsigned", actions, &[])
        .victim(LOADER, "pid")
        .shows("trace", &["no-signature"])
}

/// Is the library of the variable mapped by a signed loader?
fn with_variable(lab: &mut Lab, variable: &str, value: &str) -> Result<Said> {
    let mut command = lab.probe(LOADER, &format!("{CALL} mapped %inode"), None);
    command.env(variable, lab.path(value));
    Ok(lab.run(&mut command, PATIENCE)?.said())
}
