//! Abilities: what a loader's programs, or it itself, may do beyond commands and
//! types, each by every way to it.

use crate::fixture::{self, Events, expect_refused, expect_trusted, probe};
use crate::grant::{Grant, Right, allowed, loader, takes};
use crate::guest::Guest;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::tests::probe::answer;
use anyhow::{Context, Result, ensure};

pub const GROUP: Group = Group {
    name: "ability",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(write_user),
        test!(write_kernel).within(120),
        test!(nobody_answers_for_security_modules),
        test!(override_return),
        test!(send_signal).within(120),
        test!(other_kfuncs),
        test!(harmless_calls_take_none),
        test!(own_code),
        test!(children),
        test!(delegate),
    ],
};

/// All abilities but one.
fn all_but(ability: &str) -> String {
    const ABILITIES: [&str; 9] = [
        "write-user",
        "write-kernel",
        "override-return",
        "send-signal",
        "other-kfuncs",
        "own-code",
        "delegate",
        "children",
        "inspect",
    ];
    let others: Vec<&str> = ABILITIES
        .into_iter()
        .filter(|other| *other != ability)
        .collect();
    others.join(" ")
}

const fn with(abilities: &str) -> Grant<'_> {
    Grant {
        abilities,
        ..Grant::ALL
    }
}

/// Requires that each of these actions takes the ability, and no other.
fn each_takes(guest: &Guest, ability: &str, actions: &[&str]) -> Result<()> {
    let right = Right {
        object: "ability",
        name: ability,
        action: "bpf",
    };
    let others = all_but(ability);
    for action in actions {
        // The kernel has no such function, so nothing is asked of it.
        if answer(action)? == "ENOENT" {
            continue;
        }
        takes(guest, &[action], right, with(ability), with(&others))?;
    }
    Ok(())
}

fn write_user(guest: &mut Guest) -> Result<()> {
    let actions = [
        "load kprobe probe-write-user",
        "load kprobe sub:probe-write-user",
        "load-inner probe-write-user",
    ];
    each_takes(guest, "write-user", &actions)
}

fn write_kernel(guest: &mut Guest) -> Result<()> {
    let actions = [
        "load cgroup_sysctl sysctl-set-new-value",
        "load cgroup_sysctl sub:sysctl-set-new-value",
        "load lsm:bprm_creds_for_exec bprm-opts-set",
        "load fentry kfunc:crash_kexec",
        "load fentry sub:kfunc:crash_kexec",
        "load lsm kfunc:crash_kexec",
        "load syscall kfunc:crash_kexec",
        "load-inner kfunc:crash_kexec",
    ];
    each_takes(guest, "write-kernel", &actions)
}

/// A program of type fmod_ret takes it for what it returns itself.
fn override_return(guest: &mut Guest) -> Result<()> {
    let actions = [
        "load kprobe override-return",
        "load kprobe sub:override-return",
        "load-inner override-return",
        "load fmod_ret",
    ];
    each_takes(guest, "override-return", &actions)
}

/// Whose answers decide whether `bpf()` is called at all: a program there would be
/// above the guard. No grant allows it.
fn nobody_answers_for_security_modules(guest: &mut Guest) -> Result<()> {
    let all = loader(guest, "all", Grant::ALL)?;
    for target in ["security_bpf", "security_file_open"] {
        let mark = Events::mark(guest)?;
        let load = format!("fmod_ret:{target}");
        let said = probe(&all, &["load", &load])?.success()?;
        ensure!(said == format!("load {load}: EPERM\n"), "{said}");
        mark.expect(
            guest,
            &[
                ("action", "bpf"),
                ("reason", "not-granted"),
                ("object", "attach"),
                ("name", "modify_return"),
            ],
        )?;
    }
    // To watch them is harmless, and so is to answer for others.
    allowed(guest, &["load fentry:security_bpf"], Grant::ALL)?;
    allowed(guest, &["load fmod_ret"], Grant::ALL)
}

fn send_signal(guest: &mut Guest) -> Result<()> {
    let actions = [
        "load kprobe send-signal",
        "load kprobe send-signal-thread",
        "load kprobe sub:send-signal",
        "load-inner send-signal",
        "load-inner sub:send-signal",
        "load fentry kfunc:bpf_send_signal_task",
        "load fentry sub:kfunc:bpf_send_signal_task",
    ];
    each_takes(guest, "send-signal", &actions)
}

/// Functions that no list has.
fn other_kfuncs(guest: &mut Guest) -> Result<()> {
    each_takes(guest, "other-kfuncs", &["load fentry kfunc:schedule"])
}

fn harmless_calls_take_none(guest: &mut Guest) -> Result<()> {
    for action in [
        "load fentry kfunc:bpf_rcu_read_lock",
        "load fentry sub:kfunc:bpf_rcu_read_lock",
        "load-inner",
    ] {
        allowed(guest, &[action], with(""))?;
    }
    Ok(())
}

fn own_code(guest: &mut Guest) -> Result<()> {
    let may = loader(guest, "may", with("own-code"))?;
    let others = all_but("own-code");
    let may_not = loader(guest, "may-not", with(&others))?;
    for code in ["anonymous-code", "late-code", "patched-code", "personality"] {
        let actions = [code, "bpf", "11"];
        let mark = Events::mark(guest)?;
        expect_trusted(guest, &may, &actions).context(code)?;
        mark.expect_none(guest, &[("action", "taint")])?;
        expect_refused(guest, &may_not, &actions, "writable-code").context(code)?;
        mark.expect(guest, &[("action", "taint"), ("reason", "writable-code")])
            .context(code)?;
    }
    Ok(())
}

/// What shares the memory is no child.
fn children(guest: &mut Guest) -> Result<()> {
    let may = loader(guest, "may", with("children"))?;
    let others = all_but("children");
    let may_not = loader(guest, "may-not", with(&others))?;
    for line in ["fork [ bpf 11 ]", "fork [ fork [ bpf 11 ] ]"] {
        let actions = fixture::words(line);
        expect_trusted(guest, &may, &actions).context(line)?;
        expect_refused(guest, &may_not, &actions, "not-granted").context(line)?;
    }
    for line in [
        "thread [ bpf 11 ]",
        "share [ bpf 11 ]",
        "vfork [ bpf 11 ]",
        "fork [ ] bpf 11",
    ] {
        expect_trusted(guest, &may_not, &fixture::words(line)).context(line)?;
    }
    Ok(())
}

fn delegate(guest: &mut Guest) -> Result<()> {
    each_takes(guest, "delegate", &["bpf 36"])
}
