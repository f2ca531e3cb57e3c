//! `bpftrust explain` says of files under fs-verity what the guard makes of them.

use crate::envelope::{self, Envelope};
use crate::fixture::{
    self, ACME, GLOBEX, STRANGER, expect_trusted, probe, sign_as, signed_probe, words,
};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{
    self, CALL, Running, acme, expect_exec_refused, image, loader, own_probe, publisher,
};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub const GROUP: Group = Group {
    name: "explain",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(what_it_trusts_is_trusted_with_the_same_rights).within(180),
        test!(what_it_refuses_is_refused_for_the_same_reason).within(180),
        test!(it_says_what_each_ceiling_takes).within(180),
        test!(without_verity_there_is_no_trust).within(180),
        test!(it_needs_no_guard_and_no_trust).within(180),
    ],
};

/// Its exit status, and its answer.
fn explain(guest: &Guest, file: &Path) -> Result<(i32, Value)> {
    let policy = guest.path("policy.toml");
    let [policy, file] = [&*policy, file].map(|path| path.to_str().context("a path of ASCII"));
    let words = ["bpftrust", "explain", "--json", "--policy", policy?, file?];
    let output = guest.run(&words)?;
    let answer = serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    Ok((output.status, answer))
}

/// Requires that it says no, and the guard too, for this reason.
fn expect_both_refuse(guest: &Guest, file: &Path, reason: &str) -> Result<()> {
    let (status, answer) = explain(guest, file)?;
    ensure!(
        status == 1 && answer["trusted"] == false && answer["reason"] == reason,
        "{reason}: {status} {answer:#}"
    );
    expect_exec_refused(guest, file, reason)
}

const RIGHTS: [&str; 5] = ["commands", "programs", "maps", "attaches", "abilities"];

/// Requires that it says yes, and the guard too, with the same rights.
fn expect_both_trust(guest: &mut Guest, file: &Path) -> Result<Value> {
    let (status, answer) = explain(guest, file)?;
    ensure!(
        status == 0 && answer["trusted"] == true,
        "{status} {answer:#}"
    );
    expect_trusted(guest, file, CALL)?;
    let running = Running::start(guest, file, "bpf 11")?;
    let record = image(guest, running.pid())?;
    for right in RIGHTS {
        ensure!(
            answer["rights"][right] == record["rights"][right]
                && !answer["rights"][right].is_null(),
            "{right}: {answer:#} but {record:#}"
        );
    }
    for field in ["digest", "key", "publisher"] {
        ensure!(answer[field] == record[field], "{field}: {record:#}");
    }
    Ok(answer)
}

/// Ceilings, default, and rules of every kind.
const RULES: &str = "[publisher.acme.ceiling]\nmaps = [\"hash\", \"array\"]\n\
     [ceiling]\nabilities = [\"children\", \"own-code\"]\n\
     [default]\ncommands = [\"prog_get_next_id\", \"map_create\"]\nmaps = [\"hash\"]\n\
     [minimum-version]\nprobe = 3\n[refused]\nnames = [\"evil\"]\n";

fn policy(more: &str) -> String {
    let globex = publisher("globex", &[GLOBEX]);
    format!(
        "{}bare = \"loader\"\n{globex}loaders = [\"theirs\"]\n{more}",
        acme("")
    )
}

fn what_it_trusts_is_trusted_with_the_same_rights(guest: &mut Guest) -> Result<()> {
    policy::apply(guest, &policy(RULES))?;
    let plain = signed_probe(guest, "plain")?;
    let bare = own_probe(guest, "bare")?;
    sign_as(guest, ACME, &bare, &["--bare"])?;
    let wide = loader(guest, "wide", ACME, &Grant::ALL.of("probe", 3))?;
    let few = Grant {
        maps: "array queue",
        abilities: "own-code delegate",
        ..Grant::ALL
    };
    let few = loader(guest, "few", ACME, &few.of("few", 0))?;
    let theirs = loader(guest, "theirs", GLOBEX, &Grant::ALL.of("theirs", 0))?;
    for file in [&plain, &bare] {
        let answer = expect_both_trust(guest, file)?;
        ensure!(answer["basis"] == "default", "{answer:#}");
        ensure!(answer["rights"]["maps"] == json!(["hash"]), "{answer:#}");
    }
    for (file, name, maps) in [
        (&wide, "probe", json!(["hash", "array"])),
        (&few, "few", json!(["array"])),
    ] {
        let answer = expect_both_trust(guest, file)?;
        ensure!(
            answer["basis"] == "grant"
                && answer["name"] == name
                && answer["rights"]["maps"] == maps,
            "{answer:#}"
        );
    }
    expect_both_trust(guest, &theirs)?;
    // And in deed.
    let said = probe(&few, &words("map array map hash map queue"))?.success()?;
    ensure!(
        said == "map array: ok\nmap hash: EPERM\nmap queue: EPERM\n",
        "{said}"
    );
    Ok(())
}

