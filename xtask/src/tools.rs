//! `cargo xtask tools`: which of Debian's BPF tools work under a token, and what else
//! they need; `docs/token-tools.md` is written by it.

mod table;
mod words;

use crate::{setup, vm, workspace};
use anyhow::{Context, Result, bail, ensure};
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::kernels::{KERNELS, Kernel};
use bpftrust_vm::machine::Event;
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::suite;
use bpftrust_vm::system::{BARE, System};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What the guests of other chores lack. LLVM comes with it: 60 MB more to download,
/// 270 MB more on the disk.
const SYSTEM: System = System {
    name: "bpftrace",
    suffix: "-bpftrace",
    more: &["bpftrace"],
    ..BARE
};

const DOCUMENT: &str = "docs/token-tools.md";

#[derive(clap::Args)]
pub struct Arguments {
    /// Run only tools whose name contains one of these; the others stay as they were
    /// last found on the same machine
    #[arg(value_name = "NAME")]
    filters: Vec<String>,

    /// The kernel's series, such as 6.18; repeatable (all of them, if absent); the
    /// others stay as they were last found
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,

    /// Run nothing: write the table from what was last found
    #[arg(long, conflicts_with_all = ["kernel", "filters"])]
    write: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !arguments.write {
        setup::run()?;
        examine(arguments)?;
    }
    let mut found = Vec::new();
    for kernel in KERNELS {
        if let Some(value) = read(&kept(kernel)?)? {
            found.push((kernel.series, value));
        }
    }
    ensure!(!found.is_empty(), "nothing was found yet; leave --write");
    fs::write(workspace::root().join(DOCUMENT), table::markdown(&found)?)
        .with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("{DOCUMENT} is written");
    Ok(ExitCode::SUCCESS)
}

/// Where what was found on a kernel is kept.
fn kept(kernel: &Kernel) -> Result<PathBuf> {
    Ok(workspace::target()?
        .join("tools")
        .join(format!("{}.json", kernel.series)))
}

fn examine(arguments: &Arguments) -> Result<()> {
    let options = vm::Arguments {
        kernel: arguments.kernel.clone(),
        ..vm::Arguments::default()
    };
    let mut payload = vm::Payload::build(&options)?;
    payload.extras.push(Extra {
        from: object()?,
        to: "/usr/share/bpftrust/pass.bpf.o".to_owned(),
    });
    let chosen = vm::chosen(&options)?;
    for kernel in chosen.into_iter().filter(|kernel| kernel.supported) {
        let path = kept(kernel)?;
        fs::create_dir_all(path.parent().context("a file in a directory")?)?;
        let guest = Guest {
            command: "tools",
            progress: table::progress,
        };
        examine_on(&guest, &arguments.filters, &payload, kernel, &path)?;
    }
    Ok(())
}

/// What `bpftool` is to load.
fn object() -> Result<PathBuf> {
    let object = workspace::target()?.join("pass.bpf.o");
    workspace::run(
        Command::new("clang-19")
            .current_dir(workspace::root())
            .args([
                "-target",
                "bpf",
                "-O2",
                "-g",
                "-c",
                "xtask/src/tools/pass.bpf.c",
            ])
            .arg("-o")
            .arg(&object),
    )?;
    Ok(object)
}

/// What the harness is asked for in a guest, and how one of its lines is shown.
pub struct Guest {
    pub command: &'static str,
    pub progress: fn(&str) -> String,
}

/// Runs the tools in a guest; what it prints is a line about itself, then one for each.
/// What is known is kept in `path` after each of them.
pub fn examine_on(
    guest: &Guest,
    filters: &[String],
    payload: &vm::Payload,
    kernel: &Kernel,
    path: &Path,
) -> Result<()> {
    let boot = prepare(kernel, &SYSTEM, false)?;
    let mut command = vec![suite::HARNESS.to_owned(), guest.command.to_owned()];
    command.extend(filters.iter().cloned());
    let run = payload.run(&boot, &SYSTEM, command, vm::TIMEOUT)?;
    let mut said = Vec::new();
    let mut found = Value::Null;
    let before = if filters.is_empty() {
        None
    } else {
        read(path)?
    };
    let mut kept = Ok(());
    let ended = run.run(|event| {
        let Event::Output(bytes) = event else { return };
        said.extend(bytes);
        while let Some(length) = said.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = said.drain(..=length).collect();
            let line = String::from_utf8_lossy(&line);
            println!(
                "{:>5}  {}",
                kernel.series,
                (guest.progress)(line.trim_end())
            );
            if kept.is_ok() {
                kept = keep(&mut found, before.as_ref(), &line, path);
            }
        }
    })?;
    kept?;
    if let Some(trouble) = ended.trouble {
        bail!("Linux {}: {trouble}", kernel.series);
    }
    ensure!(
        ended.status == Some(0),
        "Linux {}: the guest failed: {}",
        kernel.series,
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

/// What was kept, if anything.
pub fn read(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{} is not what this wrote", path.display()))
}

/// Adds a line to what was found, and writes it. The first is about the machine; what
/// was found on the same before stays, but for tools that come again.
fn keep(found: &mut Value, before: Option<&Value>, line: &str, path: &Path) -> Result<()> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    if found.is_null() {
        let same = before.filter(|before| before["machine"] == value);
        *found = same.map_or_else(|| json!({"machine": value, "rows": []}), Value::clone);
    } else if let Some(rows) = found["rows"].as_array_mut() {
        match rows.iter_mut().find(|row| row["tool"] == value["tool"]) {
            Some(row) => *row = value,
            None => rows.push(value),
        }
    }
    fs::write(path, format!("{found:#}\n"))
        .with_context(|| format!("cannot write {}", path.display()))
}
