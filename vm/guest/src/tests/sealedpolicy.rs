//! A sealed guard takes another policy only by the word of a policy key, and never
//! one that it had before.

use crate::envelope;
use crate::fixture::{
    self, ACME, ANY_COMMAND, Events, GLOBEX, GOVERNOR, GOVERNOR_NEXT, STRANGER, expect_trusted,
};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{CALL, Running, expect_exec_refused, loader, publisher, status};
use crate::registry::{Group, RunsOn};
use crate::seal::{expect_enforcing, expect_sealed};
use crate::sealed::{
    self, HEADER, PERMIT, PUBLISHER, Parts, apply, change, expect_all_refused,
    expect_held_without_the_anchor, expect_refused, next, next_text, probe, sign, text,
};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs;

pub const GROUP: Group = Group {
    name: "sealedpolicy",
    runs_on: RunsOn::Supported,
    setup: Some(sealed::seal),
    teardown: Some(sealed::release),
    tests: &[
        test!(an_unsigned_policy_is_refused).within(180),
        test!(a_signed_policy_takes_effect_at_once).within(180),
        test!(no_serial_counts_twice).within(180),
        test!(only_policy_keys_sign_policies).within(180),
        test!(what_was_signed_is_what_is_taken).within(240),
        test!(a_signature_says_what_it_is_for).within(180),
        test!(a_policy_key_signs_no_files).within(180),
        test!(policy_keys_follow_each_other).within(180),
        test!(a_refused_policy_key_signs_nothing).within(180),
        test!(a_policy_comes_with_its_own_rings).within(180),
        test!(its_keyring_is_held_as_the_first_was).within(180),
        test!(a_large_policy_is_taken_as_it_was_signed).within(240),
        test!(it_takes_the_capability_too).within(180),
        test!(sysrq_kills_everybody).kills_all_but(it_holds_without_anybody),
    ],
};

/// A loader of [`ACME`]'s that runs, to see whether something changed.
fn witness(guest: &mut Guest) -> Result<Running> {
    let program = loader(guest, "witness", ACME, &Grant::ALL.of("witness", 1))?;
    Running::start(guest, &program, &format!("bpf {ANY_COMMAND}"))
}

fn an_unsigned_policy_is_refused(guest: &mut Guest) -> Result<()> {
    let mut witness = witness(guest)?;
    let policy = next_text(guest, "[refused]\nnames = [\"witness\"]\n")?;
    let plain = guest.write("unsigned.toml", &policy)?;
    expect_refused(guest, &plain, "no-signature").context("in TOML")?;
    let compiled = guest.path("unsigned.policy");
    guest
        .run(&[
            "bpftrust",
            "policy",
            "compile",
            "--out",
            compiled.to_str().context("a path of ASCII")?,
            plain.to_str().context("a path of ASCII")?,
        ])?
        .success()?;
    expect_refused(guest, &compiled, "no-signature").context("compiled")?;
    witness.expect_trusted(guest)?;
    // The same, signed.
    let signed = sign(guest, GOVERNOR, &policy)?;
    apply(guest, &signed)?.success()?;
    witness.expect_refused(guest, "revoked").map(drop)?;
    change(guest, "")
}

fn a_signed_policy_takes_effect_at_once(guest: &mut Guest) -> Result<()> {
    let program = loader(guest, "signed", ACME, &Grant::ALL.of("signed", 1))?;
    let load = "load kprobe";
    let mut running = Running::start_with(guest, &program, "bpf 11", load)?;
    running.expect_trusted(guest)?;
    let mark = Events::mark(guest)?;
    change(guest, "[publisher.acme.ceiling]\nprograms = [\"xdp\"]\n")?;
    mark.expect(guest, &[("action", "policy"), ("outcome", "allowed")])?;
    running.expect_refused(guest, "not-granted")?;
    change(guest, "")?;
    running.expect_trusted(guest)?;
    let shown = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(shown.contains("\nsealed until reboot"), "{shown}");
    ensure!(shown.contains("\n  policy key "), "{shown}");
    Ok(())
}

