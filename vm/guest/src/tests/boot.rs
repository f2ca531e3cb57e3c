//! Machines that boot as installed ones do: an initramfs of Debian's own tools has the
//! guard started, and hands on to systemd on the disk.
//!
//! Each kind boots once, told or configured as its group says; its tests look at what
//! came of that. `stage` is what they prepare, still in the initramfs.

use crate::fixture::{CONFIGURATION, UNSIGNED};
use crate::guest::Guest;
use crate::pid1;
use crate::policy::{image, status};
use crate::registry::{Group, RunsOn};
use crate::seal::{anchor, expect_all_sealed, expect_enforcing, expect_told};
use crate::test;
use crate::tests::metrics::scrape;
use crate::tests::sandbox::signed_before_it_starts_systemd_keeps_all;
use crate::unit::UNITS;
use anyhow::{Context, Result, ensure};
use bpftrust_vm::suite::HARNESS;
use bpftrust_vm::system::{
    BOOT, BOOT_AUDIT, BOOT_BROKEN, BOOT_DRACUT, BOOT_DRACUT_PLAIN, BOOT_OFF, BOOT_SEALED, System,
};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Enforces, by initramfs-tools.
pub const GROUP: Group = group(
    &BOOT,
    &[
        test!(it_enforces_from_the_initramfs),
        test!(systemd_is_trusted),
        test!(the_first_loader_is_refused),
        test!(signed_before_it_starts_systemd_keeps_all),
        test!(the_unit_finds_it_enforcing),
        test!(events_are_kept),
        test!(numbers_are_served),
        test!(nothing_failed),
        test!(enforcing_goes_on),
    ],
);

/// `bpftrust=off`.
pub const OFF: Group = group(
    &BOOT_OFF,
    &[
        test!(told_off_nothing_is_enforced_and_that_is_said),
        test!(the_first_loader_is_let_through),
        test!(nothing_failed),
    ],
);

/// `bpftrust=audit`, and the units are not enabled: as if power was cut before that.
pub const AUDIT: Group = group(
    &BOOT_AUDIT,
    &[
        test!(told_to_audit_it_audits_and_that_is_said),
        test!(the_first_loader_is_let_through),
        test!(nothing_failed),
    ],
);

/// Sealed, and told `bpftrust=off`.
pub const SEALED: Group = Group {
    name: "boot-sealed",
    ..group(
        &BOOT_SEALED,
        &[
            test!(a_sealed_boot_refuses_the_way_out),
            test!(systemd_is_trusted),
            test!(the_first_loader_is_refused),
            test!(it_is_sealed_at_the_real_root).within(240),
            test!(mounts_do_not_move_any_more).within(240),
            test!(the_anchor_is_back_in_the_root_cgroup),
            test!(nothing_failed),
            test!(enforcing_goes_on),
        ],
    )
};

/// The initramfs' policy is cut off, as if power was cut while it was written.
pub const BROKEN: Group = group(
    &BOOT_BROKEN,
    &[
        test!(a_broken_policy_is_told_and_the_boot_goes_on),
        test!(the_first_loader_is_let_through),
        test!(the_unit_enforces_instead),
        test!(nothing_failed),
        test!(enforcing_goes_on),
    ],
);

/// Enforces, by dracut.
pub const DRACUT: Group = group(
    &BOOT_DRACUT,
    &[
        test!(it_enforces_from_the_initramfs),
        test!(systemd_is_refused_for_what_it_brings),
        test!(the_first_loader_is_refused),
        test!(the_unit_finds_it_enforcing),
        test!(nothing_failed),
        test!(enforcing_goes_on),
    ],
);

/// Enforces, by dracut, in whose image no systemd is.
pub const DRACUT_PLAIN: Group = group(
    &BOOT_DRACUT_PLAIN,
    &[
        test!(it_enforces_from_the_initramfs),
        test!(systemd_is_trusted),
        test!(the_first_loader_is_refused),
        test!(signed_before_it_starts_systemd_keeps_all),
        test!(the_unit_finds_it_enforcing),
        test!(nothing_failed),
        test!(enforcing_goes_on),
    ],
);

const fn group(system: &'static System, tests: &'static [crate::registry::Test]) -> Group {
    Group {
        name: system.name,
        runs_on: RunsOn::Booted(system),
        setup: None,
        teardown: None,
        tests,
    }
}

/// The first loader of the real root: it is started before everything else there, and
/// what came of it is in [`FIRST`].
const FIRST_UNIT: &str = "first-loader.service";
const FIRST_CONTENT: &str = "[Unit]\nDefaultDependencies=no\n\
     Before=sysinit.target bpftrust-enforce.service\n[Service]\nType=oneshot\n\
     ExecStart=/usr/bin/bpftrust-probe bpf 11\nStandardOutput=file:/run/first\n";
const FIRST: &str = "/run/first";

