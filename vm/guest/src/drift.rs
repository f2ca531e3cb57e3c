//! `bpftrust-drift`: holds what user space says of rights against what the
//! kernel side's own function answers, on the running kernel.

use bpftrust_guard::{Decider, Question};
use std::mem::MaybeUninit;
use std::process::ExitCode;

fn main() -> ExitCode {
    match compare() {
        Ok(count) => {
            println!("{count} questions, no answer differs");
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
