//! A permit lifts the seal once, for a time that no clock prolongs, on one machine.

use crate::fixture::{ACME, Events, GOVERNOR, STRANGER, UNSIGNED, probe as act};
use crate::guest::Guest;
use crate::policy::status;
use crate::registry::{Group, RunsOn};
use crate::seal::anchor;
use crate::sealed::{
    self, PERMIT, apply, change, expect_held_without_the_anchor, expect_no_permit, expect_refused,
    expect_unsigned_refused, next, next_text, permit, permit_of, probe, seal_status, sign, text,
    use_permit, wait_until_sealed,
};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "permit",
    runs_on: RunsOn::Supported,
    setup: Some(sealed::seal),
    teardown: Some(sealed::release),
    tests: &[
        test!(a_permit_works_once).within(240),
        test!(it_ends_by_the_time_since_boot).within(240),
        test!(an_expired_one_is_refused).within(240),
        test!(that_of_another_boot_is_refused).within(240),
        test!(only_policy_keys_sign_permits).within(240),
        test!(a_changed_one_is_refused).within(240),
        test!(what_it_let_in_lets_nothing_old_in).within(240),
        test!(a_signed_policy_is_judged_as_always_while_it_lasts).within(240),
        test!(it_outlives_that_the_anchor_is_killed_for_its_memory).within(240),
    ],
};

/// An unsigned policy, which only a permit lets in.
fn apply_unsigned(guest: &Guest, serial: u64) -> Result<()> {
    let file = guest.write("unsigned.toml", text(serial, &[GOVERNOR], ""))?;
    apply(guest, &file)?.success()?;
    Ok(())
}

fn a_permit_works_once(guest: &mut Guest) -> Result<()> {
    expect_unsigned_refused(guest)?;
    let (nonce, _) = seal_status(guest)?;
    let file = permit(guest, GOVERNOR, 25)?;
    let mark = Events::mark(guest)?;
    use_permit(guest, &file)?.success()?;
    mark.expect(
        guest,
        &[
            ("action", "permit"),
            ("outcome", "allowed"),
            ("reason", "none"),
        ],
    )?;
    let shown = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(
        shown.contains("\nthe seal is lifted by a permit"),
        "{shown}"
    );
    let (another, _) = seal_status(guest)?;
    ensure!(nonce != another, "the nonce is still {nonce}");
    apply_unsigned(guest, 0)?;
    // While it lasts and after.
    expect_no_permit(guest, &file, "wrong-nonce")?;
    wait_until_sealed(guest)?;
    expect_no_permit(guest, &file, "wrong-nonce")?;
    expect_unsigned_refused(guest)?;
    change(guest, "")
}

fn it_ends_by_the_time_since_boot(guest: &mut Guest) -> Result<()> {
    const DAY: &str = "86400";
    let clock = |seconds: &str| -> Result<()> {
        let said = act(Path::new(UNSIGNED), &["clock", seconds])?.success()?;
        ensure!(said.ends_with(": ok\n"), "{said}");
        Ok(())
    };
    let file = permit(guest, GOVERNOR, 15)?;
    use_permit(guest, &file)?.success()?;
    clock(&format!("-{DAY}"))?;
    let ended = apply_unsigned(guest, 0)
        .and_then(|()| wait_until_sealed(guest))
        .and_then(|()| expect_unsigned_refused(guest));
    clock(DAY)?;
    ended?;
    let until = status(guest)?["seal"]["lifted_until"].clone();
    ensure!(until.is_null(), "{until}");
    // Set forward it ends nothing, either.
    let file = permit(guest, GOVERNOR, 15)?;
    use_permit(guest, &file)?.success()?;
    clock(DAY)?;
    let lasts = apply_unsigned(guest, 0);
    clock(&format!("-{DAY}"))?;
    lasts?;
    wait_until_sealed(guest)
}

fn an_expired_one_is_refused(guest: &mut Guest) -> Result<()> {
    let (nonce, boot_time) = seal_status(guest)?;
    // The shortest ends a minute after boot.
    let early = Duration::from_secs(61_u64.saturating_sub(boot_time));
    std::thread::sleep(early);
    let file = permit_of(guest, GOVERNOR, &nonce, 0)?;
    expect_no_permit(guest, &file, "expired")?;
    let file = permit(guest, GOVERNOR, 15)?;
    use_permit(guest, &file)?.success()?;
    wait_until_sealed(guest)
}

