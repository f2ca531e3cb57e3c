//! `bpftrust generate`: man pages and shell completions from the command
//! definitions, for packages. Hidden, because users never need it.

use std::fs;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, GenerateArgs};
use crate::output::{Outcome, escaped};

pub fn run(args: &GenerateArgs) -> anyhow::Result<Outcome> {
    let out = &args.out;
    fs::create_dir_all(out).with_context(|| format!("making {}", escaped(out)))?;
    let writing = || format!("writing to {}", escaped(out));
    clap_mangen::generate_to(Cli::command(), out).with_context(writing)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Cli::command(), "bpftrust", out)
            .with_context(writing)?;
    }
    Ok(Outcome::Yes)
}
