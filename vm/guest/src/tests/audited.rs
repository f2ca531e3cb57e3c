//! Policies that change, and scripts, while the guard only audits.

use crate::fixture::{self, ACME, CONFIGURATION, Events};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::policy::{acme, loader};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::script::{self, INTERPRETER};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "audited",
    runs_on: RunsOn::Supported,
    setup: Some(audit),
    teardown: Some(fixture::release),
    tests: &[
        test!(in_audit_mode_no_policy_takes_trust),
        test!(in_audit_mode_scripts_are_only_reported),
    ],
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

/// Nothing is kept from running, and each step that would be is reported.
fn in_audit_mode_scripts_are_only_reported(guest: &mut Guest) -> Result<()> {
    const MAP: &str = "map hash";
    script::interpreter(guest, ACME)?;
    let launcher = script::launcher(guest)?;
    let unsigned = script::unsigned(guest, "unsigned", MAP)?;
    let narrow = Grant {
        maps: "array",
        ..Grant::ALL
    };
    let narrow = script::granted(guest, "narrow", MAP, &narrow.of("narrow", 1))?;
    let signed = script::script(guest, "signed", MAP)?;
    let started = |file: &Path| Program::new(&launcher).arg(file);
    let direct = Program::new(INTERPRETER).args(fixture::words(MAP));
    let none = ("allowed", "none");
    let no_script = ("would-deny", "unsigned-script");
    for (what, program, script, exec, call) in [
        ("signed", started(&signed), Some(none), none, none),
        (
            "narrow",
            started(&narrow),
            Some(none),
            none,
            ("would-deny", "not-granted"),
        ),
        (
            "unsigned",
            started(&unsigned),
            Some(no_script),
            no_script,
            no_script,
        ),
        ("direct", direct, None, no_script, no_script),
    ] {
        let mark = Events::mark(guest)?;
        let said = program.run()?.success()?;
        ensure!(said == "map hash: ok\n", "{what}: {said}");
        let event = |action, executable, (outcome, reason)| {
            let fields = [
                ("action", action),
                ("executable", executable),
                ("outcome", outcome),
                ("reason", reason),
            ];
            mark.expect(guest, &fields).context(what)
        };
        if let Some(script) = script {
            event("script", text(&launcher)?, script)?;
        }
        event("exec", INTERPRETER, exec)?;
        event("bpf", INTERPRETER, call)?;
    }
    Ok(())
}

fn audit(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    Ok(())
}
