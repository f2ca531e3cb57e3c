//! Signatures that are not what they should be: no trust, the right reason, no
//! crash, and soon (attacks 2 and 9a).

use crate::envelope::{self, ENVELOPE_SIZE, Envelope, GOOD_SHAPE, LOADER, STATEMENT_SIZE};
use crate::fixture::{self, ACME, ANY_COMMAND, Events, STRANGER, expect_trusted, signed_probe};
use crate::guest::Guest;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub const GROUP: Group = Group {
    name: "signature",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(of_openssl_is_as_good_as_ours),
        test!(of_another_file_counts_for_nothing),
        test!(of_another_key_counts_for_nothing),
        test!(of_a_key_that_it_only_names_counts_for_nothing),
        test!(cut_off_anywhere_counts_for_nothing),
        test!(with_a_changed_bit_counts_for_nothing).within(120),
        test!(of_random_bytes_counts_for_nothing),
        test!(that_is_too_large_counts_for_nothing),
        test!(of_an_unknown_form_counts_for_nothing),
        test!(over_other_data_counts_for_nothing),
        test!(with_a_grant_is_not_taken_for_one_without),
        test!(of_another_shape_counts_for_nothing),
        test!(for_another_kind_makes_no_loader),
        test!(for_a_library_makes_no_loader),
        test!(without_a_statement_needs_the_policys_word),
    ],
};

const CALL: &[&str] = &["bpf", ANY_COMMAND];

/// How long one verdict may take, on a machine that emulates its CPU.
const SOON: Duration = Duration::from_secs(5);

/// A value of the xattr, and why it must count for nothing.
struct Case {
    name: String,
    xattr: Vec<u8>,
    reason: &'static str,
}

fn case(name: impl Into<String>, xattr: Vec<u8>, reason: &'static str) -> Case {
    Case {
        name: name.into(),
        xattr,
        reason,
    }
}

/// Gives the signed probe `file` each of these signatures, executes it, and
/// requires the reasons in the history; with its own it is trusted again.
fn expect_each(guest: &Guest, file: &Path, cases: &[Case]) -> Result<()> {
    let own = envelope::read(file)?;
    let mark = Events::mark(guest)?;
    for case in cases {
        let name = &case.name;
        envelope::write(file, &case.xattr).with_context(|| format!("cannot set: {name}"))?;
        let start = Instant::now();
        let said = fixture::probe(file, CALL)?.success()?;
        ensure!(said.trim() == "bpf 11: EPERM", "{name}: {said}");
        let took = start.elapsed();
        ensure!(took < SOON, "{name} took {} ms", took.as_millis());
    }
    for action in ["exec", "bpf"] {
        let events = mark.since(guest)?;
        let found: Vec<_> = events
            .iter()
            .filter(|event| {
                event["action"] == action && event["executable"] == *file.to_string_lossy()
            })
            .collect();
        ensure!(found.len() == cases.len(), "{action}: {events:#?}");
        for (event, case) in found.iter().zip(cases) {
            ensure!(
                event["reason"] == case.reason && event["outcome"] == "denied",
                "{}, not {}: {event:#}",
                case.name,
                case.reason
            );
        }
    }
    envelope::write(file, &own)?;
    expect_trusted(guest, file, CALL)
}

fn of_openssl_is_as_good_as_ours(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let statement = envelope::statement(LOADER, &[], 0);
    let own = Envelope::of(&probe)?;
    ensure!(own.statement == statement, "{:?}", own.statement);
    ensure!(own.bytes() == envelope::read(&probe)?, "not as it was read");
    let signed = own.restate(guest, &probe, ACME, statement)?;
    envelope::write(&probe, &signed.bytes())?;
    expect_trusted(guest, &probe, CALL)
}

fn of_another_file_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let other = guest.copy("/usr/bin/true", "other")?;
    fixture::sign(guest, ACME, &other)?;
    let cases = [case("true", envelope::read(&other)?, "bad-signature")];
    expect_each(guest, &probe, &cases)
}

