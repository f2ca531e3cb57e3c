//! `bpftrust attack`: the corpus runs once, and each outcome that it may have is
//! looked at by a test.

use crate::fixture;
use crate::guest::Guest;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "attack",
    runs_on: RunsOn::Supported,
    setup: None,
    teardown: None,
    tests: &[
        test!(every_attack_works_where_nothing_is_enforced).within(RUN),
        test!(what_is_refused_is_refused_for_its_reason).within(RUN),
        test!(what_works_in_spite_of_enforcement_is_in_the_table).within(RUN),
        test!(the_table_has_nothing_that_is_refused).within(RUN),
        test!(nothing_is_left_behind).within(RUN),
        test!(a_machine_that_is_not_for_testing_is_left_alone),
        test!(a_policy_that_is_enforced_is_left_alone).within(180),
        test!(unknown_numbers_are_an_error),
    ],
};

/// Seconds that a run may take, with another guest beside it.
const RUN: u64 = 600;

/// `MARKER` of `crates/attack/src/marker.rs`.
const MARKER: &str = "/etc/bpftrust/test-machine";

/// What the run said, and its exit status before it.
const FINDINGS: &str = "/work/findings.json";

/// Says that this may be attacked.
fn mark() -> Result<()> {
    fs::create_dir_all(fixture::CONFIGURATION).context("cannot make a directory")?;
    fs::write(MARKER, "").context("cannot say that this is a test machine")
}

/// What the corpus finds. The first test that asks runs it.
fn findings(guest: &Guest) -> Result<Vec<Value>> {
    if !Path::new(FINDINGS).exists() {
        mark()?;
        let output = guest.run(&["bpftrust", "attack", "--dir", "/work", "--json"])?;
        ensure!(output.status <= 2 && output.stderr.is_empty(), "{output}");
        fs::write(FINDINGS, &output.stdout).context("cannot keep what was found")?;
    }
    let text = fs::read_to_string(FINDINGS).context("cannot read what was found")?;
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
}

/// Those that a run should not have.
fn bad(findings: &[Value]) -> Vec<&Value> {
    let is_bad = |finding: &&Value| {
        ["open", "unclear", "baseline-failed"].contains(&finding["verdict"].as_str().unwrap_or(""))
    };
    findings.iter().filter(is_bad).collect()
}

/// The findings of this verdict, of which there must be some.
fn of_verdict(guest: &Guest, verdict: &str) -> Result<Vec<Value>> {
    let all = findings(guest)?;
    let found: Vec<Value> = all
        .into_iter()
        .filter(|finding| finding["verdict"] == verdict)
        .collect();
    ensure!(!found.is_empty(), "nothing is {verdict}");
    Ok(found)
}

fn every_attack_works_where_nothing_is_enforced(guest: &mut Guest) -> Result<()> {
    let tried: Vec<_> = findings(guest)?
        .into_iter()
        .filter(|finding| finding["verdict"] != "untested")
        .collect();
    ensure!(tried.len() >= 90, "only {} attacks", tried.len());
    for finding in tried {
        ensure!(finding["verdict"] != "baseline-failed", "{finding:#}");
        ensure!(finding["off"].is_string(), "{finding:#}");
    }
    Ok(())
}

/// Those whose refusal is that they have no effect.
const WITHOUT_EVENT: &[&str] = &[
    "10.ld-preload",
    "10.ld-library-path",
    "31.signature",
    "31.policy",
    "31.terminal",
];

fn what_is_refused_is_refused_for_its_reason(guest: &mut Guest) -> Result<()> {
    let held = of_verdict(guest, "held")?;
    ensure!(held.len() >= 70, "only {} are held", held.len());
    for finding in held {
        let number = finding["number"].as_str().context("no number")?;
        ensure!(
            finding["reason"].is_string() != WITHOUT_EVENT.contains(&number),
            "{finding:#}"
        );
        let rightful = finding["rightful"].as_str().context("nobody rightful")?;
        ensure!(rightful.ends_with(": ok"), "{finding:#}");
    }
    Ok(())
}

fn what_works_in_spite_of_enforcement_is_in_the_table(guest: &mut Guest) -> Result<()> {
    let all = findings(guest)?;
    ensure!(bad(&all).is_empty(), "{:#?}", bad(&all));
    for verdict in ["cannot-be-held", "untested"] {
        for finding in of_verdict(guest, verdict)? {
            ensure!(finding["why"].is_string(), "{finding:#}");
        }
    }
    Ok(())
}

/// A row too many would hide what opens later.
fn the_table_has_nothing_that_is_refused(guest: &mut Guest) -> Result<()> {
    for finding in of_verdict(guest, "held")? {
        ensure!(finding["why"].is_null(), "{finding:#}");
    }
    Ok(())
}

fn nothing_is_left_behind(guest: &mut Guest) -> Result<()> {
    findings(guest)?;
    let status = guest.run(&["bpftrust", "status", "--json"])?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    ensure!(status["mode"] == "off", "{status:#}");
    let left = guest
        .shell("ls -d /work/attack.* /sys/fs/bpf/* 2>/dev/null; cat /proc/sys/kernel/core_pattern")?
        .success()?;
    ensure!(left == "core\n", "{left}");
    let trace = fs::read_to_string("/proc/sys/kernel/ftrace_enabled")?;
    ensure!(trace == "1\n", "kernel.ftrace_enabled is {trace}");
    Ok(())
}

/// Requires that the attacks do not begin, and that the complaint says this.
fn expect_refusal(guest: &Guest, complaint: &str) -> Result<()> {
    let output = guest.run(&["bpftrust", "attack", "--dir", "/work"])?;
    ensure!(output.status == 2 && output.stdout.is_empty(), "{output}");
    ensure!(output.stderr.contains(complaint), "{output}");
    Ok(())
}

fn a_machine_that_is_not_for_testing_is_left_alone(guest: &mut Guest) -> Result<()> {
    mark()?;
    fs::remove_file(MARKER).context("cannot remove the marker")?;
    expect_refusal(guest, "touch /etc/bpftrust/test-machine")?;
    // One that others can have made says nothing.
    fs::write(MARKER, "")?;
    guest.run(&["chmod", "666", MARKER])?.success()?;
    expect_refusal(guest, "not a file that only root can have made")?;
    guest.run(&["chmod", "644", MARKER])?.success()?;
    guest.run(&["chown", "user", MARKER])?.success()?;
    expect_refusal(guest, "not a file that only root can have made")?;
    fs::remove_file(MARKER)?;
    fs::write(MARKER, "").context("cannot make the marker")
}

fn a_policy_that_is_enforced_is_left_alone(guest: &mut Guest) -> Result<()> {
    mark()?;
    fixture::enforce(guest)?;
    let refused = expect_refusal(guest, "enforces a policy already");
    let status = guest.run(&["bpftrust", "status", "--json"])?;
    fixture::release(guest)?;
    refused?;
    ensure!(status.status == 0, "{status}");
    Ok(())
}

fn unknown_numbers_are_an_error(guest: &mut Guest) -> Result<()> {
    mark()?;
    let output = guest.run(&["bpftrust", "attack", "--dir", "/work", "99"])?;
    ensure!(
        output.status == 2 && output.stderr.contains("--list"),
        "{output}"
    );
    let list = guest
        .run(&["bpftrust", "attack", "--list", "3"])?
        .success()?;
    ensure!(list.lines().all(|line| line.starts_with("3.")), "{list}");
    Ok(())
}
