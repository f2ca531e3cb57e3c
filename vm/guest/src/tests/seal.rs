//! Sealed, root included: what the guard stands on can't be taken away, and
//! after every attempt it goes on to refuse and to allow.
//!
//! The last group: a sealed guest stays so. Its tests run in order; the last
//! takes the second hold away, by a way that no hook sees.

use crate::fixture::{self, CONFIGURATION, Events, UNSIGNED, probe, signed_probe};
use crate::guest::Guest;
use crate::owner::expect_answer;
use crate::policy::status;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::seal::{
    anchor, expect_all_sealed, expect_enforcing, expect_kept_on, expect_sealed, expect_told, rings,
};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "seal",
    runs_on: RunsOn::Supported,
    setup: Some(seal),
    teardown: None,
    tests: &[
        test!(status_says_so).within(240),
        test!(pins_stay).within(240),
        test!(nothing_takes_the_place_of_a_pin).within(240),
        test!(their_mount_stays).within(240),
        test!(what_is_above_it_stays).within(240),
        test!(another_namespace_does_not_unmount_it).within(240),
        test!(what_it_is_mounted_on_stays).within(240),
        test!(other_namespaces_let_go_of_it).within(240),
        test!(other_mounts_come_and_go).within(240),
        test!(nothing_is_mounted_over_it).within(240),
        test!(mounts_do_not_move_below_another).within(240),
        test!(keyrings_stay).within(240),
        test!(ftrace_stays_on).within(240),
        test!(the_anchor_is_not_ended).within(240),
        test!(nobody_reaches_into_the_anchor).within(240),
        test!(its_limits_stay).within(240),
        test!(release_is_refused).within(240),
        test!(another_policy_is_refused).within(240),
        test!(another_guard_is_refused).within(240),
        test!(the_user_keyring_stays).within(240),
        test!(without_the_anchor_it_still_holds).within(240),
    ],
};

/// Its shell holds a descriptor of kernel.ftrace_enabled from before.
const GO: &str = "/work/write-now";
const WROTE: &str = "/work/wrote";

/// Mounts are shared, as systemd has them, and the guard is sealed.
fn seal(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    guest
        .shell("mount --make-rshared /; mkdir -p /mnt/a /mnt/b")?
        .success()?;
    guest
        .shell(&format!(
            "(exec 7>/proc/sys/kernel/ftrace_enabled; : >{GO}.ready; \
              until [ -e {GO} ]; do sleep 0.1; done; \
              if echo 0 >&7; then echo written >{WROTE}.now; else echo refused >{WROTE}.now; fi; \
              mv {WROTE}.now {WROTE}) </dev/null >/dev/null 2>&1 &"
        ))?
        .success()?;
    guest.wait_for("a descriptor", Duration::from_secs(10), || {
        Ok(Path::new(&format!("{GO}.ready")).exists().then_some(()))
    })?;
    let said = guest.run(&["bpftrust", "enforce", "--seal"])?.success()?;
    ensure!(said.contains("sealed"), "{said}");
    Ok(())
}

fn status_says_so(guest: &mut Guest) -> Result<()> {
    let status = status(guest)?;
    ensure!(status["mode"] == "enforce", "{status}");
    ensure!(status["seal"]["anchor_runs"] == true, "{status}");
    let pid = anchor(guest)?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    ensure!(line.starts_with("bpftrust: anchor\0"), "{line:?}");
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    ensure!(cgroup.contains("0::/\n"), "{cgroup}");
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    ensure!(score == "-1000\n", "{score}");
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(said.contains("sealed until reboot"), "{said}");
    expect_enforcing(guest)
}

fn pins_stay(guest: &mut Guest) -> Result<()> {
    expect_all_sealed(
        guest,
        &[
            "rm /sys/fs/bpf/bpftrust/hooks/bt_bpf",
            "unlink /sys/fs/bpf/bpftrust/hooks/bt_unlink",
            "rm /sys/fs/bpf/bpftrust/hooks/bt_sysctl",
            "rm /sys/fs/bpf/bpftrust/state",
            "rm -rf /sys/fs/bpf/bpftrust",
            "rmdir /sys/fs/bpf/bpftrust/hooks",
            "rmdir /sys/fs/bpf/bpftrust",
        ],
        "pin",
    )
}

