//! Scripts, loaders that run no others, and who starts them: the launcher, and a
//! program that is signed as one and does what it is told.

use crate::fixture::{self, ACME, Events, Key, sign_as};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::policy::{self, loader};
use crate::process::{Output, Program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The launcher as nobody signed it.
pub const UNSIGNED_LAUNCHER: &str = "/usr/bin/bpftrust-script";

/// The loader that scripts here are for, a copy of the probe. It is what scripts are for
/// that name none, too.
pub const INTERPRETER: &str = "/usr/local/bin/bpftrace";

/// Who starts loaders on scripts, and may do nothing else.
pub const LAUNCHES: &str = "name = \"launcher\"\nversion = 1\nabilities = [\"launch-scripts\"]\n";

/// The guard, and the interpreter, which must run signed scripts.
pub fn setup(guest: &mut Guest) -> Result<()> {
    policy::enforce(guest)?;
    interpreter(guest, ACME).map(drop)
}

/// Signs the interpreter anew, with all rights but to run without a script.
pub fn interpreter(guest: &Guest, key: Key) -> Result<PathBuf> {
    fs::create_dir_all("/usr/local/bin").context("cannot make a directory")?;
    loader(guest, INTERPRETER, key, &bound("interpreter", 1))
}

/// All rights, for scripts.
pub fn bound(name: &str, version: u64) -> String {
    let grant = Grant::ALL.of(name, version);
    grant.replace("programs = \"all\"", "programs = \"script\"")
}

/// The launcher, signed.
pub fn launcher(guest: &Guest) -> Result<PathBuf> {
    launcher_of(guest, ACME, "bpftrust-script")
}

/// The launcher, signed by somebody.
pub fn launcher_of(guest: &Guest, key: Key, name: &str) -> Result<PathBuf> {
    let path = guest.path(name);
    // Under fs-verity it can't be written.
    if path.exists() {
        return Ok(path);
    }
    let path = guest.copy(UNSIGNED_LAUNCHER, name)?;
    fixture::sign_with_grant(guest, key, &path, LAUNCHES)?;
    Ok(path)
}

/// The probe, signed as a launcher: it starts whatever on whatever.
pub fn told(guest: &Guest) -> Result<PathBuf> {
    loader(guest, "told", ACME, LAUNCHES)
}

/// A script that has the interpreter do `actions`, not signed. No other has its digest.
pub fn unsigned(guest: &Guest, name: &str, actions: &str) -> Result<PathBuf> {
    let path = guest.path(name);
    // Under fs-verity it can't be written.
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let unique = path.display();
    guest.script(
        name,
        &format!("#!/usr/bin/env bpftrace\n# {unique}\n{actions}\n"),
    )
}

/// The same, signed without a grant.
pub fn script(guest: &Guest, name: &str, actions: &str) -> Result<PathBuf> {
    signed_by(guest, ACME, name, actions, None)
}

/// The same, signed with this grant.
pub fn granted(guest: &Guest, name: &str, actions: &str, grant: &str) -> Result<PathBuf> {
    signed_by(guest, ACME, name, actions, Some(grant))
}

/// The same, signed by this key.
pub fn signed_by(
    guest: &Guest,
    key: Key,
    name: &str,
    actions: &str,
    grant: Option<&str>,
) -> Result<PathBuf> {
    let path = unsigned(guest, name, actions)?;
    match grant {
        None => sign_as(guest, key, &path, &["--script"])?,
        Some(grant) => {
            let file = guest.write(&format!("{name}.toml"), grant)?;
            sign_as(guest, key, &path, &["--script", "--grant", text(&file)?])?;
        }
    }
    Ok(path)
}

/// Has the launcher start the interpreter on a script.
pub fn launch(launcher: &Path, script: &Path, parameters: &[&str]) -> Result<Output> {
    Program::new(launcher).arg(script).args(parameters).run()
}

/// Requires that the guard takes no such script from the signed launcher, for this
/// reason, and that the launcher ends there.
pub fn expect_not_taken(guest: &Guest, script: &Path, reason: &str) -> Result<Value> {
    let mark = Events::mark(guest)?;
    let launcher = launcher(guest)?;
    let output = launch(&launcher, script, &[])?;
    ensure!(
        output.status == 2 && output.stdout.is_empty(),
        "{}: {output:?}",
        script.display()
    );
    ensure!(output.stderr.contains("bpftrust events"), "{output:?}");
    let fields = [
        ("action", "script"),
        ("outcome", "denied"),
        ("reason", reason),
        ("file", text(script)?),
        ("executable", text(&launcher)?),
    ];
    let event = mark.expect(guest, &fields)?;
    mark.expect_none(guest, &[("executable", INTERPRETER)])?;
    Ok(event)
}

/// Requires that whoever was started did nothing, because executing the interpreter
/// gave it no trust, for this reason; returns that event.
pub fn expect_no_trust(guest: &Guest, program: Program, reason: &str) -> Result<Value> {
    let mark = Events::mark(guest)?;
    let said = program.run()?.stdout;
    ensure!(said.lines().last() == Some("map hash: EPERM"), "{said}");
    expect_exec(guest, &mark, "denied", reason)
}

/// Requires that the interpreter was executed since `mark`.
pub fn expect_exec(guest: &Guest, mark: &Events, outcome: &str, reason: &str) -> Result<Value> {
    let fields = [
        ("action", "exec"),
        ("outcome", outcome),
        ("reason", reason),
        ("executable", INTERPRETER),
    ];
    mark.expect(guest, &fields)
}

/// Requires that the interpreter runs this script and may make a map.
pub fn expect_runs(guest: &Guest, script: &Path) -> Result<()> {
    let said = launch(&launcher(guest)?, script, &[])?.success()?;
    ensure!(said.lines().last() == Some("map hash: ok"), "{said}");
    Ok(())
}
