//! Runs the guests, one after the other, and keeps what they say.

use super::columns::{COLUMNS, Column};
use super::{Arguments, compared, found};
use crate::{setup, vm, workspace};
use anyhow::{Context, Result, ensure};
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::kernels::Kernel;
use bpftrust_vm::machine::Run;
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::qemu::{Accelerator, Firmware, Hardware};
use bpftrust_vm::suite;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What differs from boot to boot otherwise: where the kernel is in memory. Programs are
/// at the same addresses in every guest.
const LINE: &str = "nokaslr";

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
    let mut payload = vm::Payload::without_package(&options)?;
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
    let chosen = |column: &Column| {
        arguments.column.is_empty() || arguments.column.iter().any(|name| name == column.name)
    };
    // Only who wants such a guest needs what it is made of.
    if COLUMNS
        .iter()
        .any(|column| chosen(column) && column.firmware == Firmware::Uefi)
    {
        payload.extras.push(compared::ipe_policy(PLACE)?);
    }
    for kernel in vm::chosen(&options)? {
        for column in COLUMNS {
            if chosen(column) && (kernel.supported || column.empty()) {
                let mut boots = Boots::new();
                for _ in 0..arguments.boots.max(1) {
                    let found = guest(arguments, &payload, kernel, column)?;
                    keep(&kept(kernel, column)?, &found)?;
                    note(&mut boots, found)?;
                }
                if arguments.boots > 1 {
                    keep_boots(&kept(kernel, column)?, boots)?;
                }
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
    let boot = prepare(kernel, column.system, false)?;
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
    if arguments.rows.is_empty() {
        command.extend(column.rows.iter().map(|row| (*row).to_owned()));
    }
    command.extend(arguments.rows.iter().cloned());
    let line = format!("{LINE} {}", column.line);
    let run = Run {
        hardware: Hardware {
            cpus: 1,
            firmware: column.firmware,
            line: &line,
            ..Hardware::usual(Accelerator::Counted)
        },
        ..payload.run(&boot, column.system, command, vm::TIMEOUT)?
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
fn keep(path: &Path, found: &[Value]) -> Result<()> {
    let mut lines = found.iter();
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

/// By row: what a round took in each boot, and what was said of it.
type Boots = BTreeMap<String, Vec<(f64, Value)>>;

/// Adds a boot.
fn note(boots: &mut Boots, lines: Vec<Value>) -> Result<()> {
    for line in lines.into_iter().filter(|line| line["loops"].is_array()) {
        let name = line["row"].as_str().context("a line without a row")?;
        let median = found::counted(&line)?.median;
        boots
            .entry(name.to_owned())
            .or_default()
            .push((median, line));
    }
    Ok(())
}

/// Keeps them beside what was found, which of each row is what the middle boot said.
fn keep_boots(path: &Path, boots: Boots) -> Result<()> {
    let mut all = workspace::kept(path)?.context("no boot was kept")?;
    for (name, mut boot) in boots {
        boot.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let medians: Vec<f64> = boot.iter().map(|(median, _)| *median).collect();
        all["rows"][&name] = boot.swap_remove(boot.len() / 2).1;
        all["boots"][name] = json!(medians);
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
