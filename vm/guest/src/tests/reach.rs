//! Nobody untrusted reaches into a trusted process, root and its parent
//! included; everybody else reaches as before.

use crate::fixture::{self, Events, UNSIGNED, probe, signed_probe};
use crate::guest::Guest;
use crate::process::{Background, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::path::Path;

pub const GROUP: Group = Group {
    name: "reach",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(the_untrusted_do_not_reach_the_trusted),
        test!(its_parent_does_not_reach_the_trusted),
        test!(who_lost_trust_does_not_reach_the_trusted),
        test!(the_trusted_do_not_reach_each_other),
        test!(everybody_reaches_the_untrusted),
        test!(advice_on_memory_changes_none_of_it),
        test!(the_trusted_are_not_traced_by_an_untrusted_parent),
        test!(a_trusted_parent_traces_no_trusted_child),
    ],
};

/// Every way to write another process's memory or to take what it has open,
/// and how the kernel says no to it.
const REACHING: &[(&str, &str)] = &[
    ("attach", "EPERM"),
    ("seize", "EPERM"),
    ("peek-mem", "EACCES"),
    ("vm-write", "EPERM"),
    ("steal-fd", "EPERM"),
];

/// A probe that waits to be reached for.
fn target(guest: &mut Guest, program: &Path) -> Result<Background> {
    let never = guest.path("never");
    let waiting = Program::new(program)
        .args(["say", "ready", "until"])
        .arg(never);
    let mut target = guest.start(waiting)?;
    guest.wait_until_says(&mut target, "ready")?;
    Ok(target)
}

/// Requires that `tracer` fails with each way, for `reason`.
fn expect_no_reach(
    guest: &Guest,
    tracer: &Path,
    before: &[&str],
    target: u32,
    reason: &str,
) -> Result<()> {
    let target = target.to_string();
    for (way, error) in REACHING {
        let mark = Events::mark(guest)?;
        let said = probe(tracer, &[before, &[way, &target]].concat())?.success()?;
        let line = format!("{way} {target}: {error}");
        ensure!(said.lines().last() == Some(&line), "{said}");
        mark.expect(
            guest,
            &[
                ("action", "trace"),
                ("outcome", "denied"),
                ("reason", reason),
                ("target", &target),
            ],
        )
        .context(line)?;
    }
    Ok(())
}

/// Requires that `tracer` succeeds with each way, and nobody minds.
fn expect_reach(guest: &Guest, tracer: &Path, target: u32) -> Result<()> {
    let target = target.to_string();
    let mark = Events::mark(guest)?;
    for (way, _) in REACHING {
        let said = probe(tracer, &[way, &target])?.success()?;
        ensure!(said == format!("{way} {target}: ok\n"), "{said}");
    }
    mark.expect_none(guest, &[("action", "trace")])
}

fn the_untrusted_do_not_reach_the_trusted(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let target = target(guest, &program)?;
    expect_no_reach(
        guest,
        Path::new(UNSIGNED),
        &[],
        target.pid(),
        "no-signature",
    )
}

fn its_parent_does_not_reach_the_trusted(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let program = program.to_str().context("a path of ASCII")?;
    for (way, error) in REACHING {
        let (up, done) = (format!("{way}.up"), format!("{way}.done"));
        let mark = Events::mark(guest)?;
        let child = [
            "beside", "[", "exec", program, "touch", &up, "until", &done, "]",
        ];
        let parent = ["until", &up, way, "child", "touch", &done, "wait"];
        let said = probe(Path::new(UNSIGNED), &[&child[..], &parent].concat())?.success()?;
        ensure!(said.contains(&format!("{way} child: {error}\n")), "{said}");
        mark.expect(guest, &[("action", "trace"), ("reason", "no-signature")])?;
    }
    Ok(())
}

fn who_lost_trust_does_not_reach_the_trusted(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let target = target(guest, &program)?;
    expect_no_reach(
        guest,
        &program,
        &["anonymous-code"],
        target.pid(),
        "writable-code",
    )
}

/// Not even in another process of the same file.
fn the_trusted_do_not_reach_each_other(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let target = target(guest, &program)?;
    expect_no_reach(guest, &program, &[], target.pid(), "traced")
}

fn everybody_reaches_the_untrusted(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let target = target(guest, Path::new(UNSIGNED))?;
    expect_reach(guest, Path::new(UNSIGNED), target.pid())?;
    expect_reach(guest, &program, target.pid())
}

/// process_madvise() asks for no more than reading does (PTRACE_MODE_READ, as
/// for /proc/PID/maps), so it stays open: what it takes from another process
/// (mm/madvise.c, process_madvise_remote_valid) is about speed alone.
fn advice_on_memory_changes_none_of_it(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let target = target(guest, &program)?;
    let target = &target.pid().to_string();
    for advice in ["madvise-dontneed", "madvise-free"] {
        let said = probe(Path::new(UNSIGNED), &[advice, target])?.success()?;
        ensure!(said == format!("{advice} {target}: EINVAL\n"), "{said}");
    }
    Ok(())
}

fn the_trusted_are_not_traced_by_an_untrusted_parent(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    let said = probe(&program, &["traceme", "bpf", "11"])?.success()?;
    ensure!(said == "traceme: EPERM\nbpf 11: ok\n", "{said}");
    let parent = std::process::id().to_string();
    mark.expect(
        guest,
        &[
            ("action", "trace"),
            ("outcome", "denied"),
            ("reason", "no-signature"),
            ("target", &parent),
        ],
    )?;
    Ok(())
}

fn a_trusted_parent_traces_no_trusted_child(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    let said = probe(&program, &["fork", "[", "traceme", "]"])?.success()?;
    ensure!(said == "traceme: EPERM\n", "{said}");
    mark.expect(guest, &[("action", "trace"), ("reason", "traced")])?;
    // Anybody traces the untrusted.
    let mark = Events::mark(guest)?;
    let said = probe(Path::new(UNSIGNED), &["fork", "[", "traceme", "]"])?.success()?;
    ensure!(said == "traceme: ok\n", "{said}");
    mark.expect_none(guest, &[("action", "trace")])
}
