//! What the probe does with BPF objects, where nothing is enforced: what fails
//! under the guard fails because of it.

use crate::fixture::{UNSIGNED, probe, words};
use crate::guest::Guest;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use bpftrust_vm::kernels;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub const GROUP: Group = Group {
    name: "probe",
    runs_on: RunsOn::Supported,
    setup: None,
    teardown: None,
    tests: &[
        test!(a_map_of_each_type_is_made),
        test!(a_program_of_each_kind_is_loaded),
        test!(calls_are_loaded),
        test!(a_call_is_in_the_program_that_is_loaded),
        test!(a_program_loads_a_program),
        test!(what_is_loaded_is_attached),
        test!(what_netlink_attached_is_taken_off),
        test!(the_clock_is_moved),
    ],
};

const EVERY: &[&str] = &["6.12", "6.18", "7.3"];
const BEFORE_7: &[&str] = &["6.12", "6.18"];

/// What a kernel itself answers to an action, where that is not `ok`.
const REFUSALS: &[(&str, &[&str], &str)] = &[
    // These came with 7.0 and 7.3.
    ("map insn_array", BEFORE_7, "EINVAL"),
    ("map rhash", BEFORE_7, "EINVAL"),
    // Without a map to be like: before the guard is asked.
    ("map array_of_maps", EVERY, "EINVAL"),
    ("map hash_of_maps", EVERY, "EINVAL"),
    // Debian has CONFIG_FUNCTION_ERROR_INJECTION off: the verifier knows no such
    // helper. It works after the guard was asked.
    ("load kprobe override-return", EVERY, "EINVAL"),
    ("load kprobe sub:override-return", EVERY, "EINVAL"),
    ("load-inner override-return", EVERY, "EINVAL"),
    // Not for this type of program; the verifier says so.
    ("load kprobe kfunc:crash_kexec", EVERY, "EACCES"),
    ("load-inner kfunc:crash_kexec", EVERY, "EACCES"),
    // No function for programs; the verifier says so.
    ("load fentry kfunc:schedule", EVERY, "EACCES"),
    // Zeros name no file system.
    ("bpf 36", EVERY, "EINVAL"),
    // It came with 6.13: the probe finds no such function.
    (
        "load fentry kfunc:bpf_send_signal_task",
        &["6.12"],
        "ENOENT",
    ),
    (
        "load fentry sub:kfunc:bpf_send_signal_task",
        &["6.12"],
        "ENOENT",
    ),
];

/// What the running kernel itself answers to this action.
pub fn answer(action: &str) -> Result<&'static str> {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let kernel = kernels::of_release(&release).context("a kernel that no table has")?;
    let refusal = REFUSALS
        .iter()
        .find(|(refused, on, _)| *refused == action && on.contains(&kernel.series));
    Ok(refusal.map_or("ok", |(_, _, error)| error))
}

/// Requires that the last of these actions is answered as the kernel does.
fn expect(actions: &[&str]) -> Result<()> {
    let line = actions.join(" ");
    let last = actions.last().context("no action")?;
    let said = probe(Path::new(UNSIGNED), &words(&line))?;
    let wanted = format!("{last}: {}", answer(last)?);
    ensure!(
        said.status == 0 && said.stdout.lines().last() == Some(&wanted),
        "{line}: not {wanted:?} but {said}"
    );
    Ok(())
}

fn a_map_of_each_type_is_made(_: &mut Guest) -> Result<()> {
    for name in words(
        "hash array prog_array perf_event_array percpu_hash percpu_array stack_trace \
         cgroup_array lru_hash lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap \
         sockmap cpumap xskmap sockhash cgroup_storage reuseport_sockarray \
         percpu_cgroup_storage queue stack sk_storage devmap_hash ringbuf inode_storage \
         task_storage bloom_filter user_ringbuf cgrp_storage arena insn_array rhash",
    ) {
        expect(&[&format!("map {name}")])?;
    }
    expect(&["map-in-map array_of_maps ringbuf"])?;
    expect(&["map-in-map hash_of_maps array"])?;
    expect(&["struct-ops-map"])?;
    expect(&["bpf 36"])
}

fn a_program_of_each_kind_is_loaded(_: &mut Guest) -> Result<()> {
    for kind in words(
        "socket_filter kprobe sched_cls sched_act tracepoint xdp xdp_unsaid perf_event cgroup_skb \
         cgroup_skb_egress cgroup_sock cgroup_device raw_tracepoint cgroup_sysctl sk_lookup \
         syscall netfilter tp_btf fentry fexit fmod_ret iter lsm lsm_cgroup \
         tp_btf:sched_switch fentry:security_file_open fmod_ret:security_file_open \
         lsm:bprm_creds_for_exec",
    ) {
        expect(&[&format!("load {kind}")])?;
    }
    Ok(())
}

/// Kinds of program and what they call.
const CALLS: &[(&str, &str)] = &[
    ("kprobe", "probe-write-user"),
    ("kprobe", "override-return"),
    ("kprobe", "send-signal"),
    ("kprobe", "send-signal-thread"),
    ("cgroup_sysctl", "sysctl-set-new-value"),
    ("lsm:bprm_creds_for_exec", "bprm-opts-set"),
    ("fentry", "kfunc:bpf_rcu_read_lock"),
    ("fentry", "kfunc:bpf_send_signal_task"),
    ("fentry", "kfunc:crash_kexec"),
    ("lsm", "kfunc:crash_kexec"),
    ("syscall", "kfunc:crash_kexec"),
];

