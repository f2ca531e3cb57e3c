//! Programs: one small one for each type, which does nothing but what is asked.

use super::bpf::{self, Attributes};
use super::btf;
use super::instruction::{
    FRAME, Instruction, add, bytes, call_helper, call_kernel, call_own, clear, copy, exit, load,
    set,
};
use super::signature;
use super::token::Offer;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// A type of program as it is attached in one way.
pub struct Kind {
    name: &'static str,
    /// `enum bpf_prog_type`
    pub program: u32,
    /// `enum bpf_attach_type`
    attach: u32,
    flags: u32,
    /// What it returns: that nothing is to happen.
    returns: i32,
    target: Option<Target>,
}

/// What a program is loaded for: a type in the kernel's BTF.
struct Target {
    kind: btf::Kind,
    /// The type's name begins so.
    prefix: &'static str,
    /// And ends so, unless another end is given.
    default: &'static str,
}

const fn plain(name: &'static str, program: u32, attach: u32, returns: i32) -> Kind {
    Kind {
        name,
        program,
        attach,
        flags: 0,
        returns,
        target: None,
    }
}

const TRACING: u32 = 26;
const LSM: u32 = 29;

const fn on_function(
    name: &'static str,
    program: u32,
    attach: u32,
    prefix: &'static str,
    default: &'static str,
) -> Kind {
    Kind {
        target: Some(Target {
            kind: btf::Kind::Function,
            prefix,
            default,
        }),
        ..plain(name, program, attach, 0)
    }
}

/// `BPF_F_SLEEPABLE`
const SLEEPABLE: u32 = 1 << 4;

const KPROBE: Kind = plain("kprobe", 2, 0, 0);
/// What calls `bpf()` from within.
pub const SYSCALL: Kind = Kind {
    flags: SLEEPABLE,
    ..plain("syscall", 31, 0, 0)
};

const KINDS: &[Kind] = &[
    plain("socket_filter", 1, 0, 0),
    KPROBE,
    plain("sched_cls", 3, 0, 0),
    plain("sched_act", 4, 0, 0),
    plain("tracepoint", 5, 0, 0),
    plain("xdp", 6, 37, 2),
    plain("lwt_in", 10, 0, 0),
    // As old loaders have it, which do not say how they will attach it.
    plain("xdp_unsaid", 6, 0, 2),
    plain("perf_event", 7, 0, 0),
    plain("cgroup_skb", 8, 0, 1),
    plain("cgroup_skb_egress", 8, 1, 1),
    plain("cgroup_sock", 9, 2, 1),
    plain("cgroup_device", 15, 6, 1),
    plain("raw_tracepoint", 17, 0, 0),
    plain("cgroup_sysctl", 23, 18, 1),
    plain("sk_lookup", 30, 36, 1),
    SYSCALL,
    plain("netfilter", 32, 45, 1),
    Kind {
        target: Some(Target {
            kind: btf::Kind::Typedef,
            prefix: "btf_trace_",
            default: "sched_process_exec",
        }),
        ..plain("tp_btf", TRACING, 23, 0)
    },
    // The kernel's own functions for tests, which nobody calls.
    on_function("fentry", TRACING, 24, "", "bpf_fentry_test1"),
    on_function("fexit", TRACING, 25, "", "bpf_fentry_test1"),
    on_function("fmod_ret", TRACING, 26, "", "bpf_modify_return_test"),
    on_function("iter", TRACING, 28, "bpf_iter_", "task"),
    on_function("lsm", LSM, 27, "bpf_lsm_", "file_open"),
    Kind {
        returns: 1,
        ..on_function("lsm_cgroup", LSM, 43, "bpf_lsm_", "socket_bind")
    },
];

/// The kind and the end of its target's name in `KIND` or `KIND:TARGET`.
pub fn kind_of(word: &str) -> Option<(&'static Kind, Option<&str>)> {
    let (name, target) = match word.split_once(':') {
        Some((name, target)) => (name, Some(target)),
        None => (word, None),
    };
    let kind = KINDS.iter().find(|kind| kind.name == name)?;
    Some((kind, target))
}

/// What a program calls.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    what: Callee<'a>,
    /// From a second function of the program, which the first one calls.
    within: bool,
}

#[derive(Clone, Copy)]
enum Callee<'a> {
    ProbeWriteUser,
    OverrideReturn,
    SendSignal,
    SendSignalThread,
    SysctlSetNewValue,
    BprmOptsSet,
    Kernel(&'a str),
}

impl<'a> Call<'a> {
    /// Reads the words of the command line that mean a call.
    pub fn parse(word: &'a str) -> Option<Self> {
        let (within, name) = match word.strip_prefix("sub:") {
            Some(name) => (true, name),
            None => (false, word),
        };
        let what = match name {
            "probe-write-user" => Callee::ProbeWriteUser,
            "override-return" => Callee::OverrideReturn,
            "send-signal" => Callee::SendSignal,
            "send-signal-thread" => Callee::SendSignalThread,
            "sysctl-set-new-value" => Callee::SysctlSetNewValue,
            "bprm-opts-set" => Callee::BprmOptsSet,
            _ => Callee::Kernel(name.strip_prefix("kfunc:")?),
        };
        Some(Self { what, within })
    }
}

