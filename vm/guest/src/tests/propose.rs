//! From audit mode to enforcement by what bpftrust proposes: what was seen is granted,
//! signed by the commands that it wrote, and works; what was not is refused; and `replay`
//! says both beforehand.

use crate::fixture::{self, Events, UNSIGNED, probe, words};
use crate::guest::{Guest, text};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "propose",
    runs_on: RunsOn::Supported,
    setup: Some(audit),
    teardown: Some(fixture::release),
    tests: &[
        test!(an_event_tells_all_that_a_call_takes),
        test!(what_repeats_is_told_once_and_counted),
        test!(a_fork_takes_children),
        test!(a_loader_that_changed_is_not_signed),
        test!(a_full_disk_keeps_what_was_recorded),
        test!(what_was_seen_is_signed_and_works_and_the_rest_is_refused).within(600),
    ],
};

fn audit(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    Ok(())
}

/// Of who has no trust, too, and behind the first right that is missing.
fn an_event_tells_all_that_a_call_takes(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(UNSIGNED, "probe-takes")?;
    let mark = Events::mark(guest)?;
    let line = "map hash load cgroup_skb_egress load kprobe probe-write-user";
    probe(&file, &words(line))?.success()?;
    let events = mark.since(guest)?;
    for (command, takes) in [
        ("map-create", json!({"maps": ["hash"]})),
        (
            "prog-load",
            json!({"programs": ["cgroup_skb"], "attaches": ["cgroup_inet_egress"]}),
        ),
        (
            "prog-load",
            json!({"programs": ["kprobe"], "abilities": ["write-user"]}),
        ),
    ] {
        let found = events.iter().any(|event| {
            event["command"] == command
                && event["takes"] == takes
                && event["reason"] == "no-signature"
                && event["executable"] == text(&file).unwrap_or_default()
        });
        ensure!(found, "no {command} with {takes} in {events:#?}");
    }
    Ok(())
}

fn what_repeats_is_told_once_and_counted(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(UNSIGNED, "probe-repeats")?;
    let count = |guest: &Guest| -> Result<u64> {
        let status = crate::policy::status(guest)?;
        Ok(status["refusals"]["no-signature"].as_u64().unwrap_or(0))
    };
    let (mark, before) = (Events::mark(guest)?, count(guest)?);
    probe(&file, &words("bpf 11 bpf 11 bpf 11 bpf 12"))?.success()?;
    probe(&file, &words("bpf 11"))?.success()?;
    let events = mark.since(guest)?;
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["executable"] == text(&file).unwrap_or_default())
        .map(|event| event["command"].as_str().unwrap_or_default())
        .collect();
    ensure!(
        told == ["prog-get-next-id", "map-get-next-id", "prog-get-next-id"],
        "{told:?}"
    );
    let counted = count(guest)? - before;
    ensure!(counted >= 5, "{counted} counted");
    Ok(())
}

fn a_fork_takes_children(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(UNSIGNED, "probe-forks")?;
    let mark = Events::mark(guest)?;
    probe(&file, &words("bpf 12 fork [ bpf 11 ]"))?.success()?;
    let events = mark.since(guest)?;
    let takes = |command: &str| {
        let event = events.iter().find(|event| event["command"] == command);
        event.map(|event| event["takes"].clone())
    };
    ensure!(takes("map-get-next-id") == Some(json!({})), "{events:#?}");
    let children = json!({"abilities": ["children"]});
    ensure!(takes("prog-get-next-id") == Some(children), "{events:#?}");
    Ok(())
}