fn of_another_key_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let other = guest.copy(&probe, "other")?;
    fixture::sign(guest, STRANGER, &other)?;
    let cases = [case("stranger", envelope::read(&other)?, "unknown-key")];
    expect_each(guest, &probe, &cases)
}

fn of_a_key_that_it_only_names_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let other = guest.copy(&probe, "other")?;
    fixture::sign(guest, STRANGER, &other)?;
    let stranger = Envelope::of(&other)?;
    // The stranger's signature, said to be of the trusted key.
    let lie = Envelope {
        key: own.key,
        ..stranger.clone()
    };
    // The right signature, said to be of a key that nobody knows.
    let misled = Envelope {
        key: stranger.key,
        ..own.clone()
    };
    let mut cases = vec![
        case("forged hint", lie.bytes(), "unknown-key"),
        case("hint of a stranger", misled.bytes(), "unknown-key"),
    ];
    for key in [[0; 8], [0xff; 8]] {
        let nobody = Envelope { key, ..own.clone() };
        cases.push(case(format!("{key:?}"), nobody.bytes(), "unknown-key"));
    }
    // Its signer is named as the trusted one, in the PKCS#7 as well.
    let mut forged = own.clone();
    let value = forged.pkcs7.len() - 256..;
    forged.pkcs7[value.clone()].copy_from_slice(&stranger.pkcs7[stranger.pkcs7.len() - 256..]);
    cases.push(case("forged signer", forged.bytes(), "bad-signature"));
    expect_each(guest, &probe, &cases)
}

fn cut_off_anywhere_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let bytes = own.bytes();
    let mut cases = Vec::new();
    for size in (0..40)
        .chain((40..bytes.len()).step_by(37))
        .chain([bytes.len() - 1])
    {
        let cut = bytes[..size].to_vec();
        cases.push(case(format!("{size} bytes"), cut, "bad-signature"));
    }
    // With sizes that fit what is left.
    for size in (0..own.pkcs7.len()).step_by(41) {
        let mut short = own.clone();
        short.pkcs7.truncate(size);
        cases.push(case(
            format!("{size} of PKCS#7"),
            short.bytes(),
            "bad-signature",
        ));
    }
    expect_each(guest, &probe, &cases)
}

/// The bytes that carry meaning: envelope, statement, signature value. The rest
/// of the PKCS#7 is not signed, and only names what must fit anyhow.
fn with_a_changed_bit_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let bytes = envelope::read(&probe)?;
    let key = ENVELOPE_SIZE - 8..ENVELOPE_SIZE;
    let value = bytes.len() - 256..bytes.len();
    let mut cases = Vec::new();
    for at in (0..ENVELOPE_SIZE + STATEMENT_SIZE).chain(value.step_by(15)) {
        let reason = match key.contains(&at) {
            true => "unknown-key",
            false => "bad-signature",
        };
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        cases.push(case(format!("byte {at}"), changed, reason));
    }
    expect_each(guest, &probe, &cases)
}

fn of_random_bytes_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    // xorshift64: the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |size: usize| -> Vec<u8> {
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        std::iter::repeat_with(next).take(size).collect()
    };
    let mut cases = Vec::new();
    for size in [1, 24, 25, 100, 654, 1000, 3000, 4000] {
        cases.push(case(
            format!("{size} random bytes"),
            random(size),
            "bad-signature",
        ));
    }
    for size in [1, 2, 10, 100, 600, 3072] {
        let junk = Envelope {
            pkcs7: random(size),
            ..own.clone()
        };
        cases.push(case(
            format!("{size} random bytes of PKCS#7"),
            junk.bytes(),
            "bad-signature",
        ));
    }
    for fill in [0x00, 0x30, 0x80, 0x82, 0xff] {
        let junk = Envelope {
            pkcs7: vec![fill; 600],
            ..own.clone()
        };
        cases.push(case(
            format!("600 times {fill:#x}"),
            junk.bytes(),
            "bad-signature",
        ));
    }
    expect_each(guest, &probe, &cases)
}

