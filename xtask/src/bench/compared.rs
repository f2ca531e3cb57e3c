//! The columns that are not bpftrust: what they need of the host, and their table.

use super::columns::COLUMNS;
use super::document::added;
use super::found::{Found, Row};
use super::table::Table;
use crate::workspace;
use anyhow::{Context, Result};
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::qemu::SNAKEOIL;
use bpftrust_vm::tool;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What IPE is to allow: what a certificate of the keyring `.fs-verity` signed by fs-verity's
/// own means, be it executed or mapped to execute.
const IPE_POLICY: &str = "policy_name=bench policy_version=0.0.1\n\
                          DEFAULT action=ALLOW\n\
                          DEFAULT op=EXECUTE action=DENY\n\
                          op=EXECUTE fsverity_signature=TRUE action=ALLOW\n";

/// The policy, signed by the key that the firmware of guests knows; for `place` in the guest.
pub fn ipe_policy(place: &str) -> Result<Extra> {
    let directory = workspace::target()?.join("bench/files");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let (text, signed) = (directory.join("ipe.policy"), directory.join("ipe.p7b"));
    fs::write(&text, IPE_POLICY).with_context(|| format!("cannot write {}", text.display()))?;
    let key = Path::new(SNAKEOIL).with_extension("key");
    tool::output(
        Command::new("openssl")
            .args(["smime", "-sign", "-binary", "-nodetach", "-noattr"])
            .args(["-outform", "der", "-passin", "pass:snakeoil"])
            .args(["-signer", SNAKEOIL, "-inkey"])
            .arg(&key)
            .arg("-in")
            .arg(&text)
            .arg("-out")
            .arg(&signed),
    )
    .context("cannot sign IPE's policy; install the package ovmf")?;
    Ok(Extra {
        from: signed,
        to: format!("{place}/ipe.p7b"),
    })
}

/// What each adds to the same guest without it, and `enforce` beside them; none if none of
/// them ran on this kernel.
pub fn table(found: &Found, rows: &[Row]) -> Option<Table> {
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|column| column.name == "enforce" || column.compared())
        .filter(|column| found.columns.contains_key(column.name))
        .collect();
    if !columns.iter().any(|column| column.compared()) {
        return None;
    }
    let mut head = vec!["row".to_owned()];
    head.extend(columns.iter().map(|column| column.name.to_owned()));
    let mut lines = Vec::new();
    for row in rows {
        let ran = |column| found.counted(column, &row.name).is_some();
        if !columns
            .iter()
            .any(|column| column.compared() && ran(column.name))
        {
            continue;
        }
        let mut line = vec![format!("`{}`", row.name)];
        for column in &columns {
            let than = column.than.and_then(|than| found.counted(than, &row.name));
            let cell = than.map(|than| added(found.counted(column.name, &row.name), than));
            line.push(cell.unwrap_or_default());
        }
        lines.push(line);
    }
    Some(Table {
        name: format!("compared-{}", found.series),
        head,
        rows: lines,
    })
}
