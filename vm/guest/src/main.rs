//! The test machine, guest side: PID 1, and the tests that it runs.
//!
//! - [`pid1`]: from the initramfs to the job and to power off
//! - [`handover`]: the same under systemd
//! - [`registry`]: what a test and a group are, and all of them
//! - [`runner`]: selects tests, runs each in a process of its own, reports
//! - [`guest`], [`process`]: what tests are written with
//! - [`fixture`]: keys, a policy, the guard that enforces it, its events
//! - [`grant`], [`policy`]: loaders with grants, and policies that change
//! - [`owner`]: loaders that own BPF objects
//! - [`seal`]: what a sealed guard holds, and what tests require of it
//! - [`sealed`]: what policy keys sign for a sealed guard
//! - [`crowd`]: many threads on every CPU
//! - [`asker`]: the smallest program that calls `bpf()`
//! - [`debs`]: Debian packages that tests make
//! - [`demo`]: what `make demo` shows
//! - [`startup`]: what `bpftrust run` adds to the start of a loader
//! - [`cost`]: the benchmark's files and columns
//! - [`growth`]: how it grows with what there is of something
//! - [`throughput`]: signing many files, by `bpftrust sign` and by a shell loop
//! - [`preload`]: the library that names tokens
//! - [`tools`]: Debian's tools, one by one, under a token; its scripts, signed
//! - [`stress`]: stress-ng's stressors, with and without the guard
//! - [`script`]: scripts, and what starts loaders on them
//! - [`mod@unit`]: units of systemd's
//! - [`envelope`]: signatures as an attacker makes them
//! - [`tests`]: the tests, one file per group
//!
//! The binary runs on the host as well, for `list`.

mod asker;
mod cgroup;
mod cost;
mod crowd;
mod debs;
mod demo;
mod envelope;
mod fixture;
mod grant;
mod growth;
mod guest;
mod handover;
mod owner;
mod pid1;
mod policy;
mod preload;
mod process;
mod registry;
mod runner;
mod script;
mod seal;
mod sealed;
mod signing;
mod startup;
mod stress;
mod sys;
mod tests;
mod throughput;
mod token;
mod tools;
mod unit;

use crate::guest::Guest;
use anyhow::{Context, Result, bail};
use bpftrust_vm::kernels::{self, Kernel};
use bpftrust_vm::system::{self, System};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: bpftrust-guest COMMAND
  list SERIES SYSTEM [FILTER...]       names of the tests that the filters select
  test SYSTEM [FILTER...]              run them, in such a guest
  one NAME                             run one without its group's fixture
  cost COLUMN LOOPS SHARE yes|no [ROW...]
                                       count what rows of the benchmark cost, in a guest
  held                                 count what committed figures are about, in a guest
  growth PART MOST                     count what grows with files, processes, digests,
                                       keys or cpus, in a guest
  throughput ALGORITHM FILES SAMPLE PAIRS
                                       count what signing takes, in a guest
  startup                              time the start of a loader, in a guest
  enforce                              sign systemd and enforce, before it starts
  audit                                observe or enforce, before systemd starts
  stage ROOT                           put this run's files onto the disk, in an initramfs
  on-disk ROOT WORD...                 run a command there
  soak MINUTES                         use a host that enforces, over and over, and count
                                       what is refused, in such a guest
  trust-systemd                        sign systemd, as of the policy's publisher
  serve                                run the guest's job, as a service of its PID 1
  demo                                 tell the story of `make demo`, in a guest
  tools [FILTER...]                    run the tools of `cargo xtask tools`, in a guest
  script-tools [FILTER...]             run the scripts of `cargo xtask script-tools`
  stress [FILTER...]                   run the stressors of `cargo xtask stress`
  setup GROUP | teardown GROUP         make or remove a group's fixture";

fn main() -> ExitCode {
    if std::process::id() == 1 {
        pid1::run();
    }
    match dispatch() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["list", series, name, ref filters @ ..] => {
            list(kernels::find(series)?, system::find(name)?, filters)
        }
        ["test", name, ref filters @ ..] => {
            runner::run(this_kernel()?, system::find(name)?, filters)
        }
        [part @ ("one" | "after" | "setup" | "teardown"), name] => runner::run_part(part, name),
        ["startup"] => startup::run(),
        ["cost", column, loops, share, programs, ref names @ ..] => {
            cost::run(column, (loops, share), programs == "yes", names)
        }
        ["held"] => cost::held::run(),
        ["growth", part, most] => growth::run(part, most.parse()?),
        ["throughput", algorithm, files, sample, pairs] => {
            throughput::run(algorithm, files.parse()?, sample.parse()?, pairs.parse()?)
        }
        ["demo"] => demo::run(),
        ["enforce"] => {
            tests::sandbox::enforce_early(&mut Guest::new("enforce", "early")?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["stage", root] => handover::stage(Path::new(root)),
        ["on-disk", root, ref words @ ..] => handover::on_disk(Path::new(root), words),
        ["trust-systemd"] => {
            tests::sandbox::sign_systemd_for_all(&mut Guest::new("trust", "systemd")?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["audit"] => {
            tests::host::early(&mut Guest::new("audit", "early")?)?;
            Ok(ExitCode::SUCCESS)
        }
        ["soak", minutes] => tests::host::soak::run(minutes.parse()?),
        ["serve"] => handover::serve(),
        ["tools", ref filters @ ..] => tools::run(filters),
        ["stress", ref filters @ ..] => stress::run(filters),
        ["script-tools", ref filters @ ..] => tools::scripts::run(filters),
        _ => bail!("{USAGE}"),
    }
}

fn list(kernel: &Kernel, system: &System, filters: &[&str]) -> Result<ExitCode> {
    for name in registry::select(kernel, system, filters).names() {
        println!("{name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn this_kernel() -> Result<&'static Kernel> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    kernels::of_release(&release)
        .with_context(|| format!("Linux {release} is not in the table of kernels"))
}
