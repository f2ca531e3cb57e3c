//! What `cargo xtask script-tools` does in a guest: each script that Debian ships with
//! bpftrace is run as it is, then signed, by the launcher, while the guard enforces.

use super::attempt::Attempt;
use super::table::Row;
use super::{WORK, machine};
use crate::fixture::{self, ACME};
use crate::guest::{Guest, text};
use crate::process::Program;
use crate::script::{self, UNSIGNED_LAUNCHER};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DIRECTORY: &str = "/usr/sbin";
const BPFTRACE: &str = "/usr/bin/bpftrace";

/// Runs the scripts whose name contains one of the filters, or all, and prints one line
/// of JSON for each.
pub fn run(filters: &[&str]) -> Result<ExitCode> {
    let mut guest = Guest::new("tools", "script-tools")?;
    fixture::configure(&mut guest)?;
    println!("{}", machine(&guest)?);
    let work = guest.script("work.sh", WORK)?;
    let work = guest.start(Program::new(work))?;
    fixture::sign_with_grant(
        &guest,
        ACME,
        Path::new(BPFTRACE),
        &script::bound("bpftrace", 1),
    )?;
    fixture::sign_with_grant(&guest, ACME, Path::new(UNSIGNED_LAUNCHER), script::LAUNCHES)?;
    for file in scripts(filters)? {
        println!("{}", examine(&guest, &file)?);
    }
    work.stop()?;
    Ok(ExitCode::SUCCESS)
}

fn scripts(filters: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(DIRECTORY).with_context(|| format!("cannot list {DIRECTORY}"))? {
        let path = entry.context("cannot read a directory")?.path();
        let name = text(Path::new(path.file_name().context("a file")?))?;
        let meant = filters.is_empty() || filters.iter().any(|part| name.contains(part));
        if meant && path.extension().is_some_and(|ending| ending == "bt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn examine(guest: &Guest, file: &Path) -> Result<Value> {
    let row = |program: &Path, arguments: &[&str]| Row {
        name: file.display().to_string(),
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ends: false,
        as_root: false,
    };
    let reference = Attempt::run(guest, &row(file, &[]), None)?;
    fixture::sign_as(guest, ACME, file, &["--script", "--allow-includes"])?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    let launcher = Path::new(UNSIGNED_LAUNCHER);
    let signed = Attempt::run(guest, &row(launcher, &[text(file)?]), None);
    // The same without the launcher, which the guard is there to refuse.
    let plain = Attempt::run(guest, &row(file, &[]), None);
    guest.run(&["bpftrust", "release"])?.success()?;
    let (signed, plain) = (signed?, plain?);
    let name = file.file_name().context("a file")?.to_string_lossy();
    Ok(json!({
        "tool": name,
        "reference": told(&reference),
        "signed": told(&signed),
        "alike": signed.is_like(&reference) || fails_alike(&signed, &reference, file),
        "refused": !plain.works(),
    }))
}

/// The same complaint: bpftrace calls what it reads by another name.
fn fails_alike(signed: &Attempt, reference: &Attempt, file: &Path) -> bool {
    let named = |attempt: &Attempt| {
        let complaint = attempt.complaint()?;
        Some(complaint.replace(&*file.to_string_lossy(), "stdin"))
    };
    !reference.works() && signed.status == reference.status && named(signed) == named(reference)
}

fn told(attempt: &Attempt) -> Value {
    json!({
        "works": attempt.works(),
        "measured": attempt.measured(),
        "status": attempt.status,
        "says": attempt.complaint(),
    })
}
