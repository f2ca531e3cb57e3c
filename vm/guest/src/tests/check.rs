//! `bpftrust check`: can this host enforce, and why not.

use crate::fixture;
use crate::guest::Guest;
use crate::process::{Output, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "check",
    runs_on: RunsOn::Supported,
    setup: None,
    teardown: None,
    tests: &[
        test!(this_kernel_can_enforce),
        test!(json_has_every_field_of_every_row),
        test!(the_form_of_program_signatures_is_told),
        test!(a_path_that_can_hold_no_signed_file_is_a_no),
        test!(without_bpffs_it_is_a_no),
        test!(with_ftrace_switched_off_it_is_a_no),
        test!(an_ordinary_user_is_told_what_he_can_not_see),
        test!(who_uses_bpf_is_listed),
    ],
};

/// Where a kernel lacks what enforcement needs.
pub const UNSUPPORTED: Group = Group {
    name: "unsupported",
    runs_on: RunsOn::Unsupported,
    setup: None,
    teardown: None,
    tests: &[
        test!(check_names_what_is_missing),
        test!(enforce_says_what_is_missing_and_changes_nothing),
    ],
};

/// `check` of the test's own directory, which holds a file to ask about.
fn check(guest: &Guest) -> Result<Output> {
    guest.write("file", "content")?;
    guest.run(&["bpftrust", "check", "."])
}

fn rows(output: &Output) -> Result<Vec<Value>> {
    let rows: Value = serde_json::from_str(&output.stdout).with_context(|| output.to_string())?;
    Ok(rows.as_array().context("rows")?.clone())
}

fn row<'a>(rows: &'a [Value], id: &str) -> Result<&'a Value> {
    rows.iter()
        .find(|row| row["id"] == id)
        .with_context(|| format!("no row {id}: {rows:#?}"))
}

fn this_kernel_can_enforce(guest: &mut Guest) -> Result<()> {
    let output = check(guest)?;
    ensure!(output.status == 0, "{output}");
    ensure!(
        output.stdout.contains("\nThis host can enforce.\n"),
        "{output}"
    );
    ensure!(output.stderr.is_empty(), "{output}");
    Ok(())
}

fn json_has_every_field_of_every_row(guest: &mut Guest) -> Result<()> {
    guest.write("file", "content")?;
    let output = guest.run(&["bpftrust", "check", "--json", "."])?;
    ensure!(output.status == 0, "{output}");
    let rows = rows(&output)?;
    for row in &rows {
        for field in ["id", "group", "state", "detail", "cost"] {
            let text = row[field]
                .as_str()
                .with_context(|| format!("{field}: {row}"))?;
            ensure!(!text.is_empty(), "{field}: {row}");
        }
        ensure!(row["required"].is_boolean(), "{row}");
        let state = row["state"].as_str().unwrap_or_default();
        ensure!(["present", "absent", "unknown"].contains(&state), "{row}");
        ensure!(
            (row["group"] == "posture") == row["posture"].is_string(),
            "{row}"
        );
    }
    for id in [
        "release",
        "lsm",
        "btf",
        "keyrings",
        "bpffs",
        "static-calls",
        "tokens",
        "kfunc.bpf_get_file_xattr",
        "hook.bprm_committed_creds",
        "files:.",
        "users",
        "posture.lockdown",
        "posture.modules",
        "posture.kexec",
        "posture.dev-mem",
        "posture.unprivileged-bpf",
    ] {
        row(&rows, id)?;
    }
    Ok(())
}

fn the_form_of_program_signatures_is_told(guest: &mut Guest) -> Result<()> {
    let release = guest.run(&["uname", "-r"])?.success()?;
    let form = match () {
        () if release.starts_with("6.12.") => "none",
        () if release.starts_with("6.18.") => "6.18 form",
        () => "7.3 form",
    };
    let rows = rows(&guest.run(&["bpftrust", "check", "--json"])?)?;
    let row = row(&rows, "program-signatures")?;
    let detail = row["detail"].as_str().unwrap_or_default();
    ensure!(detail.starts_with(form), "{row}");
    ensure!((row["state"] == "present") == (form != "none"), "{row}");
    Ok(())
}

fn a_path_that_can_hold_no_signed_file_is_a_no(guest: &mut Guest) -> Result<()> {
    std::fs::write("/tmp/check-file", "content")?;
    let output = guest.run(&["bpftrust", "check", "/tmp/check-file"])?;
    ensure!(output.status == 1, "{output}");
    ensure!(
        output.stdout.contains("required: files:/tmp/check-file."),
        "{output}"
    );
    ensure!(output.stdout.contains("tmpfs on /tmp"), "{output}");
    let gone = guest.run(&["bpftrust", "check", "/nonexistent"])?;
    ensure!(
        gone.status == 2 && gone.stdout.contains("files:/nonexistent"),
        "{gone}"
    );
    Ok(())
}

