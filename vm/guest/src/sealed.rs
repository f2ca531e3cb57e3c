//! A sealed guard: policies that a policy key signs, permits, and both in parts, as
//! an attacker hands them over.

use crate::fixture::{
    self, ACME, ACME_NEXT, Events, GLOBEX, GOVERNOR, GOVERNOR_NEXT, Key, STRANGER, UNSIGNED, words,
};
use crate::guest::Guest;
use crate::policy::{publisher, status};
use crate::process::Output;
use crate::seal::{expect_enforcing, expect_sealed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `BT_PRCTL_POLICY` and `BT_PRCTL_PERMIT` of `bpf/abi.h`.
pub const POLICY: &str = "1651536896";
pub const PERMIT: &str = "1651536897";

/// Bytes of `struct bt_policy`, `struct bt_publisher` and `struct bt_key`.
pub const HEADER: usize = 136;
pub const PUBLISHER: usize = 88;
pub const KEY: usize = 616;

/// A setup: the guard is sealed, under a policy with serial 1 that trusts [`ACME`]
/// and takes orders from [`GOVERNOR`].
pub fn seal(guest: &mut Guest) -> Result<()> {
    for key in [ACME, ACME_NEXT, GLOBEX, GOVERNOR, GOVERNOR_NEXT, STRANGER] {
        key.make(guest)?;
    }
    let policy = guest.write("sealed.toml", text(1, &[GOVERNOR], ""))?;
    let policy = policy.to_str().context("a path of ASCII")?;
    guest
        .run(&["bpftrust", "enforce", "--seal", "--policy", policy])?
        .success()?;
    Ok(())
}

/// Its end, which takes a permit.
pub fn release(guest: &mut Guest) -> Result<()> {
    use_permit(guest, &permit(guest, GOVERNOR, 60)?)?.success()?;
    fixture::release(guest)
}

/// A policy with this serial and these policy keys that trusts [`ACME`], and says
/// this besides.
pub fn text(serial: u64, policy_keys: &[Key], more: &str) -> String {
    let certificates: Vec<String> = policy_keys.iter().map(|key| key.certificate()).collect();
    // Paths of ASCII need no escapes, so Rust's strings are TOML's.
    format!(
        "libraries = \"any\"\nserial = {serial}\n[policy-keys]\ncertificates = {certificates:?}\n{}{more}",
        publisher("acme", &[ACME])
    )
}

/// The serial that is next.
pub fn next(guest: &Guest) -> Result<u64> {
    let serial = status(guest)?["serial"].as_u64();
    Ok(serial.context("no serial")? + 1)
}

/// The policy that is next and says this besides.
pub fn next_text(guest: &Guest, more: &str) -> Result<String> {
    Ok(text(next(guest)?, &[GOVERNOR], more))
}

/// Compiles a policy and signs it.
pub fn sign(guest: &Guest, key: Key, policy: &str) -> Result<PathBuf> {
    let file = guest.write("to-sign.toml", policy)?;
    let out = guest.path("signed.policy");
    let words = [
        "bpftrust",
        "policy",
        "sign",
        "--key",
        &key.private(),
        "--certificate",
        &key.certificate(),
        "--out",
        out.to_str().context("a path of ASCII")?,
        file.to_str().context("a path of ASCII")?,
    ];
    guest.run(&words)?.success()?;
    Ok(out)
}

/// Asks for a policy to take effect.
pub fn apply(guest: &Guest, file: &Path) -> Result<Output> {
    let file = file.to_str().context("a path of ASCII")?;
    guest.run(&["bpftrust", "policy", "apply", file])
}

/// Signs the next policy, which says this besides, and lets it take effect.
pub fn change(guest: &Guest, more: &str) -> Result<()> {
    let file = sign(guest, GOVERNOR, &next_text(guest, more)?)?;
    apply(guest, &file)?.success()?;
    Ok(())
}

/// Requires that the next policy is refused without a signature.
pub fn expect_unsigned_refused(guest: &Guest) -> Result<()> {
    let file = guest.write("unsigned.toml", next_text(guest, "")?)?;
    expect_refused(guest, &file, "no-signature")
}

/// Requires that what the anchor held is held, now that it is gone.
pub fn expect_held_without_the_anchor(guest: &Guest) -> Result<()> {
    expect_enforcing(guest)?;
    for (command, action) in [
        ("rm /sys/fs/bpf/bpftrust/hooks/bt_bpf", "pin"),
        ("umount -l /sys", "mount"),
    ] {
        expect_sealed(guest, command, action)?;
    }
    // The user keyring has its rings, so orders are taken, and only those.
    expect_unsigned_refused(guest)?;
    change(guest, "")
}

/// Requires that this policy is refused for this reason and changes nothing.
pub fn expect_refused(guest: &Guest, file: &Path, reason: &str) -> Result<()> {
    expect_none_taken(guest, "policy", reason, || {
        let output = apply(guest, file)?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.stderr.contains("\nhelp: "), "{output}");
        Ok(())
    })
}

