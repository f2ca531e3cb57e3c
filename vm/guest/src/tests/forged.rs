//! The grant is inside what is signed: whoever edits, removes or swaps it in the
//! xattr has no signature.

use crate::envelope::{self, Envelope, LOADER, STATEMENT_SIZE, statement};
use crate::fixture::{self, ACME, Events, STRANGER, expect_trusted, probe, signed_probe};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{self, CALL, expect_exec_refused, loader};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::path::Path;

pub const GROUP: Group = Group {
    name: "forged",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(an_edited_field_is_a_bad_signature).within(180),
        test!(no_byte_of_a_statement_can_be_changed).within(180),
        test!(a_statement_without_its_grant_is_a_bad_signature).within(120),
        test!(another_files_statement_is_a_bad_signature).within(120),
        test!(a_strangers_grant_is_an_unknown_key),
        test!(a_grant_of_another_form_is_a_bad_signature).within(180),
    ],
};

/// Where a grant's fields are in a statement (`struct bt_grant`).
const SIZE: usize = STATEMENT_SIZE;
const REQUIRED: usize = SIZE + 2;
const SCRIPT: usize = SIZE + 4;
const RESERVED: usize = SIZE + 6;
const VERSION: usize = SIZE + 8;
const NOT_AFTER: usize = SIZE + 16;
const NAME: usize = SIZE + 24;
const COMMANDS: usize = SIZE + 56;
const MAPS: usize = SIZE + 72;
const ABILITIES: usize = SIZE + 96;
const END: usize = SIZE + 104;

/// A loader that may do little, until some day.
fn narrow(guest: &Guest, name: &str) -> Result<std::path::PathBuf> {
    let grant = Grant {
        commands: "prog_get_next_id",
        programs: "",
        attaches: "",
        maps: "array",
        abilities: "",
    };
    let text = format!("not-after = 2099-01-01\n{}", grant.of("narrow", 3));
    loader(guest, name, ACME, &text)
}

/// Requires that the file with this signature is refused for this reason, and
/// trusted again with its own.
fn expect_refused(guest: &Guest, file: &Path, lie: &Envelope, reason: &str) -> Result<()> {
    let own = Envelope::of(file)?;
    envelope::write(file, &lie.bytes())?;
    let result = expect_exec_refused(guest, file, reason);
    envelope::write(file, &own.bytes())?;
    result?;
    expect_trusted(guest, file, CALL)
}

fn an_edited_field_is_a_bad_signature(guest: &mut Guest) -> Result<()> {
    let file = narrow(guest, "file")?;
    expect_trusted(guest, &file, CALL)?;
    let own = Envelope::of(&file)?;
    ensure!(own.statement.len() == END, "{:?}", own.statement);
    for (what, at, bits) in [
        ("size", SIZE, 1),
        ("size, by 256", SIZE + 1, 1),
        ("version", VERSION, 4),
        ("sign of the version", VERSION + 7, 0x80),
        ("end", NOT_AFTER + 4, 1),
        ("name", NAME, 1),
        ("length of the name", NAME + 6, b'x'),
        ("prog_load", COMMANDS, 1 << 5),
        ("map of type hash", MAPS, 1 << 1),
        ("children", ABILITIES, 1 << 7),
    ] {
        let mut lie = own.clone();
        lie.statement[at] ^= bits;
        expect_refused(guest, &file, &lie, "bad-signature").context(what)?;
    }
    let mut endless = own;
    endless.statement[NOT_AFTER..NOT_AFTER + 8].fill(0);
    expect_refused(guest, &file, &endless, "bad-signature").context("no end")
}

fn no_byte_of_a_statement_can_be_changed(guest: &mut Guest) -> Result<()> {
    let file = narrow(guest, "file")?;
    expect_trusted(guest, &file, CALL)?;
    let own = Envelope::of(&file)?;
    let mark = Events::mark(guest)?;
    for at in 0..own.statement.len() {
        let mut lie = own.clone();
        lie.statement[at] ^= 1 << (at % 8);
        envelope::write(&file, &lie.bytes())?;
        let said = probe(&file, CALL)?.success()?;
        ensure!(said == "bpf 11: EPERM\n", "byte {at}: {said}");
    }
    let events = mark.since(guest)?;
    let of_exec = events.iter().filter(|event| event["action"] == "exec");
    let reasons: Vec<_> = of_exec.map(|event| &event["reason"]).collect();
    ensure!(
        reasons.len() == own.statement.len()
            && reasons.iter().all(|reason| *reason == "bad-signature"),
        "{reasons:?}"
    );
    envelope::write(&file, &own.bytes())?;
    expect_trusted(guest, &file, CALL)
}

