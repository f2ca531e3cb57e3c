//! Kernels that bpftrust does not support: it says so and changes nothing.

use crate::fixture;
use crate::guest::Guest;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Result, ensure};
use std::path::Path;

pub const GROUP: Group = Group {
    name: "refused",
    runs_on: RunsOn::Unsupported,
    setup: None,
    teardown: None,
    tests: &[
        test!(check_says_no_and_why),
        test!(enforce_refuses_and_leaves_nothing),
    ],
};

fn check_says_no_and_why(guest: &mut Guest) -> Result<()> {
    let output = guest.run(&["bpftrust", "check"])?;
    ensure!(output.status == 1, "{output}");
    // What 6.1 lacks: without it no signature could be tied to a file.
    let reason = "kfunc.bpf_get_fsverity_digest";
    ensure!(output.stdout.contains(reason), "{output}");
    Ok(())
}

fn enforce_refuses_and_leaves_nothing(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    let output = guest.run(&["bpftrust", "enforce"])?;
    ensure!(output.status != 0, "{output}");
    let programs = guest.run(&["bpftool", "prog", "show"])?.success()?;
    ensure!(!programs.contains("lsm"), "programs are left: {programs}");
    let pins = Path::new("/sys/fs/bpf/bpftrust");
    ensure!(!pins.exists(), "{} is left", pins.display());
    Ok(())
}
