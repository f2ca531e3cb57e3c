//! Policies that follow each other, and loaders that run meanwhile.

use crate::fixture::{self, ACME, CONFIGURATION, Events, Key, STRANGER, UNSIGNED};
use crate::guest::Guest;
use crate::process::{Background, Program};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The publisher that every other test knows.
pub const ACME_ONLY: &str = "[publisher.acme]\ncertificates = [\"acme.pem\"]\n";

/// Also puts the stranger's certificate where a policy finds it.
pub fn enforce(guest: &mut Guest) -> Result<()> {
    fixture::enforce(guest)?;
    let to = format!("{CONFIGURATION}/certificates/stranger.pem");
    fs::copy(STRANGER.certificate(), to).context("cannot copy the certificate")?;
    Ok(())
}

/// Lets this policy take the place of the one in force.
pub fn apply(guest: &Guest, policy: &str) -> Result<String> {
    let path = guest.write("policy.toml", policy)?;
    // Certificates are looked for beside the policy.
    let place = format!("{CONFIGURATION}/applied.toml");
    fs::copy(path, &place).context("cannot put the policy in its place")?;
    guest
        .run(&["bpftrust", "policy", "apply", &place])?
        .success()
}

/// All rights, under this name. All copies of the probe are one content, of which
/// the highest version counts: so a test that does not mean that takes 1.
pub fn grant(name: &str, version: u64) -> String {
    format!(
        "name = {name:?}\nversion = {version}\ncommands = \"all\"\nprograms = \"all\"\n\
         attaches = \"all\"\nmaps = \"all\"\nabilities = \"all\"\n"
    )
}

/// A copy of the probe, signed with a grant.
pub fn loader(guest: &Guest, key: Key, name: &str, grant: &str) -> Result<PathBuf> {
    let copy = guest.copy(UNSIGNED, name)?;
    fixture::sign_with_grant(guest, key, &copy, grant)?;
    Ok(copy)
}

/// A loader that has loaded a program, which it keeps, and waits to be told to go on: then it says
/// whether it still may.
pub struct Running {
    process: Background,
    path: PathBuf,
    go: PathBuf,
}

impl Running {
    /// Starts `path`; `actions` come before it waits.
    pub fn start(guest: &mut Guest, path: &Path, actions: &str) -> Result<Self> {
        let go = path.with_extension("go");
        let line = format!(
            "bpf 11 load kprobe {actions} say ready until {0} bpf 11 map array until {0}-again bpf 11",
            go.display()
        );
        let program = Program::new(path).args(fixture::words(&line));
        let mut process = guest.start(program)?;
        guest.wait_until_says(&mut process, "ready")?;
        ensure!(
            process.said().contains("load kprobe: ok"),
            "{}",
            process.said()
        );
        Ok(Self {
            process,
            path: path.to_owned(),
            go,
        })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it ask again; requires that both its calls are the kernel's to answer.
    pub fn expect_trusted(&mut self, guest: &Guest) -> Result<()> {
        self.ask_again(guest, "map array: ok\n")
    }

    /// Has it ask again, and requires that it has lost its trust for `reason`,
    /// and that the status says so beside what it had made.
    pub fn expect_lost(&mut self, guest: &Guest, reason: &str) -> Result<()> {
        let mark = Events::mark(guest)?;
        self.ask_again(guest, "bpf 11: EPERM\nmap array: EPERM\n")?;
        let path = self.path.to_str().context("a path of ASCII")?;
        mark.expect(
            guest,
            &[
                ("action", "bpf"),
                ("outcome", "denied"),
                ("reason", reason),
                ("executable", path),
            ],
        )?;
        let status = status(guest)?;
        let images = status["images"].as_array().context("no images")?;
        let image = images
            .iter()
            .find(|image| image["pid"] == self.pid())
            .with_context(|| format!("it is not in {status:#}"))?;
        ensure!(image["lost_trust"] == reason, "{image:#}");
        let loaders = status["loaders"].as_array().context("no loaders")?;
        let has_made = |object: &Value| {
            object["pid"] == self.pid() && object["kind"] == "program" && object["type"] == "kprobe"
        };
        let is_its = |loader: &&Value| {
            loader["objects"]
                .as_array()
                .is_some_and(|objects| objects.iter().any(has_made))
        };
        let owner = loaders.iter().find(is_its);
        let owner = owner.with_context(|| format!("nobody has its program: {loaders:#?}"))?;
        ensure!(owner["publisher"] == image["publisher"], "{owner:#}");
        Ok(())
    }

    /// Has it ask once more, and requires that it is refused still.
    pub fn expect_still_lost(&mut self, guest: &Guest) -> Result<()> {
        let before = self.process.said();
        fs::write(self.go.with_extension("go-again"), "")?;
        self.wait_for_more(guest, &before, "bpf 11: EPERM\n")
    }

    fn ask_again(&mut self, guest: &Guest, answer: &str) -> Result<()> {
        let before = self.process.said();
        fs::write(&self.go, "")?;
        self.wait_for_more(guest, &before, answer)
    }

    fn wait_for_more(&self, guest: &Guest, before: &str, answer: &str) -> Result<()> {
        let more = || {
            let said = self.process.said();
            said.strip_prefix(before).unwrap_or_default().to_owned()
        };
        let limit = Duration::from_secs(30);
        guest
            .wait_for("an answer", limit, || {
                Ok(more().ends_with(answer).then_some(()))
            })
            .with_context(|| format!("it was answered {:?}, not {answer:?}", more()))
    }
}

/// `bpftrust status --json`.
pub fn status(guest: &Guest) -> Result<Value> {
    let said = guest.run(&["bpftrust", "status", "--json"])?.success()?;
    serde_json::from_str(&said).with_context(|| format!("not JSON: {said}"))
}

/// A file's digest, as a policy names it.
pub fn digest(guest: &Guest, file: &Path) -> Result<String> {
    let file = file.to_str().context("a path of ASCII")?;
    let said = guest.run(&["bpftrust", "digest", file])?.success()?;
    let digest = said
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    digest.map(str::to_owned).context("no digest")
}

/// The hint of the key that signed a file.
pub fn hint(guest: &Guest, signed: &Path) -> Result<String> {
    let file = signed.to_str().context("a path of ASCII")?;
    let said = guest
        .run(&["bpftrust", "inspect", "--json", file])?
        .success()?;
    let found: Value = serde_json::from_str(&said)?;
    let hint = found["key"].as_str().context("no key")?;
    Ok(hint.to_owned())
}

/// [`ACME`]'s loader under this name, version 1, that runs.
pub fn running(guest: &mut Guest, name: &str) -> Result<Running> {
    let path = loader(guest, ACME, name, &grant(name, 1))?;
    Running::start(guest, &path, "")
}
