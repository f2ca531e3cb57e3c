//! The chores behind `make`: `cargo xtask --help`.

mod setup;
mod test;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "bpftrust's chores")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install what building and testing need
    Setup,
    /// Everything that must hold: lint, unit tests, guest tests; one summary
    Test,
    /// Run the guest tests, or one command, on stock Debian kernels in QEMU
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Chore::Test => test::run(),
        Chore::Vm(arguments) => vm::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