/// Prepares a boot of such a system, in the initramfs, before bpftrust's hook runs there;
/// `root` is where the disk is mounted.
pub fn stage(system: &str, root: &Path) -> Result<()> {
    let wants = format!("{UNITS}/sysinit.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(format!("{UNITS}/{FIRST_UNIT}"), FIRST_CONTENT)?;
    symlink(format!("../{FIRST_UNIT}"), format!("{wants}/{FIRST_UNIT}"))?;
    let policy = format!("{CONFIGURATION}/policy.toml");
    if system == BOOT_SEALED.name {
        let path = root.join(policy.trim_start_matches('/'));
        let text = fs::read_to_string(&path)?;
        fs::write(&path, format!("boot.sealed = true\n{text}"))?;
    }
    on_disk(root, &[HARNESS, "trust-systemd"])?;
    if system != BOOT_AUDIT.name {
        let units = ["bpftrust-enforce.service", "bpftrust-events.service"];
        on_disk(root, &["systemctl", "enable", units[0], units[1]])?;
    }
    if system == BOOT_SEALED.name {
        let words = ["bpftrust", "policy", "compile", "--out", "/work/p", &policy];
        on_disk(root, &words)?;
        fs::copy(root.join("work/p"), &policy)?;
    }
    if system == BOOT_BROKEN.name {
        let whole = fs::read(&policy)?;
        fs::write(&policy, &whole[..whole.len() / 2])?;
    }
    Ok(())
}

/// Runs a program of the disk there.
fn on_disk(root: &Path, words: &[&str]) -> Result<()> {
    let lent = [("/dev", root.join("dev")), ("/proc", root.join("proc"))];
    for (from, to) in &lent {
        mount_bind(*from, to).with_context(|| format!("cannot lend {from} to the disk"))?;
    }
    let output = Command::new(HARNESS)
        .arg("on-disk")
        .arg(root)
        .args(words)
        .env_clear()
        .envs(pid1::ENVIRONMENT.iter().copied())
        .output();
    for (_, to) in &lent {
        unmount(to, UnmountFlags::DETACH).context("cannot take back what was lent")?;
    }
    let output = output.with_context(|| format!("cannot run {words:?}"))?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(())
}

/// The kernel's log, where the initramfs says all.
fn kernel_log(guest: &Guest) -> Result<String> {
    guest.run(&["dmesg"])?.success()
}

fn expect_logged(guest: &Guest, texts: &[&str]) -> Result<()> {
    let log = kernel_log(guest)?;
    for text in texts {
        let line = format!("bpftrust: {text}");
        ensure!(log.contains(&line), "no {line:?} in {log}");
    }
    Ok(())
}

/// What a unit said in this boot.
fn journal(guest: &Guest, unit: &str) -> Result<String> {
    guest.run(&["journalctl", "--sync"])?.success()?;
    guest
        .run(&["journalctl", "--no-pager", "-o", "cat", "-u", unit])?
        .success()
}

fn expect_mode(guest: &Guest, mode: &str) -> Result<Value> {
    let status = status(guest)?;
    ensure!(status["mode"] == mode, "{status:#}");
    Ok(status)
}

fn it_enforces_from_the_initramfs(guest: &mut Guest) -> Result<()> {
    expect_mode(guest, "enforce")?;
    expect_logged(guest, &["enforcing: 1 key may sign", "starting it took "])
}

/// Trust takes an exec after the guard was started.
fn systemd_is_trusted(guest: &mut Guest) -> Result<()> {
    let systemd = image(guest, 1)?;
    ensure!(systemd["publisher"] == "acme", "{systemd:#}");
    Ok(())
}

/// In dracut's image it is systemd that executes that of the real root, and passes it
/// descriptors of BPF objects that it made before: as `daemon-reexec` does.
fn systemd_is_refused_for_what_it_brings(guest: &mut Guest) -> Result<()> {
    let events = guest.run(&["bpftrust", "events", "--json"])?.success()?;
    let is_its = |line: &str| {
        ["\"action\":\"exec\"", "\"not-owner\"", "\"pid\":1,"]
            .iter()
            .all(|part| line.contains(part))
    };
    ensure!(events.lines().any(is_its), "{events}");
    Ok(())
}

fn the_first_loader_is_refused(guest: &mut Guest) -> Result<()> {
    let said = fs::read_to_string(FIRST)?;
    ensure!(said.ends_with("bpf 11: EPERM\n"), "{said}");
    let events = guest.run(&["bpftrust", "events", "--json"])?.success()?;
    let is_its = |line: &&str| {
        line.contains(&format!("\"{UNSIGNED}\"")) && line.contains("\"no-signature\"")
    };
    ensure!(events.lines().any(|line| is_its(&line)), "{events}");
    Ok(())
}

fn the_first_loader_is_let_through(_: &mut Guest) -> Result<()> {
    let said = fs::read_to_string(FIRST)?;
    // There may be no program to find.
    let let_through = ["bpf 11: ok\n", "bpf 11: ENOENT\n"];
    ensure!(let_through.iter().any(|end| said.ends_with(end)), "{said}");
    Ok(())
}

fn the_unit_finds_it_enforcing(guest: &mut Guest) -> Result<()> {
    let said = journal(guest, "bpftrust-enforce")?;
    ensure!(said.contains("enforcing since before"), "{said}");
    Ok(())
}

/// From the first on, though the unit is of a target that this machine does not start.
fn events_are_kept(guest: &mut Guest) -> Result<()> {
    guest
        .run(&["systemctl", "start", "bpftrust-events"])?
        .success()?;
    guest.wait_for("an event in the journal", Duration::from_secs(30), || {
        let said = journal(guest, "bpftrust-events")?;
        Ok(said.contains("no-signature").then_some(()))
    })
}

/// By a unit that has no more rights than that takes.
fn numbers_are_served(guest: &mut Guest) -> Result<()> {
    guest
        .run(&["systemctl", "start", "bpftrust-metrics"])?
        .success()?;
    let said = scrape(guest, Path::new("/run/bpftrust/metrics.sock"))?;
    for line in ["bpftrust_mode{mode=\"enforce\"} 1\n", "bpftrust_whole 1\n"] {
        ensure!(said.contains(line), "{said}");
    }
    Ok(())
}

fn nothing_failed(guest: &mut Guest) -> Result<()> {
    let failed = guest
        .run(&["systemctl", "--failed", "--no-legend", "--plain"])?
        .success()?;
    ensure!(failed.trim().is_empty(), "{failed}");
    Ok(())
}

fn enforcing_goes_on(guest: &mut Guest) -> Result<()> {
    expect_enforcing(guest)
}

fn told_off_nothing_is_enforced_and_that_is_said(guest: &mut Guest) -> Result<()> {
    let said = "the kernel's command line says bpftrust=off: nothing is enforced";
    expect_logged(guest, &[said])?;
    let unit = journal(guest, "bpftrust-enforce")?;
    ensure!(unit.contains(said), "{unit}");
    let output = guest.run(&["bpftrust", "status"])?;
    ensure!(output.status != 0, "{output}");
    Ok(())
}

fn told_to_audit_it_audits_and_that_is_said(guest: &mut Guest) -> Result<()> {
    expect_mode(guest, "audit")?;
    expect_logged(
        guest,
        &["the kernel's command line says bpftrust=audit: nothing is refused"],
    )
}

fn a_sealed_boot_refuses_the_way_out(guest: &mut Guest) -> Result<()> {
    expect_mode(guest, "enforce")?;
    expect_logged(
        guest,
        &[
            "bpftrust=off on the kernel's command line is refused: the policy seals the boot",
            "sealed: it ends when the machine is rebooted",
        ],
    )
}

fn it_is_sealed_at_the_real_root(guest: &mut Guest) -> Result<()> {
    let status = expect_mode(guest, "enforce")?;
    ensure!(status["seal"]["anchor_runs"] == true, "{status:#}");
    expect_told(guest, &["bpftrust", "release"], "sealed")?;
    expect_all_sealed(
        guest,
        &[
            "rm /sys/fs/bpf/bpftrust/hooks/bt_bpf",
            "rm -r /sys/fs/bpf/bpftrust",
        ],
        "pin",
    )
}

/// They did, until PID 1 had left the initramfs.
fn mounts_do_not_move_any_more(guest: &mut Guest) -> Result<()> {
    expect_all_sealed(
        guest,
        &[
            "umount /sys/fs/bpf",
            "umount -l /sys",
            "mount --move /sys /mnt",
            "LIBMOUNT_FORCE_MOUNT2=always mount --move /sys/fs/bpf /mnt",
        ],
        "mount",
    )
}

/// systemd moves what it finds there to its own.
fn the_anchor_is_back_in_the_root_cgroup(guest: &mut Guest) -> Result<()> {
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", anchor(guest)?))?;
    ensure!(cgroup.contains("0::/\n"), "{cgroup}");
    Ok(())
}

fn a_broken_policy_is_told_and_the_boot_goes_on(guest: &mut Guest) -> Result<()> {
    expect_logged(
        guest,
        &[
            "/etc/bpftrust/policy.toml: not a compiled policy of this version: it is cut short",
            "nothing is enforced, and the boot goes on",
        ],
    )
}

fn the_unit_enforces_instead(guest: &mut Guest) -> Result<()> {
    expect_mode(guest, "enforce")?;
    let said = journal(guest, "bpftrust-enforce")?;
    ensure!(said.contains("the initramfs did not start it"), "{said}");
    ensure!(said.contains("enforcing: 1 key may sign"), "{said}");
    Ok(())
}
