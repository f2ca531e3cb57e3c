//! What `bpftrust run` adds to the start of a loader: a figure, not a test.

use crate::fixture;
use crate::grant::{Grant, loader};
use crate::guest::Guest;
use crate::process::Program;
use anyhow::{Context, Result, ensure};
use std::process::ExitCode;
use std::time::Instant;

/// How often each is started, by turns.
const PAIRS: usize = 50;

/// Starts a signed loader that ends at once, by itself and by `bpftrust run`, and
/// prints the medians and how they differ.
pub fn run() -> Result<ExitCode> {
    let mut guest = Guest::new("startup", "startup")?;
    fixture::enforce(&mut guest)?;
    let loader = loader(&guest, "loader", Grant::ALL)?;
    let loader = loader.to_str().context("a path of ASCII")?;
    let by_itself = [loader, "say", "started"];
    let by_run = [
        "bpftrust", "run", "--user", "nobody", "--", loader, "say", "started",
    ];
    // The first start reads files and judges the signature.
    time(&by_itself)?;
    time(&by_run)?;
    let (mut alone, mut under, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (one, other) = (time(&by_itself)?, time(&by_run)?);
        alone.push(one);
        under.push(other);
        // Below nothing, where the machine was busy with something else.
        added.push(other - one);
    }
    fixture::release(&mut guest)?;
    let [alone, under, added] = [alone, under, added].map(spread);
    println!("{PAIRS} pairs, milliseconds: median (lowest to highest)");
    println!("  by itself     {alone}\n  bpftrust run  {under}\n  added         {added}");
    println!("  ratio         {:.1}", under.median / alone.median);
    Ok(ExitCode::SUCCESS)
}

/// Milliseconds from its start until it has ended and all that it said is read.
fn time(words: &[&str]) -> Result<f64> {
    let (program, args) = words.split_first().context("nothing to run")?;
    let program = Program::new(program).args(args);
    let start = Instant::now();
    let output = program.run()?;
    let taken = start.elapsed();
    ensure!(
        output.status == 0 && output.stdout == "started\n",
        "{output}"
    );
    Ok(taken.as_secs_f64() * 1000.0)
}

/// In milliseconds.
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

fn spread(mut times: Vec<f64>) -> Spread {
    times.sort_unstable_by(f64::total_cmp);
    Spread {
        median: times[times.len() / 2],
        lowest: times[0],
        highest: times[times.len() - 1],
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.1} ({:.1} to {:.1})",
            self.median, self.lowest, self.highest
        )
    }
}