fn nothing_takes_the_place_of_a_pin(guest: &mut Guest) -> Result<()> {
    guest.shell("mkdir /sys/fs/bpf/other")?.success()?;
    expect_all_sealed(
        guest,
        &[
            "cd /sys/fs/bpf/bpftrust/hooks && mv bt_exec bt_bpf",
            "cd /sys/fs/bpf/bpftrust/hooks && mv bt_bpf ../../other/bt_bpf",
            "mv -T /sys/fs/bpf/other /sys/fs/bpf/bpftrust",
            "mv -T /sys/fs/bpf/bpftrust /sys/fs/bpf/elsewhere",
            "mv /sys/fs/bpf/bpftrust/hooks /sys/fs/bpf/other/",
        ],
        "pin",
    )?;
    // What is not ours goes.
    guest
        .shell("mv /sys/fs/bpf/other /sys/fs/bpf/more && rmdir /sys/fs/bpf/more")?
        .success()?;
    Ok(())
}

fn their_mount_stays(guest: &mut Guest) -> Result<()> {
    expect_all_sealed(
        guest,
        &[
            "umount /sys/fs/bpf",
            "umount -l /sys/fs/bpf",
            "umount -f /sys/fs/bpf",
            "mount --bind /sys/fs/bpf /mnt/a && umount /mnt/a",
            "umount -l /mnt/a",
        ],
        "mount",
    )
}

/// The kernel asks about the parent only.
fn what_is_above_it_stays(guest: &mut Guest) -> Result<()> {
    guest.shell("mount --rbind /sys /mnt/b")?.success()?;
    expect_all_sealed(
        guest,
        &[
            "umount -l /sys",
            "umount -l /sys/fs/bpf/../..",
            "umount -l /mnt/b",
            "umount -l /",
        ],
        "mount",
    )
}

/// Its mounts are peers of ours, so that what goes there goes here.
fn another_namespace_does_not_unmount_it(guest: &mut Guest) -> Result<()> {
    expect_all_sealed(
        guest,
        &[
            "unshare -m --propagation shared umount -l /sys/fs/bpf",
            "unshare -m --propagation unchanged umount -l /sys/fs/bpf",
            "unshare -m --propagation shared umount -l /sys",
            "unshare -m --propagation unchanged umount -l /sys",
        ],
        "mount",
    )
}

/// Where /sys is not mounted, its directory can be removed, which detaches
/// what is mounted on it elsewhere (fs/namespace.c, __detach_mounts).
fn what_it_is_mounted_on_stays(guest: &mut Guest) -> Result<()> {
    guest.shell("mkdir -p /empty")?.success()?;
    let apart = "unshare -m --propagation private sh -c";
    expect_all_sealed(
        guest,
        &[
            &format!("{apart} 'umount -l /sys && rmdir /sys'"),
            &format!("{apart} 'umount -l /sys && mv -T /empty /sys'"),
            &format!("{apart} 'umount -l /sys && mv -T /sys /moved'"),
        ],
        "pin",
    )
}

/// Containers throw their view of the host away, and the pins in it.
fn other_namespaces_let_go_of_it(guest: &mut Guest) -> Result<()> {
    for propagation in ["private", "slave"] {
        for mount in ["/sys/fs/bpf", "/sys"] {
            let mark = Events::mark(guest)?;
            let apart = format!("unshare -m --propagation {propagation}");
            guest
                .shell(&format!("{apart} umount -l {mount}"))?
                .success()?;
            mark.expect_none(guest, &[("action", "mount")])?;
        }
    }
    guest
        .shell(
            "unshare -m --propagation slave sh -ec 'mount --bind /mnt /mnt; \
             mkdir -p /mnt/old; cd /mnt; pivot_root . old' && \
             unshare -m --propagation private sh -ec 'mount -t tmpfs none /sys/fs/bpf'",
        )?
        .success()?;
    expect_enforcing(guest)
}

