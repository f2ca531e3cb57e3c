//! What the guard has no memory for is refused, for that reason, and works again
//! once there is some. The memory of its records is that of the cgroup in which
//! `enforce` ran, whoever causes them (`kernel/bpf/syscall.c`, bpf_map_save_memcg);
//! so that cgroup's limit starves it.

use crate::asker::{self, Answer};
use crate::envelope;
use crate::fixture::{
    self, ACME, ANY_COMMAND, Events, UNSIGNED, expect_refused, expect_trusted, signed_probe,
};
use crate::guest::Guest;
use crate::policy::{self, Running, status, try_apply};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "starved",
    runs_on: RunsOn::Supported,
    setup: Some(enforce),
    teardown: Some(release),
    tests: &[
        test!(an_exec_that_is_judged_without_memory_gives_no_trust).within(120),
        test!(an_exec_whose_verdict_is_kept_takes_no_memory).within(120),
        test!(what_can_not_be_recorded_is_not_made).within(120),
        test!(a_fork_takes_no_memory),
        test!(a_policy_without_memory_leaves_the_old_one_in_force).within(120),
    ],
};

const CGROUP: &str = "/sys/fs/cgroup/guard";

const CALL: &[&str] = &["bpf", ANY_COMMAND];

/// Each CPU keeps some memory in reserve; so many execs, or maps, use it up.
const MANY: usize = 400;

fn enforce(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
        .context("cannot have memory limited")?;
    fs::create_dir(CGROUP).with_context(|| format!("cannot make {CGROUP}"))?;
    guest
        .shell(&format!(
            "echo $$ > {CGROUP}/cgroup.procs && exec bpftrust enforce"
        ))?
        .success()?;
    Ok(())
}

fn release(guest: &mut Guest) -> Result<()> {
    limit("max")?;
    fixture::release(guest)?;
    fs::remove_dir(CGROUP).with_context(|| format!("cannot remove {CGROUP}"))
}

fn limit(bytes: &str) -> Result<()> {
    fs::write(format!("{CGROUP}/memory.max"), bytes)
        .with_context(|| format!("cannot limit the guard's memory to {bytes}"))
}

/// Runs `test` while the guard gets no memory.
fn starving<T>(test: impl FnOnce() -> Result<T>) -> Result<T> {
    limit("0")?;
    let result = test();
    limit("max")?;
    result
}

/// How many refusals for want of resources there were.
fn counted(guest: &Guest) -> Result<u64> {
    let status = status(guest)?;
    Ok(status["refusals"]["resources"].as_u64().unwrap_or_default())
}

fn ask(program: &Path) -> Result<Answer> {
    let status = Command::new(program).status().context("cannot run it")?;
    let answers = asker::answers(status.code().context("a signal ended it")?, false)?;
    Ok(answers[0])
}

fn an_exec_that_is_judged_without_memory_gives_no_trust(guest: &mut Guest) -> Result<()> {
    let (signed, plain) = (guest.path("signed"), guest.path("plain"));
    asker::write(&signed, "signed")?;
    asker::write(&plain, "plain")?;
    fixture::sign(guest, ACME, &signed)?;
    ensure!(ask(&signed)? == Answer::Allowed, "it is not trusted");
    let signature = envelope::read(&signed)?;
    let mark = Events::mark(guest)?;
    let before = counted(guest)?;
    let refused = starving(|| {
        let mut refused = 0;
        for _ in 0..MANY {
            ensure!(ask(&plain)? == Answer::Refused, "an unsigned one passed");
            // What is kept of it does not hold after that.
            envelope::write(&signed, &signature)?;
            refused += u64::from(ask(&signed)? == Answer::Refused);
        }
        expect_refused(guest, Path::new(UNSIGNED), CALL, "no-signature")?;
        Ok(refused)
    })?;
    ensure!(refused > 0, "there was memory for {MANY} execs");
    let name = signed.to_str().context("a path of ASCII")?;
    let events = mark.since(guest)?;
    let of = |action: &str| {
        let is_it = |event: &&serde_json::Value| {
            event["action"] == action
                && event["executable"] == name
                && event["outcome"] == "denied"
                && event["reason"] == "resources"
        };
        events.iter().filter(is_it).count() as u64
    };
    ensure!(of("exec") == refused, "{refused} refused: {events:#?}");
    ensure!(of("bpf") == refused, "{refused} refused: {events:#?}");
    let now = counted(guest)?;
    ensure!(
        now - before == 2 * refused,
        "{refused} were refused, {before} became {now}"
    );
    ensure!(ask(&signed)? == Answer::Allowed, "it stays untrusted");
    expect_trusted(guest, &signed_probe(guest, "probe")?, CALL)
}