/// What no refused order changes.
fn facts(guest: &Guest) -> Result<[Value; 5]> {
    let status = status(guest)?;
    let seal = &status["seal"];
    Ok([
        status["policy"].clone(),
        status["serial"].clone(),
        seal["nonce"].clone(),
        seal["lifted_until"].clone(),
        status["keys"].clone(),
    ])
}

/// Requires that this is refused for this reason, says so, and changes nothing.
pub fn expect_none_taken(
    guest: &Guest,
    action: &str,
    reason: &str,
    ask: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = facts(guest)?;
    let mark = Events::mark(guest)?;
    ask()?;
    mark.expect(
        guest,
        &[
            ("action", action),
            ("outcome", "denied"),
            ("reason", reason),
        ],
    )?;
    mark.expect_none(guest, &[("action", action), ("outcome", "allowed")])?;
    let after = facts(guest)?;
    ensure!(before == after, "{before:?} before, {after:?} now");
    Ok(())
}

/// A compiled policy in the parts that are handed over.
#[derive(Clone)]
pub struct Parts {
    /// Header and tables.
    pub tables: Vec<u8>,
    /// The signed order.
    pub order: Vec<u8>,
}

impl Parts {
    /// Of a signed policy, for the guard as it is now. Its rings are those of the
    /// policy in force, so its keys must be, too.
    pub fn of(guest: &Guest, file: &Path) -> Result<Self> {
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let count = |at: usize| -> Result<usize> {
            let number = bytes.get(at..at + 4).context("no header")?;
            Ok(u32::from_le_bytes(number.try_into()?) as usize)
        };
        let (publishers, keys, rules) = (count(16)?, count(20)?, count(24)?);
        let first_key = HEADER + publishers * PUBLISHER;
        let mut end = first_key + keys * KEY + rules * 48;
        let mut tables = bytes[..end].to_vec();
        for _ in 0..keys {
            end += 4 + count(end)?;
        }
        let order = bytes[end..].to_vec();

        let status = status(guest)?;
        let generation = status["policy"].as_u64().context("no number")? + 1;
        tables[8..16].copy_from_slice(&generation.to_le_bytes());
        for number in 0..keys {
            let at = first_key + number * KEY;
            let hint: String = tables[at + 24..at + 32]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let rings = status["keys"].as_array().context("no keys")?;
            let ring = rings.iter().find(|key| key["key"] == hint.as_str());
            let ring = ring.and_then(|key| key["ring"].as_u64());
            let ring = u32::try_from(ring.context("a key without a ring")?)?;
            tables[at..at + 4].copy_from_slice(&ring.to_le_bytes());
        }
        Ok(Self { tables, order })
    }

    /// What prctl() answers to them.
    pub fn hand_over(&self, guest: &Guest) -> Result<String> {
        let tables = guest.write("tables", &self.tables)?;
        let order = guest.write("order", &self.order)?;
        let (tables, order) = (tables.display(), order.display());
        probe(&format!("hand-over {POLICY} {tables} {order}"))
    }

    /// Requires that they are refused so, and change nothing.
    pub fn expect_refused(&self, guest: &Guest, reason: &str, answer: &str) -> Result<()> {
        expect_all_refused(guest, &[("they", self.clone(), reason, answer)])
    }
}

