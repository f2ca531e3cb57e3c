//! Of several signatures of one publisher for the same content, the one of the
//! highest version counts, of all that were ever executed: an older, wider grant
//! can't be put back.

use crate::envelope;
use crate::fixture::{self, ACME, ACME_NEXT, GLOBEX, Key, expect_trusted, probe, sign_as, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{self, CALL, acme, apply, expect_exec_refused, own_probe, publisher};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

pub const GROUP: Group = Group {
    name: "version",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(an_older_grant_can_not_be_put_back).within(180),
        test!(nor_from_a_verdict_that_is_kept).within(180),
        test!(nor_a_signature_without_a_grant).within(180),
        test!(nor_version_0).within(180),
        test!(nor_on_another_file_of_the_same_content).within(180),
        test!(nor_by_another_key_of_the_publisher).within(180),
        test!(nor_under_another_name_of_the_loader).within(180),
        test!(nor_under_another_policy).within(180),
        test!(each_publisher_counts_for_himself).within(180),
        test!(each_content_counts_for_itself).within(180),
        test!(a_version_that_was_refused_was_not_seen).within(180),
        test!(who_runs_already_goes_on).within(180),
        test!(the_highest_version_is_one_like_others).within(180),
    ],
};

/// `sign` refuses to go back: the signatures are made beforehand.
fn signature(guest: &Guest, key: Key, file: &Path, grant: &str) -> Result<Vec<u8>> {
    let grant = guest.write("grant.toml", grant)?;
    let grant = grant.to_str().context("a path of ASCII")?;
    detached(guest, key, file, &["--grant", grant])
}

fn detached(guest: &Guest, key: Key, file: &Path, options: &[&str]) -> Result<Vec<u8>> {
    let to = guest.path("detached");
    let place = to.to_str().context("a path of ASCII")?;
    let options = [options, &["--detached", "--out", place]].concat();
    sign_as(guest, key, file, &options)?;
    fs::read(&to).context("no signature")
}

const NARROW: Grant<'_> = Grant {
    commands: "map_create prog_get_next_id",
    maps: "array",
    ..Grant::ALL
};

/// A file under fs-verity, and its signatures as wide version 2, narrow version 3.
struct Pair {
    file: PathBuf,
    wide: Vec<u8>,
    narrow: Vec<u8>,
}

impl Pair {
    fn new(guest: &Guest, name: &str) -> Result<Self> {
        let file = own_probe(guest, name)?;
        fixture::sign(guest, ACME, &file)?;
        Ok(Self {
            wide: signature(guest, ACME, &file, &Grant::ALL.of("probe", 2))?,
            narrow: signature(guest, ACME, &file, &NARROW.of("probe", 3))?,
            file,
        })
    }

    fn put(&self, signature: &[u8]) -> Result<()> {
        Ok(envelope::write(&self.file, signature)?)
    }

    /// Requires that this signature gives trust, and whether it is the wide one.
    fn expect(&self, guest: &Guest, signature: &[u8], is_wide: bool) -> Result<()> {
        self.put(signature)?;
        expect_trusted(guest, &self.file, CALL)?;
        let said = probe(&self.file, &words("map array map hash"))?.success()?;
        let wanted = if is_wide { "ok" } else { "EPERM" };
        ensure!(
            said == format!("map array: ok\nmap hash: {wanted}\n"),
            "{said}"
        );
        Ok(())
    }

    /// Requires that this signature is too old, and the narrow one is not.
    fn expect_too_old(&self, guest: &Guest, signature: &[u8]) -> Result<()> {
        for _ in 0..2 {
            self.put(signature)?;
            // The second time from what is kept.
            expect_exec_refused(guest, &self.file, "too-old")?;
            expect_exec_refused(guest, &self.file, "too-old")?;
            self.expect(guest, &self.narrow, false)?;
        }
        Ok(())
    }
}

fn an_older_grant_can_not_be_put_back(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    pair.expect(guest, &pair.wide, true)?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect_too_old(guest, &pair.wide)
}

fn nor_from_a_verdict_that_is_kept(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    for _ in 0..3 {
        pair.expect(guest, &pair.wide, true)?;
    }
    // Another file with the same content brings the new version, so that what is
    // kept with this one's inode stays as it is.
    let twin = own_probe(guest, "twin")?;
    fs::write(&twin, fs::read(&pair.file)?)?;
    let grant = NARROW.of("probe", 3);
    fixture::sign_with_grant(guest, ACME, &twin, &grant)?;
    expect_trusted(guest, &twin, CALL)?;
    expect_exec_refused(guest, &pair.file, "too-old")?;
    pair.expect_too_old(guest, &pair.wide)
}