fn no_serial_counts_twice(guest: &mut Guest) -> Result<()> {
    let mut witness = witness(guest)?;
    let serial = next(guest)?;
    let old = sign(guest, GOVERNOR, &text(serial, &[GOVERNOR], ""))?;
    let kept = guest.path("old.policy");
    fs::copy(&old, &kept).context("cannot keep it")?;
    apply(guest, &kept)?.success()?;
    expect_refused(guest, &kept, "too-old").context("the same once more")?;
    for (what, serial) in [("equal", serial), ("lower", serial - 1)] {
        let other = sign(guest, GOVERNOR, &text(serial, &[GOVERNOR], "[ceiling]\n"))?;
        expect_refused(guest, &other, "too-old").context(what)?;
    }
    // Far ahead, and from there on.
    let far = serial + 1000;
    let later = sign(guest, GOVERNOR, &text(far, &[GOVERNOR], ""))?;
    apply(guest, &later)?.success()?;
    expect_refused(guest, &kept, "too-old").context("one from before")?;
    let below = sign(guest, GOVERNOR, &text(far - 1, &[GOVERNOR], ""))?;
    expect_refused(guest, &below, "too-old").context("one in between")?;
    ensure!(next(guest)? == far + 1, "{}", next(guest)?);
    witness.expect_trusted(guest)?;
    change(guest, "")
}

fn only_policy_keys_sign_policies(guest: &mut Guest) -> Result<()> {
    let mut witness = witness(guest)?;
    let policy = next_text(guest, "[refused]\nnames = [\"witness\"]\n")?;
    for (key, reason) in [
        (ACME, "wrong-kind"),
        (STRANGER, "unknown-key"),
        (GOVERNOR_NEXT, "unknown-key"),
    ] {
        let signed = sign(guest, key, &policy)?;
        expect_refused(guest, &signed, reason).with_context(|| format!("{key:?}"))?;
    }
    // A stranger who says that he is another: the ring is asked, not the hint.
    let mut parts = Parts::of(guest, &sign(guest, STRANGER, &policy)?)?;
    for (key, reason, answer) in [
        (GOVERNOR, "unknown-key", "ENOKEY"),
        (ACME, "wrong-kind", "EKEYREJECTED"),
    ] {
        let own = Parts::of(guest, &sign(guest, key, &policy)?)?;
        parts.order[16..24].copy_from_slice(&own.order[16..24]);
        parts.expect_refused(guest, reason, answer)?;
    }
    witness.expect_trusted(guest)?;
    let signed = sign(guest, GOVERNOR, &policy)?;
    apply(guest, &signed)?.success()?;
    witness.expect_refused(guest, "revoked")?;
    change(guest, "")
}