fn an_exec_whose_verdict_is_kept_takes_no_memory(guest: &mut Guest) -> Result<()> {
    let signed = guest.path("signed");
    asker::write(&signed, "signed")?;
    fixture::sign(guest, ACME, &signed)?;
    ensure!(ask(&signed)? == Answer::Allowed, "it is not trusted");
    starving(|| {
        for number in 0..MANY {
            ensure!(
                ask(&signed)? == Answer::Allowed,
                "exec {number} was not trusted"
            );
        }
        Ok(())
    })
}

fn what_can_not_be_recorded_is_not_made(guest: &mut Guest) -> Result<()> {
    let program = policy::own_probe(guest, "maker")?;
    fixture::sign(guest, ACME, &program)?;
    let call = format!("repeat {MANY} [ keep-map array ]");
    let mut maker = Running::start_with(guest, &program, "bpf 11", &call)?;
    let before = (counted(guest)?, starved(guest)?);
    let event = starving(|| maker.expect_refused(guest, "resources"))?;
    ensure!(event["command"] == "map-create", "{event}");
    let now = (counted(guest)?, starved(guest)?);
    ensure!(
        now.0 > before.0 && now.1 - before.1 == now.0 - before.0,
        "{before:?} became {now:?}"
    );
    // It keeps its trust; only what it asked for was not to be had.
    maker.expect_trusted(guest)?;
    maker.stop()?;
    guest.wait_for("the end of its maps", Duration::from_secs(20), || {
        let loaders = status(guest)?["loaders"].as_array().map(Vec::len);
        Ok((loaders == Some(0)).then_some(()))
    })
}

fn starved(guest: &Guest) -> Result<u64> {
    status(guest)?["starved"].as_u64().context("a number")
}

/// Tables of tasks and images are there from the start.
fn a_fork_takes_no_memory(guest: &mut Guest) -> Result<()> {
    let program = policy::own_probe(guest, "forker")?;
    fixture::sign(guest, ACME, &program)?;
    let call = format!("repeat {MANY} [ fork [ bpf 11 ] ]");
    let mut forker = Running::start_with(guest, &program, "bpf 11", &call)?;
    let before = counted(guest)?;
    starving(|| forker.expect_trusted(guest))?;
    ensure!(counted(guest)? == before, "some were refused");
    Ok(())
}

fn a_policy_without_memory_leaves_the_old_one_in_force(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let mut running = Running::start(guest, &program, "bpf 11")?;
    let mut digests = String::new();
    for number in 0..5000 {
        writeln!(digests, "sha256:{number:064x}")?;
    }
    guest.write("refused.txt", digests)?;
    let large = policy::acme("[refused]\ndigests-file = \"refused.txt\"\n");
    let before = status(guest)?["policy"].clone();
    let output = starving(|| try_apply(guest, &large))?;
    ensure!(output.status == 2, "{output}");
    ensure!(output.stderr.contains("allocate memory"), "{output}");
    ensure!(status(guest)?["policy"] == before, "another is in force");
    running.expect_trusted(guest)?;
    try_apply(guest, &large)?.success()?;
    running.expect_trusted(guest)?;
    expect_trusted(guest, &program, CALL)
}