/// Requires that each of these is refused for this reason and with this answer of
/// prctl(), and that all of them change nothing.
pub fn expect_all_refused(guest: &Guest, cases: &[(&str, Parts, &str, &str)]) -> Result<()> {
    let before = facts(guest)?;
    let mark = Events::mark(guest)?;
    let mut line = String::new();
    for (number, (_, parts, ..)) in cases.iter().enumerate() {
        let tables = guest.write(&format!("tables-{number}"), &parts.tables)?;
        let order = guest.write(&format!("order-{number}"), &parts.order)?;
        let (tables, order) = (tables.display(), order.display());
        line += &format!("hand-over {POLICY} {tables} {order} ");
    }
    let said = fixture::probe(Path::new(UNSIGNED), &words(&line))?.success()?;
    let events = mark.since(guest)?;
    let mut events = events.iter().filter(|event| event["action"] == "policy");
    let mut answers = said.lines();
    for (what, _, reason, answer) in cases {
        let said = answers.next().context("no answer")?;
        ensure!(said.ends_with(&format!(": {answer}")), "{what}: {said}");
        let event = events.next().context("no event")?;
        ensure!(event["outcome"] == "denied", "{what}: {event}");
        ensure!(event["reason"] == *reason, "{what}: {event}");
    }
    ensure!(events.next().is_none(), "another event");
    let after = facts(guest)?;
    ensure!(before == after, "{before:?} before, {after:?} now");
    Ok(())
}

/// What the last line of the unsigned probe says.
pub fn probe(line: &str) -> Result<String> {
    let said = fixture::probe(Path::new(UNSIGNED), &words(line))?.success()?;
    let last = said.lines().last().context("it said nothing")?;
    let (_, answer) = last.split_once(": ").context("no answer")?;
    Ok(answer.to_owned())
}

/// The seal, as `status` shows it.
pub fn seal_status(guest: &Guest) -> Result<(String, u64)> {
    let seal = status(guest)?["seal"].clone();
    let nonce = seal["nonce"].as_str().context("no nonce")?.to_owned();
    Ok((nonce, seal["boot_time"].as_u64().context("no boot time")?))
}

/// A permit for this guard that ends in so many seconds, at most 60.
pub fn permit(guest: &Guest, key: Key, seconds: u64) -> Result<PathBuf> {
    let (nonce, boot_time) = seal_status(guest)?;
    // Minutes are the least that can be said.
    permit_of(guest, key, &nonce, (boot_time + seconds).saturating_sub(60))
}

/// A permit for a minute from this moment on.
pub fn permit_of(guest: &Guest, key: Key, nonce: &str, boot_time: u64) -> Result<PathBuf> {
    let out = guest.path("permit");
    let words = [
        "bpftrust",
        "permit",
        "make",
        "--nonce",
        nonce,
        "--boot-time",
        &boot_time.to_string(),
        "--minutes",
        "1",
        "--key",
        &key.private(),
        "--certificate",
        &key.certificate(),
        "--out",
        out.to_str().context("a path of ASCII")?,
    ];
    guest.run(&words)?.success()?;
    Ok(out)
}

/// Hands a permit over.
pub fn use_permit(guest: &Guest, file: &Path) -> Result<Output> {
    let file = file.to_str().context("a path of ASCII")?;
    guest.run(&["bpftrust", "permit", "use", file])
}

/// Requires that this permit is refused for this reason and changes nothing.
pub fn expect_no_permit(guest: &Guest, file: &Path, reason: &str) -> Result<()> {
    expect_none_taken(guest, "permit", reason, || {
        let output = use_permit(guest, file)?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.stderr.contains("\nhelp: "), "{output}");
        Ok(())
    })
}

/// Waits until no permit lifts the seal any more.
pub fn wait_until_sealed(guest: &Guest) -> Result<()> {
    guest.wait_for("the end of the permit", Duration::from_secs(90), || {
        Ok(status(guest)?["seal"]["lifted_until"]
            .is_null()
            .then_some(()))
    })
}