/// Everything that is handed over, changed after it was signed.
fn what_was_signed_is_what_is_taken(guest: &mut Guest) -> Result<()> {
    let mut witness = witness(guest)?;
    let policy = next_text(
        guest,
        "loaders = [\"witness\", \"other\"]\n[refused]\nnames = [\"evil\"]\n",
    )?;
    let good = Parts::of(guest, &sign(guest, GOVERNOR, &policy)?)?;
    let key = HEADER + PUBLISHER;
    let size = good.tables.len();
    let mut cases = Vec::new();
    for (what, at) in [
        ("the ceiling", 32),
        ("the default", 80),
        ("the serial", 128),
        ("a publisher's name", HEADER),
        ("whether he is restricted", HEADER + 32),
        ("his ceiling", HEADER + 40),
        ("what a bare signature means", key + 4),
        ("whether a key is refused", key + 7),
        ("whose a key is", key + 8),
        ("what a key signs", key + 14),
        ("a key's hint", key + 24),
        ("the name for readers", key + 32),
        ("the first rule's kind", size - 3 * 48),
        ("the last rule's name", size - 48 + 8),
        ("the last rule's value", size - 8),
    ] {
        let mut parts = good.clone();
        parts.tables[at] ^= 1;
        cases.push((what, parts, "bad-signature", "EBADMSG"));
    }
    let counted = |change: i32| -> Result<Vec<u8>> {
        let mut tables = good.tables.clone();
        let rules = u32::from_le_bytes(tables[24..28].try_into()?);
        tables[24..28].copy_from_slice(&rules.wrapping_add_signed(change).to_le_bytes());
        Ok(tables)
    };
    let mut longer = counted(1)?;
    longer.extend([9; 48]);
    let mut shorter = counted(-1)?;
    shorter.truncate(size - 48);
    for (what, tables) in [("longer", longer), ("shorter", shorter)] {
        let order = good.order.clone();
        let parts = Parts { tables, order };
        cases.push((what, parts, "bad-signature", "EBADMSG"));
    }
    // The order itself: each of its fields, the envelope's, and the signature.
    let end = good.order.len();
    for (what, at, reason, answer) in [
        ("envelope", 0, "bad-signature", "EBADMSG"),
        ("form", 4, "bad-signature", "EBADMSG"),
        ("statement size", 6, "bad-signature", "EBADMSG"),
        ("signature size", 8, "bad-signature", "EBADMSG"),
        ("reserved", 12, "bad-signature", "EBADMSG"),
        ("key", 16, "unknown-key", "ENOKEY"),
        ("magic", 24, "bad-signature", "EBADMSG"),
        ("order's form", 32, "bad-signature", "EBADMSG"),
        ("kind", 34, "wrong-kind", "EKEYREJECTED"),
        ("order's reserved", 36, "bad-signature", "EBADMSG"),
        ("end", 40, "bad-signature", "EBADMSG"),
        ("hash", 48, "bad-signature", "EBADMSG"),
        ("PKCS#7", 80, "bad-signature", "EBADMSG"),
        ("signature", end - 1, "bad-signature", "EBADMSG"),
    ] {
        let mut parts = good.clone();
        parts.order[at] ^= 1;
        cases.push((what, parts, reason, answer));
    }
    for (what, order) in [
        ("cut short", good.order[..end - 1].to_vec()),
        ("without PKCS#7", good.order[..80].to_vec()),
        ("with more", [&good.order[..], &[0]].concat()),
        ("huge", vec![0x42; 1 << 20]),
    ] {
        let tables = good.tables.clone();
        let parts = Parts { tables, order };
        cases.push((what, parts, "bad-signature", "EBADMSG"));
    }
    expect_all_refused(guest, &cases)?;
    witness.expect_trusted(guest)?;
    let said = good.hand_over(guest)?;
    ensure!(said == "EALREADY", "as it was signed: {said}");
    witness.expect_trusted(guest)?;
    change(guest, "")
}

fn a_signature_says_what_it_is_for(guest: &mut Guest) -> Result<()> {
    let good = Parts::of(guest, &sign(guest, GOVERNOR, &next_text(guest, "")?)?)?;
    // A permit is no order to take a policy, and the reverse.
    let permit = fs::read(sealed::permit(guest, GOVERNOR, 30)?)?;
    let parts = Parts {
        order: permit,
        ..good.clone()
    };
    parts.expect_refused(guest, "wrong-kind", "EKEYREJECTED")?;
    let order = guest.write("order", &good.order)?;
    sealed::expect_none_taken(guest, "permit", "wrong-kind", || {
        let said = probe(&format!("prctl {PERMIT} {}", order.display()))?;
        ensure!(said == "EKEYREJECTED", "{said}");
        Ok(())
    })?;
    // A loader's signature by the same key is neither, whole or in part.
    let program = loader(guest, "by-governor", GOVERNOR, &Grant::ALL.of("x", 1))?;
    let signature = envelope::read(&program)?;
    let pkcs7 = envelope::Envelope::of(&program)?.pkcs7;
    let mut head = good.order[..80].to_vec();
    head[8..12].copy_from_slice(&u32::try_from(pkcs7.len())?.to_le_bytes());
    for order in [signature, [head, pkcs7].concat()] {
        let parts = Parts {
            order,
            ..good.clone()
        };
        parts.expect_refused(guest, "bad-signature", "EBADMSG")?;
    }
    // And an order is no loader's signature.
    let program = loader(guest, "by-order", ACME, &Grant::ALL.of("x", 1))?;
    envelope::write(&program, &good.order)?;
    expect_exec_refused(guest, &program, "wrong-kind")?;
    let said = good.hand_over(guest)?;
    ensure!(said == "EALREADY", "{said}");
    change(guest, "")
}

