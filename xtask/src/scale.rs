//! `cargo xtask scale`: what bpftrust does with much: digests of large files, signatures
//! of many, and what its decisions cost as there is more of everything.
//!
//! - [`digest`]: on this machine, beside `fsverity digest`
//! - [`document`]: writes `docs/scale.md`
//!
//! The rest is counted in guests (`vm/guest/src/growth.rs`, `throughput.rs`).

mod digest;
mod document;

use crate::figures::counted;
use crate::{setup, vm, workspace};
use anyhow::{Context, Result};
use bpftrust_vm::kernels;
use bpftrust_vm::machine::Run;
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::suite::HARNESS;
use bpftrust_vm::system::BARE;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Measure only these: digest, sign, cpus, files, processes, digests, keys (all, if absent)
    #[arg(value_name = "PART", value_parser = clap::builder::PossibleValuesParser::new(PARTS))]
    parts: Vec<String>,

    /// The kernel's series
    #[arg(long, value_name = "SERIES", default_value = "6.18")]
    kernel: String,

    /// How many files, processes, digests or keys at most, instead of the usual number
    #[arg(long, value_name = "N")]
    most: Option<u32>,

    /// Measure nothing: write the document from what was last found
    #[arg(long, conflicts_with = "parts")]
    write: bool,
}

/// All parts, in the document's order.
const PARTS: [&str; 7] = [
    "digest",
    "sign",
    "cpus",
    "files",
    "processes",
    "digests",
    "keys",
];

/// CPUs of guests.
const CPUS: [u32; 3] = [1, 2, 4];

/// How many files are signed, by `bpftrust sign` and by the shell, with each kind of key.
const SIGNED: [(&str, u32, u32); 2] = [("p256", 10_000, 200), ("rsa-4096", 1_000, 100)];

/// Seconds that a guest may take.
const TIMEOUT: u64 = 3 * 3600;

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.write {
        setup::run()?;
        for part in PARTS {
            if arguments.parts.is_empty() || arguments.parts.iter().any(|name| name == part) {
                workspace::keep(&kept(part)?, &measure(part, arguments)?)?;
            }
        }
    }
    document::write()?;
    Ok(ExitCode::SUCCESS)
}

fn measure(part: &str, arguments: &Arguments) -> Result<Value> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let most = |usual: u32| arguments.most.unwrap_or(usual).to_string();
    let guests: Vec<(u32, Vec<String>)> = match part {
        "digest" => return digest::measure(),
        "sign" => SIGNED
            .iter()
            .map(|(algorithm, files, sample)| {
                let files = arguments.most.map_or(*files, |most| most.min(*files));
                let (files, sample) = (files.to_string(), sample.min(&files).to_string());
                (1, words(&["throughput", algorithm, &files, &sample]))
            })
            .collect(),
        "cpus" => CPUS
            .iter()
            .map(|cpus| (*cpus, words(&["growth", "cpus", "0"])))
            .collect(),
        "digests" => vec![(1, words(&["growth", part, &most(100_000)]))],
        "keys" => vec![(1, words(&["growth", part, &most(1_000)]))],
        _ => vec![(1, words(&["growth", part, &most(10_000)]))],
    };
    let mut payload = vm::Payload::build(&vm::Arguments::default())?;
    let binaries = workspace::target()?.join("release");
    for name in ["bpftrust-bench", "bpftrust-make"] {
        payload.extras.push(vm::binary(&binaries, name));
    }
    let kernel = kernels::find(&arguments.kernel)?;
    let boot = prepare(kernel, &BARE, false)?;
    let mut lines = Vec::new();
    for (cpus, words) in guests {
        let mut command = vec![HARNESS.to_owned()];
        command.extend(words);
        let run = Run {
            hardware: counted(cpus),
            ..payload.run(&boot, &BARE, command, TIMEOUT)?
        };
        let name = format!("Linux {}, {part}", kernel.series);
        vm::lines(&name, run, |line| {
            println!("{part:<9} {line}");
            lines.extend(serde_json::from_str::<Value>(line));
        })?;
    }
    Ok(json!({"kernel": kernel.series, "lines": lines}))
}

/// Where what was found is kept.
fn kept(part: &str) -> Result<PathBuf> {
    Ok(workspace::target()?.join(format!("bench/scale/{part}.json")))
}

/// What was found of a part; nothing if it never ran.
fn found(part: &str) -> Result<Value> {
    let value = workspace::kept(&kept(part)?).with_context(|| part.to_owned())?;
    Ok(value.unwrap_or_default())
}
