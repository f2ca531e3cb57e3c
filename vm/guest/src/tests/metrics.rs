//! `bpftrust metrics` says in numbers what `status` says.

use crate::fixture::{self, ANY_COMMAND, expect_refused, signed_probe};
use crate::guest::Guest;
use crate::policy::{self, Running};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "metrics",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(numbers_are_those_of_status),
        test!(the_last_hour_is_counted_by_reason),
        test!(a_text_file_is_replaced_wholly),
        test!(a_socket_serves_openmetrics),
        test!(alerts_and_dashboard_name_what_there_is),
    ],
};

const PROBE: &str = "/usr/bin/bpftrust-probe";

/// Makes a refusal.
fn refuse(guest: &Guest) -> Result<()> {
    let call = ["bpf", ANY_COMMAND];
    expect_refused(guest, Path::new(PROBE), &call, "no-signature")
}

/// The value of a line that begins so.
fn value(text: &str, name: &str) -> Result<f64> {
    let found = text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?;
        rest.strip_prefix(' ')
    });
    let found = found.with_context(|| format!("no {name} in {text}"))?;
    found.parse().with_context(|| format!("{name} is {found}"))
}

fn numbers_are_those_of_status(guest: &mut Guest) -> Result<()> {
    refuse(guest)?;
    let program = signed_probe(guest, "counted")?;
    let running = Running::start(guest, &program, "bpf 11 keep-map hash")?;
    let status = policy::status(guest)?;
    let text = guest.run(&["bpftrust", "metrics"])?.success()?;
    let of_status = |name: &str| {
        let number = &status[name];
        number.as_f64().with_context(|| format!("{name}: {number}"))
    };
    let refusals = &status["refusals"]["no-signature"];
    for (name, wanted) in [
        ("bpftrust_mode{mode=\"enforce\"}", 1.0),
        ("bpftrust_mode{mode=\"off\"}", 0.0),
        ("bpftrust_whole", 1.0),
        ("bpftrust_sealed", 0.0),
        ("bpftrust_trusted_processes", 1.0),
        (
            "bpftrust_objects{publisher=\"acme\",loader=\"\",kind=\"map\"}",
            1.0,
        ),
        (
            "bpftrust_refusals_total{reason=\"no-signature\"}",
            refusals.as_f64().context("no refusals")?,
        ),
        ("bpftrust_policy_number", of_status("policy")?),
        ("bpftrust_starved_total", of_status("starved")?),
        ("bpftrust_lost_events_total", of_status("lost_events")?),
    ] {
        let found = value(&text, name)?;
        ensure!(found == wanted, "{name} is {found}, not {wanted}: {text}");
    }
    ensure!(refusals.as_u64() >= Some(1), "{status:#}");
    running.stop()
}

fn the_last_hour_is_counted_by_reason(guest: &mut Guest) -> Result<()> {
    let count = |guest: &Guest| -> Result<u64> {
        let status = policy::status(guest)?;
        Ok(status["last_hour"]["no-signature"].as_u64().unwrap_or(0))
    };
    let before = count(guest)?;
    for _ in 0..3 {
        refuse(guest)?;
    }
    let after = count(guest)?;
    ensure!(after == before + 3, "{before}, then {after}");
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    let line = said.lines().find(|line| line.contains("in the last hour"));
    ensure!(
        line.is_some_and(|line| line.contains("no-signature")),
        "{said}"
    );
    Ok(())
}

fn a_text_file_is_replaced_wholly(guest: &mut Guest) -> Result<()> {
    let file = guest.write("bpftrust.prom", "older and longer ".repeat(1000))?;
    let words = ["bpftrust", "metrics", "--textfile", "bpftrust.prom"];
    let said = guest.run(&words)?.success()?;
    ensure!(said.is_empty(), "{said}");
    let text = fs::read_to_string(&file)?;
    ensure!(
        text.starts_with("# HELP") && !text.contains("older"),
        "{text}"
    );
    value(&text, "bpftrust_whole")?;
    // node_exporter reads it, who is not root.
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode == 0o644, "{mode:o}");
    Ok(())
}

/// The numbers that somebody serves on a socket, once he does, with the answer's head.
pub fn scrape(guest: &Guest, socket: &Path) -> Result<String> {
    let ask = || -> Result<String> {
        let mut client = UnixStream::connect(socket)?;
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: host\r\n\r\n")?;
        let mut answer = String::new();
        client.read_to_string(&mut answer)?;
        Ok(answer)
    };
    guest.wait_for("a socket", Duration::from_secs(20), || Ok(ask().ok()))
}

fn a_socket_serves_openmetrics(guest: &mut Guest) -> Result<()> {
    let socket = guest.path("metrics.sock");
    let serve = || Program::new("bpftrust").args(["metrics", "--listen", "metrics.sock"]);
    let server = guest.start(serve())?;
    let answer = scrape(guest, &socket)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 OK\r\n")
            && answer.contains("Content-Type: application/openmetrics-text")
            && answer.ends_with("# EOF\n"),
        "{answer}"
    );
    let before = value(&answer, "bpftrust_events_total")?;
    refuse(guest)?;
    // A client that goes away without a word is nobody's end.
    drop(UnixStream::connect(&socket)?);
    let after = value(&scrape(guest, &socket)?, "bpftrust_events_total")?;
    ensure!(after > before, "{before}, then {after}");
    // Root's alone, unless the umask says otherwise.
    let by_user = Program::new("bpftrust")
        .args(["metrics", "--listen", "metrics.sock"])
        .by_user()
        .run()?;
    ensure!(by_user.failure().is_ok());
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o022;
    ensure!(mode == 0, "{mode:o}");
    let second = serve().run()?.failure()?;
    ensure!(second.contains("another process does"), "{second}");
    server.stop()?;
    // What a killed one leaves is replaced.
    let next = guest.start(serve())?;
    scrape(guest, &socket)?;
    next.stop().map(drop)
}

/// What Prometheus and Grafana are given.
const USERS: &[(&str, &str)] = &[
    (
        "bpftrust.rules.yml",
        include_str!("../../../../packaging/prometheus/bpftrust.rules.yml"),
    ),
    (
        "bpftrust.json",
        include_str!("../../../../packaging/grafana/bpftrust.json"),
    ),
];

fn alerts_and_dashboard_name_what_there_is(guest: &mut Guest) -> Result<()> {
    // What is counted by reason or owner has a type once there is something to count.
    let program = signed_probe(guest, "owner")?;
    let owner = Running::start(guest, &program, "bpf 11 keep-map hash")?;
    let program = signed_probe(guest, "fallen")?;
    let fallen = Running::start(guest, &program, "bpf 11 anonymous-code")?;
    let text = guest.run(&["bpftrust", "metrics"])?.success()?;
    owner.stop()?;
    fallen.stop()?;
    // "# TYPE bpftrust_whole gauge"
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let known: BTreeSet<_> = types.filter_map(|line| line.split(' ').next()).collect();
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    for (file, content) in USERS {
        let words = content.split(|c| !is_part(c));
        let named: BTreeSet<_> = words.filter(|word| word.starts_with("bpftrust_")).collect();
        ensure!(named.len() > 5, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        ensure!(unknown.is_empty(), "{file}: {unknown:?} not in {known:?}");
    }
    Ok(())
}
