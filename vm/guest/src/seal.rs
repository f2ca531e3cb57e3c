//! What tests require of a sealed guard.

use crate::fixture::{Events, UNSIGNED, expect_refused, expect_trusted, signed_probe};
use crate::guest::Guest;
use crate::policy::{CALL, status};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// The guard refuses who is not signed, for that, and a loader that nobody has
/// executed before may call `bpf()`.
pub fn expect_enforcing(guest: &Guest) -> Result<()> {
    expect_refused(guest, Path::new(UNSIGNED), CALL, "no-signature")?;
    let signed = signed_probe(guest, "fresh")?;
    expect_trusted(guest, &signed, CALL)?;
    fs::remove_file(&signed).context("cannot remove the probe")
}

/// Requires that a shell command fails, and that an event of this action says
/// that it is sealed.
pub fn expect_sealed(guest: &Guest, command: &str, action: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let output = guest.shell(command)?;
    ensure!(output.status != 0, "unexpected success: {output}");
    mark.expect(
        guest,
        &[
            ("action", action),
            ("outcome", "denied"),
            ("reason", "sealed"),
        ],
    )
    .with_context(|| output.to_string())?;
    Ok(())
}

/// All of these, one by one, and in the end it is still enforcing.
pub fn expect_all_sealed(guest: &Guest, commands: &[&str], action: &str) -> Result<()> {
    for command in commands {
        expect_sealed(guest, command, action)?;
    }
    let status = status(guest)?;
    ensure!(
        status["missing_hooks"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "{status}"
    );
    expect_enforcing(guest)
}

/// The process that holds the guard besides its pins.
pub fn anchor(guest: &Guest) -> Result<u64> {
    let status = status(guest)?;
    let pid = status["seal"]["anchor"].as_u64();
    pid.with_context(|| format!("no anchor in {status}"))
}

/// Serials of our keyrings and keys, by the permissions that nobody else gives.
pub fn rings() -> Result<Vec<String>> {
    let keys = fs::read_to_string("/proc/keys").context("cannot read the list of keys")?;
    let ours = keys
        .lines()
        .filter(|line| line.contains(" 08010000 ") && line.contains(" bpftrust"));
    let serials: Vec<String> = ours
        .filter_map(|line| Some(format!("0x{}", line.split_whitespace().next()?)))
        .collect();
    ensure!(serials.len() == 3, "two keyrings and a key: {keys}");
    Ok(serials)
}

/// Requires that an attempt to switch ftrace off is told, and in vain.
pub fn expect_kept_on(guest: &Guest, attempt: impl FnOnce() -> Result<()>) -> Result<()> {
    let mark = Events::mark(guest)?;
    attempt()?;
    let fields = [
        ("action", "sysctl"),
        ("outcome", "denied"),
        ("reason", "kept-on"),
    ];
    mark.expect(guest, &fields)?;
    let value = fs::read_to_string("/proc/sys/kernel/ftrace_enabled")?;
    ensure!(value == "1\n", "kernel.ftrace_enabled is {value}");
    Ok(())
}

/// Requires that a verb fails, and says that the guard is sealed.
pub fn expect_told(guest: &Guest, words: &[&str], complaint: &str) -> Result<()> {
    let output = guest.run(words)?;
    ensure!(output.status == 2, "{output}");
    ensure!(output.stderr.contains(complaint), "{output}");
    ensure!(output.stderr.contains("\nhelp: "), "{output}");
    Ok(())
}
