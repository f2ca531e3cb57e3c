//! `bpftrust-bench`: what a benchmark's guest runs over and over, and how many
//! instructions it took.
//!
//! - [`processes`], [`memory`], [`files`], [`edges`]: what any process does
//! - [`bpf`]: what a trusted process asks of `bpf()`
//! - [`shapes`]: the same work as some of UnixBench's tests
//! - [`crowd`]: much of something at once, no row
//!
//! `bpftrust-bench list` prints the rows: name, who runs it, what it does.
//! `bpftrust-bench run DIRECTORY LOOPS SHARE ROW...` runs them and prints a line of JSON
//! for each: its name, the rounds of a loop, and the instructions of each loop. A SHARE
//! of 10 runs a tenth of the usual rounds.

mod bpf;
mod crowd;
mod edges;
mod files;
mod memory;
mod processes;
mod shapes;
mod sys;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One thing that is done over and over.
pub struct Row {
    /// As results name it.
    name: &'static str,
    /// What one round does.
    what: &'static str,
    /// Rounds of a loop.
    rounds: u32,
    /// Rounds before the first loop.
    discarded: u32,
    /// Whether a trusted process must do it.
    trusted: bool,
    /// Makes what does it.
    driver: fn(&Place) -> Result<Driver>,
}

/// What does one round.
pub struct Driver {
    /// What is done before each round, and not counted.
    before: Option<Box<dyn FnMut() -> Result<()>>>,
    /// The round.
    round: Box<dyn FnMut() -> Result<()>>,
}

impl Driver {
    /// Rounds without anything between them.
    fn new(round: impl FnMut() -> Result<()> + 'static) -> Result<Self> {
        Ok(Self {
            before: None,
            round: Box::new(round),
        })
    }

    /// Rounds, each counted alone.
    fn with_before(
        before: impl FnMut() -> Result<()> + 'static,
        round: impl FnMut() -> Result<()> + 'static,
    ) -> Result<Self> {
        Ok(Self {
            before: Some(Box::new(before)),
            round: Box::new(round),
        })
    }

    /// The instructions of so many rounds.
    fn count(&mut self, rounds: u32) -> Result<u64> {
        let mut counted = 0;
        match &mut self.before {
            None => {
                let start = sys::instructions();
                for _ in 0..rounds {
                    (self.round)()?;
                }
                counted = sys::instructions() - start;
            }
            Some(before) => {
                for _ in 0..rounds {
                    before()?;
                    let start = sys::instructions();
                    (self.round)()?;
                    counted += sys::instructions() - start;
                }
            }
        }
        Ok(counted)
    }
}

/// The directory of the files that drivers use: the guest's side made some of them, see
/// `vm/guest/src/cost.rs`.
pub struct Place(PathBuf);

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Rounds of a loop, and before the first: so many that loops differ by little, so few that
/// a guest takes minutes.
const CHEAP: (u32, u32) = (2_000, 500);
/// An exec or a fork.
const USUAL: (u32, u32) = (70, 300);
/// What takes ten thousands of instructions: each writes the journal of ext4.
const FILES: (u32, u32) = (200, 100);
/// What takes millions of instructions.
const HEAVY: (u32, u32) = (8, 4);

fn row(
    name: &'static str,
    (rounds, discarded): (u32, u32),
    driver: fn(&Place) -> Result<Driver>,
    what: &'static str,
) -> Row {
    Row {
        name,
        what,
        rounds,
        discarded,
        trusted: false,
        driver,
    }
}

impl Row {
    fn by_trusted(mut self) -> Self {
        self.trusted = true;
        self
    }
}

fn rows() -> Vec<Row> {
    let mut rows = vec![row(
        "nothing",
        CHEAP,
        |_| Driver::new(|| Ok(())),
        "an empty round: what counting itself costs",
    )];
    rows.extend(processes::rows());
    rows.extend(memory::rows());
    rows.extend(files::rows());
    rows.extend(edges::rows());
    rows.extend(bpf::rows());
    rows.extend(shapes::rows());
    rows
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match dispatch(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bpftrust-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<()> {
    match words {
        ["list"] => {
            for row in rows() {
                let who = if row.trusted { "trusted" } else { "anybody" };
                println!("{} {who} {}", row.name, row.what);
            }
            Ok(())
        }
        ["again", left] => shapes::execute_again(left.parse()?),
        ["stand", count] => crowd::stand(count.parse()?),
        ["map-all", directory] => crowd::map_all(Path::new(directory)),
        ["on-all-cpus", program, rounds] => crowd::execute_on_all(program, rounds.parse()?),
        ["run", place, loops, share, names @ ..] => {
            let place = Place(Path::new(place).to_owned());
            let (loops, share) = (loops.parse()?, share.parse()?);
            let rows = rows();
            for name in names {
                let row = rows.iter().find(|row| row.name == *name);
                let row = row.with_context(|| format!("no row is called {name:?}"))?;
                run(row, &place, loops, share).with_context(|| (*name).to_owned())?;
            }
            Ok(())
        }
        _ => bail!("usage: bpftrust-bench list | run DIRECTORY LOOPS SHARE ROW..."),
    }
}

fn run(row: &Row, place: &Place, loops: u32, share: u32) -> Result<()> {
    ensure!(share > 0, "a share of nothing");
    let mut driver = (row.driver)(place)?;
    let rounds = (row.rounds / share).max(1);
    driver.count(row.discarded / share)?;
    let counted: Result<Vec<u64>> = (0..loops).map(|_| driver.count(rounds)).collect();
    println!(
        "{}",
        json!({"row": row.name, "what": row.what, "rounds": rounds,
               "discarded": row.discarded / share, "loops": counted?})
    );
    Ok(())
}