fn nor_a_signature_without_a_grant(guest: &mut Guest) -> Result<()> {
    apply(guest, &format!("{}bare = \"loader\"\n", acme("")))?;
    let pair = Pair::new(guest, "pair")?;
    let plain = detached(guest, ACME, &pair.file, &[])?;
    sign_as(guest, ACME, &pair.file, &["--bare"])?;
    let bare = envelope::read(&pair.file)?;
    pair.expect(guest, &plain, true)?;
    pair.expect(guest, &bare, true)?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect_too_old(guest, &plain)?;
    pair.expect_too_old(guest, &bare)?;
    apply(guest, &acme(""))
}

fn nor_version_0(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    let zero = signature(guest, ACME, &pair.file, &Grant::ALL.of("probe", 0))?;
    pair.expect(guest, &zero, true)?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect_too_old(guest, &zero)
}

fn nor_on_another_file_of_the_same_content(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    pair.expect(guest, &pair.narrow, false)?;
    let twin = own_probe(guest, "twin")?;
    fs::write(&twin, fs::read(&pair.file)?)?;
    fixture::sign_with_grant(guest, ACME, &twin, &Grant::ALL.of("probe", 2))?;
    expect_exec_refused(guest, &twin, "too-old")?;
    fs::remove_file(&pair.file)?;
    expect_exec_refused(guest, &twin, "too-old")
}

fn nor_by_another_key_of_the_publisher(guest: &mut Guest) -> Result<()> {
    apply(guest, &publisher("acme", &[ACME, ACME_NEXT]))?;
    let pair = Pair::new(guest, "pair")?;
    let by_next = signature(guest, ACME_NEXT, &pair.file, &Grant::ALL.of("probe", 2))?;
    pair.expect(guest, &by_next, true)?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect_too_old(guest, &by_next)?;
    apply(guest, &acme(""))
}

fn nor_under_another_name_of_the_loader(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    let other = signature(guest, ACME, &pair.file, &Grant::ALL.of("other", 2))?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect_too_old(guest, &other)
}

/// What was seen is no part of it.
fn nor_under_another_policy(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    pair.expect(guest, &pair.narrow, false)?;
    for more in ["", "[minimum-version]\nprobe = 1\n"] {
        apply(guest, &acme(more))?;
        pair.expect_too_old(guest, &pair.wide)?;
    }
    // The publisher goes, and comes back.
    apply(guest, &publisher("globex", &[GLOBEX]))?;
    pair.put(&pair.wide)?;
    expect_exec_refused(guest, &pair.file, "unknown-key")?;
    apply(guest, &acme(""))?;
    pair.expect_too_old(guest, &pair.wide)
}

fn each_publisher_counts_for_himself(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(&publisher("globex", &[GLOBEX])))?;
    let pair = Pair::new(guest, "pair")?;
    let theirs = signature(guest, GLOBEX, &pair.file, &Grant::ALL.of("probe", 1))?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect(guest, &theirs, true)?;
    pair.expect_too_old(guest, &pair.wide)?;
    apply(guest, &acme(""))
}

fn each_content_counts_for_itself(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    let second = Pair::new(guest, "second")?;
    pair.expect(guest, &pair.narrow, false)?;
    second.expect(guest, &second.wide, true)
}

/// It did not count, so nothing is older than it.
fn a_version_that_was_refused_was_not_seen(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    let evil = signature(guest, ACME, &pair.file, &Grant::ALL.of("evil", 9))?;
    apply(guest, &acme("[refused]\nnames = [\"evil\"]\n"))?;
    pair.put(&evil)?;
    expect_exec_refused(guest, &pair.file, "revoked")?;
    pair.expect(guest, &pair.wide, true)?;
    apply(guest, &acme(""))
}

/// It was the highest when it was executed; `minimum-version` ends it.
fn who_runs_already_goes_on(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    pair.put(&pair.wide)?;
    let mut old = policy::Running::start(guest, &pair.file, "bpf 11")?;
    pair.expect(guest, &pair.narrow, false)?;
    old.expect_trusted(guest)?;
    apply(guest, &acme("[minimum-version]\nprobe = 3\n"))?;
    old.expect_refused(guest, "too-old")?;
    pair.expect(guest, &pair.narrow, false)?;
    apply(guest, &acme(""))
}

fn the_highest_version_is_one_like_others(guest: &mut Guest) -> Result<()> {
    let pair = Pair::new(guest, "pair")?;
    let highest = signature(
        guest,
        ACME,
        &pair.file,
        &NARROW.of("probe", 9_223_372_036_854_775_807),
    )?;
    pair.expect(guest, &pair.narrow, false)?;
    pair.expect(guest, &highest, false)?;
    pair.put(&pair.narrow)?;
    expect_exec_refused(guest, &pair.file, "too-old")?;
    pair.expect(guest, &highest, false)
}