fn calls_are_loaded(_: &mut Guest) -> Result<()> {
    for (kind, call) in CALLS {
        expect(&[&format!("load {kind} {call}")])?;
        expect(&[&format!("load {kind} sub:{call}")])?;
    }
    expect(&["load kprobe kfunc:crash_kexec"])?;
    expect(&["load fentry kfunc:schedule"])
}

fn a_call_is_in_the_program_that_is_loaded(guest: &mut Guest) -> Result<()> {
    for (kind, call, name, within) in [
        ("kprobe", "send-signal", "bpf_send_signal#", false),
        ("kprobe", "sub:send-signal", "bpf_send_signal#", true),
        ("fentry", "kfunc:crash_kexec", "crash_kexec#", false),
        ("fentry", "sub:kfunc:crash_kexec", "crash_kexec#", true),
    ] {
        let before = newest_program(guest)?;
        let done = format!("done.{}", call.replace(':', "."));
        let actions = format!("load {kind} {call} until {done}");
        let mut holder = guest.start(Program::new(UNSIGNED).args(words(&actions)))?;
        guest.wait_until_says(&mut holder, ": ok")?;
        let program = newest_program(guest)?;
        ensure!(program > before, "{actions}: nothing was loaded");
        let id = program.to_string();
        let dump = guest
            .run(&["bpftool", "prog", "dump", "xlated", "id", &id])?
            .success()?;
        ensure!(dump.contains(name), "{actions}: {dump}");
        ensure!(dump.contains("call pc+") == within, "{actions}: {dump}");
        guest.write(&done, "")?;
    }
    Ok(())
}

fn newest_program(guest: &Guest) -> Result<u64> {
    let list = guest.run(&["bpftool", "-j", "prog", "list"])?.success()?;
    let list: Value = serde_json::from_str(&list).with_context(|| list)?;
    let ids = list.as_array().context("no list")?.iter();
    Ok(ids
        .filter_map(|each| each["id"].as_u64())
        .max()
        .unwrap_or(0))
}

fn a_program_loads_a_program(_: &mut Guest) -> Result<()> {
    expect(&["load-inner"])?;
    for call in
        words("probe-write-user override-return send-signal sub:send-signal kfunc:crash_kexec")
    {
        expect(&[&format!("load-inner {call}")])?;
    }
    Ok(())
}

/// Kinds of program and how they are attached.
pub const ATTACHES: &[(&str, &str)] = &[
    ("cgroup_skb", "link-create cgroup_inet_ingress"),
    ("cgroup_skb", "prog-attach cgroup_inet_ingress"),
    ("cgroup_skb_egress", "link-create cgroup_inet_egress"),
    ("cgroup_skb_egress", "prog-attach cgroup_inet_egress"),
    ("cgroup_sock", "link-create cgroup_inet_sock_create"),
    ("cgroup_device", "prog-attach cgroup_device"),
    ("cgroup_sysctl", "prog-attach cgroup_sysctl"),
    ("lsm_cgroup", "link-create lsm_cgroup"),
    ("xdp", "link-create xdp"),
    ("xdp", "xdp-netlink"),
    ("xdp_unsaid", "link-create xdp"),
    ("xdp_unsaid", "xdp-netlink"),
    ("sched_cls", "link-create tcx_ingress"),
    ("sched_cls", "link-create tcx_egress"),
    ("sched_cls", "tc-netlink"),
    ("perf_event", "link-create perf_event"),
    ("perf_event", "perf-attach"),
    ("kprobe", "link-create perf_event"),
    ("kprobe", "perf-attach"),
    ("tracepoint", "link-create perf_event"),
    ("tracepoint", "perf-attach"),
    ("socket_filter", "socket-attach"),
    ("raw_tracepoint", "raw-tracepoint-open sched_process_exec"),
    ("tp_btf", "raw-tracepoint-open -"),
    ("tp_btf", "link-create trace_raw_tp"),
    ("fentry", "raw-tracepoint-open -"),
    ("fentry", "link-create trace_fentry"),
    ("fexit", "raw-tracepoint-open -"),
    ("fexit", "link-create trace_fexit"),
    ("fmod_ret", "raw-tracepoint-open -"),
    ("fmod_ret", "link-create modify_return"),
    ("lsm", "raw-tracepoint-open -"),
    ("lsm", "link-create lsm_mac"),
    ("iter", "link-create trace_iter"),
];

fn what_is_loaded_is_attached(_: &mut Guest) -> Result<()> {
    for (kind, attach) in ATTACHES {
        expect(&[&format!("load {kind}"), attach])?;
    }
    expect(&["xdp-netlink-off"])
}

fn what_netlink_attached_is_taken_off(guest: &mut Guest) -> Result<()> {
    for actions in ["load xdp xdp-netlink", "load sched_cls tc-netlink"] {
        // Twice: a queue that is there already would be an error.
        for _ in 0..2 {
            let said = probe(Path::new(UNSIGNED), &words(actions))?.success()?;
            ensure!(said.ends_with("netlink: ok\n"), "{actions}: {said}");
        }
        let attached = guest.run(&["bpftool", "-j", "net", "list"])?.success()?;
        ensure!(!attached.contains("devname"), "{actions}: {attached}");
    }
    Ok(())
}

fn the_clock_is_moved(_: &mut Guest) -> Result<()> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let before = SystemTime::now();
    expect(&["clock 86400"])?;
    let moved = before.elapsed().context("it went backward")?;
    expect(&["clock -86400"])?;
    let after = before.elapsed().context("it is behind")?;
    ensure!(moved >= DAY, "it moved by {moved:?}");
    ensure!(after < DAY, "it is {after:?} ahead");
    expect(&["tai 37"])?;
    expect(&["tai 0"])
}
