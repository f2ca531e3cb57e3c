//! Events in the systemd journal: with fields, once each, and read back.

use crate::fixture::{self, ANY_COMMAND, probe};
use crate::guest::{Guest, text};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::unit::Unit;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "journal",
    runs_on: RunsOn::Systemd,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(what_is_read_back_is_what_was_written),
        test!(fields_find_an_event_and_units_have_theirs),
        test!(a_keeper_goes_on_where_the_journal_ends),
        test!(what_others_forge_is_not_read),
        test!(proposals_come_of_it),
        test!(a_keeper_outlasts_a_guard),
    ],
};

const PROBE: &str = "/usr/bin/bpftrust-probe";
const SEND: &[&str] = &["bpftrust", "events", "--to-journal"];

/// A refusal of a program with a path of its own; the path.
fn refused(guest: &Guest, name: &str) -> Result<String> {
    let file = guest.copy(PROBE, name)?;
    probe(&file, &["bpf", ANY_COMMAND])?.success()?;
    text(&file).map(str::to_owned)
}

/// Events as `bpftrust` prints them with these words besides.
fn events(guest: &Guest, words: &[&str]) -> Result<Vec<Value>> {
    let said = guest.run(&[&["bpftrust", "events", "--json"], words].concat())?;
    let said = said.success()?;
    said.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
        .collect()
}

/// What the journal has by then.
fn journal(guest: &Guest) -> Result<Vec<Value>> {
    guest.run(&["journalctl", "--sync"])?.success()?;
    events(guest, &["--journal"])
}

/// Those of this executable.
fn of(events: &[Value], executable: &str) -> usize {
    let its = |event: &&Value| event["executable"] == executable;
    events.iter().filter(its).count()
}

fn what_is_read_back_is_what_was_written(guest: &mut Guest) -> Result<()> {
    let path = refused(guest, "told")?;
    let said = guest.run(SEND)?.success()?;
    ensure!(said.is_empty(), "{said}");
    let (kept, history) = (journal(guest)?, events(guest, &[])?);
    ensure!(of(&kept, &path) == 1, "{kept:#?}");
    // What came since may be in the history alone.
    ensure!(history.starts_with(&kept), "{kept:#?} is not {history:#?}");
    let texts = [
        &["bpftrust", "events", "--journal"][..],
        &["bpftrust", "events"],
    ];
    let [from_journal, from_guard] = texts.map(|words| guest.run(words)?.success());
    let (from_journal, from_guard) = (from_journal?, from_guard?);
    ensure!(from_guard.starts_with(&from_journal), "{from_journal}");
    Ok(())
}

fn fields_find_an_event_and_units_have_theirs(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(PROBE, "unit-probe")?;
    // It stays for a while: journald looks at it when the event comes.
    let command = format!("{} bpf {ANY_COMMAND} sleep 20000", text(&file)?);
    let unit = Unit::service(guest, "journaltest", &command, "")?;
    unit.start()?.success()?;
    guest.wait_for("a refusal", Duration::from_secs(30), || {
        Ok((of(&events(guest, &[])?, text(&file)?) == 1).then_some(()))
    })?;
    guest.run(SEND)?.success()?;
    guest.run(&["journalctl", "--sync"])?.success()?;
    let executable = format!("BPFTRUST_EXECUTABLE={}", text(&file)?);
    let words = [
        "journalctl",
        "--output=json",
        "--identifier=bpftrust",
        "BPFTRUST_REASON=no-signature",
        &executable,
    ];
    let found = guest.run(&words)?.success()?;
    let entry: Value = serde_json::from_str(found.trim()).with_context(|| found.clone())?;
    for (field, wanted) in [
        ("PRIORITY", "4"),
        ("BPFTRUST_COMMAND", "prog-get-next-id"),
        ("BPFTRUST_OUTCOME", "denied"),
        ("BPFTRUST_CGROUP", "journaltest.service"),
        ("OBJECT_SYSTEMD_UNIT", "journaltest.service"),
    ] {
        ensure!(entry[field] == wanted, "{field} is not {wanted}: {entry:#}");
    }
    let said = unit.said()?;
    ensure!(said.contains("no-signature"), "{said}");
    Ok(())
}

