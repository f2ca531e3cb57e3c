//! `cargo xtask verifier`: what the kernel's verifier does for each program, on each
//! kernel; `docs/verifier.md` is written by it.

use crate::{setup, vm, workspace};
use anyhow::{Context, Result};
use bpftrust_vm::kernels::{KERNELS, Kernel};
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::system::BARE;
use bpftrust_vm::verifier::{self, Table, Works};
use std::fs;
use std::process::ExitCode;

const DOCUMENT: &str = "docs/verifier.md";

pub fn run() -> Result<ExitCode> {
    setup::run()?;
    let payload = vm::Payload::build(&vm::Arguments {
        bare: true,
        ..vm::Arguments::default()
    })?;
    let mut table = Table::default();
    for kernel in KERNELS.iter().filter(|kernel| kernel.supported) {
        table
            .0
            .push((kernel.series.to_owned(), measure(&payload, kernel)?));
    }
    fs::write(workspace::root().join(DOCUMENT), table.markdown()?)
        .with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("{DOCUMENT} is written");
    Ok(ExitCode::SUCCESS)
}

fn measure(payload: &vm::Payload, kernel: &'static Kernel) -> Result<Works> {
    let boot = prepare(kernel, &BARE, false)?;
    let command = ["/usr/bin/bpftrust-drift", "verifier"].map(str::to_owned);
    let run = payload.run(&boot, &BARE, command.to_vec(), vm::TIMEOUT)?;
    let name = format!("Linux {}", kernel.series);
    let mut said = String::new();
    vm::lines(&name, run, |line| {
        said += line;
        said.push('\n');
    })?;
    verifier::measured(&said).context(name)
}
