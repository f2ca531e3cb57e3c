//! A policy takes the place of another at once, and reaches processes that run.

use crate::fixture::{self, ACME, CONFIGURATION, Events, STRANGER, UNSIGNED};
use crate::fixture::{expect_refused, expect_trusted};
use crate::guest::Guest;
use crate::policy::{self, ACME_ONLY, Running, apply, digest, grant, hint, loader, running};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;

pub const GROUP: Group = Group {
    name: "change",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_refused_digest_takes_trust_while_it_runs),
        test!(a_refused_name_takes_trust_while_it_runs),
        test!(a_higher_minimum_version_takes_trust_while_it_runs),
        test!(a_refused_key_takes_trust_while_it_runs),
        test!(a_key_that_is_withdrawn_takes_trust_while_it_runs),
        test!(a_lower_ceiling_reaches_who_runs),
        test!(own_code_that_is_taken_back_costs_trust),
        test!(a_key_is_rotated_without_a_gap).within(180),
        test!(a_policy_that_is_none_changes_nothing),
        test!(only_an_administrator_brings_a_policy),
        test!(another_mode_takes_a_new_start),
        test!(many_changes_leave_nothing_behind).within(120),
        test!(a_hundred_thousand_digests_can_be_refused).within(120),
    ],
};

pub const AUDIT: Group = Group {
    name: "change-audit",
    runs_on: RunsOn::Supported,
    setup: Some(audit),
    teardown: Some(fixture::release),
    tests: &[test!(in_audit_mode_no_policy_takes_trust)],
};

/// A policy that refuses the loader `victim`, which runs, for `reason`, and
/// leaves `other` alone; trust is gone until the next exec under a better one.
fn takes_trust(
    guest: &mut Guest,
    rule: impl Fn(&Guest) -> Result<String>,
    reason: &str,
) -> Result<()> {
    let mut victim = running(guest, "victim")?;
    let mut other = Running::start(
        guest,
        &loader(guest, ACME, "other", &grant("other", 1))?,
        "",
    )?;
    // Content of its own, so that a digest tells them apart.
    let rule = rule(guest)?;
    apply(guest, &format!("{ACME_ONLY}{rule}"))?;
    let path = guest.path("victim");
    let refused = victim
        .expect_lost(guest, reason)
        .and_then(|()| other.expect_trusted(guest))
        .and_then(|()| expect_refused(guest, &path, &["bpf", "11"], reason));
    apply(guest, ACME_ONLY)?;
    refused?;
    victim.expect_still_lost(guest)?;
    expect_trusted(guest, &path, &["bpf", "11"])
}

fn a_refused_digest_takes_trust_while_it_runs(guest: &mut Guest) -> Result<()> {
    // The probe's copies all have one digest: this one is longer.
    let path = guest.copy(UNSIGNED, "victim")?;
    let mut content = fs::read(&path)?;
    content.extend(b"other content");
    fs::write(&path, content)?;
    fixture::sign_with_grant(guest, ACME, &path, &grant("victim", 1))?;
    let mut victim = Running::start(guest, &path, "")?;
    let mut other = running(guest, "other")?;
    let rule = format!("[refused]\ndigests = [{:?}]\n", digest(guest, &path)?);
    apply(guest, &format!("{ACME_ONLY}{rule}"))?;
    let refused = victim
        .expect_lost(guest, "revoked")
        .and_then(|()| other.expect_trusted(guest))
        .and_then(|()| expect_refused(guest, &path, &["bpf", "11"], "revoked"));
    apply(guest, ACME_ONLY)?;
    refused?;
    victim.expect_still_lost(guest)?;
    expect_trusted(guest, &path, &["bpf", "11"])
}

fn a_refused_name_takes_trust_while_it_runs(guest: &mut Guest) -> Result<()> {
    let rule = |_: &Guest| Ok("[refused]\nnames = [\"victim\"]\n".to_owned());
    takes_trust(guest, rule, "revoked")
}

fn a_higher_minimum_version_takes_trust_while_it_runs(guest: &mut Guest) -> Result<()> {
    let rule = |_: &Guest| Ok("[minimum-version]\nvictim = 2\nother = 1\n".to_owned());
    takes_trust(guest, rule, "too-old")
}

