//! `cargo xtask stress`: do Debian's stress-ng's stressors come out as they do without us?
//! `docs/stress.md` is written by it.

use crate::survey::{self, Found, Survey};
use anyhow::{Context, Result};
use bpftrust_vm::system::STRESS;
use serde_json::Value;
use std::fmt::Write as _;

pub const SURVEY: Survey = Survey {
    command: "stress",
    system: &STRESS,
    document: "docs/stress.md",
    extras: || Ok(Vec::new()),
    cell,
    markdown,
};

const HEAD: &str = include_str!("stress/head.md");

/// What became of one stressor on one kernel.
fn cell(row: &Value) -> String {
    let of = |name: &str| row[name].as_str().unwrap_or("?");
    let without = of("without");
    let changes: Vec<String> = [
        ("audited", "while it audits"),
        ("enforced", "while it enforces"),
    ]
    .into_iter()
    .filter(|(name, _)| of(name) != without)
    .map(|(name, when)| format!("**{} {when}**", of(name)))
    .collect();
    [&[without.to_owned()][..], &changes].concat().join(", ")
}

fn markdown(found: &[Found]) -> Result<String> {
    let mut text = HEAD.to_owned();
    for (_, value) in found {
        let machine = &value["machine"];
        let packages = machine["packages"].as_array().context("no packages")?;
        let packages: Vec<_> = packages.iter().filter_map(Value::as_str).collect();
        let release = machine["release"].as_str().context("no release")?;
        let of = value["rows"].as_array().context("no rows")?;
        let differ = of.iter().filter(|row| cell(row).contains("**")).count();
        writeln!(
            text,
            "- Linux {release}, {}: of {} stressors {differ} came out differently",
            packages.join(", "),
            of.len()
        )?;
    }
    text.push('\n');
    survey::heading(&mut text, "stressor", found, &[])?;
    for (name, kernels) in survey::by_tool(found)? {
        let cells = survey::cells(found, &kernels, cell);
        writeln!(text, "| `{name}` | {cells} |")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_stands_out() {
        let row = json!({"without": "passed", "audited": "passed", "enforced": "failed"});
        assert_eq!(cell(&row), "passed, **failed while it enforces**");
        let row = json!({"without": "skipped", "audited": "skipped", "enforced": "skipped"});
        assert_eq!(cell(&row), "skipped");
    }
}
