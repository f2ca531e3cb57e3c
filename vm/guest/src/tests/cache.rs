//! A verdict is kept with the inode, and dropped with whatever it rests on
//! (item 5: fs-verity freezes the content, but not our xattr).

use crate::fixture::{self, ACME, ANY_COMMAND, Key, STRANGER};
use crate::fixture::{expect_refused, expect_trusted, probe, sign, sign_as, signed_probe};
use crate::guest::Guest;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use std::fs;
use std::path::{Path, PathBuf};

pub const GROUP: Group = Group {
    name: "cache",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(signing_counts_from_the_next_exec_on),
        test!(another_statement_is_judged_anew),
        test!(a_removed_signature_ends_trust_and_the_same_one_brings_it_back),
        test!(verity_enabled_later_counts),
        test!(a_verdict_computed_across_a_change_is_discarded).within(180),
        test!(every_name_of_a_file_has_its_one_verdict),
        test!(a_replaced_file_is_another_file),
        test!(another_xattr_changes_nothing),
    ],
};

const PROBE: &str = "/usr/bin/bpftrust-probe";
const CALL: &[&str] = &["bpf", ANY_COMMAND];
const XATTR: &str = "user.bpftrust";

fn unsigned(guest: &Guest) -> Result<PathBuf> {
    guest.copy(PROBE, "probe")
}

fn xattr(path: &Path) -> Result<Vec<u8>> {
    let mut value = vec![0; 65536];
    let size = getxattr(path, XATTR, &mut value[..]).context("no signature to read")?;
    value.truncate(size);
    Ok(value)
}

fn set_xattr(path: &Path, value: &[u8]) -> Result<()> {
    setxattr(path, XATTR, value, XattrFlags::empty()).context("cannot set the signature")
}

/// The signature of `path` by `key`, as it would be in the xattr.
fn detached(guest: &Guest, key: Key, path: &Path, options: &[&str]) -> Result<Vec<u8>> {
    let to = guest.path("detached");
    let place = to.to_str().context("a path of ASCII")?;
    let options = [options, &["--detached", "--out", place]].concat();
    sign_as(guest, key, path, &options)?;
    Ok(fs::read(&to)?)
}

fn signing_counts_from_the_next_exec_on(guest: &mut Guest) -> Result<()> {
    let file = unsigned(guest)?;
    for _ in 0..2 {
        expect_refused(guest, &file, CALL, "no-signature")?;
    }
    sign(guest, ACME, &file)?;
    for _ in 0..2 {
        expect_trusted(guest, &file, CALL)?;
    }
    Ok(())
}

fn another_statement_is_judged_anew(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    expect_trusted(guest, &file, CALL)?;
    sign(guest, STRANGER, &file)?;
    expect_refused(guest, &file, CALL, "unknown-key")?;
    sign(guest, ACME, &file)?;
    expect_trusted(guest, &file, CALL)?;
    sign_as(guest, ACME, &file, &["--kind", "library"])?;
    expect_refused(guest, &file, CALL, "wrong-kind")?;
    sign_as(guest, ACME, &file, &["--bare"])?;
    expect_refused(guest, &file, CALL, "wrong-kind")?;
    set_xattr(&file, b"BPFT")?;
    expect_refused(guest, &file, CALL, "bad-signature")?;
    set_xattr(&file, b"")?;
    expect_refused(guest, &file, CALL, "bad-signature")?;
    sign(guest, ACME, &file)?;
    expect_trusted(guest, &file, CALL)
}

fn a_removed_signature_ends_trust_and_the_same_one_brings_it_back(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    let value = xattr(&file)?;
    for _ in 0..2 {
        expect_trusted(guest, &file, CALL)?;
        removexattr(&file, XATTR).context("cannot remove the signature")?;
        expect_refused(guest, &file, CALL, "no-signature")?;
        set_xattr(&file, &value)?;
    }
    expect_trusted(guest, &file, CALL)
}

fn verity_enabled_later_counts(guest: &mut Guest) -> Result<()> {
    let file = unsigned(guest)?;
    set_xattr(&file, &detached(guest, ACME, &file, &[])?)?;
    for _ in 0..2 {
        expect_refused(guest, &file, CALL, "no-verity")?;
    }
    guest.run(&["fsverity", "enable", "probe"])?.success()?;
    expect_trusted(guest, &file, CALL)
}

/// While others execute the file all the time, each change counts from the
/// moment at which it is done.
fn a_verdict_computed_across_a_change_is_discarded(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    let good = xattr(&file)?;
    let bad = detached(guest, STRANGER, &file, &[])?;
    let crowd = "while [ ! -e enough ]; do ./probe say x; done";
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(guest.start(Program::new("sh").args(["-c", crowd]))?);
    }
    for round in 0..40 {
        for (value, answer) in [(&bad, "bpf 11: EPERM\n"), (&good, "bpf 11: ok\n")] {
            set_xattr(&file, value)?;
            let said = probe(&file, CALL)?.success()?;
            ensure!(said == answer, "round {round}: {said:?}, not {answer:?}");
        }
    }
    guest.write("enough", "")?;
    for other in others {
        let said = other.stop()?;
        ensure!(said.contains('x'), "the crowd did nothing: {said}");
    }
    expect_trusted(guest, &file, CALL)?;
    set_xattr(&file, &bad)?;
    expect_refused(guest, &file, CALL, "unknown-key")
}

fn every_name_of_a_file_has_its_one_verdict(guest: &mut Guest) -> Result<()> {
    let file = unsigned(guest)?;
    let link = guest.path("link");
    fs::hard_link(&file, &link)?;
    fs::create_dir(guest.path("elsewhere"))?;
    guest.shell("mount --bind . elsewhere")?.success()?;
    let bound = guest.path("elsewhere/probe");
    let result = (|| {
        expect_refused(guest, &link, CALL, "no-signature")?;
        sign(guest, ACME, &link)?;
        expect_trusted(guest, &file, CALL)?;
        expect_trusted(guest, &link, CALL)?;
        expect_trusted(guest, &bound, CALL)?;
        sign(guest, STRANGER, &bound)?;
        expect_refused(guest, &file, CALL, "unknown-key")?;
        expect_refused(guest, &bound, CALL, "unknown-key")?;
        removexattr(&link, XATTR)?;
        expect_refused(guest, &bound, CALL, "no-signature")
    })();
    guest.shell("umount elsewhere")?.success()?;
    result
}

fn a_replaced_file_is_another_file(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    expect_trusted(guest, &file, CALL)?;
    guest.copy(PROBE, "new")?;
    fs::rename("new", "probe")?;
    expect_refused(guest, &file, CALL, "no-signature")?;
    // A copy takes the xattr along, but not fs-verity.
    let signed = signed_probe(guest, "signed")?;
    set_xattr(&file, &xattr(&signed)?)?;
    expect_refused(guest, &file, CALL, "no-verity")?;
    expect_trusted(guest, &signed, CALL)
}

fn another_xattr_changes_nothing(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    for name in ["user.bpftrust2", "user.bpftrus", "user.other"] {
        expect_trusted(guest, &file, CALL)?;
        setxattr(&file, name, b"x", XattrFlags::empty())?;
        expect_trusted(guest, &file, CALL)?;
        removexattr(&file, name)?;
    }
    expect_trusted(guest, &file, CALL)
}