fn that_is_too_large_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let padded = |size: usize| {
        let mut large = own.clone();
        large.pkcs7.resize(size, 0);
        large.bytes()
    };
    let mut trailing = own.bytes();
    trailing.push(0);
    let mut cases = vec![case("one byte more", trailing, "bad-signature")];
    for size in [3072, 3073, 4000] {
        cases.push(case(
            format!("PKCS#7 of {size}"),
            padded(size),
            "bad-signature",
        ));
    }
    expect_each(guest, &probe, &cases)?;
    // No more fits a block of ext4, but other file systems take it.
    for size in [4100, 60 * 1024] {
        let refused = envelope::write(&probe, &padded(size));
        ensure!(refused == Err(Errno::NOSPC), "{size}: {refused:?}");
    }
    let copy = Path::new("/dev/shm/signature-probe");
    fs::copy(&probe, copy)?;
    for size in [4096, 4097, 5000, 60 * 1024] {
        let xattr = [own.bytes(), vec![0; size]].concat();
        envelope::write(copy, &xattr).with_context(|| format!("cannot set {size} bytes"))?;
        fixture::expect_refused(guest, copy, CALL, "bad-signature")?;
    }
    fs::remove_file(copy)?;
    expect_trusted(guest, &probe, CALL)
}

fn of_an_unknown_form_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let mut cases = Vec::new();
    for form in [0, 2, 256, u16::MAX] {
        let other = Envelope {
            form,
            ..own.clone()
        };
        cases.push(case(format!("form {form}"), other.bytes(), "bad-signature"));
    }
    for reserved in [1, 1 << 31] {
        let other = Envelope {
            reserved,
            ..own.clone()
        };
        let name = format!("reserved {reserved:#x}");
        cases.push(case(name, other.bytes(), "bad-signature"));
        // Signed as it is, what is reserved in a statement is reserved still.
        let statement = envelope::statement(LOADER, &[], reserved);
        let other = own.restate(guest, &probe, ACME, statement)?;
        let name = format!("statement's reserved {reserved:#x}");
        cases.push(case(name, other.bytes(), "bad-signature"));
    }
    for size in [1, 4, 7] {
        let statement = own.statement[..size].to_vec();
        let other = own.restate(guest, &probe, ACME, statement)?;
        let name = format!("statement of {size} bytes");
        cases.push(case(name, other.bytes(), "bad-signature"));
    }
    expect_each(guest, &probe, &cases)
}

fn over_other_data_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let digest = envelope::formatted_digest(guest, &probe)?;
    let mut messages = vec![
        ("nothing", vec![]),
        ("text", b"pay to the bearer".to_vec()),
        ("the file", fs::read(&probe)?),
        ("the digest alone", digest[12..].to_vec()),
        ("no statement", digest.clone()),
        (
            "another statement",
            [&digest[..], &envelope::statement(2, &[], 0)].concat(),
        ),
    ];
    let mut sha512 = [digest.clone(), own.statement.clone()].concat();
    sha512[8] = 2;
    messages.push(("another algorithm", sha512));
    let mut cases = Vec::new();
    for (name, message) in messages {
        let pkcs7 = envelope::pkcs7(guest, ACME, &message, GOOD_SHAPE)?;
        let other = Envelope {
            pkcs7,
            ..own.clone()
        };
        cases.push(case(name, other.bytes(), "bad-signature"));
    }
    expect_each(guest, &probe, &cases)
}

/// A later version's statement, which may mean less than "everything".
fn with_a_grant_is_not_taken_for_one_without(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let mut cases = Vec::new();
    for size in [1, 8, 512] {
        let statement = envelope::statement(LOADER, &vec![0; size], 0);
        let granted = own.restate(guest, &probe, ACME, statement)?;
        cases.push(case(
            format!("grant of {size}"),
            granted.bytes(),
            "bad-signature",
        ));
    }
    // Said to be none, and there; said to be there, and none.
    for (said, there) in [(0, 4), (4, 0)] {
        let mut statement = envelope::statement(LOADER, &vec![0; there], 0);
        statement[2] = said;
        let granted = own.restate(guest, &probe, ACME, statement)?;
        let name = format!("{there} bytes of grant, said to be {said}");
        cases.push(case(name, granted.bytes(), "bad-signature"));
    }
    expect_each(guest, &probe, &cases)
}