fn that_of_another_boot_is_refused(guest: &mut Guest) -> Result<()> {
    let (nonce, boot_time) = seal_status(guest)?;
    let flipped = if nonce.ends_with('0') { '1' } else { '0' };
    let near = format!("{}{flipped}", &nonce[..63]);
    for other in ["0".repeat(64), "f".repeat(64), near] {
        let file = permit_of(guest, GOVERNOR, &other, boot_time)?;
        expect_no_permit(guest, &file, "wrong-nonce").context(other)?;
    }
    expect_unsigned_refused(guest)?;
    let file = permit(guest, GOVERNOR, 15)?;
    use_permit(guest, &file)?.success()?;
    wait_until_sealed(guest)
}

fn only_policy_keys_sign_permits(guest: &mut Guest) -> Result<()> {
    for (key, reason) in [(ACME, "wrong-kind"), (STRANGER, "unknown-key")] {
        let file = permit(guest, key, 30)?;
        expect_no_permit(guest, &file, reason).with_context(|| format!("{key:?}"))?;
    }
    expect_unsigned_refused(guest)
}

fn a_changed_one_is_refused(guest: &mut Guest) -> Result<()> {
    let good = fs::read(permit(guest, GOVERNOR, 60)?)?;
    let hand_over = |bytes: &[u8]| -> Result<String> {
        let file = guest.write("changed", bytes)?;
        probe(&format!("prctl {PERMIT} {}", file.display()))
    };
    let end = good.len();
    for (what, at) in [
        ("its end", 40),
        ("the nonce", 48),
        ("the signature", end - 1),
    ] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        sealed::expect_none_taken(guest, "permit", "bad-signature", || {
            let said = hand_over(&bytes)?;
            ensure!(said == "EBADMSG", "{said}");
            Ok(())
        })
        .context(what)?;
    }
    for (what, bytes, reason, answer) in [
        ("nothing", Vec::new(), "no-signature", "EACCES"),
        (
            "cut short",
            good[..end - 1].to_vec(),
            "bad-signature",
            "EBADMSG",
        ),
        (
            "with more",
            [&good[..], &[0]].concat(),
            "bad-signature",
            "EBADMSG",
        ),
    ] {
        sealed::expect_none_taken(guest, "permit", reason, || {
            let said = hand_over(&bytes)?;
            ensure!(said == answer, "{said}");
            Ok(())
        })
        .context(what)?;
    }
    // The first may have ended by now.
    let said = hand_over(&fs::read(permit(guest, GOVERNOR, 15)?)?)?;
    ensure!(said == "EALREADY", "{said}");
    wait_until_sealed(guest)
}

/// The serial does not go down with an unsigned policy.
fn what_it_let_in_lets_nothing_old_in(guest: &mut Guest) -> Result<()> {
    change(guest, "")?;
    let serial = next(guest)? - 1;
    let old = guest.path("old.policy");
    let signed = sign(guest, GOVERNOR, &text(serial, &[GOVERNOR], ""))?;
    fs::copy(signed, &old).context("cannot keep it")?;
    use_permit(guest, &permit(guest, GOVERNOR, 15)?)?.success()?;
    apply_unsigned(guest, 0)?;
    ensure!(next(guest)? == serial + 1, "{}", next(guest)?);
    wait_until_sealed(guest)?;
    expect_refused(guest, &old, "too-old")?;
    change(guest, "")
}

/// What is signed wrongly is wrong, whatever else would be taken now.
fn a_signed_policy_is_judged_as_always_while_it_lasts(guest: &mut Guest) -> Result<()> {
    let signed = sign(guest, STRANGER, &next_text(guest, "")?)?;
    let parts = sealed::Parts::of(guest, &signed)?;
    use_permit(guest, &permit(guest, GOVERNOR, 25)?)?.success()?;
    parts.expect_refused(guest, "unknown-key", "ENOKEY")?;
    wait_until_sealed(guest)?;
    change(guest, "")
}

/// No hook sees who is to be killed first when memory runs out, nor that root has
/// the kernel act as if it had.
fn it_outlives_that_the_anchor_is_killed_for_its_memory(guest: &mut Guest) -> Result<()> {
    let pid = anchor(guest)?;
    guest
        .shell(&format!(
            "echo 1000 >/proc/{pid}/oom_score_adj && echo f >/proc/sysrq-trigger"
        ))?
        .success()?;
    guest.wait_for("the anchor's end", Duration::from_secs(20), || {
        Ok((status(guest)?["seal"]["anchor_runs"] == false).then_some(()))
    })?;
    expect_held_without_the_anchor(guest)
}
