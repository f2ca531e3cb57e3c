//! Policies with other keys than RSA, and with many.

use crate::envelope::{self, Envelope};
use crate::fixture::{
    self, ANY_COMMAND, ANY_LIBRARIES, CONFIGURATION, STRANGER, expect_refused, expect_trusted,
};
use crate::guest::Guest;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "keys",
    runs_on: RunsOn::Supported,
    setup: Some(enforce_with_many_keys),
    teardown: Some(fixture::release),
    tests: &[
        test!(p256_signs),
        test!(p384_signs),
        test!(rsa_3072_signs),
        test!(each_of_many_keys_signs),
        test!(one_key_of_the_policy_does_not_pass_as_another),
        test!(a_key_outside_the_policy_signs_nothing),
    ],
};

const CALL: &[&str] = &["bpf", ANY_COMMAND];

/// Publishers in the policy beside those of other algorithms, a key each.
const MANY: usize = 50;

fn directory(name: &str) -> String {
    format!("{CONFIGURATION}/keys/{name}")
}

fn enforce_with_many_keys(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    let mut keys = vec![
        ("p256".to_owned(), "p256"),
        ("p384".to_owned(), "p384"),
        ("rsa-3072".to_owned(), "rsa-3072"),
    ];
    keys.extend((0..MANY).map(|number| (format!("many-{number}"), "p256")));
    let mut policy = ANY_LIBRARIES.to_owned();
    for (name, algorithm) in &keys {
        let out = directory(name);
        let words = ["bpftrust", "keygen", "--algorithm", algorithm];
        guest
            .run(&[&words[..], &["--name", name, "--out", &out]].concat())?
            .success()?;
        let certificate = format!("{CONFIGURATION}/certificates/{name}.pem");
        fs::copy(format!("{out}/certificate.pem"), certificate)?;
        writeln!(
            policy,
            "[publisher.{name}]\ncertificates = [\"{name}.pem\"]"
        )?;
    }
    fs::write(format!("{CONFIGURATION}/policy.toml"), policy).context("cannot write the policy")?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    Ok(())
}

fn sign(guest: &Guest, name: &str, file: &Path) -> Result<()> {
    let out = directory(name);
    let key = format!("{out}/key.pem");
    let certificate = format!("{out}/certificate.pem");
    let file = file.to_str().context("a path of ASCII")?;
    let words = ["bpftrust", "sign", "--key", &key, "--certificate"];
    guest
        .run(&[&words[..], &[&certificate, file]].concat())?
        .success()?;
    Ok(())
}

fn signs(guest: &Guest, name: &str) -> Result<()> {
    let probe = guest.copy("/usr/bin/bpftrust-probe", name)?;
    sign(guest, name, &probe)?;
    expect_trusted(guest, &probe, CALL).with_context(|| name.to_owned())?;
    let mut changed = envelope::read(&probe)?;
    let last = changed.len() - 1;
    changed[last] ^= 1;
    envelope::write(&probe, &changed)?;
    expect_refused(guest, &probe, CALL, "bad-signature")
}

fn p256_signs(guest: &mut Guest) -> Result<()> {
    signs(guest, "p256")
}

fn p384_signs(guest: &mut Guest) -> Result<()> {
    signs(guest, "p384")
}

fn rsa_3072_signs(guest: &mut Guest) -> Result<()> {
    signs(guest, "rsa-3072")
}

fn each_of_many_keys_signs(guest: &mut Guest) -> Result<()> {
    for number in [0, 1, MANY / 2, MANY - 1] {
        signs(guest, &format!("many-{number}"))?;
    }
    Ok(())
}

/// Each is alone in its keyring: the hint chooses the ring, and only what that
/// one verifies is verified.
fn one_key_of_the_policy_does_not_pass_as_another(guest: &mut Guest) -> Result<()> {
    let first = guest.copy("/usr/bin/bpftrust-probe", "first")?;
    let second = guest.copy("/usr/bin/bpftrust-probe", "second")?;
    sign(guest, "many-2", &first)?;
    sign(guest, "many-3", &second)?;
    expect_trusted(guest, &first, CALL)?;
    let lie = Envelope {
        key: Envelope::of(&second)?.key,
        ..Envelope::of(&first)?
    };
    envelope::write(&first, &lie.bytes())?;
    expect_refused(guest, &first, CALL, "unknown-key")?;
    expect_trusted(guest, &second, CALL)
}

fn a_key_outside_the_policy_signs_nothing(guest: &mut Guest) -> Result<()> {
    let probe = guest.copy("/usr/bin/bpftrust-probe", "probe")?;
    fixture::sign(guest, STRANGER, &probe)?;
    expect_refused(guest, &probe, CALL, "unknown-key")?;
    fixture::sign(guest, fixture::ACME, &probe)?;
    expect_refused(guest, &probe, CALL, "unknown-key")?;
    sign(guest, "p256", &probe)?;
    expect_trusted(guest, &probe, CALL)
}
