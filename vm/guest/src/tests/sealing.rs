//! What is asked for before a guard is sealed, and what is held without a seal.

use crate::fixture::{self, ACME, Events, UNSIGNED, expect_trusted, probe, signed_probe};
use crate::guest::{Guest, Setting};
use crate::policy::CALL;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::tests::enforce::{expect_nothing_left, expect_unsigned_refused, policy, start, stop};
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "sealing",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::configure),
    teardown: Some(stop),
    tests: &[
        test!(ftrace_stays_on_while_it_decides).within(180),
        test!(it_needs_the_initial_mount_namespace).within(180),
        test!(in_an_initramfs_it_must_be_seen_to_end).within(300),
        test!(it_leaves_nothing_open),
    ],
};

/// On 6.12 and 6.18 a 0 there would end all that is decided.
fn ftrace_stays_on_while_it_decides(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let mark = Events::mark(guest)?;
    let off = guest.run(&["sysctl", "kernel.ftrace_enabled=0"])?;
    ensure!(off.status != 0, "{off}");
    let mut fields = [
        ("action", "sysctl"),
        ("reason", "kept-on"),
        ("outcome", "denied"),
        ("comm", "sysctl"),
    ];
    mark.expect(guest, &fields)?;
    expect_unsigned_refused(guest)?;
    expect_trusted(guest, &signed_probe(guest, "probe")?, CALL)?;
    stop(guest)?;
    guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    let mark = Events::mark(guest)?;
    // 1, so that the rest of the test sees what is reported.
    guest.run(&["sysctl", "kernel.ftrace_enabled=1"])?;
    fields[2] = ("outcome", "would-deny");
    mark.expect(guest, &fields)?;
    stop(guest)?;
    let mut writer = Program::new("sysctl")
        .arg("kernel.ftrace_enabled=1")
        .run()?;
    if writer.stderr.contains("not supported") {
        // 7.3 takes no write at all.
        writer.status = 0;
    }
    writer.success().map(drop)
}

/// The pins would end with another one.
fn it_needs_the_initial_mount_namespace(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let output = guest.run(&["unshare", "-m", "bpftrust", "enforce", "--seal"])?;
    ensure!(output.status == 2, "{output}");
    ensure!(
        output.stderr.contains("initial mount namespace"),
        "{output}"
    );
    ensure!(output.stderr.contains("\nhelp: "), "{output}");
    expect_nothing_left(guest)
}

/// Or mounts could be moved for ever. Of what the kernel starts itself PID 1 is no ancestor
/// (kernel/umh.c, `call_usermodehelper_exec_work`).
fn in_an_initramfs_it_must_be_seen_to_end(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let said = guest.path("said");
    let script = format!(
        "#!/bin/sh\nexec >{0}.part 2>&1\nbpftrust enforce --seal --early\necho status $?\n\
         mv {0}.part {0}\n",
        said.display()
    );
    let helper = guest.script("helper", &script)?;
    let pattern = format!("|{}", helper.display());
    let _setting = Setting::set("/proc/sys/kernel/core_pattern", &pattern)?;
    probe(Path::new(UNSIGNED), &["fork", "[", "abort", "]"])?.success()?;
    let said = guest.wait_for("an answer", Duration::from_secs(120), || {
        Ok(fs::read_to_string(&said).ok())
    })?;
    ensure!(said.ends_with("\nstatus 2\n"), "{said}");
    ensure!(
        said.contains("its leaving the initramfs would never be seen"),
        "{said}"
    );
    expect_nothing_left(guest)
}

/// Neither what audits nor what trusts without evidence can be sealed.
fn it_leaves_nothing_open(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    for option in ["--audit", "--adopt=sh"] {
        let output = guest.run(&["bpftrust", "enforce", "--seal", option])?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.stderr.contains("cannot be used with"), "{output}");
    }
    let text = "mode = \"audit\"\n[publisher.acme]\ncertificates = [\"one.pem\"]\n";
    let acme = fs::read(ACME.certificate())?;
    let path = policy(guest, text, &[("one.pem", &acme)])?;
    let output = guest.run(&["bpftrust", "enforce", "--seal", "--policy", &path])?;
    ensure!(output.status == 2, "{output}");
    ensure!(output.stderr.contains("nothing to seal"), "{output}");
    expect_nothing_left(guest)
}