/// The instructions that call it. The context is in register 1, as the first
/// function gets it.
fn instructions_of(call: Callee<'_>) -> io::Result<Vec<Instruction>> {
    // Eight bytes of the stack, cleared, whose address is in `register`.
    let stack = |register| [clear(FRAME, -8), copy(register, FRAME), add(register, -8)];
    Ok(match call {
        Callee::ProbeWriteUser => {
            let [a, b, c] = stack(2);
            vec![set(1, 0), a, b, c, set(3, 8), call_helper(36)]
        }
        Callee::OverrideReturn => vec![set(2, 0), call_helper(58)],
        Callee::SendSignal => vec![set(1, 0), call_helper(109)],
        Callee::SendSignalThread => vec![set(1, 0), call_helper(117)],
        Callee::SysctlSetNewValue => {
            let [a, b, c] = stack(2);
            vec![a, b, c, set(3, 8), call_helper(104)]
        }
        Callee::BprmOptsSet => vec![load(1, 1, 0), set(2, 0), call_helper(159)],
        Callee::Kernel(name) => kernel_call(name)?,
    })
}

/// Calls a function of the kernel with arguments that its verifier takes; with
/// zeros where nothing is known of it.
fn kernel_call(name: &str) -> io::Result<Vec<Instruction>> {
    let function = |name: &str| Ok::<_, io::Error>(btf::find(btf::Kind::Function, name)?.id);
    let this = call_kernel(function(name)?);
    Ok(match name {
        // Neither may be called alone.
        "bpf_rcu_read_lock" => vec![this, call_kernel(function("bpf_rcu_read_unlock")?)],
        "bpf_send_signal_task" => vec![
            // bpf_get_current_task_btf
            call_helper(158),
            copy(1, 0),
            // No signal, to the process, with no value.
            set(2, 0),
            set(3, 1),
            set(4, 0),
            this,
        ],
        "crash_kexec" => {
            // sizeof(struct pt_regs)
            const REGISTERS: i16 = 168;
            let mut code: Vec<_> = (1..=REGISTERS / 8).map(|n| clear(FRAME, -8 * n)).collect();
            code.extend([copy(1, FRAME), add(1, i32::from(-REGISTERS)), this]);
            code
        }
        _ => {
            let mut code: Vec<_> = (1..=5).map(|register| set(register, 0)).collect();
            code.push(this);
            code
        }
    })
}

/// A program of that kind with that call in it.
fn body(kind: &Kind, call: Option<Call<'_>>) -> io::Result<Vec<Instruction>> {
    let end = [set(0, kind.returns), exit()];
    let Some(call) = call else {
        return Ok(end.to_vec());
    };
    let mut code = Vec::new();
    if call.within {
        code.push(call_own(end.len() as i32));
        code.extend(end);
    }
    code.extend(instructions_of(call.what)?);
    code.extend(end);
    Ok(code)
}

/// The instructions of a kprobe program, as the kernel reads them.
pub fn kprobe(call: Option<Call<'_>>) -> io::Result<Vec<u8>> {
    Ok(bytes(&body(&KPROBE, call)?))
}

/// What a kprobe program is for the kernel.
pub const KPROBE_TYPE: u32 = KPROBE.program;

/// What programs say their licence is: the kernel keeps most calls for it.
pub const LICENSE: &[u8] = b"GPL\0";

/// Loads a program of that kind.
pub fn load_kind(kind: &Kind, target: Option<&str>, call: Option<Call<'_>>) -> io::Result<OwnedFd> {
    load_body(kind, target, &body(kind, call)?)
}

/// Loads these instructions as a program of that kind. What the verifier has to
/// say is on standard error.
pub fn load_body(kind: &Kind, target: Option<&str>, code: &[Instruction]) -> io::Result<OwnedFd> {
    load_with(kind, target, code, None)
}

/// The same of instructions that name this map by its place among the descriptors
/// that come with them: the first.
pub fn load_with(
    kind: &Kind,
    target: Option<&str>,
    code: &[Instruction],
    map: Option<&OwnedFd>,
) -> io::Result<OwnedFd> {
    if signature::written(code, &[])? {
        return Ok(std::fs::File::open("/dev/null")?.into());
    }
    let target = match &kind.target {
        Some(known) => {
            let name = format!("{}{}", known.prefix, target.unwrap_or(known.default));
            btf::find(known.kind, &name)?.id
        }
        None => 0,
    };
    let instructions = bytes(code);
    let mut log = vec![0; 1 << 16];
    let size = log.len() as u32;
    let offer = Offer::now()?;
    let signed = signature::Offer::now()?;
    let maps = map.map(|map| map.as_raw_fd().to_ne_bytes());
    let attributes = signed.with(Attributes::new());
    let attributes = match &maps {
        Some(maps) if signature::covers_maps()? => attributes.input(120, maps).word(148, 1),
        Some(maps) => attributes.input(120, maps),
        None => attributes,
    };
    let attributes = attributes
        .word(0, kind.program)
        .word(4, code.len() as u32)
        .input(8, &instructions)
        .input(16, LICENSE)
        .word(24, 1)
        .word(28, size)
        .output(32, &mut log)
        .word(68, kind.attach)
        .word(108, target);
    let result = bpf::open(
        bpf::PROG_LOAD,
        &mut offer.with(attributes, (44, kind.flags), 144),
    );
    if result.is_err() {
        let said: Vec<u8> = log.into_iter().take_while(|byte| *byte != 0).collect();
        eprint!("{}", String::from_utf8_lossy(&said));
    }
    result
}