/// Neither by a proposal of before, nor by one of after.
fn a_loader_that_changed_is_not_signed(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(UNSIGNED, "changes")?;
    probe(&file, &words("bpf 11"))?.success()?;
    guest.run(&propose_to("before"))?;
    // Times are compared by the second.
    std::thread::sleep(Duration::from_millis(1100));
    let mut content = fs::read(&file)?;
    content.extend(b"changed");
    fs::write(&file, content)?;
    let output = guest.run(&["sh", "before/sign.sh"])?;
    let expected = format!(
        "{} is not what was proposed: type 'bpftrust propose' again",
        file.display()
    );
    ensure!(
        output.status == 1 && output.stderr.contains(&expected),
        "{output}"
    );
    let output = guest.run(&propose_to("after"))?;
    let expected = format!("{} is left out: it changed after", file.display());
    ensure!(
        output.status == 1 && output.stderr.contains(&expected),
        "{output}"
    );
    ensure!(!fs::exists("after/grants/changes.toml")?);
    let signature = guest.run(&["bpftrust", "inspect", text(&file)?])?;
    ensure!(signature.status != 0, "{signature}");
    Ok(())
}

/// On a file system that is full: an error, all lines but the last, and they are read.
fn a_full_disk_keeps_what_was_recorded(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(UNSIGNED, "probe-records")?;
    for _ in 0..40 {
        probe(&file, &words("bpf 11 bpf 12"))?.success()?;
    }
    fs::create_dir("small")?;
    guest.shell("mount -t tmpfs -o size=32k none small && echo before > small/other")?;
    let output = guest.shell("bpftrust events --json > small/events.json")?;
    ensure!(
        output.status == 2
            && output.stderr.contains("No space left on device")
            && output.stderr.contains("help: make room"),
        "{output}"
    );
    // What is written wholly or not at all is not, and what is there stays.
    for words in [
        &propose_to("small/proposal")[..],
        &["bpftrust", "report", "--out", "small/report.html"],
        &["bpftrust", "metrics", "--textfile", "small/other"],
    ] {
        let output = guest.run(words)?;
        let told = output.status == 2 && output.stderr.contains("No space left on device");
        ensure!(told, "{output}");
    }
    let left = guest.run(&["ls", "-A", "small"])?.success()?;
    ensure!(left == "events.json\nother\n", "{left}");
    ensure!(fs::read_to_string("small/other")? == "before\n");
    // As it is told to do.
    let replay = [
        "bpftrust",
        "replay",
        "--policy",
        POLICY,
        "--events",
        "small/events.json",
    ];
    let output = guest.run(&replay)?;
    let told = output.status == 2 && output.stderr.contains("it is cut off");
    ensure!(told, "{output}");
    guest
        .shell("sed '$d' small/events.json > whole.json")?
        .success()?;
    let replay = [&replay[..5], &["whole.json"]].concat();
    let output = guest.run(&replay)?;
    ensure!(
        output.status == 1 && output.stdout.contains("would be refused"),
        "{output}"
    );
    guest.run(&["umount", "small"])?.success().map(drop)
}

/// Has runqlat look at the scheduler for a second.
fn measure(guest: &Guest, tool: &str) -> Result<()> {
    let said = guest.run(&["timeout", "60", tool, "1", "1"])?.success()?;
    // A line of its histogram: something was counted.
    ensure!(said.contains("|*"), "{said}");
    Ok(())
}

/// Has execsnoop see uptime.
pub fn snoop(guest: &mut Guest, tool: &str) -> Result<()> {
    let mut running = guest.start(Program::new("stdbuf").args(["-oL", tool]))?;
    guest.wait_for("a line of execsnoop", Duration::from_secs(60), || {
        ensure!(running.status()?.is_none(), "it ended: {}", running.said());
        guest.run(&["/usr/bin/uptime"])?;
        Ok(running.said().contains("uptime").then_some(()))
    })?;
    running.stop().map(drop)
}

/// What `replay` says under the proposed policy: its exit status and, by file name, of
/// each loader.
fn replay(guest: &Guest) -> Result<(i32, Value)> {
    let line = "bpftrust replay --json --policy proposal/policy.toml";
    let output = guest.shell(&format!("{line}; echo $?"))?.success()?;
    let (answer, status) = output.trim_end().rsplit_once('\n').context("two lines")?;
    let answer: Value = serde_json::from_str(answer).context(output.clone())?;
    let loaders = answer["loaders"].as_array().context("no loaders")?;
    let mut outlooks = serde_json::Map::new();
    for loader in loaders {
        let path = loader["executable"].as_str().context("no path")?;
        let name = Path::new(path).file_name().context("no name")?;
        outlooks.insert(name.to_string_lossy().into_owned(), loader.clone());
    }
    Ok((status.trim().parse()?, outlooks.into()))
}

