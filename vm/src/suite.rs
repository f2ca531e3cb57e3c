//! The guest tests on one kernel, and the report on all kernels.

use crate::kernels::Kernel;
use crate::machine::{Event, Run};
use crate::protocol::{Outcome, Record};
use crate::system::{BARE, System};
use crate::tool;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where the harness is in a guest.
pub const HARNESS: &str = "/usr/bin/bpftrust-guest";

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// `group::test`.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, unless it passed.
    pub message: String,
}

/// What all tests on one kernel came to.
#[derive(Debug)]
pub struct Report {
    /// The kernel's series, and the system if it is not the bare one.
    pub machine: String,
    /// One result for each test that was selected, and at most one more, for
    /// the machine itself.
    pub results: Vec<TestResult>,
    /// From the start of QEMU to the start of the tests.
    pub boot_time: Option<Duration>,
}

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// As expected.
    pub passed: usize,
    /// Not as expected.
    pub failed: usize,
    /// Not run, for the kernel's reason.
    pub left_out: usize,
}

/// The names of the tests that `filters` select on `kernel` in `system`. The harness
/// knows them, so it is asked, here on the host.
pub fn list(
    harness: &Path,
    kernel: &Kernel,
    system: &System,
    filters: &[String],
) -> Result<Vec<String>> {
    let mut command = Command::new(harness);
    command
        .args(["list", kernel.series, system.name])
        .args(filters);
    let names = tool::text(&mut command).context("cannot list the guest tests")?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// Runs the tests `expected` of `kernel` by `run`, whose command must be
/// [`HARNESS`]` test`; hands on each result as it comes.
pub fn run(
    kernel: &Kernel,
    expected: &[String],
    run: &Run<'_>,
    mut on_result: impl FnMut(&TestResult, u64),
) -> Result<Report> {
    let mut results = Vec::new();
    let mut said = Vec::new();
    let ended = run.run(|event| match event {
        Event::Record(Record::Result {
            name,
            outcome,
            millis,
            message,
        }) => {
            let result = TestResult {
                name,
                outcome,
                message,
            };
            on_result(&result, millis);
            results.push(result);
        }
        // How many there are was already known.
        Event::Record(_) => {}
        Event::Output(bytes) => said.extend(bytes),
    })?;
    let mut trouble = ended.trouble;
    if trouble.is_none() && !said.is_empty() {
        // The runner prints nothing but records, unless it fails itself.
        trouble = Some(format!(
            "the harness said: {}",
            String::from_utf8_lossy(&said).trim()
        ));
    }
    Ok(Report {
        machine: machine(kernel, run.system),
        results: complete(expected, results, trouble),
        boot_time: ended.boot_time,
    })
}

/// What a guest is called in reports.
pub fn machine(kernel: &Kernel, system: &System) -> String {
    if system.name == BARE.name {
        return kernel.series.to_owned();
    }
    format!("{}-{}", kernel.series, system.name)
}

/// The report on a guest that could not even be started.
pub fn not_run(kernel: &Kernel, system: &System, expected: &[String], why: String) -> Report {
    Report {
        machine: machine(kernel, system),
        results: complete(expected, Vec::new(), Some(why)),
        boot_time: None,
    }
}

/// Holds results against what was expected: a test without a result has failed,
/// and whatever else is wrong is a failure of the machine.
fn complete(
    expected: &[String],
    mut results: Vec<TestResult>,
    trouble: Option<String>,
) -> Vec<TestResult> {
    let mut wrong: Vec<String> = trouble.into_iter().collect();
    for (index, result) in results.iter().enumerate() {
        if !expected.contains(&result.name) {
            wrong.push(format!("{} was not asked for", result.name));
        }
        if results[..index].iter().any(|r| r.name == result.name) {
            wrong.push(format!("{} was reported twice", result.name));
        }
    }
    for name in expected {
        if !results.iter().any(|result| &result.name == name) {
            results.push(TestResult {
                name: name.clone(),
                outcome: Outcome::Failed,
                message: "no result: the guest ended before it".to_owned(),
            });
        }
    }
    if !wrong.is_empty() {
        results.push(TestResult {
            name: "the machine".to_owned(),
            outcome: Outcome::Failed,
            message: wrong.join("\n"),
        });
    }
    results
}

impl Report {
    /// How many tests ended how.
    pub fn tally(&self) -> Tally {
        let count = |outcome| {
            self.results
                .iter()
                .filter(|result| result.outcome == outcome)
                .count()
        };
        Tally {
            passed: count(Outcome::Passed),
            failed: count(Outcome::Failed),
            left_out: count(Outcome::LeftOut),
        }
    }
}

/// How many tests of all reports ended how.
pub fn total(reports: &[Report]) -> Tally {
    let mut total = Tally::default();
    for report in reports {
        total += report.tally();
    }
    total
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.left_out += other.left_out;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            left_out,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {left_out} left out")
    }
}

