//! The machine itself: what every other test takes for granted.

use crate::guest::Guest;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::{sys, test};
use anyhow::{Context, Result, ensure};
use bpftrust_vm::log::VERIFIER_REJECTION;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "machine",
    runs_on: RunsOn::Every,
    setup: None,
    teardown: None,
    tests: &[
        test!(bpf_is_an_active_lsm),
        test!(bpffs_is_mounted),
        test!(fs_verity_works_on_the_disk),
        test!(a_copy_under_verity_executes),
        test!(user_is_not_privileged),
        test!(a_background_program_ends),
        test!(a_rejection_by_the_verifier_is_noticed),
        test!(a_real_loader_traces),
    ],
};

fn bpf_is_an_active_lsm(_: &mut Guest) -> Result<()> {
    let active = fs::read_to_string("/sys/kernel/security/lsm")?;
    ensure!(active.split(',').any(|name| name == "bpf"), "{active}");
    Ok(())
}

fn bpffs_is_mounted(guest: &mut Guest) -> Result<()> {
    let kind = guest.shell("stat -f -c %T /sys/fs/bpf")?.success()?;
    ensure!(kind.trim() == "bpf_fs", "/sys/fs/bpf is {kind}");
    Ok(())
}

fn fs_verity_works_on_the_disk(guest: &mut Guest) -> Result<()> {
    let file = guest.write("file", "content")?;
    let file = file.to_str().context("a path of ASCII")?;
    guest.run(&["fsverity", "enable", file])?.success()?;
    let measured = guest.run(&["fsverity", "measure", file])?.success()?;
    let computed = guest.run(&["fsverity", "digest", file])?.success()?;
    ensure!(measured == computed, "{measured} is not {computed}");
    ensure!(
        fs::write(file, "other").is_err(),
        "a file under fs-verity was written"
    );
    Ok(())
}

fn a_copy_under_verity_executes(guest: &mut Guest) -> Result<()> {
    let copy = guest.copy("/usr/bin/cat", "cat")?;
    guest.run(&["fsverity", "enable", "cat"])?.success()?;
    let script = guest.script("run", "#!/bin/sh\nexec \"$CAT\" -\n")?;
    let said = Program::new(script)
        .env("CAT", copy)
        .input("through a script and a pipe")
        .run()?
        .success()?;
    ensure!(said == "through a script and a pipe", "it said {said:?}");
    Ok(())
}

/// The command of `bpf()` that makes a map.
const MAP_CREATE: u32 = 0;

fn user_is_not_privileged(_: &mut Guest) -> Result<()> {
    // type ARRAY, keys of 4 bytes, values of 8, one entry.
    let mut attributes: Vec<u8> = [2_u32, 4, 8, 1]
        .iter()
        .flat_map(|n| n.to_ne_bytes())
        .collect();
    let map = sys::bpf_fd(MAP_CREATE, &mut attributes).context("root cannot make a map")?;
    drop(map);
    let refused = Program::new("bpftool")
        .args([
            "map",
            "create",
            "/sys/fs/bpf/x",
            "type",
            "array",
            "key",
            "4",
        ])
        .args(["value", "8", "entries", "1", "name", "x"])
        .by_user()
        .run()?
        .failure()?;
    ensure!(refused.contains("not permitted"), "{refused}");
    Ok(())
}

fn a_real_loader_traces(guest: &mut Guest) -> Result<()> {
    let mut tracer = guest.start(Program::new("stdbuf").args(["-oL", "execsnoop-libbpf"]))?;
    guest.wait_until_says(&mut tracer, "PCOMM")?;
    // The header comes before the program is attached.
    guest.wait_for(
        "a line of the tracer about what runs",
        Duration::from_secs(30),
        || {
            guest.run(&["/bin/true"])?.success()?;
            Ok(tracer.said().contains("true").then_some(()))
        },
    )?;
    tracer.stop()?;
    Ok(())
}

fn a_background_program_ends(guest: &mut Guest) -> Result<()> {
    let sleeper = guest.start(Program::new("sleep").arg("1000"))?;
    let process = format!("/proc/{}", sleeper.pid());
    ensure!(Path::new(&process).exists(), "{process} is not there");
    sleeper.stop()?;
    ensure!(!Path::new(&process).exists(), "{process} is still there");
    Ok(())
}

/// What libbpf prints fails a test that does not expect it.
fn a_rejection_by_the_verifier_is_noticed(_: &mut Guest) -> Result<()> {
    let like_libbpf = || Program::new("printf").arg("%s").arg(VERIFIER_REJECTION);
    ensure!(like_libbpf().run().is_err(), "it went unnoticed");
    like_libbpf().may_be_rejected().run()?.success()?;
    Ok(())
}
