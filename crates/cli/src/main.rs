//! `bpftrust`: code signing for BPF on Linux.

mod advice;
mod anchor;
mod cli;
mod elf;
mod file_systems;
mod guard_advice;
mod input;
mod linker;
mod mount;
mod output;
mod parallel;
mod recorded;
mod replace;
mod rights;
mod script_file;
mod signature_tree;
mod signer;
mod target;
mod tree;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};
use output::Outcome;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = run(&cli.verb).unwrap_or_else(|error| {
        output::report(&error);
        Outcome::Unknown
    });
    outcome.into()
}

fn run(verb: &Verb) -> anyhow::Result<Outcome> {
    match verb {
        Verb::Keygen(args) => verbs::keygen::run(args),
        Verb::Digest(args) => verbs::digest::run(args),
        Verb::Sign(args) => verbs::sign::run(args),
        Verb::Install(args) => verbs::install::run(args),
        Verb::Verify(args) => verbs::verify::run(args),
        Verb::Inspect(args) => verbs::inspect::run(args),
        Verb::Check(args) => verbs::check::run(args),
        Verb::Explain(args) => verbs::explain::run(args),
        Verb::Policy(args) => verbs::policy::run(args),
        Verb::Permit(args) => verbs::permit::run(args),
        Verb::Enforce(args) => verbs::enforce::run(args),
        Verb::Boot(args) => verbs::boot::run(args),
        Verb::Release(args) => verbs::release::run(args),
        Verb::Status(args) => verbs::status::run(args),
        Verb::Metrics(args) => verbs::metrics::run(args),
        Verb::Events(args) => verbs::events::run(args),
        Verb::Propose(args) => verbs::propose::run(args),
        Verb::Replay(args) => verbs::replay::run(args),
        Verb::Report(args) => verbs::report::run(args),
        Verb::Objects(args) => verbs::objects::run(args),
        Verb::Program(args) => verbs::program::run(args),
        Verb::Script(verb) => verbs::script::run(verb),
        Verb::Run(args) => verbs::run::run(args),
        Verb::Attack(args) => verbs::attack::run(args),
        Verb::Generate(args) => verbs::generate::run(args),
    }
}
