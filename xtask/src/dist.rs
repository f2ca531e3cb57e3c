//! `cargo xtask dist`: a Debian package of what is in this tree.

use crate::{setup, workspace};
use anyhow::{Context, Result, ensure};
use bpftrust_vm::{cache, tool};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The packages of cargo's whose binaries are packed.
pub const PACKED: &[&str] = &["bpftrust", "bpftrust-preload", "bpftrust-script"];

/// What is put beside `debian/` for its rules, if it is there: paths in the repository,
/// and what they are called there.
const PARTS: &[(&str, &str)] = &[
    ("README.md", "README.md"),
    ("SECURITY.md", "SECURITY.md"),
    ("docs", "docs"),
    ("packaging/debian", "debian"),
    ("packaging/examples", "examples"),
    ("packaging/grafana", "grafana"),
    ("packaging/prometheus", "prometheus"),
    ("packaging/systemd", "systemd"),
    ("packaging/initramfs-tools", "initramfs-tools"),
    ("packaging/dracut", "dracut"),
];

/// Builds the package and has lintian look at it.
pub fn run() -> Result<ExitCode> {
    setup::run()?;
    let deb = build(&workspace::build(PACKED)?)?;
    accept()?;
    let size = fs::metadata(&deb)
        .with_context(|| format!("cannot find {}", deb.display()))?
        .len();
    println!("{}: {size} bytes, lintian accepts it", deb.display());
    let changed = tool::text(workspace::git().args(["status", "--porcelain"]));
    if changed.is_ok_and(|files| !files.is_empty()) {
        println!("it holds changes that are in no commit");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where packages are left: `target/dist`.
fn place() -> Result<PathBuf> {
    Ok(workspace::target()?.join("dist"))
}

/// Packs binaries that were built for release; where the package is.
pub fn build(binaries: &Path) -> Result<PathBuf> {
    setup::packaging()?;
    let place = place()?;
    let tree = place.join("tree");
    cache::remove(&place)?;
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    for (from, to) in PARTS {
        let from = workspace::root().join(from);
        if from.exists() {
            let mut copy = Command::new("cp");
            tool::output(copy.arg("-r").arg(&from).arg(tree.join(to)))?;
        }
    }
    let version = require_version(&tree)?;
    let mut command = Command::new("dpkg-buildpackage");
    command
        .current_dir(&tree)
        .args(["--build=binary", "--unsigned-source", "--unsigned-changes"])
        .env("BPFTRUST_BINARIES", binaries);
    tool::output(&mut command).context("cannot make the package")?;
    Ok(place.join(format!("bpftrust_{version}_amd64.deb")))
}

/// The version, which changelog and Cargo must agree on.
fn require_version(tree: &Path) -> Result<String> {
    let mut parse = Command::new("dpkg-parsechangelog");
    parse.current_dir(tree).args(["--show-field", "Version"]);
    let version = tool::text(&mut parse)?.trim().to_owned();
    ensure!(
        version == env!("CARGO_PKG_VERSION"),
        "packaging/debian/changelog begins with version {version}, and Cargo.toml says {}",
        env!("CARGO_PKG_VERSION")
    );
    Ok(version)
}

/// Has lintian look at what was built; any error or warning of its is one of ours.
pub fn accept() -> Result<()> {
    setup::lintian()?;
    let changes = place()?.join(format!(
        "bpftrust_{}_amd64.changes",
        env!("CARGO_PKG_VERSION")
    ));
    let mut command = Command::new("lintian");
    command.args(["--fail-on", "error,warning", "--allow-root"]);
    workspace::run(command.arg(changes))
}