fn a_policy_key_signs_no_files(guest: &mut Guest) -> Result<()> {
    let with_grant = loader(guest, "granted", GOVERNOR, &Grant::ALL.of("x", 1))?;
    expect_exec_refused(guest, &with_grant, "wrong-kind")?;
    let bare = crate::policy::own_probe(guest, "bare")?;
    fixture::sign_as(guest, GOVERNOR, &bare, &["--bare"])?;
    expect_exec_refused(guest, &bare, "wrong-kind")?;
    // Nor does one that was a publisher's: who runs loses trust.
    change(guest, &publisher("globex", &[GLOBEX]))?;
    let program = loader(guest, "globex", GLOBEX, &Grant::ALL.of("globex", 1))?;
    let mut running = Running::start(guest, &program, "bpf 11")?;
    running.expect_trusted(guest)?;
    let policy = text(next(guest)?, &[GOVERNOR, GLOBEX], "");
    apply(guest, &sign(guest, GOVERNOR, &policy)?)?.success()?;
    running.expect_refused(guest, "wrong-kind")?;
    expect_exec_refused(guest, &program, "wrong-kind")?;
    // The policy says so before that: a key is one or the other.
    let both = text(next(guest)?, &[GOVERNOR, ACME], "");
    let file = guest.write("both.toml", both)?;
    let output = apply(guest, &file)?;
    ensure!(output.stderr.contains("has the key"), "{output}");
    change(guest, "")
}

fn policy_keys_follow_each_other(guest: &mut Guest) -> Result<()> {
    let next_policy = |keys: &[fixture::Key]| -> Result<String> {
        let serial = next(guest)?;
        Ok(text(serial, keys, ""))
    };
    let handover = next_policy(&[GOVERNOR_NEXT])?;
    // Not by the one who is to come.
    let claimed = sign(guest, GOVERNOR_NEXT, &handover)?;
    expect_refused(guest, &claimed, "unknown-key")?;
    apply(guest, &sign(guest, GOVERNOR, &handover)?)?.success()?;
    let old = sign(guest, GOVERNOR, &next_policy(&[GOVERNOR])?)?;
    expect_refused(guest, &old, "unknown-key").context("by the one who was")?;
    let back = sign(guest, GOVERNOR_NEXT, &next_policy(&[GOVERNOR])?)?;
    apply(guest, &back)?.success()?;
    change(guest, "")
}

fn a_refused_policy_key_signs_nothing(guest: &mut Guest) -> Result<()> {
    let keys = status(guest)?["keys"].clone();
    let keys = keys.as_array().context("no keys")?;
    let governor = keys.iter().find(|key| key["signs"] == "policies");
    let hint = governor
        .and_then(|key| key["key"].as_str())
        .context("no policy key")?;
    let refused = format!("[refused]\nkeys = [{hint:?}]\n");
    let both = text(next(guest)?, &[GOVERNOR, GOVERNOR_NEXT], &refused);
    apply(guest, &sign(guest, GOVERNOR, &both)?)?.success()?;
    let again = sign(guest, GOVERNOR, &next_text(guest, "")?)?;
    expect_refused(guest, &again, "revoked")?;
    let back = sign(guest, GOVERNOR_NEXT, &next_text(guest, "")?)?;
    apply(guest, &back)?.success()?;
    change(guest, "")
}

/// Else one that was signed could be brought so that nobody changes it any more.
fn a_policy_comes_with_its_own_rings(guest: &mut Guest) -> Result<()> {
    let good = Parts::of(guest, &sign(guest, GOVERNOR, &next_text(guest, "")?)?)?;
    let first = HEADER + PUBLISHER;
    let second = first + sealed::KEY;
    let swapped = {
        let mut tables = good.tables.clone();
        let (one, other) = (first..first + 4, second..second + 4);
        let ring: [u8; 4] = tables[one.clone()].try_into()?;
        tables.copy_within(other.clone(), one.start);
        tables[other].copy_from_slice(&ring);
        tables
    };
    let none = |at: usize| {
        let mut tables = good.tables.clone();
        tables[at..at + 4].fill(0);
        tables
    };
    let number = status(guest)?["policy"].clone();
    for (what, tables) in [
        ("another's", swapped),
        ("none for the publisher", none(first)),
        ("none for the policy key", none(second)),
    ] {
        let order = good.order.clone();
        let said = Parts { tables, order }.hand_over(guest)?;
        ensure!(said == "EINVAL", "{what}: {said}");
        ensure!(status(guest)?["policy"] == number, "{what}");
    }
    let said = good.hand_over(guest)?;
    ensure!(said == "EALREADY", "{said}");
    // With the rings of the one before it: those stay until there are others.
    change(guest, "")?;
    change(guest, "")?;
    let program = loader(guest, "after", ACME, &Grant::ALL.of("after", 1))?;
    expect_trusted(guest, &program, CALL)
}

