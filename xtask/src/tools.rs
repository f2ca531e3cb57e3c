//! `cargo xtask tools`: which of Debian's BPF tools work under a token, and what else
//! they need; `docs/token-tools.md` is written by it.

mod table;
mod words;

use crate::survey::Survey;
use crate::workspace;
use anyhow::Result;
use bpftrust_vm::initramfs::Extra;
use bpftrust_vm::system::BPFTRACE;
use std::path::PathBuf;
use std::process::Command;

pub const SURVEY: Survey = Survey {
    command: "tools",
    system: &BPFTRACE,
    document: "docs/token-tools.md",
    extras,
    cell: table::cell,
    markdown: table::markdown,
};

fn extras() -> Result<Vec<Extra>> {
    Ok(vec![Extra {
        from: object()?,
        to: "/usr/share/bpftrust/pass.bpf.o".to_owned(),
    }])
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