/// All reports as text: per kernel the counts, then what failed and what was
/// left out, with why.
pub fn summary(reports: &[Report]) -> String {
    let mut text = String::new();
    for report in reports {
        let boot = match report.boot_time {
            Some(time) => format!("booted in {:.1} s", time.as_secs_f32()),
            None => "never came to its tests".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "Linux {}: {} ({boot})",
            report.machine,
            report.tally()
        );
        for result in &report.results {
            let word = match result.outcome {
                Outcome::Passed => continue,
                Outcome::Failed => "FAILED",
                Outcome::LeftOut => "left out",
            };
            let message = result.message.replace('\n', "\n      ");
            let _ = writeln!(text, "  {word}  {}: {message}", result.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, outcome: Outcome, message: &str) -> TestResult {
        TestResult {
            name: name.into(),
            outcome,
            message: message.into(),
        }
    }

    fn expected(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn complete_results_stay_as_they_are() {
        let results = vec![result("a::b", Outcome::Passed, "")];
        let complete = complete(&expected(&["a::b"]), results.clone(), None);
        assert_eq!(complete, results);
    }

    #[test]
    fn a_guest_that_dies_midway_fails_what_it_did_not_run() {
        let results = vec![result("a::b", Outcome::Passed, "")];
        let trouble = Some("Kernel panic".to_owned());
        let complete = complete(&expected(&["a::b", "a::c"]), results, trouble);
        assert_eq!(complete.len(), 3);
        assert_eq!(complete[1].name, "a::c");
        assert_eq!(complete[1].outcome, Outcome::Failed);
        assert_eq!(complete[2].name, "the machine");
        assert!(complete[2].message.contains("Kernel panic"));
    }

    #[test]
    fn a_result_too_many_is_a_failure() {
        let twice = vec![
            result("a::b", Outcome::Passed, ""),
            result("a::b", Outcome::Passed, ""),
        ];
        let complete = complete(&expected(&["a::b"]), twice, None);
        assert!(complete[2].message.contains("reported twice"));
        let stranger = vec![result("x::y", Outcome::Passed, "")];
        let complete = super::complete(&[], stranger, None);
        assert!(complete[1].message.contains("not asked for"));
    }

    #[test]
    fn the_summary_says_what_failed_and_why() {
        let report = Report {
            machine: "6.12".into(),
            results: vec![
                result("a::good", Outcome::Passed, ""),
                result("a::bad", Outcome::Failed, "one\ntwo"),
                result("a::new", Outcome::LeftOut, "came with Linux 6.18"),
            ],
            boot_time: Some(Duration::from_millis(3_600)),
        };
        assert_eq!(
            summary(&[report]),
            "Linux 6.12: 1 passed, 1 failed, 1 left out (booted in 3.6 s)\n  \
             FAILED  a::bad: one\n      two\n  \
             left out  a::new: came with Linux 6.18\n"
        );
    }
}
