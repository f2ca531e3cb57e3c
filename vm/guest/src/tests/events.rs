//! The history of decisions: complete, truthful, and fit for a terminal.

use crate::fixture::{self, ANY_COMMAND, Events, STRANGER};
use crate::fixture::{expect_refused, probe, sign, signed_probe};
use crate::guest::Guest;
use crate::policy;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "events",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_refusal_tells_who_and_why),
        test!(what_is_allowed_tells_by_whom_it_is_signed),
        test!(a_command_is_named_or_numbered),
        test!(a_hostile_name_is_escaped),
        test!(followers_see_the_same_and_what_is_new),
        test!(after_a_number_comes_what_is_newer),
        test!(a_closed_pipe_ends_a_follower_quietly),
        test!(overwritten_events_are_counted_and_shown),
        test!(only_root_reads_them),
    ],
};

pub const AUDIT: Group = Group {
    name: "audit",
    runs_on: RunsOn::Supported,
    setup: Some(audit),
    teardown: Some(fixture::release),
    tests: &[
        test!(nothing_is_refused_and_the_event_says_what_would_be),
        test!(status_says_that_it_only_audits),
    ],
};

const PROBE: &str = "/usr/bin/bpftrust-probe";
const CALL: &[&str] = &["bpf", ANY_COMMAND];

/// The history holds this many.
const SLOTS: u64 = 4096;

fn audit(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    let said = guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    ensure!(said.starts_with("auditing, nothing is refused"), "{said}");
    Ok(())
}

/// The pid that a probe printed.
fn pid(said: &str) -> Result<&str> {
    said.lines()
        .find_map(|line| line.strip_prefix("pid: "))
        .with_context(|| format!("no pid in {said}"))
}

fn a_refusal_tells_who_and_why(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(PROBE, "refused-probe")?;
    let path = file.to_str().context("a path of ASCII")?;
    let mark = Events::mark(guest)?;
    let said = probe(&file, &["pid", "bpf", ANY_COMMAND])?.success()?;
    let event = mark.expect(guest, &[("pid", pid(&said)?)])?;
    for (field, value) in [
        ("action", "bpf"),
        ("outcome", "denied"),
        ("reason", "no-signature"),
        ("command", "prog-get-next-id"),
        ("comm", "refused-probe"),
        ("executable", path),
    ] {
        ensure!(event[field] == value, "{field} is not {value:?}: {event}");
    }
    for field in ["digest", "key", "publisher", "target"] {
        ensure!(event[field].is_null(), "{field}: {event}");
    }
    ensure!(event["uid"] == 0 && event["tid"] == event["pid"], "{event}");
    let time = event["time"].as_str().context("a time")?;
    let since = guest.shell(&format!("echo $(( $(date +%s) - $(date -d {time} +%s) ))"))?;
    let since: i64 = since.success()?.trim().parse()?;
    ensure!((0..30).contains(&since), "{since} s ago: {event}");

    // Content that can't change any more has a digest, signed or not.
    guest
        .run(&["fsverity", "enable", "refused-probe"])?
        .success()?;
    let mark = Events::mark(guest)?;
    expect_refused(guest, &file, CALL, "no-signature")?;
    let digest = guest
        .run(&["fsverity", "measure", "refused-probe"])?
        .success()?;
    let digest = digest.split(' ').next().context("a digest")?;
    mark.expect(guest, &[("executable", path), ("digest", digest)])?;
    let text = guest.run(&["bpftrust", "events"])?.success()?;
    let line = text.lines().last().context("a line")?;
    for part in [
        "denied",
        "no-signature",
        "bpf prog-get-next-id",
        "refused-probe[",
        path,
    ] {
        ensure!(line.contains(part), "no {part:?} in {line}");
    }
    Ok(())
}

