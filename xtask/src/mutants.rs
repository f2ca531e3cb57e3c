//! `cargo xtask mutants`: do the tests notice a rule that is gone?
//!
//! Builds the kernel side with one rule broken at a time and requires that a
//! test made for that rule fails. First the same tests must pass on the sources
//! as they are, or a failure would say nothing.

mod libraries;
mod orders;
mod owners;
mod policies;
mod programs;
mod rights;
mod rules;
mod scripts;
mod seal;
mod tokens;

use crate::{setup, vm, workspace};
use anyhow::{Context, Result, bail, ensure};
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::log;
use bpftrust_vm::protocol::{Outcome, SETUP_FAILED};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Tells crates/guard/build.rs where else the C sources are.
const SOURCE_VARIABLE: &str = "BPFTRUST_BPF_DIR";

#[derive(clap::Args)]
pub struct Arguments {
    /// Only mutants whose name contains one of these
    #[arg(value_name = "NAME")]
    filters: Vec<String>,

    /// The kernel's series
    #[arg(long, value_name = "SERIES", default_value = "6.18")]
    kernel: String,

    /// List the mutants and their tests instead of running them
    #[arg(long)]
    list: bool,
}

/// Name, file, what stands there exactly once, what stands there instead, and
/// the test that must fail; as in [`Mutant`].
type Rule = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// One rule, broken.
struct Mutant {
    /// What no longer holds.
    name: String,
    /// The file under `bpf/`.
    file: &'static str,
    /// What stands there, exactly once.
    from: String,
    /// What stands there instead.
    to: String,
    /// The test that must fail.
    test: String,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mutants: Vec<Mutant> = mutants()?
        .into_iter()
        .filter(|mutant| {
            arguments.filters.is_empty()
                || arguments
                    .filters
                    .iter()
                    .any(|filter| mutant.name.contains(filter))
        })
        .collect();
    ensure!(
        !mutants.is_empty(),
        "no mutant is called {:?}",
        arguments.filters
    );
    if arguments.list {
        for mutant in &mutants {
            println!("{:<40} {}", mutant.name, mutant.test);
        }
        return Ok(ExitCode::SUCCESS);
    }
    setup::run()?;
    println!("the sources as they are:");
    let tests: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.test.as_str()).collect();
    let failed = failed_tests(&arguments.kernel, &sources(), &tests)?;
    ensure!(
        failed.is_empty(),
        "tests fail without any mutation: {failed:?}"
    );

    let mut survivors = Vec::new();
    for (number, mutant) in mutants.iter().enumerate() {
        println!("\n{} of {}: {}", number + 1, mutants.len(), mutant.name);
        let failed = mutant.write().and_then(|directory| {
            let tests = BTreeSet::from([mutant.test.as_str()]);
            failed_tests(&arguments.kernel, &directory, &tests)
        });
        match failed.map(|mut failed| failed.remove(&mutant.test)) {
            // One that can't be built or loaded says nothing about the tests.
            Err(error) => println!("NOT TRIED: {error:#}"),
            Ok(Some(message)) if was_not_tried(&message) => println!("NOT TRIED: {message}"),
            Ok(None) => println!("NOT NOTICED by {}", mutant.test),
            Ok(Some(message)) => {
                let what = message.trim().lines().next().unwrap_or_default();
                println!("noticed by {}: {what}", mutant.test);
                continue;
            }
        }
        survivors.push(mutant.name.as_str());
    }
    println!(
        "\n{} mutants, {} noticed",
        mutants.len(),
        mutants.len() - survivors.len()
    );
    for survivor in &survivors {
        println!("not noticed: {survivor}");
    }
    Ok(if survivors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Does a test that failed so say nothing about what it tests?
fn was_not_tried(message: &str) -> bool {
    message.starts_with(SETUP_FAILED) || log::rejection(message).is_some()
}

fn sources() -> PathBuf {
    workspace::root().join("bpf")
}

fn mutants() -> Result<Vec<Mutant>> {
    let mut mutants: Vec<Mutant> = rules::RULES
        .iter()
        .chain(rights::RULES)
        .chain(policies::RULES)
        .chain(owners::RULES)
        .chain(programs::RULES)
        .chain(tokens::RULES)
        .chain(seal::RULES)
        .chain(orders::RULES)
        .chain(libraries::RULES)
        .chain(scripts::RULES)
        .map(|&(name, file, from, to, test)| Mutant {
            name: name.to_owned(),
            file,
            from: from.to_owned(),
            to: to.to_owned(),
            test: test.to_owned(),
        })
        .collect();
    for (number, name) in commands()? {
        // The first question about a call, with this one command let through.
        // Not in decide(): some commands are asked about in more than one way.
        let from = "	ask(&decision, &standing, BT_OBJECT_COMMAND, command);";
        mutants.push(Mutant {
            name: format!("the row of {name} is open"),
            file: "hooks_bpf.h",
            from: from.to_owned(),
            to: format!("	if (command == {number})\n		return 0;\n{from}"),
            test: format!("table::{}", name.to_lowercase()),
        });
    }
    Ok(mutants)
}

/// The rows of the table of commands: number and name.
fn commands() -> Result<Vec<(u32, String)>> {
    let path = sources().join("policy.h");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows: Vec<(u32, String)> = text
        .lines()
        .filter_map(|line| {
            let row = line.trim_start().strip_prefix("ROW(")?;
            let mut fields = row.split([',', ')']).map(str::trim);
            Some((fields.next()?.parse().ok()?, fields.next()?.to_owned()))
        })
        .collect();
    ensure!(
        !rows.is_empty(),
        "no rows of commands in {}",
        path.display()
    );
    Ok(rows)
}

impl Mutant {
    /// The sources with this one change, in a directory of their own.
    fn write(&self) -> Result<PathBuf> {
        let directory = workspace::target()?.join("mutants").join("bpf");
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        for entry in fs::read_dir(sources()).context("cannot list the sources")? {
            let path = entry.context("cannot list the sources")?.path();
            let name = path.file_name().context("a file has a name")?;
            fs::copy(&path, directory.join(name))
                .with_context(|| format!("cannot copy {}", path.display()))?;
        }
        let path = directory.join(self.file);
        fs::write(&path, self.broken()?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(directory)
    }

    /// Its file, with this one change.
    fn broken(&self) -> Result<String> {
        let path = sources().join(self.file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if text.matches(&self.from).count() != 1 {
            bail!(
                "mutant {:?}: {:?} must stand in {} exactly once; mend it in xtask/src/mutants",
                self.name,
                self.from,
                self.file
            );
        }
        Ok(text.replace(&self.from, &self.to))
    }
}

/// What has the kernel side in it: package and binary.
const CARRIERS: [(&str, &str); 2] = [
    ("bpftrust", "bpftrust"),
    ("bpftrust-guest", "bpftrust-drift"),
];

/// What tests need beside these: package and binary.
const OTHERS: [(&str, &str); 1] = [("bpftrust-script", "bpftrust-script")];

/// Builds bpftrust with the kernel side from `sources`, runs the tests with it
/// and returns those that failed, with what they said.
fn failed_tests(
    kernel: &str,
    sources: &Path,
    tests: &BTreeSet<&str>,
) -> Result<BTreeMap<String, String>> {
    let target = workspace::target()?.join("mutants").join("target");
    let mut build = workspace::cargo();
    build
        .args(["build", "--quiet", "--release", "--target-dir"])
        .arg(&target)
        .env(SOURCE_VARIABLE, sources)
        // Built often and run little: ours need not be fast.
        .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true");
    for package in ["bpftrust", "bpftrust-guard", "bpftrust-guest"] {
        build.args([
            "--config".to_owned(),
            format!("profile.release.package.{package}.opt-level=0"),
        ]);
    }
    for (package, binary) in CARRIERS.into_iter().chain(OTHERS) {
        build.args(["--package", package, "--bin", binary]);
    }
    workspace::run(&mut build)?;
    let copy = |(_, binary)| Extra {
        from: target.join("release").join(binary),
        to: format!("/usr/bin/{binary}"),
    };
    let reports = vm::test(&vm::Arguments {
        filters: tests.iter().map(|&test| test.to_owned()).collect(),
        kernel: vec![kernel.to_owned()],
        bare: true,
        copy: CARRIERS.into_iter().chain(OTHERS).map(copy).collect(),
        timeout: vm::TIMEOUT,
        ..vm::Arguments::default()
    })?;
    let results: Vec<_> = reports
        .into_iter()
        .flat_map(|report| report.results)
        .collect();
    for test in tests {
        ensure!(
            results.iter().any(|result| result.name == *test),
            "there is no test {test}; mend its name in xtask/src/mutants"
        );
    }
    Ok(results
        .into_iter()
        .filter(|result| result.outcome == Outcome::Failed)
        .map(|result| (result.name, result.message))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_mutant_breaks_stands_there_once() {
        let stale: Vec<String> = mutants()
            .unwrap()
            .iter()
            .filter_map(|mutant| mutant.broken().err())
            .map(|error| format!("{error:#}"))
            .collect();
        assert!(stale.is_empty(), "{stale:#?}");
    }

    #[test]
    fn every_mutant_breaks_something() {
        for mutant in mutants().unwrap() {
            assert_ne!(mutant.from, mutant.to, "{:?}", mutant.name);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut seen = BTreeSet::new();
        for mutant in mutants().unwrap() {
            assert!(seen.insert(mutant.name.clone()), "{:?} twice", mutant.name);
        }
    }

    /// Of the table of commands: number and name.
    fn is_row(line: &str, name: &str) -> bool {
        line.trim()
            .split_once(' ')
            .is_some_and(|(number, rest)| number.parse::<u32>().is_ok() && rest == name)
    }

    /// As they are written: only the guest's own program knows its tests for
    /// certain, and the run itself requires each.
    #[test]
    fn every_test_is_one_of_the_guests() {
        let directory = workspace::root().join("vm/guest/src/tests");
        let texts: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            // Each group is a file; what a group has besides is in a directory.
            .filter(|path| path.is_file())
            .map(|path| fs::read_to_string(path).unwrap())
            .collect();
        for mutant in mutants().unwrap() {
            let (group, name) = mutant.test.split_once("::").unwrap();
            let is_there = |text: &&String| {
                text.contains(&format!("name: {group:?}"))
                    && (text.contains(&format!("test!({name})"))
                        || text.lines().any(|line| is_row(line, name)))
            };
            assert!(
                texts.iter().any(|text| is_there(&text)),
                "{:?}: no test {}",
                mutant.name,
                mutant.test
            );
        }
    }
}