fn a_refused_key_takes_trust_while_it_runs(guest: &mut Guest) -> Result<()> {
    let both = format!("{ACME_ONLY}[publisher.stranger]\ncertificates = [\"stranger.pem\"]\n");
    apply(guest, &both)?;
    let path = loader(guest, STRANGER, "victim", &grant("victim", 1))?;
    let mut victim = Running::start(guest, &path, "")?;
    let mut other = running(guest, "other")?;
    let rule = format!("[refused]\nkeys = [{:?}]\n", hint(guest, &path)?);
    apply(guest, &format!("{both}{rule}"))?;
    victim.expect_lost(guest, "revoked")?;
    other.expect_trusted(guest)?;
    expect_refused(guest, &path, &["bpf", "11"], "revoked")?;
    // Also where no publisher has it.
    apply(guest, &format!("{ACME_ONLY}{rule}"))?;
    expect_refused(guest, &path, &["bpf", "11"], "revoked")?;
    apply(guest, ACME_ONLY)?;
    expect_refused(guest, &path, &["bpf", "11"], "unknown-key")
}

fn a_key_that_is_withdrawn_takes_trust_while_it_runs(guest: &mut Guest) -> Result<()> {
    let mut victim = running(guest, "victim")?;
    apply(
        guest,
        "[publisher.acme]\ncertificates = [\"stranger.pem\"]\n",
    )?;
    let lost = victim.expect_lost(guest, "unknown-key");
    let later = expect_refused(guest, &guest.path("victim"), &["bpf", "11"], "unknown-key");
    apply(guest, ACME_ONLY)?;
    lost?;
    later?;
    victim.expect_still_lost(guest)?;
    expect_trusted(guest, &guest.path("victim"), &["bpf", "11"])
}

/// A right that goes is no loss of trust, and comes back with the policy.
fn a_lower_ceiling_reaches_who_runs(guest: &mut Guest) -> Result<()> {
    let path = loader(guest, ACME, "loader", &grant("loader", 1))?;
    let line = "map array until low map hash map array touch was-low until high map array";
    let mut process = guest.start(Program::new(&path).args(fixture::words(line)))?;
    guest.wait_until_says(&mut process, "map array: ok")?;
    let mark = Events::mark(guest)?;
    apply(guest, &format!("[ceiling]\nmaps = [\"hash\"]\n{ACME_ONLY}"))?;
    guest.write("low", "")?;
    let low = guest.wait_until_says(&mut process, "touch was-low: ok");
    apply(guest, ACME_ONLY)?;
    low?;
    mark.expect(
        guest,
        &[
            ("reason", "not-granted"),
            ("command", "map-create"),
            ("object", "map"),
            ("name", "array"),
        ],
    )?;
    guest.write("high", "")?;
    let wanted = "until low: ok\nmap hash: ok\nmap array: EPERM\ntouch was-low: ok\n\
                  until high: ok\nmap array: ok\n";
    guest.wait_until_says(&mut process, wanted)
}

fn own_code_that_is_taken_back_costs_trust(guest: &mut Guest) -> Result<()> {
    let path = loader(guest, ACME, "jit", &grant("jit", 1))?;
    let mut jit = Running::start(guest, &path, "anonymous-code bpf 11")?;
    let mut other = running(guest, "other")?;
    let ceiling = "[ceiling]\nabilities = [\"children\"]\n";
    apply(guest, &format!("{ceiling}{ACME_ONLY}"))?;
    let lost = jit.expect_lost(guest, "writable-code");
    let goes_on = other.expect_trusted(guest);
    apply(guest, ACME_ONLY)?;
    lost?;
    goes_on
}

