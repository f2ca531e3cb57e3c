//! A long list of refused digests: those in it are refused, and no others.

use crate::fixture::{self, ACME, CONFIGURATION, expect_trusted, sign};
use crate::guest::Guest;
use crate::policy::{self, CALL, acme, apply, expect_exec_refused, own_probe, try_apply};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Result, ensure};
use std::fmt::Write as _;
use std::fs;

pub const GROUP: Group = Group {
    name: "bulk",
    runs_on: RunsOn::Supported,
    setup: Some(enforce_with_many_digests),
    teardown: Some(fixture::release),
    tests: &[
        test!(of_100000_refused_digests_each_counts).within(180),
        test!(more_rules_than_there_is_room_for_change_nothing).within(120),
    ],
};

const MANY: u32 = 100_000;

/// Digests that no file has.
fn many(count: u32) -> Result<String> {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "sha256:{number:064x}")?;
    }
    Ok(text)
}

const WITH_FILE: &str = "[refused]\ndigests-file = \"refused.txt\"\n";

fn enforce_with_many_digests(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    fs::write(format!("{CONFIGURATION}/refused.txt"), many(MANY)?)?;
    fs::write(format!("{CONFIGURATION}/policy.toml"), acme(WITH_FILE))?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    Ok(())
}

fn of_100000_refused_digests_each_counts(guest: &mut Guest) -> Result<()> {
    let mut files = Vec::new();
    for name in ["first", "middle", "last", "outside"] {
        let file = own_probe(guest, name)?;
        sign(guest, ACME, &file)?;
        expect_trusted(guest, &file, CALL)?;
        files.push(file);
    }
    let digest = |at: usize| policy::digest(guest, &files[at]);
    let rest = many(MANY)?;
    let half = rest.len() / 2;
    let half = half + rest[half..].find('\n').unwrap_or_default() + 1;
    let list = [
        format!("{}\n", digest(0)?),
        rest[..half].to_owned(),
        format!("{}\n", digest(1)?),
        rest[half..].to_owned(),
        format!("{}\n", digest(2)?),
    ];
    guest.write("refused.txt", list.concat())?;
    apply(guest, &acme(WITH_FILE))?;
    for file in &files[..3] {
        expect_exec_refused(guest, file, "revoked")?;
    }
    expect_trusted(guest, &files[3], CALL)?;
    // Not one of them is left.
    apply(guest, &acme(""))?;
    for file in &files {
        expect_trusted(guest, file, CALL)?;
    }
    Ok(())
}

fn more_rules_than_there_is_room_for_change_nothing(guest: &mut Guest) -> Result<()> {
    let file = own_probe(guest, "file")?;
    sign(guest, ACME, &file)?;
    apply(guest, &acme(""))?;
    guest.write("refused.txt", many(131_072 + 1)?)?;
    let output = try_apply(guest, &acme(WITH_FILE))?;
    ensure!(
        output.status == 2 && output.stderr.contains("131072"),
        "{output}"
    );
    expect_trusted(guest, &file, CALL)?;
    guest.write("refused.txt", many(131_072)?)?;
    // The most that there may be, one after the other.
    apply(guest, &acme(WITH_FILE))?;
    apply(guest, &acme(WITH_FILE))?;
    expect_trusted(guest, &file, CALL)
}