fn what_was_seen_is_signed_and_works_and_the_rest_is_refused(guest: &mut Guest) -> Result<()> {
    let snooper = guest.copy("/usr/sbin/execsnoop-libbpf", "snooper")?;
    let latency = guest.copy("/usr/sbin/runqlat-libbpf", "latency")?;
    let stranger = guest.copy(UNSIGNED, "stranger")?;
    let (snooper, latency) = (text(&snooper)?.to_owned(), text(&latency)?.to_owned());
    snoop(guest, &snooper)?;
    measure(guest, &latency)?;
    propose(guest)?;
    let (status, outlooks) = replay(guest)?;
    ensure!(
        status == 1 && outlooks["snooper"]["reason"] == "no-signature",
        "{status} {outlooks:#}"
    );
    guest.run(&["sh", "proposal/sign.sh"])?.success()?;
    // One more, that nobody signs.
    probe(&stranger, &words("bpf 11"))?.success()?;
    let (status, outlooks) = replay(guest)?;
    ensure!(status == 1, "{outlooks:#}");
    for (name, outlook) in [
        ("snooper", "works"),
        ("latency", "works"),
        ("stranger", "refused"),
    ] {
        ensure!(outlooks[name]["outlook"] == outlook, "{name}: {outlooks:#}");
    }
    page(guest)?;

    guest.run(&["bpftrust", "release"])?.success()?;
    let policy = ["bpftrust", "enforce", "--policy", "proposal/policy.toml"];
    guest.run(&policy)?.success()?;
    snoop(guest, &snooper)?;
    measure(guest, &latency)?;
    let reason = outlooks["stranger"]["reason"]
        .as_str()
        .context("no reason")?;
    fixture::expect_refused(guest, &stranger, &["bpf", "11"], reason)
}

/// The policy that [`fixture::configure`] writes.
const POLICY: &str = "/etc/bpftrust/policy.toml";

/// The command that proposes into this directory, for the fixture's key to sign.
const fn propose_to(directory: &str) -> [&str; 10] {
    [
        "bpftrust",
        "propose",
        "--out",
        directory,
        "--key",
        "/etc/bpftrust/acme/key.pem",
        "--certificate",
        "/etc/bpftrust/acme/certificate.pem",
        "--publisher",
        "acme",
    ]
}

fn propose(guest: &Guest) -> Result<()> {
    // 1: others, of tests before, are named and left out.
    let output = guest.run(&propose_to("proposal"))?;
    let said = format!("{output:?}");
    ensure!(said.contains("proposal/grants/snooper.toml: "), "{said}");
    let grant = fs::read_to_string("proposal/grants/snooper.toml")?;
    // As docs/grant.md found it by hand.
    for part in ["\"tracepoint\"", "\"perf_event\"", "\"prog-load\""] {
        ensure!(grant.contains(part), "no {part} in {grant}");
    }
    ensure!(!grant.contains("\nabilities"), "{grant}");
    Ok(())
}

fn page(guest: &Guest) -> Result<()> {
    let policy = ["--policy", "proposal/policy.toml"];
    let report = [&["bpftrust", "report", "--out", "report.html"][..], &policy].concat();
    guest.run(&report)?.success()?;
    let page = fs::read_to_string("report.html")?;
    ensure!(page.contains("/snooper</code>"), "{page}");
    let said = guest
        .run(&[&["bpftrust", "report"][..], &policy].concat())?
        .success()?;
    ensure!(said.contains("would be refused: no-signature"), "{said}");
    Ok(())
}
