//! What most tests start from: keys, a policy that trusts one of them, and the
//! guard that runs; and what they ask of it.

use crate::guest::Guest;
use crate::process::{Output, Program};
use anyhow::{Context, Result, ensure};
use bpftrust_guard::History;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Where the policy and the keys are.
pub const CONFIGURATION: &str = "/etc/bpftrust";

/// A key pair that `keygen` made: its directory under [`CONFIGURATION`].
#[derive(Debug, Clone, Copy)]
pub struct Key(&'static str);

/// The publisher that the policy trusts.
pub const ACME: Key = Key("acme");
/// The key that is to follow it.
pub const ACME_NEXT: Key = Key("acme-next");
/// Another publisher, of policies that say so.
pub const GLOBEX: Key = Key("globex");
/// The policy key of a sealed guard.
pub const GOVERNOR: Key = Key("governor");
/// The key that is to follow it.
pub const GOVERNOR_NEXT: Key = Key("governor-next");
/// Somebody who has a key, too.
pub const STRANGER: Key = Key("stranger");

impl Key {
    /// What it is called, and its publisher in policies of tests.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// Its private key.
    pub fn private(self) -> String {
        format!("{CONFIGURATION}/{}/key.pem", self.0)
    }

    /// Its certificate.
    pub fn certificate(self) -> String {
        format!("{CONFIGURATION}/{}/certificate.pem", self.0)
    }

    /// Makes it, if it is not there.
    pub fn make(self, guest: &Guest) -> Result<()> {
        let directory = format!("{CONFIGURATION}/{}", self.0);
        if Path::new(&directory).exists() {
            return Ok(());
        }
        guest
            .run(&[
                "bpftrust",
                "keygen",
                "--algorithm",
                "rsa-2048",
                "--name",
                self.0,
                "--out",
                &directory,
            ])?
            .success()?;
        Ok(())
    }
}

/// Keys, and the policy that trusts [`ACME`]; enforces nothing.
pub fn configure(guest: &mut Guest) -> Result<()> {
    for key in [ACME, STRANGER] {
        key.make(guest)?;
    }
    let certificates = format!("{CONFIGURATION}/certificates");
    fs::create_dir_all(&certificates).context("cannot make the directory of certificates")?;
    fs::copy(ACME.certificate(), format!("{certificates}/acme.pem"))
        .context("cannot copy the certificate")?;
    fs::write(
        format!("{CONFIGURATION}/policy.toml"),
        format!("{ANY_LIBRARIES}[publisher.acme]\ncertificates = [\"acme.pem\"]\n"),
    )
    .context("cannot write the policy")
}

/// The beginning of policies under which trusted programs map what they like:
/// where libraries are not what is tested, none needs a signature.
pub const ANY_LIBRARIES: &str = "libraries = \"any\"\n";

/// [`configure`], and the guard enforces.
pub fn enforce(guest: &mut Guest) -> Result<()> {
    configure(guest)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    Ok(())
}

/// The end of [`enforce`].
pub fn release(guest: &mut Guest) -> Result<()> {
    guest.run(&["bpftrust", "release"])?.success()?;
    Ok(())
}

/// Signs a file as a loader.
pub fn sign(guest: &Guest, key: Key, file: &Path) -> Result<()> {
    sign_as(guest, key, file, &[])
}

/// Signs a file with more options of `sign`.
pub fn sign_as(guest: &Guest, key: Key, file: &Path, options: &[&str]) -> Result<()> {
    let file = file.to_str().context("a path of ASCII")?;
    let (private, certificate) = (key.private(), key.certificate());
    let words = [
        "bpftrust",
        "sign",
        "--key",
        &private,
        "--certificate",
        &certificate,
    ];
    guest
        .run(&[&words[..], options, &[file]].concat())?
        .success()?;
    Ok(())
}

/// Signs a file as a loader with this grant.
pub fn sign_with_grant(guest: &Guest, key: Key, file: &Path, grant: &str) -> Result<()> {
    let name = file.file_name().context("a file")?.to_string_lossy();
    let path = guest.write(&format!("{name}.toml"), grant)?;
    let path = path.to_str().context("a path of ASCII")?;
    sign_as(guest, key, file, &["--grant", path])
}

/// The probe as nobody signed it.
pub const UNSIGNED: &str = "/usr/bin/bpftrust-probe";

/// The words of a line.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A copy of the probe in the test's directory, signed by [`ACME`].
pub fn signed_probe(guest: &Guest, name: &str) -> Result<std::path::PathBuf> {
    let copy = guest.copy(UNSIGNED, name)?;
    sign(guest, ACME, &copy)?;
    Ok(copy)
}

/// The history, from a point on.
#[derive(Debug)]
pub struct Events {
    after: u64,
}

impl Events {
    /// From now on.
    pub fn mark(_: &Guest) -> Result<Self> {
        let after = History::newest().context("cannot read the newest event's number")?;
        Ok(Self { after })
    }

    /// From the first of the guard on.
    pub fn of_all() -> Self {
        Self { after: 0 }
    }

    /// What has happened since, as far as it is still there.
    pub fn since(&self, guest: &Guest) -> Result<Vec<Value>> {
        let mut events = self.said_since(guest)?;
        events.retain(|event| event["lost"].is_null());
        Ok(events)
    }

    /// What has happened since, all of it.
    pub fn all_since(&self, guest: &Guest) -> Result<Vec<Value>> {
        let events = self.said_since(guest)?;
        let lost = events.iter().find(|event| !event["lost"].is_null());
        ensure!(lost.is_none(), "events are lost: {lost:?}");
        Ok(events)
    }

    fn said_since(&self, guest: &Guest) -> Result<Vec<Value>> {
        let after = self.after.to_string();
        let lines = guest
            .run(&["bpftrust", "events", "--json", "--after", &after])?
            .success()?;
        lines
            .lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}")))
            .collect()
    }

    /// Requires an event since then in which all of these fields have these
    /// values, and returns the first.
    pub fn expect(&self, guest: &Guest, fields: &[(&str, &str)]) -> Result<Value> {
        let events = self.since(guest)?;
        let fits = |event: &&Value| {
            fields.iter().all(|(name, value)| match &event[*name] {
                Value::String(text) => text == value,
                other => other.to_string().as_str() == *value,
            })
        };
        events
            .iter()
            .find(fits)
            .cloned()
            .with_context(|| format!("no event with {fields:?} in {events:#?}"))
    }

    /// Requires that none since then has all of these values.
    pub fn expect_none(&self, guest: &Guest, fields: &[(&str, &str)]) -> Result<()> {
        let found = self.expect(guest, fields);
        ensure!(found.is_err(), "unexpected event: {:#?}", found.ok());
        Ok(())
    }
}

