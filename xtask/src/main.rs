//! The chores behind `make`: `cargo xtask --help`.

mod bench;
mod demo;
mod dist;
mod figures;
mod mutants;
mod scale;
mod script_tools;
mod setup;
mod stress;
mod survey;
mod test;
mod tools;
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
    /// Count what bpftrust costs, in guests, and write tables, plots and docs/cost.md
    Bench(bench::Arguments),
    /// Show the main job on real loaders, in a microVM
    Demo(demo::Arguments),
    /// Build a Debian package in target/dist, which lintian accepts
    Dist,
    /// Count a few costs, in microVMs, and write the table, or compare
    Held {
        /// Write nothing: has one grown by more than a tenth?
        #[arg(long)]
        check: bool,
    },
    /// Break one rule of the kernel side at a time: do the tests notice?
    Mutants(mutants::Arguments),
    /// Measure digests, signing, and how costs grow, and write docs/scale.md
    Scale(scale::Arguments),
    /// Run each script that Debian ships with bpftrace, signed and not, in microVMs, and
    /// write the table
    ScriptTools(survey::Arguments),
    /// Install what building and testing need
    Setup,
    /// Run stressors of Debian's stress-ng with and without us, in microVMs, and write the
    /// table
    Stress(survey::Arguments),
    /// Everything that must hold: lint, unit tests, guest tests; one summary
    Test,
    /// Run each of Debian's BPF tools under a token, in microVMs, and write the table
    Tools(survey::Arguments),
    /// Measure what the kernels' verifiers do for each program, in microVMs, and write
    /// the table
    Verifier,
    /// Run the guest tests, or one command, on stock Debian kernels in QEMU
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::Dist => dist::run(),
        Chore::Held { check: true } => figures::COST.check().map(vm::close),
        Chore::Held { check: false } => figures::COST.write(),
        Chore::Mutants(arguments) => mutants::run(&arguments),
        Chore::Scale(arguments) => scale::run(&arguments),
        Chore::ScriptTools(arguments) => script_tools::SURVEY.run(&arguments),
        Chore::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Chore::Stress(arguments) => stress::SURVEY.run(&arguments),
        Chore::Test => test::run(),
        Chore::Tools(arguments) => tools::SURVEY.run(&arguments),
        Chore::Verifier => figures::VERIFIER.write(),
        Chore::Vm(arguments) => vm::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
