//! The document, from what the guests found.

use super::words;
use crate::survey::{Found, heading};
use anyhow::{Context, Result};
use bpftrust_vm::kernels::KERNELS;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One kernel's verdict on one tool.
pub fn cell(row: &Value) -> String {
    let verdict = match (&row["reference"]["works"], &row["with"]) {
        (Value::Bool(true), Value::Array(with)) if with.is_empty() => "token".to_owned(),
        (Value::Bool(true), Value::Array(with)) => {
            let with: Vec<_> = with.iter().filter_map(Value::as_str).collect();
            format!("+ {}", with.join(", "))
        }
        (Value::Bool(true), _) => "no".to_owned(),
        _ => return "not here".to_owned(),
    };
    if row["reference"]["measured"] == true {
        verdict
    } else {
        format!("{verdict} *")
    }
}

/// Whether it is a tool of `libbpf-tools`: the others' rows say what they are told.
fn is_plain(row: &Value) -> bool {
    row["tool"].as_str().is_some_and(|name| !name.contains(' '))
}

/// The whole document.
pub fn markdown(found: &[Found]) -> Result<String> {
    let mut text = words::HEAD.to_owned();
    for (_, machine) in found {
        let machine = &machine["machine"];
        let packages: Vec<_> = machine["packages"]
            .as_array()
            .context("no packages")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        writeln!(
            text,
            "- Linux {}: {}",
            machine["release"].as_str().context("no release")?,
            packages.join(", ")
        )?;
    }
    for kernel in KERNELS.iter().filter(|kernel| kernel.supported) {
        if !found.iter().any(|(series, _)| *series == kernel.series) {
            writeln!(text, "- Linux {}: not run yet", kernel.series)?;
        }
    }
    text += words::VERDICTS;
    text += "\n## Counts, of `libbpf-tools`\n\n";
    counts(&mut text, found)?;
    text += "\n## `libbpf-tools`\n\n";
    table(&mut text, found, is_plain)?;
    text += "\n## `bpftool` and `bpftrace`\n\n";
    table(&mut text, found, |row| !is_plain(row))?;
    text += words::CHECKS_HEAD;
    for (check, tools) in checks(found) {
        writeln!(text, "| {check} | {} | {} |", tools.len(), tools.join(", "))?;
    }
    text += words::TAIL;
    Ok(text)
}

fn rows(found: &Value) -> impl Iterator<Item = &Value> {
    found["rows"].as_array().into_iter().flatten()
}

fn counts(text: &mut String, found: &[Found]) -> Result<()> {
    let mut counted: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, (_, kernel)) in found.iter().enumerate() {
        for row in rows(kernel).filter(|row| is_plain(row)) {
            let verdict = cell(row).trim_end_matches(" *").to_owned();
            let counts = counted
                .entry(verdict)
                .or_insert_with(|| vec![0; found.len()]);
            counts[index] += 1;
        }
    }
    let mut all: Vec<_> = counted.into_iter().collect();
    all.sort_by_key(|(verdict, counts)| (rank(verdict), std::cmp::Reverse(counts[0])));
    heading(text, "verdict", found, &[])?;
    for (verdict, counts) in &all {
        let counts: Vec<_> = counts.iter().map(usize::to_string).collect();
        writeln!(text, "| {verdict} | {} |", counts.join(" | "))?;
    }
    let totals = (0..found.len()).map(|index| {
        let total: usize = all.iter().map(|(_, counts)| counts[index]).sum();
        total.to_string()
    });
    writeln!(text, "| all | {} |", totals.collect::<Vec<_>>().join(" | "))?;
    Ok(())
}

/// Where a verdict has its place in the table of counts.
fn rank(verdict: &str) -> usize {
    match verdict {
        "token" => 0,
        "no" => 20,
        "not here" => 30,
        with => 1 + with.len() / 4,
    }
}

fn table(text: &mut String, found: &[Found], of: impl Fn(&Value) -> bool) -> Result<()> {
    heading(
        text,
        "tool",
        found,
        &["fails under the token alone (where `not here`: as root) with"],
    )?;
    let mut names: Vec<&Value> = Vec::new();
    for (_, kernel) in found {
        for row in rows(kernel).filter(|row| of(row)) {
            if !names.iter().any(|known| known["tool"] == row["tool"]) {
                names.push(row);
            }
        }
    }
    if names.iter().all(|row| is_plain(row)) {
        names.sort_by_key(|row| row["tool"].as_str());
    }
    for row in names {
        let of_kernels: Vec<Option<&Value>> = found
            .iter()
            .map(|(_, kernel)| rows(kernel).find(|other| other["tool"] == row["tool"]))
            .collect();
        let cells: Vec<_> = of_kernels
            .iter()
            .map(|row| row.map_or_else(|| "-".to_owned(), cell))
            .collect();
        let says = of_kernels.iter().flatten().find_map(|row| says(row));
        let name = row["tool"].as_str().context("no name")?;
        let arguments = row["arguments"].as_str().unwrap_or_default();
        let command = if !is_plain(row) || arguments.is_empty() {
            name.to_owned()
        } else {
            format!("{name} {arguments}")
        };
        writeln!(
            text,
            "| `{}` | {} | {} |",
            escaped(&command),
            cells.join(" | "),
            says.map_or_else(String::new, |says| format!("`{}`", escaped(says)))
        )?;
    }
    Ok(())
}

/// What it says where it does not work: as root, or under the token alone.
fn says(row: &Value) -> Option<&str> {
    if row["reference"]["works"] != true {
        return row["reference"]["says"].as_str();
    }
    row["tries"].as_array()?.first()?["says"].as_str()
}

fn escaped(text: &str) -> String {
    let text = text.trim_start_matches("libbpf: ").replace('`', "'");
    text.replace('|', "\\|").replace('\n', " ")
}

/// The kernel's checks and tools' own, and who was refused by each under the token.
fn checks(found: &[Found]) -> BTreeMap<&'static str, Vec<String>> {
    let mut refused: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (_, kernel) in found {
        for row in rows(kernel).filter(|row| row["reference"]["works"] == true) {
            for said in row["tries"].as_array().into_iter().flatten() {
                let said = said["says"].as_str().unwrap_or_default();
                for check in words::checks(said) {
                    let tool = row["tool"].as_str().unwrap_or_default();
                    let tool = tool.split(" /").next().unwrap_or(tool);
                    let tool = tool.split(" -e").next().unwrap_or(tool).to_owned();
                    let tools = refused.entry(check).or_default();
                    if !tools.contains(&tool) {
                        tools.push(tool);
                    }
                }
            }
        }
    }
    refused
}
