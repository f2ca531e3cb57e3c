//! `bpftrust attack`: becomes `bpftrust-attack`, so that this program has no code
//! of attacks in it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::advice::Advise;
use crate::cli::AttackArgs;
use crate::output::{Outcome, escaped};

/// The program that has it.
const PROGRAM: &str = "bpftrust-attack";

pub fn run(args: &AttackArgs) -> anyhow::Result<Outcome> {
    let me = std::env::current_exe().context("finding this program's own file")?;
    let program = beside(&me, PROGRAM).unwrap_or_else(|| PROGRAM.into());
    let mut command = Command::new(&program);
    command.arg(if args.list { "list" } else { "run" });
    if args.json {
        command.arg("--json");
    }
    command.arg("--bpftrust").arg(&me);
    let dir = std::path::absolute(&args.dir)
        .with_context(|| format!("finding {}", escaped(&args.dir)))?;
    command.arg("--dir").arg(dir).args(&args.numbers);
    // Returns only if it fails.
    Err(command.exec())
        .with_context(|| format!("executing {}", escaped(&program)))
        .advise(|| format!("install {PROGRAM} beside {} or in PATH", escaped(&me)))
}

/// The program of this name in the directory that this one is in, if it is there.
pub(super) fn beside(me: &Path, name: &str) -> Option<PathBuf> {
    let program = me.parent()?.join(name);
    program.exists().then_some(program)
}
