//! Trust belongs to an address space: what shares one shares its loss, what
//! forks takes a copy, what executes is decided on anew.

use crate::fixture::{
    self, Events, UNSIGNED, expect_refused, expect_trusted, probe, signed_probe, words,
};
use crate::guest::Guest;
use crate::policy;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "process",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_fork_keeps_trust),
        test!(a_child_that_outlives_its_parent_keeps_trust),
        test!(whoever_shares_the_memory_shares_trust),
        test!(code_that_was_not_signed_costs_trust),
        test!(a_taint_reaches_all_who_share_the_memory).within(120),
        test!(a_fork_before_the_taint_is_untouched),
        test!(a_fork_after_the_taint_inherits_the_loss),
        test!(data_and_signed_code_cost_nothing),
        test!(executing_something_unsigned_loses_trust),
        test!(an_exec_beside_leaves_its_parent_its_trust),
        test!(executing_itself_is_decided_anew),
        test!(records_go_with_their_processes).within(120),
        test!(failed_forks_leave_no_records).within(120),
    ],
};

/// Every way to code that was not signed.
const UNSIGNED_CODE: &[&str] = &[
    "anonymous-code",
    "late-code",
    "patched-code",
    "self-mem",
    "personality",
];

/// Every way to share an address space.
const SHARING: &[&str] = &["thread", "share", "vfork"];

fn a_fork_keeps_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    expect_trusted(guest, &program, &words("fork [ bpf 11 ]"))?;
    expect_trusted(guest, &program, &words("fork [ fork [ fork [ bpf 11 ] ] ]"))?;
    expect_trusted(guest, &program, &words("fork [ anonymous-code ] bpf 11"))
}

/// Runs the probe and returns what it and those it left behind say.
fn followed(guest: &Guest, program: &Path, actions: &str) -> Result<String> {
    let line = format!("{} {actions} | cat", program.display());
    guest.shell(&line)?.success()
}

/// As `expect_trusted`, of an orphan.
fn expect_trusted_orphan(guest: &Guest, program: &Path, actions: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let said = followed(guest, program, actions)?;
    ensure!(said.lines().last() == Some("bpf 11: ok"), "{said}");
    let name = program.to_str().context("a path of ASCII")?;
    mark.expect(guest, &[("action", "bpf"), ("executable", name)])?;
    let denied = [
        ("action", "bpf"),
        ("outcome", "denied"),
        ("executable", name),
    ];
    mark.expect_none(guest, &denied)
}

fn a_child_that_outlives_its_parent_keeps_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    expect_trusted_orphan(guest, &program, "orphan [ bpf 11 ]")?;
    expect_trusted_orphan(guest, &program, "orphan [ thread [ orphan [ bpf 11 ] ] ]")
}

fn whoever_shares_the_memory_shares_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for sharing in SHARING {
        expect_trusted(guest, &program, &words(&format!("{sharing} [ bpf 11 ]")))?;
        expect_trusted(guest, &program, &words(&format!("{sharing} [ ] bpf 11")))?;
    }
    Ok(())
}

/// Runs these actions, requires that trust goes in between, and that events say
/// so. They are read but once: these tests are many.
fn expect_taint(guest: &Guest, program: &Path, actions: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let actions = format!("bpf 11 {actions}");
    let said = followed(guest, program, &actions)?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines.first() == Some(&"bpf 11: ok"), "{actions}: {said}");
    ensure!(lines.last() == Some(&"bpf 11: EPERM"), "{actions}: {said}");
    let name = program.to_str().context("a path of ASCII")?;
    let events = mark.since(guest)?;
    for (action, outcome, reason) in [
        ("bpf", "allowed", "none"),
        ("taint", "denied", "writable-code"),
        ("bpf", "denied", "writable-code"),
    ] {
        let fits = |event: &&Value| {
            event["action"] == action
                && event["outcome"] == outcome
                && event["reason"] == reason
                && event["executable"] == name
        };
        ensure!(
            events.iter().filter(fits).count() == 1,
            "{actions}: not one {action} {outcome} for {reason} in {events:#?}"
        );
    }
    Ok(())
}

fn code_that_was_not_signed_costs_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for code in UNSIGNED_CODE {
        expect_taint(guest, &program, &format!("{code} bpf 11"))?;
    }
    Ok(())
}

fn a_taint_reaches_all_who_share_the_memory(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for sharing in SHARING {
        let code = UNSIGNED_CODE[0];
        expect_taint(guest, &program, &format!("{sharing} [ {code} ] bpf 11"))?;
        expect_taint(guest, &program, &format!("{code} {sharing} [ bpf 11 ]"))?;
        // Also one that runs on after the tainting task's end, and its children.
        expect_taint(
            guest,
            &program,
            &format!("{sharing} [ {code} ] fork [ bpf 11 ]"),
        )?;
        expect_taint(
            guest,
            &program,
            &format!("{sharing} [ {sharing} [ {code} ] bpf 11 ]"),
        )?;
    }
    Ok(())
}

fn a_fork_before_the_taint_is_untouched(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    // The orphan begins when its parent, tainted by then, has ended.
    let mark = Events::mark(guest)?;
    expect_trusted_orphan(guest, &program, "orphan [ bpf 11 ] anonymous-code")?;
    mark.expect(guest, &[("action", "taint"), ("reason", "writable-code")])?;
    Ok(())
}

fn a_fork_after_the_taint_inherits_the_loss(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for way in [
        "fork [ bpf 11 ]",
        "fork [ fork [ bpf 11 ] ]",
        "orphan [ bpf 11 ]",
    ] {
        expect_taint(guest, &program, &format!("anonymous-code {way}"))?;
    }
    // In the child it is lost for the child alone, and for what it forks.
    expect_taint(guest, &program, "fork [ anonymous-code fork [ bpf 11 ] ]")
}

