//! Runs tests, each in a process and a cgroup of its own, and reports each.
//!
//! A test may kill every process, this one included. PID 1 then starts it again, and
//! it goes on where it was.

use crate::cgroup::Cgroup;
use crate::guest::Guest;
use crate::registry::{self, Group, SelectedGroup, SelectedTest, TEARDOWN, full_name};
use anyhow::{Context, Result, anyhow, bail};
use bpftrust_vm::kernels::Kernel;
use bpftrust_vm::protocol::{NONCE_VARIABLE, Outcome, Record, SETUP_FAILED};
use bpftrust_vm::system::System;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long a fixture may take to make or remove.
const FIXTURE_LIMIT: Duration = Duration::from_secs(120);

/// How much of what a failed test printed is reported, from the end.
const SHOWN: usize = 6000;

/// The cgroup that a part joins before anything else.
const CGROUP_VARIABLE: &str = "BPFTRUST_TEST_CGROUP";

/// Runs the tests of `kernel` and `system` that `filters` select; its status says whether
/// none failed.
pub fn run(kernel: &Kernel, system: &System, filters: &[&str]) -> Result<ExitCode> {
    let selection = registry::select(kernel, system, filters);
    let mut killed = Killed::take()?;
    let mut reporter = Reporter::new(killed.as_ref().map_or(0, |killed| killed.failed));
    if killed.is_none() {
        reporter.send(&Record::Selected(selection.names().len()))?;
    }
    for selected in &selection.groups {
        run_group(selected, &mut killed, &mut reporter)?;
    }
    if let Some(Killed { test, .. }) = killed {
        bail!("{test} killed everything, and is not among the tests");
    }
    Ok(match reporter.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Where the runner says that what runs may kill it: `TEST FAILED`, the second a
/// number. On the disk, for the machine may be started again meanwhile.
pub const GO_ON: &str = "/var/lib/bpftrust-go-on";

/// How far a runner had come that was killed.
struct Killed {
    test: String,
    /// Tests that had failed.
    failed: usize,
}

impl Killed {
    /// By the test that is to run.
    fn expect(test: &str, failed: usize) -> Result<()> {
        fs::write(GO_ON, format!("{test} {failed}")).context("cannot note the test")
    }

    /// The runner before this one, if it was killed so.
    fn take() -> Result<Option<Self>> {
        let Ok(text) = fs::read_to_string(GO_ON) else {
            return Ok(None);
        };
        fs::remove_file(GO_ON).context("cannot remove what a killed runner noted")?;
        let (test, failed) = text
            .split_once(' ')
            .context("what it noted makes no sense")?;
        Ok(Some(Self {
            test: test.to_owned(),
            failed: failed.parse()?,
        }))
    }
}

fn run_group(
    selected: &SelectedGroup,
    killed: &mut Option<Killed>,
    reporter: &mut Reporter,
) -> Result<()> {
    let group = selected.group;
    let mut tests = selected.tests.iter();
    if let Some(before) = killed {
        let is_it = |selected: &&SelectedTest| full_name(group, selected.test.name) == before.test;
        let Some(selected) = tests.find(is_it) else {
            return Ok(());
        };
        let start = Instant::now();
        let (outcome, message) = verdict(run_child("after", &before.test, selected.test.limit));
        reporter.result(before.test.clone(), outcome, start.elapsed(), message)?;
        *killed = None;
        run_tests(group, tests, &mut Ok(()), reporter)?;
        return tear_down(group, true, reporter);
    }
    // Without a test to run, a fixture would be made for nothing; without a
    // fixture, no test could tell anything.
    let possible = selected.tests.iter().any(|test| test.left_out.is_none());
    let fixture = match group.setup {
        Some(_) if possible => run_child("setup", group.name, FIXTURE_LIMIT),
        _ => Ok(()),
    };
    let mut fixture = fixture.context(SETUP_FAILED);
    run_tests(group, tests, &mut fixture, reporter)?;
    tear_down(group, possible, reporter)
}

fn run_tests<'a>(
    group: &Group,
    tests: impl Iterator<Item = &'a SelectedTest>,
    fixture: &mut Result<()>,
    reporter: &mut Reporter,
) -> Result<()> {
    for selected in tests {
        let name = full_name(group, selected.test.name);
        let start = Instant::now();
        let (outcome, message) = match (selected.left_out, &*fixture) {
            (Some(reason), _) => (Outcome::LeftOut, reason.to_owned()),
            (None, Err(error)) => {
                let message = format!("{error:#}");
                // In full once.
                *fixture = Err(anyhow!("{SETUP_FAILED}, see above"));
                (Outcome::Failed, message)
            }
            (None, Ok(())) if selected.test.after.is_some() => {
                Killed::expect(&name, reporter.failed)?;
                let outlived = run_child("one", &name, selected.test.limit);
                Killed::take()?;
                verdict(outlived.and_then(|()| bail!("it did not kill everything")))
            }
            (None, Ok(())) => verdict(run_child("one", &name, selected.test.limit)),
        };
        reporter.result(name, outcome, start.elapsed(), message)?;
    }
    Ok(())
}

fn tear_down(group: &Group, possible: bool, reporter: &mut Reporter) -> Result<()> {
    if group.teardown.is_some() {
        let start = Instant::now();
        let (outcome, message) = if possible {
            verdict(run_child("teardown", group.name, FIXTURE_LIMIT))
        } else {
            (Outcome::Passed, String::new())
        };
        reporter.result(
            full_name(group, TEARDOWN),
            outcome,
            start.elapsed(),
            message,
        )?;
    }
    Ok(())
}

fn verdict(result: Result<()>) -> (Outcome, String) {
    match result {
        Ok(()) => (Outcome::Passed, String::new()),
        Err(error) => (Outcome::Failed, format!("{error:#}")),
    }
}

/// Runs `bpftrust-guest PART NAME` to its end or its limit.
fn run_child(part: &str, name: &str, limit: Duration) -> Result<()> {
    mark_kernel_log(part, name);
    let file_name = name.replace("::", ".");
    let cgroup = Cgroup::new(&format!("{part}.{file_name}"))?;
    let path = PathBuf::from(format!("/run/{part}.{file_name}.output"));
    let output = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args([part, name])
        .env(CGROUP_VARIABLE, cgroup.procs())
        .env_remove(NONCE_VARIABLE)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("cannot start a test's process")?;
    let status = wait(&mut child, limit)?;
    // A fixture may be a running process; one that was made stays, and ends
    // with the guest if its teardown forgets it.
    let ended = match (part, status) {
        ("setup", Some(_)) => Ok(()),
        _ => cgroup.end(),
    };
    // The cgroup may not hold it yet, if it hung so early.
    let _ = child.kill();
    child.wait()?;
    let said = fs::read(&path).unwrap_or_default();
    let said = end_of(&String::from_utf8_lossy(&said), SHOWN);
    match status {
        None => bail!(
            "{}",
            format!("it did not end within {} s\n{said}", limit.as_secs()).trim()
        ),
        Some(status) if status.code() != Some(1) && !status.success() => {
            bail!("{}", format!("it ended with {status}\n{said}").trim())
        }
        // Status 1 is an error that it has told.
        Some(status) if !status.success() => bail!("{said}"),
        Some(_) => ended,
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for a test")? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The part of a run that is a process: a test, a setup or a teardown.
pub fn run_part(part: &str, name: &str) -> Result<ExitCode> {
    if let Some(procs) = std::env::var_os(CGROUP_VARIABLE) {
        fs::write(&procs, "0").context("cannot join the test's cgroup")?;
    }
    let run = match part {
        "one" => registry::test(name).map(|test| test.run),
        "after" => registry::test(name).and_then(|test| test.after),
        "setup" => registry::group(name).map(|group| group.setup.unwrap_or(|_| Ok(()))),
        _ => registry::group(name).map(|group| group.teardown.unwrap_or(|_| Ok(()))),
    };
    let Some(run) = run else {
        bail!("nothing is called {name}; see `bpftrust-guest list`");
    };
    let mut guest = Guest::new(part, name)?;
    Ok(match run(&mut guest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Says in the kernel's log what runs, so that a warning there can be told to
/// belong to it. Level 4, the lowest that is on the console.
fn mark_kernel_log(part: &str, name: &str) {
    if let Ok(mut log) = fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        // Only a convenience, so not worth a failure.
        let _ = write!(log, "<4>bpftrust-guest: {part} {name}");
    }
}

fn end_of(text: &str, limit: usize) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(limit);
    match skipped {
        0 => text.to_owned(),
        _ => format!("[…] {}", text.chars().skip(skipped).collect::<String>()),
    }
}

/// Tells the host, or a person who started the runner by hand.
struct Reporter {
    nonce: Option<String>,
    failed: usize,
}

impl Reporter {
    fn new(failed: usize) -> Self {
        Self {
            nonce: std::env::var(NONCE_VARIABLE).ok(),
            failed,
        }
    }

    fn result(
        &mut self,
        name: String,
        outcome: Outcome,
        took: Duration,
        message: String,
    ) -> Result<()> {
        if outcome == Outcome::Failed {
            self.failed += 1;
        }
        self.send(&Record::Result {
            name,
            outcome,
            millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            message,
        })
    }

    fn send(&self, record: &Record) -> Result<()> {
        let line = match (&self.nonce, record) {
            (Some(nonce), record) => record.to_line(nonce),
            (
                None,
                Record::Result {
                    name,
                    outcome,
                    message,
                    ..
                },
            ) => format!("{} {name} {message}\n", outcome.word()),
            (None, _) => return Ok(()),
        };
        let mut stdout = std::io::stdout().lock();
        stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush())
            .context("cannot report")
    }
}

#[cfg(test)]
mod unit_tests {
    use super::end_of;

    #[test]
    fn long_output_is_cut_at_its_beginning() {
        assert_eq!(end_of(" short\n", 10), "short");
        assert_eq!(end_of("0123456789", 3), "[…] 789");
    }
}
