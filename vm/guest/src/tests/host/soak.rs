//! The same host for as long as somebody asks: `bpftrust-guest soak MINUTES`, by
//! `cargo xtask vm --system host --exec`. It is observed and starts again as in the tests;
//! then everything is used over and over, and what is refused is counted.

use super::{POLICY, Refusals, use_it};
use crate::fixture::Events;
use crate::guest::Guest;
use crate::policy::status;
use crate::unit;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Does it, and prints a line for each round and what it came to; fails if anything did
/// not work or anybody was refused who should not be.
pub fn run(minutes: u64) -> Result<ExitCode> {
    let mut guest = Guest::new("soak", "host")?;
    if !Path::new(POLICY).exists() {
        println!("observing");
        super::observed_from_its_boot_everything_works(&mut guest)?;
        println!("proposing and signing, then starting again");
        super::what_was_seen_is_proposed_signed_and_enforced_at_the_next_boot(&mut guest)?;
    }
    super::systemd_was_executed_with_trust(&mut guest)?;
    println!("enforcing since systemd was executed, and nobody was refused so far");
    tick(&guest)?;
    let calls = Calls::count()?;
    let start = Instant::now();
    let mut all = Refusals::default();
    let mut failed = 0;
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(minutes * 60) {
        let mark = Events::mark(&guest)?;
        if let Err(error) = use_it(&guest).and_then(|()| log_in(&guest)) {
            println!("did not work: {error:#}");
            failed += 1;
        }
        rounds += 1;
        let seen = Refusals::after(&guest, &mark)?;
        for refusal in &seen.others {
            println!("refused: {refusal}");
        }
        all.add(seen);
        println!(
            "round {rounds} at {} s: {} calls, {all}, {failed} rounds failed",
            start.elapsed().as_secs(),
            calls.total()?
        );
    }
    println!("timer ran {} times", ticks(&guest)?);
    println!("bpf() by what it returned: {}", calls.by_result()?);
    let status = status(&guest)?;
    println!(
        "in {} s and {rounds} rounds: {all}, {failed} rounds failed; since the boot, by reason: {}",
        start.elapsed().as_secs(),
        status["refusals"]
    );
    Ok(match (failed, all.others.is_empty()) {
        (0, true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// A session, by PAM and logind.
fn log_in(guest: &Guest) -> Result<()> {
    guest
        .run(&["su", "-", "user", "-c", "true"])?
        .success()
        .map(drop)
}

/// What the timer starts.
const TICK: &str = "tick.service";

/// Starts a timer whose unit may use no device, so systemd loads a program for each start.
fn tick(guest: &Guest) -> Result<()> {
    unit::write(
        TICK,
        "[Service]\nType=oneshot\nDevicePolicy=closed\nIPAddressDeny=any\nExecStart=/bin/true\n",
    )?;
    unit::write(
        "tick.timer",
        "[Timer]\nOnActiveSec=1s\nOnUnitActiveSec=15s\nAccuracySec=1s\n",
    )?;
    unit::reload(guest)?;
    guest
        .run(&["systemctl", "start", "tick.timer"])?
        .success()
        .map(drop)
}

/// How often that unit was started, by the journal.
fn ticks(guest: &Guest) -> Result<usize> {
    let words = ["journalctl", "--no-pager", "-o", "cat", "-u", TICK];
    let said = guest.run(&words)?.success()?;
    Ok(said.matches("Finished").count())
}

/// Where the kernel counts each value that bpf(2) returned (Documentation/trace/histogram.rst).
const EXITS: &str = "/sys/kernel/tracing/events/syscalls/sys_exit_bpf";

/// Calls of `bpf()` on the whole machine, counted by the kernel's tracer and not by bpftrust.
struct Calls;

impl Calls {
    /// From now on.
    fn count() -> Result<Self> {
        fs::write(format!("{EXITS}/trigger"), "hist:keys=ret")
            .context("cannot have the kernel count calls of bpf()")?;
        Ok(Self)
    }

    /// How many calls returned each value; those that gave a descriptor or anything else
    /// that is no error are one row.
    fn rows(&self) -> Result<BTreeMap<i64, u64>> {
        let text = fs::read_to_string(format!("{EXITS}/hist"))
            .context("cannot read what the kernel counted")?;
        let mut rows = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with('{')) {
            let words: Vec<_> = line.split_whitespace().collect();
            let after = |word: &str| {
                let at = words.iter().position(|found| *found == word);
                at.and_then(|at| words.get(at + 1)).copied()
            };
            let (Some(result), Some(count)) = (after("ret:"), after("hitcount:")) else {
                anyhow::bail!("no count of a result in {line:?}");
            };
            // Signed or not: it is a long.
            let result = result
                .parse::<i64>()
                .or_else(|_| result.parse::<u64>().map(u64::cast_signed))
                .with_context(|| line.to_owned())?;
            *rows.entry(result.min(0)).or_default() += count.parse::<u64>()?;
        }
        Ok(rows)
    }

    fn total(&self) -> Result<u64> {
        Ok(self.rows()?.values().sum())
    }

    /// As text: `0: 12, -1: 3`, with 0 for all that is no error.
    fn by_result(&self) -> Result<String> {
        let rows = self.rows()?;
        let rows = rows
            .iter()
            .rev()
            .map(|(result, count)| format!("{result}: {count}"));
        Ok(rows.collect::<Vec<_>>().join(", "))
    }
}
