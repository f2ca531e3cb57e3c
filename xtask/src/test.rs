//! `cargo xtask test`: everything that must hold before a change goes in.

use crate::{dist, figures, setup, vm, workspace};
use anyhow::{Context, Result, bail};
use bpftrust_vm::suite::{self, Report, Tally};
use bpftrust_vm::tool;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// One kind of check, and what it came to.
struct Step {
    name: &'static str,
    took: Duration,
    tally: Tally,
    /// What the summary says beside the counts.
    note: String,
}

/// Runs every step, whether or not those before it held, so that one run shows
/// all that is wrong; prints one summary.
pub fn run() -> Result<ExitCode> {
    setup::run()?;
    let mut reports = Vec::new();
    let steps = [
        step("format", || {
            check(workspace::cargo().args(["fmt", "--all", "--check"]))
        }),
        step("format of C", format_of_c),
        step("clippy", clippy),
        step("documentation", documentation),
        step("dependencies", dependencies),
        step("unit tests", unit_tests),
        step("guest tests", || guest_tests(&mut reports)),
        step("costs", || Ok((figures::COST.check()?, String::new()))),
        step("package", package),
    ];
    println!("\n== summary");
    let mut total = Tally::default();
    for step in &steps {
        total += step.tally;
        println!(
            "{:<14} {} ({:.0} s){}",
            step.name,
            step.tally,
            step.took.as_secs_f32(),
            step.note
        );
    }
    print!("{}", suite::summary(&reports));
    Ok(vm::close(total))
}

fn step(name: &'static str, run: impl FnOnce() -> Result<(Tally, String)>) -> Step {
    println!("\n== {name}");
    let start = Instant::now();
    let (tally, note) = run().unwrap_or_else(|error| {
        println!("{error:#}");
        let failed = Tally {
            failed: 1,
            ..Tally::default()
        };
        (failed, ": see above".to_owned())
    });
    Step {
        name,
        took: start.elapsed(),
        tally,
        note,
    }
}

/// A check that counts as one.
fn check(command: &mut Command) -> Result<(Tally, String)> {
    workspace::run(command)?;
    Ok((one_passed(), String::new()))
}

fn one_passed() -> Tally {
    Tally {
        passed: 1,
        ..Tally::default()
    }
}

fn format_of_c() -> Result<(Tally, String)> {
    let mut files: Vec<PathBuf> = Vec::new();
    for dir in ["bpf", "crates/token/examples/execs/src"] {
        let dir = workspace::root().join(dir);
        let entries =
            fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "c" || end == "h") {
                files.push(path);
            }
        }
    }
    let mut command = Command::new("clang-format-19");
    check(command.args(["--dry-run", "-Werror"]).args(files))
}

fn clippy() -> Result<(Tally, String)> {
    setup::lint()?;
    let mut command = workspace::cargo();
    command.args([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--locked",
    ]);
    check(command.args(["--", "--deny", "warnings"]))
}

fn documentation() -> Result<(Tally, String)> {
    let mut command = workspace::cargo();
    command.env("RUSTDOCFLAGS", "--deny warnings");
    check(command.args(["doc", "--quiet", "--workspace", "--no-deps", "--locked"]))
}

/// Licences, sources and bans always; known vulnerabilities where the database
/// of them can be fetched.
fn dependencies() -> Result<(Tally, String)> {
    if let Err(error) = setup::cargo_deny() {
        println!("cargo-deny cannot be installed: {error:#}");
        let left_out = Tally {
            left_out: 1,
            ..Tally::default()
        };
        return Ok((
            left_out,
            ": NOT CHECKED, cargo-deny is not there".to_owned(),
        ));
    }
    let deny = || {
        let mut command = workspace::cargo();
        command.arg("deny");
        command
    };
    let kinds = ["bans", "licenses", "sources"];
    let mut check_kinds = deny();
    check_kinds
        .args(["check", "--hide-inclusion-graph"])
        .args(kinds);
    match tool::output(deny().args(["fetch", "db"])) {
        Ok(_) => check(check_kinds.arg("advisories")),
        Err(error) => {
            println!("ADVISORIES ARE NOT CHECKED, as their database cannot be fetched: {error:#}");
            let (mut tally, _) = check(&mut check_kinds)?;
            tally.left_out += 1;
            Ok((tally, ": ADVISORIES NOT CHECKED, no network".to_owned()))
        }
    }
}

/// Cargo's own tests: units, command line, documentation's examples.
fn unit_tests() -> Result<(Tally, String)> {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut tally = Tally::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read what cargo test says")?;
        if let Some(part) = parse_result(&line) {
            tally += part;
        }
        // Whoever reads may have gone; the counts matter still.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    if !status.success() && tally.failed == 0 {
        bail!("cargo test failed ({status}) before all tests could run");
    }
    Ok((tally, String::new()))
}

/// Reads a line as libtest ends each binary's tests with:
/// `test result: ok. 21 passed; 0 failed; 1 ignored; …`.
fn parse_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| -> Option<usize> {
        let part = counts.split(';').find(|part| part.ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    Some(Tally {
        passed: count(" passed")?,
        failed: count(" failed")?,
        left_out: count(" ignored")?,
    })
}

fn guest_tests(reports: &mut Vec<Report>) -> Result<(Tally, String)> {
    let arguments = vm::Arguments {
        timeout: vm::TIMEOUT,
        ..Default::default()
    };
    *reports = vm::test(&arguments)?;
    Ok((suite::total(reports), String::new()))
}

/// Looks at the Debian package that was built for the guests.
fn package() -> Result<(Tally, String)> {
    dist::accept()?;
    Ok((one_passed(), String::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtests_counts_are_read() {
        let line = "test result: FAILED. 20 passed; 3 failed; 1 ignored; 0 measured; \
                    0 filtered out; finished in 0.00s";
        let tally = parse_result(line).unwrap();
        assert_eq!((tally.passed, tally.failed, tally.left_out), (20, 3, 1));
        assert!(parse_result("test a::b ... ok").is_none());
        assert!(parse_result("test result: ok").is_none());
    }
}
