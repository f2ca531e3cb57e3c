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
use bpftrust_vm::qemu::{Accelerator, Hardware};
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
const SIGNED: [(&str, u32, u32); 2] = [("p256", 10_000, 200), ("rsa-4096", 200, 50)];

/// How often, where time goes by as it does for the host, with fewer files.
const PAIRS: u32 = 3;

/// Memory of guests in MiB: ten thousand processes take more than the usual.
const MEMORY: u32 = 6144;

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
    let words =
        |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
    let guests: Vec<(Hardware<'_>, Vec<String>)> = match part {
        "digest" => return digest::measure(),
        "sign" => SIGNED
            .iter()
            .flat_map(|(algorithm, files, sample)| {
                let throughput = |files: u32, sample: u32, pairs: u32| {
                    let files = arguments.most.map_or(files, |most| most.min(files));
                    let numbers = [files, sample.min(files), pairs].map(|n| n.to_string());
                    let numbers = numbers.each_ref().map(String::as_str);
                    words(&[&["throughput", algorithm][..], &numbers].concat())
                };
                [
                    (counted(1), throughput(*files, *sample, 1)),
                    (timed(), throughput(files / 10, sample / 2, PAIRS)),
                ]
            })
            .collect(),
        "cpus" => CPUS
            .iter()
            .map(|cpus| (counted(*cpus), words(&["growth", "cpus", "0"])))
            .collect(),
        _ => {
            let usual = match part {
                "files" | "digests" => 100_000,
                "processes" => 10_000,
                _ => 1_000,
            };
            let most = arguments.most.unwrap_or(usual).to_string();
            vec![(counted(1), words(&["growth", part, &most]))]
        }
    };
    let mut payload = vm::Payload::without_package(&vm::Arguments::default())?;
    let binaries = workspace::target()?.join("release");
    for name in ["bpftrust-bench", "bpftrust-make"] {
        payload.extras.push(vm::binary(&binaries, name));
    }
    let kernel = kernels::find(&arguments.kernel)?;
    let boot = prepare(kernel, &BARE, false)?;
    let mut lines = Vec::new();
    for (hardware, words) in guests {
        let mut command = vec![HARNESS.to_owned()];
        command.extend(words);
        let is_counted = hardware.accelerator == Accelerator::Counted;
        let run = Run {
            hardware: Hardware {
                memory: MEMORY,
                ..hardware
            },
            ..payload.run(&boot, &BARE, command, TIMEOUT)?
        };
        let name = format!("Linux {}, {part}", kernel.series);
        vm::lines(&name, run, |line| {
            println!("{part:<9} {line}");
            if let Ok(mut line) = serde_json::from_str::<Value>(line) {
                line["counted"] = is_counted.into();
                lines.push(line);
            }
        })?;
    }
    Ok(json!({"kernel": kernel.series, "lines": lines}))
}

/// Where time goes by, for what waits for the disk.
fn timed() -> Hardware<'static> {
    Hardware {
        cpus: 1,
        ..Hardware::usual(Accelerator::Tcg)
    }
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
