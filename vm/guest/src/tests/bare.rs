//! Bare signatures, as `fsverity sign` makes them, where the policy takes them.

use crate::envelope::{self, Envelope};
use crate::fixture::{self, ACME, ANY_COMMAND, CONFIGURATION, expect_refused, expect_trusted};
use crate::guest::Guest;
use crate::policy::acme;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;

pub const GROUP: Group = Group {
    name: "bare",
    runs_on: RunsOn::Supported,
    setup: Some(enforce_with_bare_loaders),
    teardown: Some(fixture::release),
    tests: &[
        test!(what_fsverity_sign_wrote_makes_a_loader),
        test!(what_we_sign_bare_makes_a_loader),
        test!(a_bare_signature_of_another_file_counts_for_nothing),
        test!(a_kind_that_was_cut_off_makes_no_loader),
    ],
};

const CALL: &[&str] = &["bpf", ANY_COMMAND];

fn enforce_with_bare_loaders(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    fs::write(
        format!("{CONFIGURATION}/policy.toml"),
        acme("bare = \"loader\"\n"),
    )
    .context("cannot write the policy")?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    Ok(())
}

/// A probe that Debian's `fsverity sign` signed and `bpftrust install` imported.
pub fn by_fsverity_sign(guest: &Guest) -> Result<PathBuf> {
    let probe = guest.copy("/usr/bin/bpftrust-probe", "fsverity-signed")?;
    let (key, certificate) = (ACME.private(), ACME.certificate());
    let sign = ["fsverity", "sign", "fsverity-signed", "fsverity-signature"];
    let with = [format!("--key={key}"), format!("--cert={certificate}")];
    guest
        .run(&[&sign[..], &with.each_ref().map(String::as_str)].concat())?
        .success()?;
    let install = ["bpftrust", "install", "--certificate", &certificate];
    let files = ["--signature", "fsverity-signature", "fsverity-signed"];
    guest.run(&[&install[..], &files].concat())?.success()?;
    Ok(probe)
}

/// A probe that `bpftrust sign --bare` signed.
pub fn by_ourselves(guest: &Guest) -> Result<PathBuf> {
    let probe = guest.copy("/usr/bin/bpftrust-probe", "bare-signed")?;
    fixture::sign_as(guest, ACME, &probe, &["--bare"])?;
    Ok(probe)
}

fn what_fsverity_sign_wrote_makes_a_loader(guest: &mut Guest) -> Result<()> {
    let probe = by_fsverity_sign(guest)?;
    ensure!(Envelope::of(&probe)?.statement.is_empty(), "not bare");
    expect_trusted(guest, &probe, CALL)
}

fn what_we_sign_bare_makes_a_loader(guest: &mut Guest) -> Result<()> {
    let probe = by_ourselves(guest)?;
    ensure!(Envelope::of(&probe)?.statement.is_empty(), "not bare");
    expect_trusted(guest, &probe, CALL)
}

fn a_bare_signature_of_another_file_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = by_ourselves(guest)?;
    let other = guest.copy("/usr/bin/true", "other")?;
    fixture::sign_as(guest, ACME, &other, &["--bare"])?;
    let own = envelope::read(&probe)?;
    envelope::write(&probe, &envelope::read(&other)?)?;
    expect_refused(guest, &probe, CALL, "bad-signature")?;
    envelope::write(&probe, &own)?;
    expect_trusted(guest, &probe, CALL)
}

/// A library's signature covers its statement, so it is none over the digest
/// alone, which would mean a loader here; nor does a bare one get a statement.
fn a_kind_that_was_cut_off_makes_no_loader(guest: &mut Guest) -> Result<()> {
    let probe = by_ourselves(guest)?;
    let bare = Envelope::of(&probe)?;
    let library = bare.restate(guest, &probe, ACME, envelope::statement(2, &[], 0))?;
    envelope::write(&probe, &library.bytes())?;
    expect_refused(guest, &probe, CALL, "wrong-kind")?;
    let cut = Envelope {
        statement: Vec::new(),
        ..library
    };
    envelope::write(&probe, &cut.bytes())?;
    expect_refused(guest, &probe, CALL, "bad-signature")?;
    let stated = Envelope {
        statement: envelope::statement(envelope::LOADER, &[], 0),
        ..bare.clone()
    };
    envelope::write(&probe, &stated.bytes())?;
    expect_refused(guest, &probe, CALL, "bad-signature")?;
    envelope::write(&probe, &bare.bytes())?;
    expect_trusted(guest, &probe, CALL)
}
