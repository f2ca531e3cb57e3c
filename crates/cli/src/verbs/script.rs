//! `bpftrust script run`: becomes `bpftrust-script`, which is signed for that.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use bpftrust_script::LAUNCHER;

use crate::advice::Advise;
use crate::cli::ScriptVerb;
use crate::output::{Outcome, escaped};
use crate::verbs::attack::beside;

pub fn run(verb: &ScriptVerb) -> anyhow::Result<Outcome> {
    let ScriptVerb::Run(args) = verb;
    let me = std::env::current_exe().context("finding this program's own file")?;
    let program = beside(&me, LAUNCHER).unwrap_or_else(|| LAUNCHER.into());
    let mut command = Command::new(&program);
    command.arg(&args.file).args(&args.parameters);
    // Returns only if it fails.
    Err(command.exec())
        .with_context(|| format!("executing {}", escaped(&program)))
        .advise(|| format!("install {LAUNCHER} beside {} or in PATH", escaped(&me)))
}