fn other_mounts_come_and_go(guest: &mut Guest) -> Result<()> {
    let mark = Events::mark(guest)?;
    guest
        .shell(
            "mkdir -p m n && mount -t tmpfs none m && mkdir m/in && mount -t tmpfs none m/in && \
             mount --bind m n && umount n && umount -l m && mount -t bpf bpf m && umount m && \
             rmdir m n",
        )?
        .success()?;
    mark.expect_none(guest, &[("reason", "sealed")])
}

fn nothing_is_mounted_over_it(guest: &mut Guest) -> Result<()> {
    let old_call = "LIBMOUNT_FORCE_MOUNT2=always";
    expect_all_sealed(
        guest,
        &[
            "mount -t tmpfs none /sys/fs/bpf",
            "mount -t tmpfs none /sys/fs/bpf/bpftrust",
            "mount --bind /work /sys/fs/bpf/bpftrust/hooks",
            "unshare -m --propagation unchanged mount -t tmpfs none /sys/fs/bpf",
            "bpftrust-probe bind-privately /sys/fs/bpf | grep ok",
            &format!("{old_call} mount -t tmpfs none /sys/fs/bpf"),
            &format!("{old_call} mount --bind /work /sys/fs/bpf/bpftrust"),
        ],
        "mount",
    )
}

/// Or the kernel would ask about that one, and take the pins with it.
fn mounts_do_not_move_below_another(guest: &mut Guest) -> Result<()> {
    guest
        .shell("mkdir -p new && mount --bind new new && mkdir new/old")?
        .success()?;
    expect_all_sealed(
        guest,
        &[
            "mount --move /sys/fs/bpf /mnt",
            "mount --move /sys /mnt",
            "LIBMOUNT_FORCE_MOUNT2=always mount --move /sys/fs/bpf /mnt",
            "cd new && pivot_root . old",
            "unshare -m --propagation unchanged sh -c \
             'LIBMOUNT_FORCE_MOUNT2=always mount --move /sys /mnt'",
            "cd new && unshare -m --propagation unchanged pivot_root . old",
        ],
        "mount",
    )
}

/// The kernel refuses most by their permissions, and says so to nobody.
fn keyrings_stay(guest: &mut Guest) -> Result<()> {
    for serial in rings()? {
        for attempt in [
            format!("keyctl invalidate {serial}"),
            format!("keyctl revoke {serial}"),
            format!("keyctl clear {serial}"),
            format!("keyctl timeout {serial} 1"),
            format!("keyctl setperm {serial} 0x3f3f3f3f"),
            format!("keyctl chown {serial} 1000"),
            format!("keyctl reap; keyctl unlink {serial} @u"),
            format!("keyctl move {serial} @u @s"),
            format!("keyctl newring bpftrust {serial}"),
            format!("keyctl link @u {serial}"),
            format!("keyctl link {serial} @s"),
        ] {
            let output = guest.shell(&attempt)?;
            ensure!(output.status != 0, "unexpected success: {output}");
        }
    }
    let parent = rings()?
        .into_iter()
        .find(|serial| {
            let said = guest.run(&["keyctl", "rdescribe", serial]);
            said.is_ok_and(|said| said.stdout.trim_end().ends_with(";bpftrust.1"))
        })
        .context("no keyring is called bpftrust.1")?;
    let attempts = [
        &format!("keyctl unlink {parent} @u"),
        // It would take its place.
        "keyctl newring bpftrust.1 @u",
        "keyctl session - sh -c 'keyctl newring bpftrust.1 @s'",
    ];
    expect_all_sealed(guest, &attempts, "keyring")?;
    rings()?;
    // One that is being made can be closed.
    guest
        .shell(
            "keyctl session - sh -ec 's=$(keyctl newring bpftrust.2 @s); \
             keyctl restrict_keyring $s; keyctl setperm $s 0x08010000'",
        )?
        .success()?;
    guest.wait_for("the end of a keyring", Duration::from_secs(20), || {
        let keys = fs::read_to_string("/proc/keys")?;
        Ok((!keys.contains(" bpftrust.2")).then_some(()))
    })?;
    expect_enforcing(guest)
}

