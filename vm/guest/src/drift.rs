//! `bpftrust-drift`: holds what user space says against what the kernel side's own
//! functions answer, on the running kernel: of rights, or with `sha256` of hashes.
//! With `verifier` it says what the kernel's verifier does for each program.

#[path = "drift/sha256.rs"]
mod sha256;

use bpftrust_guard::{Decider, Question, Verified};
use std::mem::MaybeUninit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let said = match std::env::args().nth(1).as_deref() {
        None => compare().map(|count| format!("{count} questions, no answer differs")),
        Some("sha256") => {
            sha256::compare().map(|count| format!("{count} messages, no hash differs"))
        }
        Some("verifier") => verifier(),
        Some(other) => Err(format!("cannot {other}").into()),
    };
    match said {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bpftrust-drift: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The number of questions to which both sides have the same answer, if that is
/// all of them.
fn compare() -> Result<usize, Box<dyn std::error::Error>> {
    let mut storage = MaybeUninit::uninit();
    let decider = Decider::load(&mut storage)?;
    let mut count = 0;
    for question in Question::all() {
        let (here, there) = (question.answer(), decider.ask(&question)?);
        if here != there {
            return Err(format!("{question:?}: here {here:?}, in the kernel {there:?}").into());
        }
        count += 1;
    }
    Ok(count)
}

/// A line for each program: its name, instructions and states.
fn verifier() -> Result<String, Box<dyn std::error::Error>> {
    let lines: Vec<String> = Verified::all()?
        .iter()
        .map(|it| format!("{} {} {}", it.program, it.instructions, it.states))
        .collect();
    Ok(lines.join("\n"))
}
