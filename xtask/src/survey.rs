//! Chores that try one of Debian's packages piece by piece in guests, keep what they
//! found, and write a document of it.

use crate::{setup, vm, workspace};
use anyhow::{Context, Result, ensure};
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::kernels::{KERNELS, Kernel};
use bpftrust_vm::prepare::prepare;
use bpftrust_vm::suite;
use bpftrust_vm::system::System;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Arguments {
    /// Run only what has one of these in its name; the others stay as they were last
    /// found on the same machine
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

/// Such a chore.
pub struct Survey {
    /// The harness's command for it.
    pub command: &'static str,
    /// The guest that it takes.
    pub system: &'static System,
    /// What it writes.
    pub document: &'static str,
    /// What the guest needs besides.
    pub extras: fn() -> Result<Vec<Extra>>,
    /// What became of one piece on one kernel, from the guest's line of it.
    pub cell: fn(&Value) -> String,
    /// The document, of what was found on each kernel.
    pub markdown: fn(&[Found]) -> Result<String>,
}

/// What was found on a kernel, by its series.
pub type Found = (&'static str, Value);

/// The head of a table with a column for each kernel.
pub fn heading(text: &mut String, first: &str, found: &[Found], last: &[&str]) -> Result<()> {
    let kernels = found.iter().map(|(series, _)| *series);
    let cells: Vec<_> = [first]
        .into_iter()
        .chain(kernels)
        .chain(last.iter().copied())
        .collect();
    writeln!(text, "| {} |", cells.join(" | "))?;
    writeln!(text, "|{}", "---|".repeat(cells.len()))?;
    Ok(())
}

/// Of each piece, what was found on each kernel.
pub fn by_tool(found: &[Found]) -> Result<BTreeMap<&str, BTreeMap<&str, &Value>>> {
    let mut tools: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for (series, value) in found {
        for row in value["rows"].as_array().context("no rows")? {
            let name = row["tool"].as_str().context("no name")?;
            tools.entry(name).or_default().insert(*series, row);
        }
    }
    Ok(tools)
}

/// One piece's cells of such a table.
pub fn cells(
    found: &[Found],
    kernels: &BTreeMap<&str, &Value>,
    cell: fn(&Value) -> String,
) -> String {
    let of = |series| {
        kernels
            .get(series)
            .map_or("not run".into(), |row| cell(row))
    };
    let cells: Vec<String> = found.iter().map(|(series, _)| of(series)).collect();
    cells.join(" | ")
}

impl Survey {
    pub fn run(&self, arguments: &Arguments) -> Result<ExitCode> {
        if !arguments.write {
            setup::run()?;
            self.examine(arguments)?;
        }
        let mut found = Vec::new();
        for kernel in KERNELS {
            if let Some(value) = workspace::kept(&self.kept(kernel)?)? {
                found.push((kernel.series, value));
            }
        }
        ensure!(!found.is_empty(), "nothing was found yet; leave --write");
        let document = self.document;
        fs::write(workspace::root().join(document), (self.markdown)(&found)?)
            .with_context(|| format!("cannot write {document}"))?;
        println!("{document} is written");
        Ok(ExitCode::SUCCESS)
    }

    /// A guest's line, for who waits.
    fn progress(&self, line: &str) -> String {
        match serde_json::from_str::<Value>(line) {
            Ok(row) if row["tool"].is_string() => {
                format!("{}: {}", row["tool"], (self.cell)(&row))
            }
            _ => line.to_owned(),
        }
    }

    /// Where what was found on a kernel is kept.
    fn kept(&self, kernel: &Kernel) -> Result<PathBuf> {
        Ok(workspace::target()?
            .join(self.command)
            .join(format!("{}.json", kernel.series)))
    }

    fn examine(&self, arguments: &Arguments) -> Result<()> {
        let options = vm::Arguments {
            kernel: arguments.kernel.clone(),
            ..vm::Arguments::default()
        };
        let mut payload = vm::Payload::without_package(&options)?;
        payload.extras.extend((self.extras)()?);
        let chosen = vm::chosen(&options)?;
        for kernel in chosen.into_iter().filter(|kernel| kernel.supported) {
            let path = self.kept(kernel)?;
            self.examine_on(&arguments.filters, &payload, kernel, &path)?;
        }
        Ok(())
    }

    /// Runs it in a guest; what that prints is a line about itself, then one for each
    /// piece. What is known is kept in `path` after each of them.
    fn examine_on(
        &self,
        filters: &[String],
        payload: &vm::Payload,
        kernel: &Kernel,
        path: &Path,
    ) -> Result<()> {
        let boot = prepare(kernel, self.system, false)?;
        let mut command = vec![suite::HARNESS.to_owned(), self.command.to_owned()];
        command.extend(filters.iter().cloned());
        let run = payload.run(&boot, self.system, command, vm::TIMEOUT)?;
        let mut found = Value::Null;
        let before = if filters.is_empty() {
            None
        } else {
            workspace::kept(path)?
        };
        let mut kept = Ok(());
        vm::lines(&format!("Linux {}", kernel.series), run, |line| {
            println!("{:>5}  {}", kernel.series, self.progress(line));
            if kept.is_ok() {
                kept = keep(&mut found, before.as_ref(), line, path);
            }
        })?;
        kept
    }
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
    workspace::keep(path, found)
}
