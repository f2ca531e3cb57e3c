//! `cargo xtask verifier` and `cargo xtask held`: figures that are measured in a guest of
//! each kernel, committed as a table, and held to.

use crate::{setup, vm, workspace};
use anyhow::{Context, Result};
use bpftrust_vm::figures::{self, Kind, Pairs, Table};
use bpftrust_vm::kernels::{KERNELS, Kernel};
use bpftrust_vm::machine::Run;
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::qemu::{Accelerator, Hardware};
use bpftrust_vm::suite::{HARNESS, Tally};
use bpftrust_vm::system::BARE;
use std::fs;
use std::process::ExitCode;

/// What the kernel's verifier does for each program.
pub const VERIFIER: Figures = Figures {
    kind: &figures::VERIFIER,
    command: ["/usr/bin/bpftrust-drift", "verifier"],
    is_bare: true,
    chore: "verifier",
};

/// What bpftrust's programs take in a few calls.
pub const COST: Figures = Figures {
    kind: &figures::COST,
    command: [HARNESS, "held"],
    is_bare: false,
    chore: "held",
};

/// Figures, and how to come by them.
pub struct Figures {
    kind: &'static Kind,
    /// What prints them in a guest.
    command: [&'static str; 2],
    /// Whether that takes neither bpftrust itself nor counted instructions.
    is_bare: bool,
    /// What writes the table.
    chore: &'static str,
}

impl Figures {
    /// Measures on each kernel, and writes the table.
    pub fn write(&self) -> Result<ExitCode> {
        let mut table = Table::default();
        self.each(|kernel, pairs| {
            table.0.push((kernel.series.to_owned(), pairs));
            Ok(())
        })?;
        let document = self.kind.document;
        fs::write(workspace::root().join(document), table.markdown(self.kind)?)
            .with_context(|| format!("cannot write {document}"))?;
        println!("{document} is written");
        Ok(ExitCode::SUCCESS)
    }

    /// Measures on each kernel, and counts those on which nothing has grown.
    pub fn check(&self) -> Result<Tally> {
        let document = self.kind.document;
        let text = fs::read_to_string(workspace::root().join(document))
            .with_context(|| format!("cannot read {document}"))?;
        let table = Table::parse(&text).context(document)?;
        let mut tally = Tally::default();
        self.each(|kernel, pairs| {
            let release = format!("{}.", kernel.series);
            let grown = table.grown(self.kind, &release, &pairs)?;
            match grown.is_empty() {
                true => tally.passed += 1,
                false => tally.failed += 1,
            }
            let word = if grown.is_empty() { "ok" } else { "FAILED" };
            println!(
                "{:>5}  {word}  {} figures of {document}",
                kernel.series,
                pairs.len()
            );
            for line in grown {
                println!("       {line}");
            }
            Ok(())
        })?;
        if tally.failed > 0 {
            println!(
                "if it has to be, type `cargo xtask {}` and commit {document}",
                self.chore
            );
        }
        Ok(tally)
    }

    fn each(&self, mut each: impl FnMut(&Kernel, Pairs) -> Result<()>) -> Result<()> {
        setup::run()?;
        let payload = self.payload()?;
        for kernel in KERNELS.iter().filter(|kernel| kernel.supported) {
            each(kernel, self.measure(&payload, kernel)?)?;
        }
        Ok(())
    }

    fn payload(&self) -> Result<vm::Payload> {
        let mut payload = vm::Payload::without_package(&vm::Arguments {
            bare: self.is_bare,
            ..vm::Arguments::default()
        })?;
        let binaries = workspace::target()?.join("release");
        payload.extras.push(vm::binary(&binaries, "bpftrust-bench"));
        Ok(payload)
    }

    fn measure(&self, payload: &vm::Payload, kernel: &'static Kernel) -> Result<Pairs> {
        let boot = prepare(kernel, &BARE, false)?;
        let command = self.command.map(str::to_owned).to_vec();
        let usual = payload.run(&boot, &BARE, command, vm::TIMEOUT)?;
        let run = match self.is_bare {
            true => usual,
            false => Run {
                hardware: counted(1),
                ..usual
            },
        };
        let name = format!("Linux {}", kernel.series);
        let mut said = String::new();
        vm::lines(&name, run, |line| {
            said += line;
            said.push('\n');
        })?;
        figures::measured(&said).context(name)
    }
}

/// Where instructions are counted, and memory is where it was.
pub fn counted(cpus: u32) -> Hardware<'static> {
    Hardware {
        cpus,
        line: "nokaslr",
        ..Hardware::usual(Accelerator::Counted)
    }
}
