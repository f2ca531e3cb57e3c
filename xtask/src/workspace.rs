//! Where things are, and running cargo on them.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root. Cargo says at run time where this package is: what it
/// said when this was built may be another clone that shares a target directory.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_owned)
}

/// A cargo command, in the repository's root.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// A git command, in the repository's root.
pub fn git() -> Command {
    let mut command = Command::new("git");
    command.current_dir(root());
    command
}

/// Runs a command to its end, with its output shown.
pub fn run(command: &mut Command) -> Result<()> {
    let line = bpftrust_vm::tool::line(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run `{line}`; try `cargo xtask setup`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Builds packages for release and returns the directory of their binaries.
pub fn build(packages: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--release"]);
    for package in packages {
        command.args(["--package", package]);
    }
    run(&mut command)?;
    Ok(target()?.join("release"))
}

/// Cargo's target directory, which this very program was built in.
pub fn target() -> Result<PathBuf> {
    let me = std::env::current_exe().context("cannot find this program's own file")?;
    me.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .with_context(|| format!("{} is not in a target directory", me.display()))
}

/// What a chore kept in a file, if anything.
pub fn kept(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .map(Some)
        .with_context(|| format!("{} is not what this wrote", path.display()))
}

/// Keeps it, in a directory that may be yet to be made.
pub fn keep(path: &Path, value: &Value) -> Result<()> {
    let writing = || format!("cannot write {}", path.display());
    fs::create_dir_all(path.parent().context("a file in a directory")?).with_context(writing)?;
    fs::write(path, format!("{value:#}\n")).with_context(writing)
}
