//! Runs tests, each in a process and a cgroup of its own, and reports each.

use crate::cgroup::Cgroup;
use crate::guest::Guest;
use crate::registry::{self, SelectedGroup, TEARDOWN, full_name};
use anyhow::{Context, Result, anyhow, bail};
use bpftrust_vm::kernels::Kernel;
use bpftrust_vm::protocol::{NONCE_VARIABLE, Outcome, Record, SETUP_FAILED};
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

/// Runs the tests of `kernel` that `filters` select; its status says whether
/// none failed.
pub fn run(kernel: &Kernel, filters: &[&str]) -> Result<ExitCode> {
    let selection = registry::select(kernel, filters);
    let mut reporter = Reporter::new();
    reporter.send(&Record::Selected(selection.names().len()))?;
    for selected in &selection.groups {
        run_group(selected, &mut reporter)?;
    }
    Ok(match reporter.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn run_group(selected: &SelectedGroup, reporter: &mut Reporter) -> Result<()> {
    let group = selected.group;
    // Without a test to run, a fixture would be made for nothing; without a
    // fixture, no test could tell anything.
    let possible = selected.tests.iter().any(|test| test.left_out.is_none());
    let fixture = match group.setup {
        Some(_) if possible => run_child("setup", group.name, FIXTURE_LIMIT),
        _ => Ok(()),
    };
    let mut fixture = fixture.context(SETUP_FAILED);
    for selected in &selected.tests {
        let name = full_name(group, selected.test.name);
        let start = Instant::now();
        let (outcome, message) = match (selected.left_out, &fixture) {
            (Some(reason), _) => (Outcome::LeftOut, reason.to_owned()),
            (None, Err(error)) => {
                let message = format!("{error:#}");
                // In full once.
                fixture = Err(anyhow!("{SETUP_FAILED}, see above"));
                (Outcome::Failed, message)
            }
            (None, Ok(())) => verdict(run_child("one", &name, selected.test.limit)),
        };
        reporter.result(name, outcome, start.elapsed(), message)?;
    }
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
    fn new() -> Self {
        Self {
            nonce: std::env::var(NONCE_VARIABLE).ok(),
            failed: 0,
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
