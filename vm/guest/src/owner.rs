//! Loaders that own BPF objects, and others that reach for them.

use crate::fixture::{ACME, Events, Key, probe, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::loader;
use crate::process::{Background, Program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where tests pin.
pub const PINS: &str = "/sys/fs/bpf/owner";

/// What loads, attaches and lets itself be used, and no more.
pub const WORKER: Grant<'_> = Grant {
    abilities: "children",
    ..Grant::ALL
};

/// The same, and it may inspect.
pub const INSPECTOR: Grant<'_> = Grant {
    abilities: "children inspect",
    ..Grant::ALL
};

/// The loader of this name, signed by `key`.
pub fn signed(guest: &Guest, key: Key, file: &str, name: &str, version: u64) -> Result<PathBuf> {
    loader(guest, file, key, &WORKER.of(name, version))
}

/// Those that a test is about: who makes, its command-line tool in a later
/// version, and another loader.
pub struct Loaders {
    pub agent: PathBuf,
    pub tool: PathBuf,
    pub other: PathBuf,
    pub inspector: PathBuf,
}

impl Loaders {
    pub fn sign(guest: &Guest) -> Result<Self> {
        Ok(Self {
            agent: signed(guest, ACME, "agent", "agent", 1)?,
            tool: signed(guest, ACME, "tool", "agent", 2)?,
            other: signed(guest, ACME, "other", "other", 1)?,
            inspector: loader(guest, "inspector", ACME, &INSPECTOR.of("inspector", 1))?,
        })
    }
}

/// Starts `program`, which does `actions` and stays.
pub fn start(guest: &mut Guest, program: &Path, actions: &str) -> Result<Background> {
    let line = format!("{actions} say ready until never");
    let mut running = guest.start(Program::new(program).args(words(&line)))?;
    guest.wait_until_says(&mut running, "ready")?;
    let said = running.said();
    let failed = said
        .lines()
        .any(|line| line.contains(": ") && !line.ends_with(": ok"));
    ensure!(!failed, "{said}");
    Ok(running)
}

/// Requires what the last of `actions` answers, what comes before it being ok.
pub fn expect_answer(program: &Path, actions: &str, answer: &str) -> Result<()> {
    let said = probe(program, &words(actions))?.success()?;
    let (last, before) = {
        let mut lines: Vec<&str> = said.lines().collect();
        (lines.pop().unwrap_or_default(), lines)
    };
    ensure!(
        before.iter().all(|line| line.ends_with(": ok")),
        "{actions}: {said}"
    );
    ensure!(last.ends_with(&format!(": {answer}")), "{actions}: {said}");
    Ok(())
}

/// Requires that the last of `actions` is refused for `reason`, about an object of
/// this kind.
pub fn expect_denied(
    guest: &Guest,
    program: &Path,
    actions: &str,
    reason: &str,
    fields: &[(&str, &str)],
) -> Result<()> {
    let mark = Events::mark(guest)?;
    expect_answer(program, actions, "EPERM")?;
    expect_event(guest, &mark, program, reason, fields)
        .with_context(|| format!("{actions} by {}", program.display()))
}

/// Requires that something was refused to `program` for `reason` since `mark`.
pub fn expect_event(
    guest: &Guest,
    mark: &Events,
    program: &Path,
    reason: &str,
    fields: &[(&str, &str)],
) -> Result<()> {
    let executable = program.to_str().context("a path of ASCII")?;
    let common = [
        ("outcome", "denied"),
        ("reason", reason),
        ("executable", executable),
    ];
    mark.expect(guest, &[&common[..], fields].concat())
        .map(drop)
}

/// All objects, as `objects list` says.
pub fn objects(guest: &Guest) -> Result<Vec<Value>> {
    let said = guest
        .run(&["bpftrust", "objects", "list", "--json"])?
        .success()?;
    let all: Value = serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))?;
    all["objects"].as_array().cloned().context("no objects")
}

/// The id of the one object of this kind that this process made.
pub fn id_of(guest: &Guest, kind: &str, maker: &Background) -> Result<u64> {
    let all = objects(guest)?;
    let found: Vec<_> = all
        .iter()
        .filter(|object| object["kind"] == kind && object["pid"] == maker.pid())
        .collect();
    let [object] = found[..] else {
        anyhow::bail!("not one {kind} of {} in {all:#?}", maker.pid());
    };
    object["id"].as_u64().context("no id")
}