fn ftrace_stays_on(guest: &mut Guest) -> Result<()> {
    for command in [
        "sysctl kernel.ftrace_enabled=0",
        "echo 0 >/proc/sys/kernel/ftrace_enabled",
        "unshare -m -C sh -c 'mount -t proc proc /mnt && echo 0 >/mnt/sys/kernel/ftrace_enabled'",
    ] {
        expect_kept_on(guest, || guest.shell(command)?.failure().map(drop))
            .with_context(|| command.to_owned())?;
    }
    expect_kept_on(guest, || {
        fs::write(GO, "")?;
        guest.wait_for("the writer", Duration::from_secs(10), || {
            Ok(Path::new(WROTE).exists().then_some(()))
        })
    })?;
    let outcome = fs::read_to_string(WROTE)?;
    ensure!(
        outcome == "refused\n",
        "a descriptor from before: {outcome}"
    );
    // Other settings are nobody's business.
    guest.shell("sysctl -w kernel.panic_on_warn=0")?.success()?;
    expect_enforcing(guest)
}

fn the_anchor_is_not_ended(guest: &mut Guest) -> Result<()> {
    let pid = anchor(guest)?;
    for signal in ["KILL", "STOP", "TERM", "SEGV", "XCPU"] {
        expect_sealed(guest, &format!("kill -s {signal} {pid}"), "anchor")?;
    }
    guest.shell(&format!("kill -0 {pid}"))?.success()?;
    let pid = pid.to_string();
    let mark = Events::mark(guest)?;
    probe(Path::new(UNSIGNED), &["signal-by-pipe", &pid])?.success()?;
    mark.expect(
        guest,
        &[("action", "anchor"), ("reason", "sealed"), ("target", &pid)],
    )?;
    let runs = &status(guest)?["seal"]["anchor_runs"];
    ensure!(*runs == true, "the anchor was killed");
    expect_enforcing(guest)
}

fn nobody_reaches_into_the_anchor(guest: &mut Guest) -> Result<()> {
    let pid = anchor(guest)?.to_string();
    let signed = signed_probe(guest, "signed")?;
    for program in [Path::new(UNSIGNED), &signed] {
        for way in ["attach", "seize", "peek-mem", "vm-write", "steal-fd"] {
            let mark = Events::mark(guest)?;
            let said = probe(program, &[way, &pid])?.success()?;
            ensure!(
                said == format!("{way} {pid}: EPERM\n") || said == format!("{way} {pid}: EACCES\n"),
                "{said}"
            );
            mark.expect(
                guest,
                &[("action", "anchor"), ("reason", "sealed"), ("target", &pid)],
            )?;
        }
    }
    expect_enforcing(guest)
}

fn its_limits_stay(guest: &mut Guest) -> Result<()> {
    let pid = anchor(guest)?;
    for limit in ["--cpu=1", "--nofile=0", "--as=4096"] {
        expect_sealed(guest, &format!("prlimit --pid {pid} {limit}"), "anchor")?;
    }
    expect_enforcing(guest)
}

fn release_is_refused(guest: &mut Guest) -> Result<()> {
    expect_told(guest, &["bpftrust", "release"], "sealed")?;
    expect_enforcing(guest)
}

/// One that no policy key signed; what one signs is in the group `sealedpolicy`.
fn another_policy_is_refused(guest: &mut Guest) -> Result<()> {
    let mark = Events::mark(guest)?;
    expect_told(guest, &["bpftrust", "policy", "apply"], "policy key")?;
    let fields = [
        ("action", "policy"),
        ("outcome", "denied"),
        ("reason", "no-signature"),
    ];
    mark.expect(guest, &fields)?;
    ensure!(status(guest)?["policy"] == 1, "another policy is in force");
    expect_enforcing(guest)
}

