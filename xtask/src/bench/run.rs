//! Runs the guests, one after the other, and keeps what they say.

use super::Arguments;
use crate::{setup, vm, workspace};
use anyhow::{Context, Result, ensure};
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::kernels::Kernel;
use bpftrust_vm::machine::Run;
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::qemu::{Accelerator, Hardware};
use bpftrust_vm::suite;
use bpftrust_vm::system::BARE;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What differs from boot to boot otherwise: where the kernel is in memory. Programs are
/// at the same addresses in every guest.
const LINE: &str = "nokaslr";

/// A kind of guest.
#[derive(Debug)]
pub struct Column {
    /// As tables name it.
    pub name: &'static str,
    /// What `vm/guest/src/cost.rs` calls what it does.
    does: &'static str,
    /// More for the kernel's command line.
    line: &'static str,
    /// Whether it is to show what the kernel's hooks cost alone: on every kernel, some
    /// rows.
    pub empty: bool,
}

/// All of them.
pub const COLUMNS: &[Column] = &[
    column("nothing", "nothing", "", false),
    column("audit", "audit", "", false),
    column("enforce", "enforce", "", false),
    column(
        "without-bpf",
        "bare",
        "lsm=landlock,lockdown,yama,integrity,apparmor,tomoyo",
        true,
    ),
    column(
        "with-bpf",
        "bare",
        "lsm=landlock,lockdown,yama,integrity,apparmor,tomoyo,bpf",
        true,
    ),
];

const fn column(name: &'static str, does: &'static str, line: &'static str, empty: bool) -> Column {
    Column {
        name,
        does,
        line,
        empty,
    }
}

/// Rows of the columns that show empty hooks.
const EMPTY_ROWS: &[&str] = &[
    "nothing",
    "eventfd",
    "read",
    "open",
    "stat",
    "fork-exit",
    "exec",
];

/// Where the guests' files are, as `vm/guest/src/cost.rs` knows it.
const PLACE: &str = "/work/cost";

/// Libraries of the dynamic program.
const LIBRARIES: u32 = 20;

pub fn run(arguments: &Arguments) -> Result<()> {
    setup::run()?;
    let options = vm::Arguments {
        kernel: arguments.kernel.clone(),
        ..vm::Arguments::default()
    };
    let mut payload = vm::Payload::build(&options)?;
    let binaries = workspace::target()?.join("release");
    payload.extras.push(vm::binary(&binaries, "bpftrust-bench"));
    payload.extras.extend(dynamic()?);
    for name in &arguments.column {
        let known: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "no column is called {name:?}; try one of: {}",
            known.join(", ")
        );
    }
    for kernel in vm::chosen(&options)? {
        for column in COLUMNS {
            let chosen = arguments.column.is_empty()
                || arguments.column.iter().any(|name| name == column.name);
            if chosen && (kernel.supported || column.empty) {
                let found = guest(arguments, &payload, kernel, column)?;
                keep(&kept(kernel, column)?, found)?;
            }
        }
    }
    Ok(())
}

/// Where what was found is kept.
pub fn kept(kernel: &Kernel, column: &Column) -> Result<PathBuf> {
    let name = format!("found/{}-{}.json", kernel.series, column.name);
    Ok(workspace::target()?.join("bench").join(name))
}

/// Boots a guest whose instructions are counted, and returns the lines that it says.
fn guest(
    arguments: &Arguments,
    payload: &vm::Payload,
    kernel: &Kernel,
    column: &Column,
) -> Result<Vec<Value>> {
    let boot = prepare(kernel, &BARE, false)?;
    let (loops, share) = (arguments.loops.to_string(), arguments.share.to_string());
    let programs = if arguments.programs { "yes" } else { "no" };
    let mut command: Vec<String> = [
        suite::HARNESS,
        "cost",
        column.does,
        &loops,
        &share,
        programs,
    ]
    .map(str::to_owned)
    .into();
    if column.empty && arguments.rows.is_empty() {
        command.extend(EMPTY_ROWS.iter().map(|row| (*row).to_owned()));
    }
    command.extend(arguments.rows.iter().cloned());
    let line = format!("{LINE} {}", column.line);
    let run = Run {
        hardware: Hardware {
            accelerator: Accelerator::Counted,
            cpus: 1,
            line: &line,
        },
        ..payload.run(&boot, &BARE, command, vm::TIMEOUT)?
    };
    let mut values = Vec::new();
    let name = format!("Linux {}, {}", kernel.series, column.name);
    vm::lines(&name, run, |line| {
        println!("{:>5} {:<11} {line}", kernel.series, column.name);
        values.extend(serde_json::from_str::<Value>(line));
    })?;
    Ok(values)
}

/// Writes what a guest found; of the same machine, rows that did not run stay.
fn keep(path: &Path, found: Vec<Value>) -> Result<()> {
    let mut lines = found.into_iter();
    let machine = lines.next().context("the guest said nothing")?;
    let mut all = workspace::kept(path)?.unwrap_or_default();
    if all["machine"] != machine["machine"] {
        all = json!({"machine": machine["machine"], "rows": {}, "programs": {}});
    }
    if machine["code"].is_object() {
        all["code"] = machine["code"].clone();
    }
    for line in lines {
        if line["maps"].is_object() {
            all["maps"] = line["maps"].clone();
            continue;
        }
        let name = line["row"].as_str().context("a line without a row")?;
        if line["programs"].is_object() {
            all["programs"][name] = line["programs"].clone();
        } else {
            all["rows"][name] = line.clone();
        }
    }
    workspace::keep(path, &all)
}

/// Programs with libraries of their own, two of the same, for one gets signed ones.
fn dynamic() -> Result<Vec<Extra>> {
    let directory = workspace::target()?.join("bench/files");
    fs::create_dir_all(&directory)?;
    let mut names = Vec::new();
    for (program, prefix) in [("dynamic", "bench"), ("dynamic-of-signed", "bench-signed")] {
        let mut calls = String::new();
        let mut linked = Vec::new();
        for number in 1..=LIBRARIES {
            let library = format!("lib{prefix}-{number}.so");
            let code = format!("int number_{number}(int sum) {{ return sum + {number}; }}\n");
            compile(&directory, &code, &["-shared", "-fPIC", "-o", &library])?;
            calls += &format!("int number_{number}(int);\n");
            linked.push(format!("-l:{library}"));
            names.push(library);
        }
        calls += "int main(void) { int sum = 0;\n";
        for number in 1..=LIBRARIES {
            calls += &format!("sum = number_{number}(sum);\n");
        }
        calls += &format!("return sum != {}; }}\n", LIBRARIES * (LIBRARIES + 1) / 2);
        let rpath = format!("-Wl,-rpath,{PLACE}");
        let mut options = vec!["-L.", &rpath, "-o", program];
        options.extend(linked.iter().map(String::as_str));
        compile(&directory, &calls, &options)?;
        names.push(program.to_owned());
    }
    let extra = |name: String| Extra {
        from: directory.join(&name),
        to: format!("{PLACE}/{name}"),
    };
    Ok(names.into_iter().map(extra).collect())
}

/// Compiles C in `directory`.
fn compile(directory: &Path, code: &str, options: &[&str]) -> Result<()> {
    let source = directory.join("source.c");
    fs::write(&source, code).with_context(|| format!("cannot write {}", source.display()))?;
    workspace::run(
        Command::new("cc")
            .current_dir(directory)
            .args(["-O2", "source.c"])
            .args(options),
    )
}