fn what_is_allowed_tells_by_whom_it_is_signed(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    let path = file.to_str().context("a path of ASCII")?;
    let digest = guest.run(&["fsverity", "measure", "probe"])?.success()?;
    let digest = digest.split(' ').next().context("a digest")?;
    let status = policy::status(guest)?;
    let key = status["keys"][0]["key"].as_str().context("a key")?;
    let mark = Events::mark(guest)?;
    let words = ["pid", "bpf", ANY_COMMAND, "bpf", ANY_COMMAND];
    let said = probe(&file, &words)?.success()?;
    for (action, command) in [("exec", "null"), ("bpf", "prog-get-next-id")] {
        mark.expect(
            guest,
            &[
                ("action", action),
                ("outcome", "allowed"),
                ("reason", "none"),
                ("command", command),
                ("pid", pid(&said)?),
                ("comm", "probe"),
                ("executable", path),
                ("digest", digest),
                ("key", key),
                ("publisher", "acme"),
            ],
        )?;
    }
    // Allowed is told once per process and command, or a busy loader would
    // push every refusal out of the history.
    let told = mark.since(guest)?;
    let told = told.iter().filter(|event| event["action"] == "bpf").count();
    ensure!(told == 1, "told {told} times");

    sign(guest, STRANGER, &file)?;
    let mark = Events::mark(guest)?;
    expect_refused(guest, &file, CALL, "unknown-key")?;
    let event = mark.expect(guest, &[("action", "exec"), ("outcome", "denied")])?;
    ensure!(
        event["reason"] == "unknown-key" && event["publisher"].is_null(),
        "{event}"
    );
    ensure!(event["key"].is_string() && event["key"] != key, "{event}");
    Ok(())
}

fn a_command_is_named_or_numbered(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    let said = probe(&file, &["bpf", "1000"])?.success()?;
    ensure!(said == "bpf 1000: EPERM\n", "{said}");
    mark.expect(
        guest,
        &[
            ("outcome", "denied"),
            ("reason", "unknown-command"),
            ("command", "1000"),
        ],
    )?;
    let mark = Events::mark(guest)?;
    probe(Path::new(PROBE), &["bpf", "5"])?.success()?;
    mark.expect(
        guest,
        &[("command", "prog-load"), ("reason", "no-signature")],
    )?;
    Ok(())
}

fn a_hostile_name_is_escaped(guest: &mut Guest) -> Result<()> {
    let name: &[u8] = b"e\x1b[2J\n2026 allowed\xff\"\\";
    let file = guest.path("x").with_file_name(OsStr::from_bytes(name));
    fs::copy(PROBE, &file)?;
    let mark = Events::mark(guest)?;
    probe(&file, CALL)?.success()?;
    let event = mark.expect(guest, &[("reason", "no-signature"), ("outcome", "denied")])?;
    let shown = "e\\u{1b}[2J\\n2026 allowed\\xff\"\\\\";
    let executable = event["executable"].as_str().context("a path")?;
    ensure!(
        executable.ends_with(shown),
        "{executable:?} does not end with {shown:?}"
    );
    let comm = event["comm"].as_str().context("a name")?;
    ensure!(comm.starts_with("e\\u{1b}[2J\\n2026"), "{comm:?}");
    for json in [
        &["bpftrust", "events"][..],
        &["bpftrust", "events", "--json"],
    ] {
        let text = guest.run(json)?.success()?;
        ensure!(!text.contains('\u{fffd}'), "invalid UTF-8 in the output");
        let control = text.chars().find(|c| c.is_control() && *c != '\n');
        ensure!(control.is_none(), "{control:?} in the output");
        let whole =
            |line: &str| line.starts_with("20") && line.contains("T") || line.starts_with('{');
        let broken = text
            .lines()
            .find(|line| !whole(line) && !line.starts_with("---"));
        ensure!(broken.is_none(), "a line that is none: {broken:?}");
    }
    let status = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(!status.contains('\u{1b}'), "{status:?}");
    Ok(())
}

