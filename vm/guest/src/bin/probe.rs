//! `bpftrust-probe`: what tests sign, copy and execute. `bpftrust_attack::probe`
//! says what it can be told to do.

use bpftrust_attack::probe;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Its own name may be no text.
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    probe::run(&words)
}