/// What a loader does anyway: libraries at its start, data, threads.
fn data_and_signed_code_cost_nothing(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    expect_trusted(
        guest,
        &program,
        &words("thread [ touch x ] share [ ] fork [ ] bpf 11"),
    )?;
    mark.expect_none(guest, &[("action", "taint")])
}

fn executing_something_unsigned_loses_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for way in ["exec", "fexec", "memfd-exec", "tmpfile-exec"] {
        let actions = format!("{way} {UNSIGNED} bpf 11");
        expect_refused(guest, &program, &words(&actions), "no-signature").context(actions)?;
    }
    // The content is right, but nothing vouches that it stays so.
    let copy = guest.copy(&program, "copy")?;
    let actions = format!("exec {} bpf 11", copy.display());
    expect_refused(guest, &program, &words(&actions), "no-signature").context(actions)?;
    // Whoever shared the memory before an exec shares nothing after it.
    for sharing in SHARING {
        let actions = format!("{sharing} [ exec {UNSIGNED} bpf 11 ]");
        expect_refused(guest, &program, &words(&actions), "no-signature").context(actions)?;
    }
    Ok(())
}

fn an_exec_beside_leaves_its_parent_its_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for way in ["fork", "share", "vfork"] {
        let actions = format!("{way} [ exec {UNSIGNED} anonymous-code ] bpf 11");
        expect_trusted(guest, &program, &words(&actions)).context(actions)?;
    }
    Ok(())
}

fn executing_itself_is_decided_anew(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let own = program.display();
    for way in [
        format!("exec {own} bpf 11"),
        format!("fexec {own} bpf 11"),
        "exec /proc/self/exe bpf 11".to_owned(),
        // A loss is the old memory's, and that is gone.
        format!("anonymous-code exec {own} bpf 11"),
        format!("exec {UNSIGNED} exec {own} bpf 11"),
        format!("thread [ exec {own} bpf 11 ]"),
    ] {
        let mark = Events::mark(guest)?;
        expect_trusted(guest, &program, &words(&way)).context(way)?;
        mark.expect(guest, &[("action", "exec"), ("outcome", "allowed")])?;
    }
    // The new memory's loss is no older process's.
    let actions = format!("vfork [ exec {own} anonymous-code ] bpf 11");
    expect_trusted(guest, &program, &words(&actions))
}

/// The records of address spaces that there are.
fn images(guest: &Guest) -> Result<Vec<Value>> {
    let status = policy::status(guest)?;
    Ok(status["images"].as_array().context("no images")?.clone())
}

/// Requires that there come to be as many records as there were. The kernel
/// frees a task some time after its end.
fn expect_as_before(guest: &Guest, before: usize) -> Result<()> {
    let mut last = Vec::new();
    guest
        .wait_for(
            "the number of records from before",
            Duration::from_secs(20),
            || {
                last = images(guest)?;
                Ok((last.len() == before).then_some(()))
            },
        )
        .with_context(|| format!("{before} before, now {last:#?}"))
}

/// Much of everything that makes or shares a record.
fn all_ways(program: &Path) -> String {
    let own = program.display();
    format!(
        "repeat 20 [ fork [ ] share [ ] vfork [ ] thread [ ] fork [ thread [ anonymous-code ] ] \
         fork [ exec {own} share [ ] ] vfork [ exec {own} ] fork [ exec /bin/true ] \
         fork [ thread [ exec {own} ] ] ]"
    )
}

fn records_go_with_their_processes(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let before = images(guest)?.len();
    probe(&program, &words(&all_ways(&program)))?.success()?;
    probe(&program, &words("repeat 20 [ orphan [ thread [ ] ] ]"))?.success()?;
    expect_as_before(guest, before)?;

    // And of one that lives on, its own: shared by as many as there are.
    let stop = guest.path("stop");
    let actions = format!("{} say done until {}", all_ways(&program), stop.display());
    let mut lasting = guest.start(Program::new(&program).args(words(&actions)))?;
    let pid = lasting.pid();
    guest.wait_until_says(&mut lasting, "done")?;
    expect_as_before(guest, before + 1)?;
    let mut last = Value::Null;
    guest
        .wait_for("a record of one task", Duration::from_secs(20), || {
            let all = images(guest)?;
            last = all
                .into_iter()
                .find(|image| image["pid"] == pid)
                .context("no record")?;
            Ok((last["tasks"] == 1).then_some(()))
        })
        .with_context(|| format!("{last:#}"))?;
    lasting.stop()?;
    expect_as_before(guest, before)
}

fn failed_forks_leave_no_records(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let before = images(guest)?.len();
    let forks = "repeat 50 [ fork [ ] share [ ] vfork [ ] thread [ ] ] bpf 11";

    // Refused early, before the child has a record.
    let actions = format!("limit-processes 0 setuid 1000 {forks}");
    let said = probe(&program, &words(&actions))?.success()?;
    ensure!(said.matches(": EAGAIN").count() == 200, "{said}");
    expect_as_before(guest, before)?;

    // Refused late, after it (kernel/fork.c, cgroup_can_fork).
    let own = program.display();
    let said = guest
        .shell(&format!(
            "cd /sys/fs/cgroup && echo +pids >cgroup.subtree_control && mkdir -p one && \
             echo 1 >one/pids.max && echo $$ >one/cgroup.procs && exec {own} {forks}"
        ))?
        .success()?;
    ensure!(said.matches(": EAGAIN").count() == 200, "{said}");
    ensure!(said.lines().last() == Some("bpf 11: ok"), "{said}");
    expect_as_before(guest, before)
}
