//! What `cargo xtask stress` does in a guest: stressors of Debian's stress-ng, which make
//! system calls of every kind and look at what these return, run without a guard, while it
//! audits, and while it enforces a policy by which none of them is trusted.

use crate::fixture;
use crate::guest::{Guest, text};
use crate::process::Program;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::ExitCode;

/// Seconds that a stressor goes on.
const SECONDS: &str = "1";

/// Those of its classes `os`, `filesystem`, `network`, `vm` and others that make what calls
/// the guard's hooks see: execs and forks, memory that code runs from, files opened,
/// linked, renamed and removed, xattrs, ioctls, sockets and their options, netlink, prctl,
/// ptrace, keys, signals; and all system calls by wrong arguments.
const STRESSORS: &str = include_str!("stress/stressors.txt");

/// Those that stress-ng runs for a user alone.
const BY_USER: [&str; 5] = ["bad-ioctl", "exec", "spawn", "sysinval", "tmpfs"];

/// By stressor: what it made of itself.
type Outcomes = BTreeMap<String, String>;

/// Runs the stressors whose name contains one of the filters, or all, and prints one line
/// of JSON for each.
pub fn run(filters: &[&str]) -> Result<ExitCode> {
    let mut guest = Guest::new("stress", "all")?;
    let chosen = |name: &&str| filters.is_empty() || filters.iter().any(|part| name.contains(part));
    let names: Vec<&str> = STRESSORS.split_whitespace().filter(chosen).collect();
    ensure!(!names.is_empty(), "no stressor is called {filters:?}");
    fixture::configure(&mut guest)?;
    println!("{}", machine(&guest)?);
    let without = outcomes(&guest, &names)?;
    guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    let audited = outcomes(&guest, &names)?;
    fixture::release(&mut guest)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    let enforced = outcomes(&guest, &names)?;
    fixture::release(&mut guest)?;
    for name in names {
        let of = |outcomes: &Outcomes| outcomes.get(name).cloned();
        println!(
            "{}",
            json!({"tool": name, "without": of(&without), "audited": of(&audited),
                   "enforced": of(&enforced)})
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The kernel, and the version of stress-ng.
fn machine(guest: &Guest) -> Result<Value> {
    let release = guest.run(&["uname", "-r"])?.success()?;
    // "stress-ng, version 0.18.10 (gcc 14.2.0, x86_64 Linux ...)"
    let version = guest.run(&["stress-ng", "--version"])?.success()?;
    let version = version.split_whitespace().nth(2).context("no version")?;
    Ok(json!({"release": release.trim(), "packages": [format!("stress-ng {version}")]}))
}

/// Runs them, one after the other.
fn outcomes(guest: &Guest, names: &[&str]) -> Result<Outcomes> {
    let place = guest.path("place");
    fs::create_dir(&place)
        .and_then(|()| fs::set_permissions(&place, Permissions::from_mode(0o777)))
        .context("cannot make a directory")?;
    let mut outcomes = Outcomes::new();
    for user in [false, true] {
        let is_meant = |name: &&&str| BY_USER.contains(name) == user;
        let those: Vec<&str> = names.iter().filter(is_meant).copied().collect();
        if those.is_empty() {
            continue;
        }
        let list = those.join(",");
        let words = ["--seq", "1", "--with", &list, "--timeout", SECONDS];
        let more = ["--verify", "--temp-path", text(&place)?];
        let program = Program::new("stress-ng").args(words).args(more);
        let said = if user { program.by_user() } else { program }.run()?;
        outcomes.extend(parse(&format!("{}\n{}", said.stdout, said.stderr)));
        for name in those {
            ensure!(outcomes.contains_key(name), "nothing of {name}: {said}");
        }
    }
    fs::remove_dir_all(&place).context("cannot remove a directory")?;
    Ok(outcomes)
}

/// What its last lines say:
/// `stress-ng: info:  [123] passed: 2: access (1) chdir (1)`.
fn parse(said: &str) -> Outcomes {
    const WORDS: [&str; 3] = ["passed", "failed", "skipped"];
    let mut outcomes = Outcomes::new();
    for line in said.lines() {
        for word in WORDS {
            let Some((_, list)) = line.split_once(&format!("] {word}: ")) else {
                continue;
            };
            let Some((_, list)) = list.split_once(": ") else {
                continue;
            };
            for name in list
                .split_whitespace()
                .filter(|word| !word.starts_with('('))
            {
                outcomes.insert(name.to_owned(), word.to_owned());
            }
        }
    }
    outcomes
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn outcomes_are_told_by_name() {
        let said = "stress-ng: info:  [7] skipped: 1: apparmor (1)\n\
                    stress-ng: info:  [7] passed: 2: access (1) chdir (1)\n\
                    stress-ng: info:  [7] failed: 0\n\
                    stress-ng: info:  [7] metrics untrustworthy: 0\n";
        let found = parse(said);
        assert_eq!(found.len(), 3);
        assert_eq!(found["apparmor"], "skipped");
        assert_eq!(found["chdir"], "passed");
    }
}
