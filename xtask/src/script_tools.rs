//! `cargo xtask script-tools`: do the scripts that Debian ships with bpftrace do, signed,
//! what they do without us? `docs/script-tools.md` is written by it.

use crate::survey::{self, Found, Survey};
use anyhow::{Context, Result};
use bpftrust_vm::system::BPFTRACE;
use serde_json::Value;
use std::fmt::Write as _;

pub const SURVEY: Survey = Survey {
    command: "script-tools",
    system: &BPFTRACE,
    document: "docs/script-tools.md",
    extras: || Ok(Vec::new()),
    cell,
    markdown,
};

const HEAD: &str = "# Debian's bpftrace scripts, signed

Written by `cargo xtask script-tools`, which runs each `.bt` file of the package as root in
a guest: as it is, without a guard; then, signed without a grant, by `bpftrust-script`
while the guard enforces; then as it is, while the guard enforces. bpftrace is signed with
`programs = \"script\"` ([scripts.md](scripts.md)), libraries may be any. What a script does
is whether it ends as the other did, when it is interrupted, and shows figures if that
one did. Not part of `make test`: it takes about twenty minutes for each kernel.

";

const WORDS: &str = "
- **as without us**: it does what it does without a guard; `*`: that showed no figures, for
  nothing happened that it is about, and no complaint
- **fails as without us**: it has the same complaint without a guard
- **DIFFERENT**: it does something else
- **NOT REFUSED**: without the launcher it works, too

A script of the package that is not here was not run yet.

";

/// One kernel's verdict on one script.
fn cell(row: &Value) -> String {
    let reference = &row["reference"];
    let verdict = match (&row["alike"], &reference["works"]) {
        (Value::Bool(true), Value::Bool(true)) if reference["measured"] == true => "as without us",
        (Value::Bool(true), Value::Bool(true)) => "as without us *",
        (Value::Bool(true), _) => "fails as without us",
        _ => "DIFFERENT",
    };
    // What fails in any case shows nothing of refusals.
    if row["refused"] == true || reference["works"] == false {
        verdict.to_owned()
    } else {
        format!("{verdict}, NOT REFUSED")
    }
}

fn markdown(found: &[Found]) -> Result<String> {
    let mut text = HEAD.to_owned();
    for (_, value) in found {
        let machine = &value["machine"];
        let packages = machine["packages"].as_array().context("no packages")?;
        let bpftrace = packages.iter().filter_map(Value::as_str);
        let bpftrace: Vec<_> = bpftrace
            .filter(|name| name.starts_with("bpftrace"))
            .collect();
        let release = machine["release"].as_str().context("no release")?;
        writeln!(text, "- Linux {release}: {}", bpftrace.join(", "))?;
    }
    text += WORDS;
    survey::heading(&mut text, "script", found, &["complaint"])?;
    for (name, kernels) in survey::by_tool(found)? {
        let cells = survey::cells(found, &kernels, cell);
        let mut says = kernels
            .values()
            .filter_map(|row| row["signed"]["says"].as_str());
        let says = says.next().unwrap_or_default().replace('|', "\\|");
        writeln!(text, "| `{name}` | {cells} | {says} |")?;
    }
    Ok(text)
}