fn refused_files(guest: &Guest) -> Result<Vec<(PathBuf, &'static str)>> {
    let copy = |name: &str| own_probe(guest, name);
    let mut files = vec![(copy("unsigned")?, "no-signature")];
    let stranger = copy("stranger")?;
    fixture::sign(guest, STRANGER, &stranger)?;
    files.push((stranger, "unknown-key"));
    let library = copy("library")?;
    sign_as(guest, ACME, &library, &["--kind", "library"])?;
    files.push((library, "wrong-kind"));
    let edited = loader(guest, "edited", ACME, &Grant::ALL.of("probe", 3))?;
    let mut lie = Envelope::of(&edited)?;
    lie.statement[16] ^= 4;
    envelope::write(&edited, &lie.bytes())?;
    files.push((edited, "bad-signature"));
    let malformed = copy("malformed")?;
    fixture::sign(guest, ACME, &malformed)?;
    envelope::write(&malformed, b"BPFT")?;
    files.push((malformed, "bad-signature"));
    let mut add = |name: &str, key, grant: String, reason| -> Result<()> {
        files.push((loader(guest, name, key, &grant)?, reason));
        Ok(())
    };
    add("old", ACME, Grant::ALL.of("probe", 2), "too-old")?;
    add("evil", ACME, Grant::ALL.of("evil", 9), "revoked")?;
    add("other", GLOBEX, Grant::ALL.of("other", 0), "not-granted")?;
    let nameless = copy("nameless")?;
    fixture::sign(guest, GLOBEX, &nameless)?;
    files.push((nameless, "not-granted"));
    Ok(files)
}

fn what_it_refuses_is_refused_for_the_same_reason(guest: &mut Guest) -> Result<()> {
    policy::apply(guest, &policy(RULES))?;
    let files = refused_files(guest)?;
    for (file, reason) in &files {
        let (status, answer) = explain(guest, file)?;
        ensure!(
            status == 1 && answer["reason"] == *reason,
            "{}: {answer:#}",
            file.display()
        );
        if *reason == "no-signature" {
            fixture::expect_refused(guest, file, CALL, reason)?;
        } else {
            expect_both_refuse(guest, file, reason)?;
        }
    }
    let good = loader(guest, "good", ACME, &Grant::ALL.of("good", 1))?;
    expect_both_trust(guest, &good)?;
    let (digest, key) = (policy::digest(guest, &good)?, policy::key_of(&good)?);
    for rule in [
        format!("digests = [{digest:?}]"),
        format!("keys = [{key:?}]"),
    ] {
        policy::apply(guest, &policy(&format!("[refused]\n{rule}\n")))?;
        expect_both_refuse(guest, &good, "revoked").context(rule)?;
    }
    policy::apply(guest, &policy(RULES))?;
    expect_both_trust(guest, &good).map(drop)
}

fn it_says_what_each_ceiling_takes(guest: &mut Guest) -> Result<()> {
    policy::apply(guest, &policy(RULES))?;
    let grant = Grant {
        maps: "hash queue",
        abilities: "children delegate",
        ..Grant::ALL
    };
    let file = loader(guest, "file", ACME, &grant.of("probe", 3))?;
    let answer = expect_both_trust(guest, &file)?;
    ensure!(
        answer["cut_by_publisher"]["maps"] == json!(["queue"])
            && answer["cut_by_policy"]["maps"] == json!([])
            && answer["cut_by_publisher"]["abilities"] == json!([])
            && answer["cut_by_policy"]["abilities"] == json!(["delegate"]),
        "{answer:#}"
    );
    let path = file.to_str().context("a path of ASCII")?;
    let said = guest
        .run(&["bpftrust", "explain", "--policy", "policy.toml", path])?
        .success()?;
    for part in [
        &format!("{path}: yes, probe version 3, signed by acme (key "),
        "the publisher's ceiling takes queue",
        "the policy's ceiling takes delegate",
    ] {
        ensure!(said.contains(part), "not {part:?}: {said}");
    }
    Ok(())
}

fn without_verity_there_is_no_trust(guest: &mut Guest) -> Result<()> {
    policy::apply(guest, &policy(""))?;
    let signed = loader(guest, "signed", ACME, &Grant::ALL.of("probe", 3))?;
    let copy = guest.copy(&signed, "copy")?;
    envelope::write(&copy, &envelope::read(&signed)?)?;
    expect_both_refuse(guest, &copy, "no-verity")?;
    expect_both_trust(guest, &signed).map(drop)
}

/// It says what would be, under a policy that is not in force.
fn it_needs_no_guard_and_no_trust(guest: &mut Guest) -> Result<()> {
    policy::apply(guest, &policy(""))?;
    let file = loader(guest, "file", ACME, &Grant::ALL.of("evil", 3))?;
    guest.write("policy.toml", policy(RULES))?;
    let (status, answer) = explain(guest, &file)?;
    ensure!(status == 1 && answer["reason"] == "revoked", "{answer:#}");
    expect_trusted(guest, &file, CALL)
}