fn without_bpffs_it_is_a_no(guest: &mut Guest) -> Result<()> {
    guest.write("file", "content")?;
    let output = guest.shell("unshare -m sh -c 'umount /sys/fs/bpf && bpftrust check .'")?;
    ensure!(output.status == 1, "{output}");
    ensure!(output.stdout.contains("required: bpffs."), "{output}");
    ensure!(output.stdout.contains("mount -t bpf bpf"), "{output}");
    Ok(())
}

/// Programs of the kind that decides don't run then. From 7.x on the kernel
/// doesn't let anybody switch it off.
fn with_ftrace_switched_off_it_is_a_no(guest: &mut Guest) -> Result<()> {
    let off = guest.run(&["sysctl", "-q", "kernel.ftrace_enabled=0"])?;
    let enabled = std::fs::read_to_string("/proc/sys/kernel/ftrace_enabled")?;
    let output = check(guest);
    if enabled.trim() == "1" {
        let release = guest.run(&["uname", "-r"])?.success()?;
        let output = output?;
        ensure!(
            !release.starts_with("6."),
            "it can't be switched off: {off}"
        );
        ensure!(output.status == 0, "{output}");
        return Ok(());
    }
    guest
        .run(&["sysctl", "-q", "kernel.ftrace_enabled=1"])?
        .success()?;
    let output = output?;
    ensure!(output.status == 1, "{output}");
    ensure!(output.stdout.contains("required: ftrace."), "{output}");
    Ok(())
}

/// Never a no for what he only can't see.
fn an_ordinary_user_is_told_what_he_can_not_see(_: &mut Guest) -> Result<()> {
    let words = ["check", "--json", "/usr/bin"];
    let output = Program::new("bpftrust").args(words).by_user().run()?;
    ensure!(output.stderr.is_empty(), "{output}");
    let rows = rows(&output)?;
    let users = row(&rows, "users")?;
    ensure!(users["state"] == "unknown", "{users}");
    let required = |state| {
        rows.iter()
            .find(|row| row["required"] == true && row["state"] == state)
    };
    ensure!(required("absent").is_none(), "{:?}", required("absent"));
    let expected = if required("unknown").is_some() { 2 } else { 0 };
    ensure!(
        output.status == expected,
        "status {}, not {expected}",
        output.status
    );
    Ok(())
}

fn who_uses_bpf_is_listed(guest: &mut Guest) -> Result<()> {
    let mut tracer = guest.start(Program::new("stdbuf").args(["-oL", "execsnoop-libbpf"]))?;
    guest.wait_until_says(&mut tracer, "PCOMM")?;
    let rows = rows(&guest.run(&["bpftrust", "check", "--json"])?)?;
    let user = row(&rows, &format!("user:{}", tracer.pid()))?;
    let detail = user["detail"].as_str().unwrap_or_default();
    for part in ["execsnoop-libbp", "program", "map", "link"] {
        ensure!(detail.contains(part), "no {part:?} in {user}");
    }
    tracer.stop()?;
    Ok(())
}

/// How long the kernel may take to collect keyrings.
const PATIENCE: Duration = Duration::from_secs(10);

const MISSING: &[&str] = &["kfunc.bpf_get_fsverity_digest", "kfunc.bpf_get_file_xattr"];

fn check_names_what_is_missing(guest: &mut Guest) -> Result<()> {
    let output = check(guest)?;
    ensure!(output.status == 1, "{output}");
    let why = output
        .stdout
        .lines()
        .find(|line| line.starts_with("This host can't enforce."))
        .with_context(|| output.to_string())?;
    for name in MISSING {
        ensure!(why.contains(name), "no {name} in {why}");
    }
    Ok(())
}

fn enforce_says_what_is_missing_and_changes_nothing(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    let output = guest.run(&["bpftrust", "enforce"])?;
    ensure!(output.status == 2, "{output}");
    for name in MISSING {
        ensure!(output.stderr.contains(name), "no {name} in {output}");
    }
    ensure!(
        output.stderr.contains("\nhelp: type 'bpftrust check'"),
        "{output}"
    );
    ensure!(output.stderr.lines().count() == 2, "{output}");
    ensure!(
        !Path::new("/sys/fs/bpf/bpftrust").exists(),
        "it left pins behind"
    );
    // A process's keyrings are let go of when RCU lets go of its credentials, and are
    // collected after that (security/keys/gc.c).
    guest.wait_for("an end of all its keyrings", PATIENCE, || {
        let keys = std::fs::read_to_string("/proc/keys")?;
        Ok((!keys.contains("bpftrust")).then_some(()))
    })?;
    let status = guest.run(&["bpftrust", "status"])?;
    ensure!(status.status == 1, "{status}");
    Ok(())
}