fn of_another_shape_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let digest = envelope::formatted_digest(guest, &probe)?;
    let message = [digest, own.statement.clone()].concat();
    let (certificate, private) = (STRANGER.certificate(), STRANGER.private());
    let second = [GOOD_SHAPE, &["-signer", &certificate, "-inkey", &private]].concat();
    let certified = ["-md", "sha256", "-noattr", "-certfile", &certificate];
    let shapes: &[(&str, &[&str])] = &[
        ("signed attributes", &["-md", "sha256", "-nocerts"]),
        ("its certificate", &["-md", "sha256", "-noattr"]),
        ("certificates", &certified),
        ("attributes and certificate", &["-md", "sha256"]),
        ("SHA-1", &["-md", "sha1", "-noattr", "-nocerts"]),
        ("two signers", &second),
        ("its content", &[GOOD_SHAPE, &["-nodetach"]].concat()),
        (
            "a signer by key identifier",
            &[GOOD_SHAPE, &["-keyid"]].concat(),
        ),
    ];
    let mut cases = Vec::new();
    for (name, options) in shapes {
        let pkcs7 = envelope::pkcs7(guest, ACME, &message, options)?;
        ensure!(pkcs7.len() <= 3072, "{name}: too large to tell anything");
        let other = Envelope {
            pkcs7,
            ..own.clone()
        };
        cases.push(case(*name, other.bytes(), "bad-signature"));
    }
    expect_each(guest, &probe, &cases)?;
    for hash in ["sha384", "sha512"] {
        let options = ["-md", hash, "-noattr", "-nocerts"];
        let other = Envelope {
            pkcs7: envelope::pkcs7(guest, ACME, &message, &options)?,
            ..own.clone()
        };
        envelope::write(&probe, &other.bytes())?;
        expect_trusted(guest, &probe, CALL).context(hash)?;
    }
    Ok(())
}

/// Those of today (library, script, policy, permit), none, and later ones; 257
/// is 1 to whoever looks at eight bits of it.
fn for_another_kind_makes_no_loader(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let own = Envelope::of(&probe)?;
    let mut cases = Vec::new();
    for kind in [0, 2, 3, 4, 5, 6, 99, 255, 256, 257, 0x8001, u16::MAX] {
        let statement = envelope::statement(kind, &[], 0);
        let other = own.restate(guest, &probe, ACME, statement)?;
        cases.push(case(format!("kind {kind}"), other.bytes(), "wrong-kind"));
    }
    expect_each(guest, &probe, &cases)?;
    // Nor when the verdict was kept.
    for case in &cases {
        envelope::write(&probe, &case.xattr)?;
        for _ in 0..2 {
            let said = fixture::probe(&probe, CALL)?.success()?;
            ensure!(said.trim() == "bpf 11: EPERM", "{}: {said}", case.name);
        }
    }
    envelope::write(&probe, &own.bytes())?;
    // The kind is part of what is signed.
    let library = own.restate(guest, &probe, ACME, envelope::statement(2, &[], 0))?;
    let lie = Envelope {
        statement: own.statement.clone(),
        ..library
    };
    let name = "a library's, said to be a loader's";
    expect_each(guest, &probe, &[case(name, lie.bytes(), "bad-signature")])
}

fn for_a_library_makes_no_loader(guest: &mut Guest) -> Result<()> {
    let probe = guest.copy("/usr/bin/bpftrust-probe", "probe")?;
    fixture::sign_as(guest, ACME, &probe, &["--kind", "library"])?;
    fixture::expect_refused(guest, &probe, CALL, "wrong-kind")?;
    fixture::sign(guest, ACME, &probe)?;
    expect_trusted(guest, &probe, CALL)
}

fn without_a_statement_needs_the_policys_word(guest: &mut Guest) -> Result<()> {
    let probe = signed_probe(guest, "probe")?;
    let signed = [
        super::bare::by_fsverity_sign(guest)?,
        super::bare::by_ourselves(guest)?,
    ];
    for file in signed {
        fixture::expect_refused(guest, &file, CALL, "wrong-kind")?;
    }
    expect_trusted(guest, &probe, CALL)
}