/// Runs the probe at `program` with these actions.
pub fn probe(program: &Path, actions: &[&str]) -> Result<Output> {
    Program::new(program).args(actions).run()
}

/// `BPF_PROG_GET_NEXT_ID`, harmless: what the probe is asked to call when any
/// command will do.
pub const ANY_COMMAND: &str = "11";

/// Requires that the program at `path`, started as a probe, may call `bpf()`,
/// and that the event says so.
pub fn expect_trusted(guest: &Guest, path: &Path, actions: &[&str]) -> Result<()> {
    let mark = Events::mark(guest)?;
    let said = probe(path, actions)?.success()?;
    ensure!(said.lines().last() == Some("bpf 11: ok"), "{said}");
    let name = path.to_str().context("a path of ASCII")?;
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "allowed"),
            ("executable", name),
        ],
    )?;
    Ok(())
}

/// Requires that the program at `path`, started as a probe, is refused `bpf()`,
/// with this reason in the event.
pub fn expect_refused(guest: &Guest, path: &Path, actions: &[&str], reason: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let said = probe(path, actions)?.success()?;
    ensure!(said.lines().last() == Some("bpf 11: EPERM"), "{said}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("reason", reason),
            ("command", "prog-get-next-id"),
        ],
    )?;
    Ok(())
}