/// Old key, both, new key: what either signed is trusted as long as its key is,
/// while policies follow each other as fast as they can.
fn a_key_is_rotated_without_a_gap(guest: &mut Guest) -> Result<()> {
    let both = "[publisher.acme]\ncertificates = [\"acme.pem\", \"stranger.pem\"]\n";
    let old = loader(guest, ACME, "old", &grant("agent", 1))?;
    let new = loader(guest, STRANGER, "new", &grant("agent", 1))?;
    expect_trusted(guest, &old, &["bpf", "11"])?;
    expect_refused(guest, &new, &["bpf", "11"], "unknown-key")?;
    apply(guest, both)?;
    let mut runs = Running::start(guest, &new, "")?;
    let ask = |program: &std::path::Path| {
        format!(
            "{} bpf 11 map array repeat 20 [ bpf 11 sleep 5 ]",
            program.display()
        )
    };
    let script = format!(
        "#!/bin/sh\nwhile [ ! -e stop ]; do {}; {}; done\n",
        ask(&old),
        ask(&new)
    );
    let script = guest.script("rotate", &script)?;
    let mut loop_of_execs = guest.start(Program::new(&script))?;
    guest.wait_until_says(&mut loop_of_execs, "map array: ok")?;
    for _ in 0..12 {
        apply(guest, both)?;
    }
    guest.write("stop", "")?;
    guest.wait_for(
        "the end of the loop",
        std::time::Duration::from_secs(60),
        || loop_of_execs.status(),
    )?;
    let said = loop_of_execs.said();
    ensure!(said.contains("ok") && !said.contains("EPERM"), "{said}");
    apply(
        guest,
        "[publisher.acme]\ncertificates = [\"stranger.pem\"]\n",
    )?;
    let after = runs
        .expect_trusted(guest)
        .and_then(|()| expect_trusted(guest, &new, &["bpf", "11"]))
        .and_then(|()| expect_refused(guest, &old, &["bpf", "11"], "unknown-key"));
    apply(guest, ACME_ONLY)?;
    after
}

fn a_policy_that_is_none_changes_nothing(guest: &mut Guest) -> Result<()> {
    let before = policy::status(guest)?["policy"].clone();
    let mut loader = running(guest, "loader")?;
    let place = format!("{CONFIGURATION}/none.toml");
    for text in [
        "",
        "[publisher.acme]\n",
        "[publisher.acme]\ncertificates = [\"none.pem\"]\n",
        "[ceiling]\nmaps = [\"hsah\"]\n[publisher.acme]\ncertificates = [\"acme.pem\"]\n",
    ] {
        fs::write(&place, text)?;
        let output = guest.run(&["bpftrust", "policy", "apply", &place])?;
        ensure!(output.status == 2, "{text:?}: {output}");
        output.failure()?;
    }
    ensure!(policy::status(guest)?["policy"] == before);
    loader.expect_trusted(guest)
}

/// `prctl()` of ours with anything that is no policy, and without the right.
fn only_an_administrator_brings_a_policy(guest: &mut Guest) -> Result<()> {
    let before = policy::status(guest)?["policy"].clone();
    let said = guest.run(&[UNSIGNED, "bring-policy", "garbage", "process-name", "x"])?;
    let said = said.success()?;
    ensure!(
        said == "bring-policy garbage: EINVAL\nprocess-name x: ok\n",
        "{said}"
    );
    let line = "setuid 1000 bring-policy garbage process-name x";
    let said = guest.run(&[&[UNSIGNED], &fixture::words(line)[..]].concat())?;
    let said = said.success()?;
    ensure!(
        said.ends_with("bring-policy garbage: EPERM\nprocess-name x: ok\n"),
        "{said}"
    );
    let line = "userns [ bring-policy garbage ]";
    let said = guest.run(&[&[UNSIGNED], &fixture::words(line)[..]].concat())?;
    let said = said.success()?;
    ensure!(said == "bring-policy garbage: EPERM\n", "{said}");
    ensure!(policy::status(guest)?["policy"] == before);
    let output = Program::new("bpftrust")
        .args(["policy", "apply"])
        .by_user()
        .run()?;
    ensure!(output.failure()?.contains("only root"));
    Ok(())
}

fn another_mode_takes_a_new_start(guest: &mut Guest) -> Result<()> {
    let place = format!("{CONFIGURATION}/audit.toml");
    fs::write(&place, format!("mode = \"audit\"\n{ACME_ONLY}"))?;
    let output = guest.run(&["bpftrust", "policy", "apply", &place])?;
    let said = output.failure()?;
    ensure!(said.contains("started in mode enforce"), "{said}");
    let output = guest.run(&["bpftrust", "policy", "apply", "--audit"])?;
    let said = output.failure()?;
    ensure!(said.contains("started in mode enforce"), "{said}");
    expect_refused(
        guest,
        std::path::Path::new(UNSIGNED),
        &["bpf", "11"],
        "no-signature",
    )
}