/// Nor does another copy of bpftrust get anything attached.
fn another_guard_is_refused(guest: &mut Guest) -> Result<()> {
    let enforcing = "enforcing already";
    expect_told(guest, &["bpftrust", "enforce"], enforcing)?;
    expect_told(guest, &["bpftrust", "enforce", "--audit"], enforcing)?;
    expect_told(guest, &["bpftrust", "enforce", "--seal"], enforcing)?;
    let mark = Events::mark(guest)?;
    let elsewhere = guest.shell(&format!(
        "unshare -m --propagation private sh -c \
         'mount -t bpf bpf /sys/fs/bpf && bpftrust enforce --audit --policy {CONFIGURATION}/policy.toml'"
    ))?;
    ensure!(elsewhere.status == 2, "{elsewhere}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("comm", "bpftrust"),
            ("reason", "no-signature"),
        ],
    )?;
    expect_enforcing(guest)
}

fn the_user_keyring_stays(guest: &mut Guest) -> Result<()> {
    guest.shell("keyctl newring others @u")?.success()?;
    let attempts = [
        "keyctl clear @u",
        "keyctl revoke @u",
        "keyctl invalidate @u",
        "keyctl timeout @u 1",
        "keyctl setperm @u 0",
        "keyctl chown @u 1000",
        "keyctl restrict_keyring @u",
    ];
    expect_all_sealed(guest, &attempts, "keyring")?;
    // However the kernel is called.
    for clear in ["clear-keyring", "clear-keyring-wide", "clear-keyring-32"] {
        let mark = Events::mark(guest)?;
        expect_answer(Path::new(UNSIGNED), &format!("{clear} -4"), "EPERM")?;
        let fields = [
            ("action", "keyring"),
            ("outcome", "denied"),
            ("reason", "sealed"),
        ];
        mark.expect(guest, &fields).context(clear)?;
    }
    // It is still everybody's; and others have their own.
    guest
        .shell("keyctl padd user more @u </dev/null; keyctl unlink %:others @u")?
        .success()?;
    let by_user = Program::new("keyctl").args(["clear", "@u"]).by_user();
    by_user.run()?.success()?;
    rings().map(drop)
}

/// The kernel kills it for a cgroup, and asks nobody. The first holds go on.
fn without_the_anchor_it_still_holds(guest: &mut Guest) -> Result<()> {
    let pid = anchor(guest)?;
    let cgroup = "/sys/fs/cgroup/last";
    guest
        .shell(&format!(
            "mkdir {cgroup} && echo {pid} >{cgroup}/cgroup.procs && \
             echo 1 >{cgroup}/cgroup.freeze"
        ))?
        .success()?;
    expect_enforcing(guest).context("with the anchor frozen")?;
    guest
        .shell(&format!(
            "echo 0 >{cgroup}/cgroup.freeze && echo 1 >{cgroup}/cgroup.kill"
        ))?
        .success()?;
    guest.wait_for("the anchor's end", Duration::from_secs(10), || {
        Ok((status(guest)?["seal"]["anchor_runs"] == false).then_some(()))
    })?;
    for (command, action) in [
        ("rm /sys/fs/bpf/bpftrust/hooks/bt_bpf", "pin"),
        ("rm -r /sys/fs/bpf/bpftrust", "pin"),
        ("mv /sys/fs/bpf/bpftrust /sys/fs/bpf/elsewhere", "pin"),
        ("umount /sys/fs/bpf", "mount"),
        ("umount -l /sys", "mount"),
        ("unshare -m --propagation unchanged umount -l /sys", "mount"),
        ("mount -t tmpfs none /sys/fs/bpf", "mount"),
        ("keyctl clear @u", "keyring"),
        ("keyctl newring bpftrust.1 @u", "keyring"),
    ] {
        expect_sealed(guest, command, action)?;
    }
    expect_kept_on(guest, || {
        let off = guest.shell("sysctl kernel.ftrace_enabled=0")?;
        off.failure().map(drop)
    })?;
    expect_told(guest, &["bpftrust", "release"], "sealed")?;
    expect_enforcing(guest)?;
    // Who has its number now is not protected in its place.
    let status = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(status.contains("attention: the process"), "{status}");
    Ok(())
}