fn followers_see_the_same_and_what_is_new(guest: &mut Guest) -> Result<()> {
    let follow = || Program::new("bpftrust").args(["events", "--follow", "--json"]);
    let mut followers = [guest.start(follow())?, guest.start(follow())?];
    for name in ["first", "second"] {
        let file = guest.copy(PROBE, name)?;
        let path = file.to_str().context("a path of ASCII")?;
        expect_refused(guest, &file, CALL, "no-signature")?;
        for follower in &mut followers {
            guest.wait_until_says(follower, path)?;
        }
    }
    let said: Vec<String> = followers
        .into_iter()
        .map(crate::process::Background::stop)
        .collect::<Result<_>>()?;
    let (first, second) = (told(&said[0])?, told(&said[1])?);
    let common = first.len().min(second.len());
    ensure!(first[..common] == second[..common], "{said:#?}");
    for pair in first.windows(2) {
        let numbers = [0, 1].map(|at| pair[at]["sequence"].as_u64().unwrap_or_default());
        ensure!(numbers[1] == numbers[0] + 1, "{numbers:?}");
    }
    let now = guest.run(&["bpftrust", "events", "--json"])?.success()?;
    ensure!(told(&now)?[..common] == first[..common], "{now}");
    Ok(())
}

fn after_a_number_comes_what_is_newer(guest: &mut Guest) -> Result<()> {
    let after = |number: u64| -> Result<Vec<Value>> {
        let number = number.to_string();
        let words = ["bpftrust", "events", "--json", "--after", &number];
        told(&guest.run(&words)?.success()?)
    };
    for _ in 0..3 {
        probe(Path::new(PROBE), CALL)?.success()?;
    }
    let all = told(&guest.run(&["bpftrust", "events", "--json"])?.success()?)?;
    let newest = all.len() as u64;
    ensure!(newest >= 3 && all[0]["sequence"] == 1, "{all:#?}");
    for number in [0, 1, newest - 2, newest - 1] {
        let said = after(number)?;
        ensure!(said == all[number as usize..], "after {number}: {said:#?}");
    }
    for number in [newest, newest + 1, u64::MAX] {
        let said = after(number)?;
        ensure!(said.is_empty(), "after {number}: {said:#?}");
    }
    Ok(())
}

/// Events as a reader told them, but for the time: each reader translates the
/// kernel's clock anew, so that microseconds may differ.
fn told(lines: &str) -> Result<Vec<Value>> {
    lines
        .lines()
        .map(|line| {
            let mut event: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            event["time"].take();
            Ok(event)
        })
        .collect()
}

fn a_closed_pipe_ends_a_follower_quietly(guest: &mut Guest) -> Result<()> {
    let command = "{ bpftrust events --follow; echo status $? >&2; } | head -1";
    let mut follower = guest.start(Program::new("sh").args(["-c", command]))?;
    let status = guest.wait_for("its end", Duration::from_secs(30), || {
        // It learns that nobody listens when it has something to say.
        expect_refused(guest, Path::new(PROBE), CALL, "no-signature")?;
        follower.status()
    })?;
    let said = follower.stop()?;
    ensure!(status == 0 && said.lines().count() == 2, "{said}");
    ensure!(said.contains("status 0"), "{said}");
    Ok(())
}

