//! Loaders with grants, and what they are allowed.

use crate::fixture::{self, ACME, Events, UNSIGNED, probe, words};
use crate::guest::{Guest, text};
use crate::tests::probe::answer;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a grant allows: names with spaces between, or `all`.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    pub commands: &'a str,
    pub programs: &'a str,
    pub attaches: &'a str,
    pub maps: &'a str,
    pub abilities: &'a str,
}

impl Grant<'_> {
    /// Everything.
    pub const ALL: Self = Self {
        commands: "all",
        programs: "all",
        attaches: "all",
        maps: "all",
        abilities: "all",
    };

    /// As `sign --grant` reads it.
    pub fn to_toml(self) -> String {
        self.of("probe", 0)
    }

    /// The same for this loader in this version.
    pub fn of(self, name: &str, version: u64) -> String {
        let mut text = format!("name = {name:?}\nversion = {version}\n");
        for (field, names) in [
            ("commands", self.commands),
            ("programs", self.programs),
            ("attaches", self.attaches),
            ("maps", self.maps),
            ("abilities", self.abilities),
        ] {
            // Names need no escapes, so Rust's strings are TOML's.
            let value = match names {
                "all" => "\"all\"".to_owned(),
                _ => format!("{:?}", words(names)),
            };
            text += &format!("{field} = {value}\n");
        }
        text
    }
}

/// A copy of the probe in the test's directory, signed with this grant; it takes
/// the place of one of that name.
pub fn loader(guest: &Guest, name: &str, grant: Grant<'_>) -> Result<PathBuf> {
    // Under fs-verity it can't be written.
    let old = guest.path(name);
    if old.exists() {
        fs::remove_file(&old).with_context(|| format!("cannot remove {}", old.display()))?;
    }
    let copy = guest.copy(UNSIGNED, name)?;
    fixture::sign_with_grant(guest, ACME, &copy, &grant.to_toml())?;
    Ok(copy)
}

/// A right, as an event names it.
#[derive(Debug, Clone, Copy)]
pub struct Right<'a> {
    /// `command`, `program`, `map`, `attach` or `ability`.
    pub object: &'a str,
    pub name: &'a str,
    /// The event's: `bpf`, or `attach` where it is not `bpf()` that attaches.
    pub action: &'a str,
}

/// Requires that the last of these actions is the kernel's to answer with the
/// one grant, and refused with the other, for want of `right`. What comes before
/// it works with both.
pub fn takes(
    guest: &Guest,
    actions: &[&str],
    right: Right<'_>,
    with: Grant<'_>,
    without: Grant<'_>,
) -> Result<()> {
    let line = actions.join(" ");
    let decided = || -> Result<()> {
        allowed(guest, actions, with)?;
        refused(guest, actions, right, without)
    };
    decided().with_context(|| format!("{line}: takes {} {}", right.object, right.name))
}

/// Requires that these actions are the kernel's to answer with this grant.
pub fn allowed(guest: &Guest, actions: &[&str], grant: Grant<'_>) -> Result<()> {
    let program = loader(guest, "with", grant)?;
    let mark = Events::mark(guest)?;
    let mut wanted = Vec::new();
    for action in actions {
        wanted.push(format!("{action}: {}", answer(action)?));
    }
    let said = run(&program, actions)?;
    ensure!(said == wanted, "with {grant:?}: {said:?}");
    mark.expect_none(
        guest,
        &[("outcome", "denied"), ("executable", text(&program)?)],
    )
}

/// Requires that the last of these actions is refused with this grant, for want
/// of `right`, and that the event says so.
pub fn refused(guest: &Guest, actions: &[&str], right: Right<'_>, grant: Grant<'_>) -> Result<()> {
    let program = loader(guest, "without", grant)?;
    let mark = Events::mark(guest)?;
    let said = run(&program, actions)?;
    let (last, before) = actions.split_last().context("no action")?;
    let mut wanted: Vec<_> = before
        .iter()
        .map(|action| format!("{action}: ok"))
        .collect();
    wanted.push(format!("{last}: EPERM"));
    ensure!(said == wanted, "with {grant:?}: {said:?}");
    let program = text(&program)?;
    let events = mark.since(guest)?;
    let is_it = |event: &&Value| {
        event["outcome"] == "denied"
            && event["executable"] == program
            && event["reason"] == "not-granted"
            && event["action"] == right.action
            && event["object"] == right.object
            && folded(&event["name"]) == folded(&right.name.into())
    };
    let count = events.iter().filter(is_it).count();
    ensure!(count == 1, "not one event of {right:?} in {events:#?}");
    Ok(())
}

/// What the probe says, by line.
fn run(program: &Path, actions: &[&str]) -> Result<Vec<String>> {
    let said = probe(program, &words(&actions.join(" ")))?.success()?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// Names are the kernel's in some places and options' in others: `-` is `_`.
fn folded(name: &Value) -> Option<String> {
    Some(name.as_str()?.replace('-', "_"))
}
