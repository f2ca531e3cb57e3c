//! A policy that changes while the guard only audits.

use crate::fixture::{self, ACME, CONFIGURATION, Events};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{acme, loader};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;

pub const GROUP: Group = Group {
    name: "audited",
    runs_on: RunsOn::Supported,
    setup: Some(audit),
    teardown: Some(fixture::release),
    tests: &[test!(in_audit_mode_no_policy_takes_trust)],
};

/// What a policy takes away is only said, and comes back with it.
fn in_audit_mode_no_policy_takes_trust(guest: &mut Guest) -> Result<()> {
    let path = loader(guest, "victim", ACME, &Grant::ALL.of("victim", 1))?;
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
    apply(&acme("[refused]\nnames = [\"victim\"]\n"))?;
    guest.write("refused", "")?;
    guest.wait_until_says(&mut process, "bpf 12: ")?;
    apply(&acme(""))?;
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