fn its_keyring_is_held_as_the_first_was(guest: &mut Guest) -> Result<()> {
    let number = status(guest)?["policy"].as_u64().context("no number")? + 1;
    let (old, new) = (
        format!("bpftrust.{}", number - 1),
        format!("bpftrust.{number}"),
    );
    // Made while the name is nobody's.
    let make = format!("keyctl newring {new} $(keyctl newring others @u)");
    let made = guest.shell(&make)?.success()?;
    change(guest, "")?;
    let ours = guest
        .shell("keyctl rlist @u | xargs -n1 keyctl rdescribe")?
        .success()?;
    ensure!(ours.contains(&format!(";08010000;{new}\n")), "{ours}");
    ensure!(!ours.contains(&format!(";{old}\n")), "{ours}");
    let attempts = [
        &*format!("keyctl link {} @u", made.trim()),
        &format!("keyctl newring {new} @u"),
        &format!(
            "for ring in $(keyctl rlist @u); do \
             case $(keyctl rdescribe $ring) in *';{new}') keyctl unlink $ring @u; exit; esac; done"
        ),
        "keyctl clear @u",
    ];
    for attempt in attempts {
        expect_sealed(guest, attempt, "keyring")?;
    }
    guest.shell("keyctl unlink %:others @u")?.success()?;
    expect_enforcing(guest)
}

/// 4.8 MB of rules, the last of them changed; then as they were signed.
fn a_large_policy_is_taken_as_it_was_signed(guest: &mut Guest) -> Result<()> {
    let mut digests = String::new();
    for number in 0..100_000 {
        writeln!(digests, "sha256:{number:064x}")?;
    }
    guest.write("refused.txt", digests)?;
    let policy = next_text(guest, "[refused]\ndigests-file = \"refused.txt\"\n")?;
    let good = Parts::of(guest, &sign(guest, GOVERNOR, &policy)?)?;
    let mut parts = good.clone();
    let last = parts.tables.len() - 48 + 8 + 31;
    // A digest that is not in the table yet.
    parts.tables[last - 8] ^= 0x80;
    parts.expect_refused(guest, "bad-signature", "EBADMSG")?;
    let said = good.hand_over(guest)?;
    ensure!(said == "EALREADY", "{said}");
    change(guest, "")
}

fn it_takes_the_capability_too(guest: &mut Guest) -> Result<()> {
    let good = Parts::of(guest, &sign(guest, GOVERNOR, &next_text(guest, "")?)?)?;
    let tables = guest.write("tables", &good.tables)?;
    let order = guest.write("order", &good.order)?;
    let permit = sealed::permit(guest, GOVERNOR, 30)?;
    let before = status(guest)?;
    for who in ["setuid 1000 CALL", "userns [ CALL ]"] {
        let (tables, order) = (tables.display(), order.display());
        for call in [
            format!("hand-over {} {tables} {order}", sealed::POLICY),
            format!("prctl {PERMIT} {}", permit.display()),
        ] {
            let said = probe(&who.replace("CALL", &call))?;
            ensure!(said == "EPERM", "{who}: {call}: {said}");
        }
    }
    let after = status(guest)?;
    ensure!(before["policy"] == after["policy"], "{after}");
    ensure!(before["seal"]["nonce"] == after["seal"]["nonce"], "{after}");
    let said = good.hand_over(guest)?;
    ensure!(said == "EALREADY", "{said}");
    change(guest, "")
}

/// `drivers/tty/sysrq.c`, `send_sig_all`: all processes but PID 1, the anchor and this
/// one included, and no hook is asked.
fn sysrq_kills_everybody(guest: &mut Guest) -> Result<()> {
    let said = status(guest)?;
    ensure!(said["seal"]["anchor_runs"] == true, "{said}");
    fs::write("/proc/sysrq-trigger", "i").context("cannot trigger SysRq")?;
    std::thread::sleep(std::time::Duration::from_secs(10));
    Ok(())
}

fn it_holds_without_anybody(guest: &mut Guest) -> Result<()> {
    let said = status(guest)?;
    ensure!(said["seal"]["anchor_runs"] == false, "{said}");
    expect_held_without_the_anchor(guest)
}