fn follow() -> Program {
    Program::new("bpftrust").args(["events", "--to-journal", "--follow"])
}

/// Waits until the journal has an event of that executable.
fn comes(guest: &Guest, path: &str) -> Result<()> {
    guest.wait_for("an event in the journal", Duration::from_secs(60), || {
        Ok((of(&journal(guest)?, path) > 0).then_some(()))
    })
}

fn a_keeper_goes_on_where_the_journal_ends(guest: &mut Guest) -> Result<()> {
    let keeper = guest.start(follow())?;
    let first = refused(guest, "first")?;
    comes(guest, &first)?;
    keeper.stop()?;
    let missed = refused(guest, "missed")?;
    let keeper = guest.start(follow())?;
    comes(guest, &missed)?;
    let last = refused(guest, "last")?;
    comes(guest, &last)?;
    keeper.stop()?;
    let kept = journal(guest)?;
    for path in [&first, &missed, &last] {
        ensure!(of(&kept, path) == 1, "{path} in {kept:#?}");
    }
    let numbers: Vec<_> = kept
        .iter()
        .map(|event| event["sequence"].as_u64())
        .collect();
    let each: Vec<_> = (1..=numbers.len() as u64).map(Some).collect();
    ensure!(numbers == each, "{numbers:?}");
    Ok(())
}

fn what_others_forge_is_not_read(guest: &mut Guest) -> Result<()> {
    guest.run(SEND)?.success()?;
    let before = journal(guest)?;
    let line = before.last().context("no event")?.to_string();
    // The same fields, by another user.
    let entry = format!(
        "MESSAGE=forged\nMESSAGE_ID=b0f77f0a3f264bc58a4b2ad23ba0c1f5\nBPFTRUST_EVENT={line}\n"
    );
    let forger = Program::new("logger").args(["--journald"]).input(entry);
    forger.by_user().run()?.success()?;
    guest.run(&["journalctl", "--sync"])?.success()?;
    let seen = ["journalctl", "--output=cat", "MESSAGE=forged"];
    let seen = guest.run(&seen)?.success()?;
    ensure!(seen.contains("forged"), "it is not in the journal at all");
    let after = journal(guest)?;
    ensure!(after.len() == before.len(), "{after:#?}");
    Ok(())
}

fn proposals_come_of_it(guest: &mut Guest) -> Result<()> {
    guest.run(SEND)?.success()?;
    guest.run(&["journalctl", "--sync"])?.success()?;
    let words = ["bpftrust", "report", "--journal", "--since=-1h"];
    let said = guest.run(&words)?.success()?;
    ensure!(said.contains("probe"), "{said}");
    let none = ["bpftrust", "report", "--journal", "--since=+1h"];
    let said = guest.run(&none)?.failure()?;
    ensure!(said.contains("the journal has no event"), "{said}");
    let bad = ["bpftrust", "events", "--journal", "--since=nonsense"];
    let said = guest.run(&bad)?.failure()?;
    ensure!(said.contains("journalctl failed"), "{said}");
    Ok(())
}

/// A unit that failed meanwhile would be started over and over.
fn a_keeper_outlasts_a_guard(guest: &mut Guest) -> Result<()> {
    let mut keeper = guest.start(follow())?;
    let before = refused(guest, "before")?;
    comes(guest, &before)?;
    fixture::release(guest)?;
    // It looks five times a second.
    std::thread::sleep(Duration::from_secs(2));
    ensure!(keeper.status()?.is_none(), "{}", keeper.said());
    fixture::enforce(guest)?;
    let after = refused(guest, "after")?;
    comes(guest, &after)?;
    ensure!(keeper.said().is_empty(), "{}", keeper.said());
    keeper.stop().map(drop)
}
