//! What `cargo xtask script-tools` does in a guest: each script that Debian ships with
//! bpftrace is run as it is, then signed, by the launcher, while the guard enforces.

use super::attempt::Attempt;
use super::table::Row;
use super::{WORK, arrangement, machine};
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

/// To enforce and to release takes as long as a script does. So it is done for some at a
/// time; what is found is told after each, so that little is lost if the guest is.
const AT_ONCE: usize = 8;

/// Runs the scripts whose name contains one of the filters, or all, and prints one line
/// of JSON for each.
pub fn run(filters: &[&str]) -> Result<ExitCode> {
    let mut guest = Guest::new("tools", "script-tools")?;
    fixture::configure(&mut guest)?;
    arrangement::load_modules()?;
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
    for files in scripts(filters)?.chunks(AT_ONCE) {
        examine(&guest, files)?;
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

/// Each without a guard, then each while it enforces.
fn examine(guest: &Guest, files: &[PathBuf]) -> Result<()> {
    let mut references = Vec::new();
    for file in files {
        references.push(run_it(guest, file, &[])?);
        fixture::sign_as(guest, ACME, file, &["--script", "--allow-includes"])?;
    }
    guest.run(&["bpftrust", "enforce"])?.success()?;
    for (file, reference) in files.iter().zip(&references) {
        println!("{}", guarded(guest, file, reference)?);
    }
    guest.run(&["bpftrust", "release"])?.success()?;
    Ok(())
}

fn run_it(guest: &Guest, program: &Path, arguments: &[&str]) -> Result<Attempt> {
    let row = Row {
        name: program.display().to_string(),
        program: program.to_owned(),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        ends: false,
        as_root: false,
    };
    Attempt::run(guest, &row, None)
}

fn guarded(guest: &Guest, file: &Path, reference: &Attempt) -> Result<Value> {
    let signed = run_it(guest, Path::new(UNSIGNED_LAUNCHER), &[text(file)?])?;
    // The same without the launcher, which the guard is there to refuse.
    let plain = run_it(guest, file, &[])?;
    let name = file.file_name().context("a file")?.to_string_lossy();
    Ok(json!({
        "tool": name,
        "reference": told(reference),
        "signed": told(&signed),
        "alike": signed.is_like(reference) || fails_alike(&signed, reference, file),
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