/// What a policy takes away is only said, and comes back with it.
fn in_audit_mode_no_policy_takes_trust(guest: &mut Guest) -> Result<()> {
    let path = loader(guest, ACME, "victim", &grant("victim", 1))?;
    let place = format!("{CONFIGURATION}/audited.toml");
    let mark = Events::mark(guest)?;
    let line = "bpf 11 until refused bpf 12 until allowed bpf 13 until never";
    let mut process = guest.start(Program::new(&path).args(fixture::words(line)))?;
    guest.wait_until_says(&mut process, "bpf 11: ok")?;
    let apply = |policy: &str| {
        fs::write(&place, policy)?;
        guest
            .run(&["bpftrust", "policy", "apply", "--audit", &place])?
            .success()
    };
    apply(&format!("{ACME_ONLY}[refused]\nnames = [\"victim\"]\n"))?;
    guest.write("refused", "")?;
    guest.wait_until_says(&mut process, "bpf 12: ")?;
    apply(ACME_ONLY)?;
    guest.write("allowed", "")?;
    guest.wait_until_says(&mut process, "bpf 13: ")?;
    let executable = path.to_str().context("a path of ASCII")?;
    let event = |command, outcome| {
        [
            ("executable", executable),
            ("command", command),
            ("outcome", outcome),
        ]
    };
    mark.expect(guest, &event("prog-get-next-id", "allowed"))?;
    let said = mark.expect(guest, &event("map-get-next-id", "would-deny"))?;
    ensure!(said["reason"] == "revoked", "{said:#}");
    mark.expect(guest, &event("prog-get-fd-by-id", "allowed"))?;
    Ok(())
}

fn audit(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    Ok(())
}

/// Neither keyrings nor keys of policies that are gone.
fn many_changes_leave_nothing_behind(guest: &mut Guest) -> Result<()> {
    let keyrings = || -> Result<usize> {
        let keys = fs::read_to_string("/proc/keys").context("cannot read /proc/keys")?;
        Ok(keys
            .lines()
            .filter(|line| line.contains("bpftrust"))
            .count())
    };
    apply(guest, ACME_ONLY)?;
    let settled = || {
        guest.wait_for(
            "the end of old keyrings",
            std::time::Duration::from_secs(20),
            // The keyring, the ring of the one key, the key.
            || Ok((keyrings()? <= 3).then_some(())),
        )
    };
    settled()?;
    let keys = policy::status(guest)?["keys"].clone();
    for _ in 0..10 {
        apply(guest, ACME_ONLY)?;
    }
    settled()?;
    let after = policy::status(guest)?["keys"].clone();
    ensure!(after.as_array().map(Vec::len) == keys.as_array().map(Vec::len));
    let shown = guest
        .shell("wc -c < /sys/fs/bpf/bpftrust/keys")?
        .success()?;
    ensure!(shown.trim() == "616", "more than one key: {shown}");
    Ok(())
}

fn a_hundred_thousand_digests_can_be_refused(guest: &mut Guest) -> Result<()> {
    use std::fmt::Write;
    let path = guest.copy(UNSIGNED, "victim")?;
    let mut content = fs::read(&path)?;
    content.extend(b"one of many");
    fs::write(&path, content)?;
    fixture::sign_with_grant(guest, ACME, &path, &grant("victim", 1))?;
    let mut victim = Running::start(guest, &path, "")?;
    let mut other = running(guest, "other")?;
    let mut digests = digest(guest, &path)? + "\n";
    for number in 0..99_999_u64 {
        writeln!(
            digests,
            "sha256:{:064x}",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )?;
    }
    fs::write(format!("{CONFIGURATION}/many.txt"), digests)?;
    let start = std::time::Instant::now();
    let many = format!("{ACME_ONLY}[refused]\ndigests-file = \"many.txt\"\n");
    let said = apply(guest, &many)?;
    let took = start.elapsed();
    let refused = victim
        .expect_lost(guest, "revoked")
        .and_then(|()| other.expect_trusted(guest));
    apply(guest, ACME_ONLY)?;
    refused.with_context(|| format!("after {} ms", took.as_millis()))?;
    ensure!(said.contains("100000 rules"), "{said}");
    Ok(())
}
