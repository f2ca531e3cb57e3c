//! What `cargo xtask tools` does in a guest: each tool of Debian's that uses BPF is run
//! as root, then by `bpftrust run` under a token, then with more, until it works.

mod arrangement;
mod attempt;
pub mod scripts;
mod table;

use crate::fixture::{self, ACME};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::process::Program;
use anyhow::{Context, Result};
use arrangement::{ASKED, Arrangement, LEAST_FIRST};
use attempt::Attempt;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use table::Row;

/// What a tool sees, over and over, beside what the machine does anyway.
const WORK: &str = include_str!("tools/work.sh");

/// Runs the tools whose name contains one of the filters, or all, and prints one line
/// of JSON for each.
pub fn run(filters: &[&str]) -> Result<ExitCode> {
    let mut guest = Guest::new("tools", "tools")?;
    let rows: Vec<Row> = table::rows()?
        .into_iter()
        .filter(|row| filters.is_empty() || filters.iter().any(|part| row.name.contains(part)))
        .collect();
    arrangement::prepare()?;
    fixture::configure(&mut guest)?;
    sign(&guest, &rows)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    println!("{}", machine(&guest)?);
    let work = guest.script("work.sh", WORK)?;
    let work = guest.start(Program::new(work))?;
    for row in &rows {
        println!("{}", examine(&guest, row)?);
    }
    work.stop()?;
    fixture::release(&mut guest)?;
    Ok(ExitCode::SUCCESS)
}

/// The kernel, and the packages that the programs are of.
fn machine(guest: &Guest) -> Result<Value> {
    let release = guest.run(&["uname", "-r"])?.success()?;
    let mut packages = Vec::new();
    for package in ["libbpf-tools", "bpftool", "bpftrace"] {
        let changes =
            format!("busybox zcat /usr/share/doc/{package}/changelog.Debian.gz | head -n 1");
        // "bpftrace (0.23.2-1) unstable; urgency=medium"
        let line = guest.shell(&changes)?.stdout;
        let version = line.split(['(', ')']).nth(1);
        packages.extend(version.map(|version| format!("{package} {version}")));
    }
    Ok(json!({"release": release.trim(), "packages": packages}))
}

/// Signs what the rows run, each file once, with all rights.
fn sign(guest: &Guest, rows: &[Row]) -> Result<()> {
    let mut programs = BTreeSet::new();
    for row in rows {
        let program: PathBuf = fs::canonicalize(&row.program)
            .with_context(|| format!("cannot find {}", row.program.display()))?;
        programs.insert(program);
    }
    for program in programs {
        fixture::sign_with_grant(guest, ACME, &program, &Grant::ALL.of("tool", 1))?;
    }
    Ok(())
}

/// The reference, then what least makes the tool work without privileges.
fn examine(guest: &Guest, row: &Row) -> Result<Value> {
    let reference = Attempt::run(guest, row, None)?;
    let mut tries: Vec<(Arrangement, Attempt, bool)> = Vec::new();
    let mut works: Option<usize> = None;
    for &index in ASKED.iter().filter(|_| reference.works()) {
        let arrangement = LEAST_FIRST[index];
        let hopeless = |(tried, _, fine): &(Arrangement, _, bool)| !fine && tried.has(arrangement);
        if works.is_some_and(|least| least < index) || tries.iter().any(hopeless) {
            continue;
        }
        let attempt = arranged(guest, row, arrangement)?;
        let fine = attempt.is_like(&reference);
        if fine {
            works = Some(index);
        }
        tries.push((arrangement, attempt, fine));
    }
    let tries: Vec<Value> = tries
        .iter()
        .map(|(arrangement, attempt, fine)| {
            json!({
                "with": arrangement.words(),
                "works": fine,
                "measured": attempt.measured(),
                "status": attempt.status,
                "says": attempt.complaint(),
            })
        })
        .collect();
    Ok(json!({
        "tool": row.name,
        "arguments": row.arguments.join(" "),
        "reference": {
            "works": reference.works(),
            "measured": reference.measured(),
            "status": reference.status,
            "says": reference.complaint(),
        },
        "with": works.map(|index| LEAST_FIRST[index].words()),
        "tries": tries,
    }))
}

fn arranged(guest: &Guest, row: &Row, arrangement: Arrangement) -> Result<Attempt> {
    arrangement.apply()?;
    let attempt = Attempt::run(guest, row, Some(arrangement));
    arrangement::undo()?;
    attempt
}
