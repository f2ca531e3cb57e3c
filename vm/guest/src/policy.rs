//! Policies that follow each other while the guard enforces, and loaders that
//! they can tell apart.

use crate::envelope::Envelope;
use crate::fixture::{
    self, ACME, ACME_NEXT, ANY_COMMAND, ANY_LIBRARIES, Events, GLOBEX, Key, UNSIGNED,
    expect_refused, words,
};
use crate::guest::Guest;
use crate::process::{Background, Output, Program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What a probe does that is only to be trusted or refused.
pub const CALL: &[&str] = &["bpf", ANY_COMMAND];

/// How often a [`Running`] loader can be told to call `bpf()`.
const CALLS: usize = 16;

/// A setup: all keys that policies here name, and the guard enforces the policy
/// that trusts [`ACME`].
pub fn enforce(guest: &mut Guest) -> Result<()> {
    for key in [ACME_NEXT, GLOBEX] {
        key.make(guest)?;
    }
    fixture::enforce(guest)
}

/// The part of a policy that is about a publisher with these keys.
pub fn publisher(name: &str, keys: &[Key]) -> String {
    let certificates: Vec<String> = keys.iter().map(|key| key.certificate()).collect();
    // Paths of ASCII need no escapes, so Rust's strings are TOML's.
    format!("[publisher.{name}]\ncertificates = {certificates:?}\n")
}

/// The policy that trusts [`ACME`] and nobody else, and says this besides.
pub fn acme(more: &str) -> String {
    format!("{ANY_LIBRARIES}{}{more}", publisher("acme", &[ACME]))
}

/// Writes a policy and asks for it to take effect. If it says nothing of
/// libraries, they may be any.
pub fn try_apply(guest: &Guest, policy: &str) -> Result<Output> {
    let libraries = if policy.contains("libraries =") {
        ""
    } else {
        ANY_LIBRARIES
    };
    let path = guest.write("policy.toml", format!("{libraries}{policy}"))?;
    let path = path.to_str().context("a path of ASCII")?;
    guest.run(&["bpftrust", "policy", "apply", path])
}

/// Writes a policy and lets it take effect.
pub fn apply(guest: &Guest, policy: &str) -> Result<()> {
    try_apply(guest, policy)?.success().map(drop)
}

/// A copy of the probe, the only file with its digest.
pub fn own_probe(guest: &Guest, name: &str) -> Result<PathBuf> {
    let path = guest.path(name);
    // Under fs-verity it can't be written.
    if path.exists() {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let mut content = fs::read(UNSIGNED).context("cannot read the probe")?;
    // What is behind its sections is not looked at.
    content.extend(path.to_string_lossy().as_bytes());
    guest.copy(UNSIGNED, name)?;
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// [`own_probe`], signed with this grant.
pub fn loader(guest: &Guest, name: &str, key: Key, grant: &str) -> Result<PathBuf> {
    let path = own_probe(guest, name)?;
    fixture::sign_with_grant(guest, key, &path, grant)?;
    Ok(path)
}

/// The digest of a file, as policies name it.
pub fn digest(guest: &Guest, path: &Path) -> Result<String> {
    let path = path.to_str().context("a path of ASCII")?;
    let said = guest.run(&["fsverity", "digest", path])?.success()?;
    Ok(said.split_whitespace().next().context("nothing")?.into())
}

/// The key that a file's signature names, as policies name it.
pub fn key_of(path: &Path) -> Result<String> {
    let mut text = String::new();
    for byte in Envelope::of(path)?.key {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// What `status` says.
pub fn status(guest: &Guest) -> Result<Value> {
    let said = guest.run(&["bpftrust", "status", "--json"])?.success()?;
    serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))
}

/// The entry of `status` for a process.
pub fn image(guest: &Guest, pid: u32) -> Result<Value> {
    let status = status(guest)?;
    let images = status["images"].as_array().context("no images")?;
    let found = images.iter().find(|image| image["pid"] == pid);
    found
        .cloned()
        .with_context(|| format!("no record of {pid} in {status:#}"))
}

/// The entry of `status` for a loader.
pub fn loader_entry(guest: &Guest, publisher: &str, name: Option<&str>) -> Result<Option<Value>> {
    let status = status(guest)?;
    let loaders = status["loaders"].as_array().context("no loaders")?;
    let is_it = |entry: &&Value| {
        entry["publisher"] == publisher && entry["name"] == name.map_or(Value::Null, Value::from)
    };
    Ok(loaders.iter().find(is_it).cloned())
}

/// Requires that executing this file gives no trust, for this reason.
pub fn expect_exec_refused(guest: &Guest, path: &Path, reason: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let name = path.to_str().context("a path of ASCII")?;
    expect_refused(guest, path, CALL, reason)
        .and_then(|()| {
            mark.expect(
                guest,
                &[
                    ("action", "exec"),
                    ("outcome", "denied"),
                    ("reason", reason),
                    ("executable", name),
                ],
            )
        })
        .map(drop)
        .with_context(|| format!("{reason} of {name}"))
}

/// A loader that runs, and calls `bpf()` when it is told to.
#[derive(Debug)]
pub struct Running {
    process: Background,
    steps: String,
    calls: usize,
}

impl Running {
    /// Starts `program`, whose name no other has, and has it do `first`.
    pub fn start(guest: &mut Guest, program: &Path, first: &str) -> Result<Self> {
        Self::start_with(guest, program, first, "bpf 11")
    }

    /// The same, and what it is told to do is `call`.
    pub fn start_with(guest: &mut Guest, program: &Path, first: &str, call: &str) -> Result<Self> {
        let steps = format!("{}.step", program.display());
        let line = Self::actions(&steps, first, call)?;
        Self::started(guest, Program::new(program).args(words(&line)), steps)
    }

    /// What it is to do, for who gives it that in another way; `steps` is the beginning of
    /// names of files.
    pub fn actions(steps: &str, first: &str, call: &str) -> Result<String> {
        let mut line = format!("{first} say ready");
        for number in 1..=CALLS {
            let _ = fs::remove_file(format!("{steps}-{number}"));
            write!(line, " until {steps}-{number} {call} say done-{number}")?;
        }
        Ok(line)
    }

    /// The same, by a program that knows what to do.
    pub fn started(guest: &mut Guest, program: Program, steps: String) -> Result<Self> {
        let mut process = guest.start(program)?;
        guest.wait_until_says(&mut process, "ready")?;
        Ok(Self {
            process,
            steps,
            calls: 0,
        })
    }

    /// Ends it.
    pub fn stop(self) -> Result<()> {
        self.process.stop().map(drop)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it call, and returns the answer: `ok`, or the error's name.
    pub fn call(&mut self, guest: &Guest) -> Result<String> {
        self.calls += 1;
        let number = self.calls;
        fs::write(format!("{}-{number}", self.steps), "")?;
        guest.wait_until_says(&mut self.process, &format!("done-{number}"))?;
        let said = self.process.said();
        let (before, _) = said
            .split_once(&format!("done-{number}"))
            .context("it said so")?;
        let last = before.lines().last().context("it did nothing")?;
        let (_, answer) = last.split_once(": ").context("no answer")?;
        Ok(answer.to_owned())
    }

    /// Requires that its next call is allowed.
    pub fn expect_trusted(&mut self, guest: &Guest) -> Result<()> {
        let answer = self.call(guest)?;
        ensure!(answer == "ok", "{}: {answer}", self.process.said());
        Ok(())
    }

    /// Requires that its next call is refused for this reason; returns the event.
    pub fn expect_refused(&mut self, guest: &Guest, reason: &str) -> Result<Value> {
        let mark = Events::mark(guest)?;
        let answer = self.call(guest)?;
        ensure!(answer == "EPERM", "{}: {answer}", self.process.said());
        mark.expect(
            guest,
            &[
                ("action", "bpf"),
                ("outcome", "denied"),
                ("reason", reason),
                ("pid", &self.pid().to_string()),
            ],
        )
    }
}