fn overwritten_events_are_counted_and_shown(guest: &mut Guest) -> Result<()> {
    let flood = ["repeat", "5000", "[", "bpf", ANY_COMMAND, "]"];
    let said = probe(Path::new(PROBE), &flood)?.success()?;
    ensure!(
        said.matches("EPERM").count() == 5000,
        "not all were refused"
    );
    let file = guest.copy(PROBE, "last")?;
    probe(&file, CALL)?.success()?;
    let lines = guest.run(&["bpftrust", "events", "--json"])?.success()?;
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).context("not JSON"))
        .collect::<Result<_>>()?;
    let lost: u64 = events
        .iter()
        .filter_map(|event| event["lost"].as_u64())
        .sum();
    let shown = events
        .iter()
        .filter(|event| event["lost"].is_null())
        .count() as u64;
    let last = events.last().context("no event")?;
    ensure!(
        shown <= SLOTS && lost >= 5001 - SLOTS,
        "{shown} shown, {lost} lost"
    );
    ensure!(
        last["sequence"] == lost + shown,
        "{lost} lost and {shown} shown: {last}"
    );
    ensure!(events[0]["lost"].is_u64(), "{}", events[0]);
    ensure!(last["comm"] == "last", "{last}");
    // Round the end of the slots, and what is gone is counted from there on.
    let newest = lost + shown;
    for after in [1, newest - SLOTS + 2, newest - newest % SLOTS - 3] {
        let words = [
            "bpftrust",
            "events",
            "--json",
            "--after",
            &after.to_string(),
        ];
        let said = guest.run(&words)?.success()?;
        let said: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).context("not JSON"))
            .collect::<Result<_>>()?;
        let lost = said[0]["lost"].as_u64().unwrap_or_default();
        ensure!(
            lost == (newest - SLOTS).saturating_sub(after),
            "{}",
            said[0]
        );
        let shown = said.iter().filter(|event| event["lost"].is_null());
        let numbers: Vec<_> = shown.map(|event| event["sequence"].as_u64()).collect();
        let wanted: Vec<_> = (after + lost + 1..=newest).map(Some).collect();
        ensure!(numbers == wanted, "after {after}: {numbers:?}");
    }
    let text = guest.run(&["bpftrust", "events"])?.success()?;
    let first = text.lines().next().context("a line")?;
    ensure!(
        first.starts_with("--- ") && first.contains(" events lost"),
        "{first}"
    );
    let status = policy::status(guest)?;
    ensure!(
        status["refusals"]["no-signature"].as_u64() >= Some(5001),
        "{status}"
    );
    Ok(())
}

fn only_root_reads_them(_: &mut Guest) -> Result<()> {
    let output = Program::new("bpftrust").arg("events").by_user().run()?;
    ensure!(output.status == 2 && output.stdout.is_empty(), "{output}");
    Ok(())
}

/// The same outcomes and reasons as the tests of enforcement, with other words.
fn nothing_is_refused_and_the_event_says_what_would_be(guest: &mut Guest) -> Result<()> {
    let loader = signed_probe(guest, "loader")?;
    let foreign = guest.copy(PROBE, "foreign")?;
    sign(guest, STRANGER, &foreign)?;
    let unsigned = guest.copy(PROBE, "unsigned")?;
    for (file, actions, action, reason) in [
        (&unsigned, &["bpf", ANY_COMMAND][..], "bpf", "no-signature"),
        (&foreign, &["bpf", ANY_COMMAND], "exec", "unknown-key"),
        (&foreign, &["bpf", ANY_COMMAND], "bpf", "unknown-key"),
        (
            &loader,
            &["anonymous-code", "bpf", ANY_COMMAND],
            "taint",
            "writable-code",
        ),
    ] {
        let mark = Events::mark(guest)?;
        let said = probe(file, actions)?.success()?;
        ensure!(said.ends_with("bpf 11: ok\n"), "{said}");
        let fields = [
            ("action", action),
            ("outcome", "would-deny"),
            ("reason", reason),
        ];
        mark.expect(guest, &fields)?;
        mark.expect_none(guest, &[("outcome", "denied")])?;
    }
    // One that is allowed is the same in both modes.
    let mark = Events::mark(guest)?;
    let said = probe(&loader, &["bpf", ANY_COMMAND, "secure"])?.success()?;
    ensure!(said == "bpf 11: ok\nsecure: 0\n", "{said}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "allowed"),
            ("comm", "loader"),
        ],
    )?;
    mark.expect_none(guest, &[("outcome", "would-deny"), ("comm", "loader")])
}

fn status_says_that_it_only_audits(guest: &mut Guest) -> Result<()> {
    let text = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(text.starts_with("audit only: nothing is refused"), "{text}");
    ensure!(text.contains("would have refused: "), "{text}");
    let status = policy::status(guest)?;
    ensure!(status["mode"] == "audit", "{status}");
    Ok(())
}