fn a_statement_without_its_grant_is_a_bad_signature(guest: &mut Guest) -> Result<()> {
    // A bare signature would be a loader's.
    policy::apply(guest, &format!("{}bare = \"loader\"\n", policy::acme("")))?;
    let file = narrow(guest, "file")?;
    let own = Envelope::of(&file)?;
    let cut = own.statement[..END - 1].to_vec();
    let longer = [&own.statement[..], &[0; 8]].concat();
    for (what, statement) in [
        ("no statement", Vec::new()),
        ("no grant", statement(LOADER, &[], 0)),
        ("a grant of zeros", statement(LOADER, &[0; END - SIZE], 0)),
        ("a grant that is cut", cut),
        ("a grant and more", longer),
    ] {
        let lie = Envelope {
            statement,
            ..own.clone()
        };
        expect_refused(guest, &file, &lie, "bad-signature").context(what)?;
    }
    policy::apply(guest, &policy::acme(""))
}

/// Also of the same content: a statement goes with its signature.
fn another_files_statement_is_a_bad_signature(guest: &mut Guest) -> Result<()> {
    let file = narrow(guest, "file")?;
    let wide = Envelope::of(&loader(guest, "wide", ACME, &Grant::ALL.of("wide", 3))?)?;
    let same = guest.copy(fixture::UNSIGNED, "same")?;
    fixture::sign_with_grant(guest, ACME, &same, &Grant::ALL.of("same", 0))?;
    let same = Envelope::of(&same)?;
    let own = Envelope::of(&file)?;
    let plain = Envelope::of(&signed_probe(guest, "plain")?)?;
    for (what, lie) in [
        (
            "its statement",
            Envelope {
                statement: wide.statement.clone(),
                ..own.clone()
            },
        ),
        (
            "its signature",
            Envelope {
                pkcs7: wide.pkcs7.clone(),
                ..own
            },
        ),
        ("both", wide),
        ("both of one without a grant", plain.clone()),
    ] {
        expect_refused(guest, &file, &lie, "bad-signature").context(what)?;
    }
    let twin = signed_probe(guest, "twin")?;
    let lie = Envelope {
        statement: same.statement,
        ..plain
    };
    expect_refused(guest, &twin, &lie, "bad-signature").context("of the same content")
}

fn a_strangers_grant_is_an_unknown_key(guest: &mut Guest) -> Result<()> {
    let file = narrow(guest, "file")?;
    let own = Envelope::of(&file)?;
    let mut wider = own.statement.clone();
    wider[COMMANDS..].fill(0xff);
    // It names ACME's key and is STRANGER's.
    let lie = own.restate(guest, &file, STRANGER, wider)?;
    expect_refused(guest, &file, &lie, "unknown-key")
}

/// Not even a publisher's.
fn a_grant_of_another_form_is_a_bad_signature(guest: &mut Guest) -> Result<()> {
    let file = narrow(guest, "file")?;
    let own = Envelope::of(&file)?;
    let edited = |at: usize, bytes: &[u8]| {
        let mut statement = own.statement.clone();
        statement[at..at + bytes.len()].copy_from_slice(bytes);
        statement
    };
    let size = |grant: &[u8], said: u16| {
        let mut grant = grant.to_vec();
        grant[..2].copy_from_slice(&said.to_le_bytes());
        statement(LOADER, &grant, 0)
    };
    let grant = &own.statement[SIZE..];
    for (what, statement) in [
        (
            "size of a form to come",
            size(&[grant, &[0; 8]].concat(), 112),
        ),
        ("larger than it says", size(&[grant, &[0; 8]].concat(), 104)),
        ("smaller than it says", size(grant, 112)),
        ("size 0", size(grant, 0)),
        ("an unknown right of scripts", edited(SCRIPT, &[4])),
        ("reserved", edited(RESERVED + 1, &[1])),
        ("an unknown requirement", edited(REQUIRED, &[8])),
        ("one more", edited(REQUIRED + 1, &[0x80])),
        ("version 2^63", edited(VERSION + 7, &[0x80])),
        ("no name", edited(NAME, &[0; 32])),
        ("a name without end", edited(NAME, &[b'x'; 32])),
        ("reserved of the statement", edited(4, &[1])),
    ] {
        let lie = own.restate(guest, &file, ACME, statement)?;
        expect_refused(guest, &file, &lie, "bad-signature").context(what)?;
    }
    let same = own.restate(guest, &file, ACME, own.statement.clone())?;
    envelope::write(&file, &same.bytes())?;
    expect_trusted(guest, &file, CALL)
}
