//! `bpftrust-attack`: the corpus of ways round bpftrust, run on a test machine.
//! `bpftrust attack` executes it.
//!
//! - [`attack`]: what an attack is; [`corpus`]: all of them
//! - [`limits`]: what they can't be expected to find held, and what is not tried
//! - [`lab`]: the place where they happen; [`loaders`], [`forge`]: what is in it
//! - [`judge`]: runs them and says what it saw; [`report`]: prints that
//!
//! The loaders are copies of this program, which as `bpftrust-attack act …` does
//! what [`bpftrust_attack::probe`] can be told to do.

mod arguments;
mod attack;
mod corpus;
mod forge;
mod judge;
mod lab;
mod limits;
mod loaders;
mod marker;
mod report;
mod verdict;

use anyhow::{Result, bail};
use arguments::{Arguments, Task};
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some(actions) = arguments::actions(&words) {
        return bpftrust_attack::probe::run(actions);
    }
    run(&words).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(words: &[String]) -> Result<ExitCode> {
    let arguments = Arguments::parse(words)?;
    let chosen = corpus::select(&arguments.numbers);
    if let Some(number) = corpus::unknown(&arguments.numbers) {
        bail!("no attack has the number {number:?}; `bpftrust attack --list` shows them");
    }
    if arguments.task == Task::List {
        report::list(&chosen, arguments.json);
        return Ok(ExitCode::SUCCESS);
    }
    marker::require()?;
    let findings = judge::run(&arguments, &chosen)?;
    report::findings(&findings, arguments.json);
    Ok(ExitCode::from(verdict::exit_status(&findings)))
}
