//! `bpftrust attack` becomes a program of its own, found as git finds its own.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::Place;

/// Held by each test: a child that another one starts meanwhile has what is being
/// written open for writing, and then it can't be executed (`ETXTBSY`).
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what it was told.
const STAND_IN: &[u8] = b"#!/bin/sh\necho \"$@\"\nexit 1\n";

fn stand_in(place: &Place, name: &str) {
    let path = place.write(name, STAND_IN);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The tool as it is installed in `bin`, with `path` to look in.
fn run(place: &Place, path: &Path, words: &[&str]) -> Output {
    let tool = place.path("bin/bpftrust");
    if !tool.exists() {
        place.copy(env!("CARGO_BIN_EXE_bpftrust"), "bin/bpftrust");
    }
    Command::new(tool)
        .args(words)
        .env("PATH", path)
        .output()
        .unwrap()
}

#[test]
fn the_program_beside_the_tool_gets_what_was_typed() {
    let _alone = alone();
    let place = Place::empty();
    stand_in(&place, "bin/bpftrust-attack");
    let words = ["attack", "--json", "--dir", "/lab", "11", "3.memfd"];
    let output = run(&place, Path::new("/usr/bin:/bin"), &words);
    // Its exit status is the tool's.
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let tool = place.path("bin/bpftrust");
    let expected = format!(
        "run --json --bpftrust {} --dir /lab 11 3.memfd\n",
        tool.display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn else_it_is_one_in_path() {
    let _alone = alone();
    let place = Place::empty();
    stand_in(&place, "elsewhere/bpftrust-attack");
    let path = format!("{}:/usr/bin:/bin", place.path("elsewhere").display());
    let output = run(&place, Path::new(&path), &["attack", "--list"]);
    assert!(output.stdout.starts_with(b"list --bpftrust "), "{output:?}");
}

#[test]
fn without_the_program_it_says_where_it_belongs() {
    let _alone = alone();
    let place = Place::empty();
    let output = run(&place, &place.path("nothing"), &["attack"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        complaint.contains("help: install bpftrust-attack beside"),
        "{complaint}"
    );
}
