//! The rows on which the promise rests.

use crate::posture::{Lockdown, Posture};
use crate::rows::{Colour, Group, Row, State, known};

pub(super) fn rows(posture: &Posture) -> Vec<Row> {
    let row = |id: &str, found, cost, absent| {
        Row::new(Group::Posture, format!("posture.{id}"), found, cost).or_else(absent)
    };
    vec![
        row(
            "lockdown",
            lockdown(posture),
            "uid 0 can write to the running kernel",
            Colour::Red,
        ),
        row(
            "modules",
            modules(posture),
            "uid 0 can load a kernel module that switches enforcement off",
            Colour::Red,
        ),
        row(
            "dev-mem",
            dev_mem(posture),
            "uid 0 may reach the kernel's memory",
            Colour::Yellow,
        ),
        row(
            "kexec",
            kexec(posture),
            "uid 0 can start another kernel without a reboot",
            Colour::Yellow,
        ),
        row(
            "secure-boot",
            secure_boot(posture),
            "who can write the boot disk chooses the next kernel",
            Colour::Yellow,
        ),
        row(
            "unprivileged-bpf",
            unprivileged_bpf(posture),
            "a signed loader may be driven by any user",
            Colour::Yellow,
        ),
        row(
            "kernel-addresses",
            kernel_addresses(posture),
            "any user can read where the kernel's code is",
            Colour::Yellow,
        ),
    ]
}

/// Lockdown of either kind: the kernel can't be changed by modules without a
/// signature, `/dev/mem`, kexec of an unsigned kernel.
fn is_locked_down(posture: &Posture) -> bool {
    matches!(
        posture.lockdown,
        Ok(Some(Lockdown::Integrity | Lockdown::Confidentiality))
    )
}

fn locked_down() -> (State, String) {
    (State::Present, "lockdown sees to it".to_owned())
}

fn lockdown(posture: &Posture) -> (State, String) {
    known(&posture.lockdown, |lockdown| {
        let (state, detail) = match lockdown {
            Some(Lockdown::Confidentiality) => (State::Present, "confidentiality"),
            Some(Lockdown::Integrity) => (State::Present, "integrity"),
            Some(Lockdown::None) => (State::Absent, "none: boot with lockdown=integrity"),
            None => (State::Absent, "not in this kernel, or not in lsm="),
        };
        (state, detail.to_owned())
    })
}

fn modules(posture: &Posture) -> (State, String) {
    if is_locked_down(posture) {
        return locked_down();
    }
    if posture.modules == Ok(false) {
        return (State::Present, "this kernel loads no modules".to_owned());
    }
    if let Ok(Some(1..)) = posture.modules_disabled {
        return (State::Present, "kernel.modules_disabled is 1".to_owned());
    }
    known(&posture.module_signatures, |enforced| {
        let (state, detail) = match enforced {
            Some(true) => (State::Present, "module.sig_enforce is on"),
            Some(false) => (
                State::Absent,
                "unsigned ones too: boot with module.sig_enforce=1",
            ),
            None => (State::Absent, "this kernel checks no signatures of modules"),
        };
        (state, detail.to_owned())
    })
}

fn dev_mem(posture: &Posture) -> (State, String) {
    if is_locked_down(posture) {
        return locked_down();
    }
    known(&posture.dev_mem, |exists| {
        let detail = if *exists {
            "the kernel has /dev/mem"
        } else {
            "no /dev/mem"
        };
        (State::when(!exists), detail.to_owned())
    })
}

fn kexec(posture: &Posture) -> (State, String) {
    if is_locked_down(posture) {
        return locked_down();
    }
    known(&posture.kexec_load_disabled, |disabled| {
        let (state, detail) = match disabled {
            None => (State::Present, "this kernel has no kexec"),
            Some(0) => (State::Absent, "open: sysctl kernel.kexec_load_disabled=1"),
            Some(_) => (State::Present, "kernel.kexec_load_disabled is 1"),
        };
        (state, detail.to_owned())
    })
}

fn secure_boot(posture: &Posture) -> (State, String) {
    known(&posture.secure_boot, |on| {
        let (state, detail) = match on {
            Some(true) => (State::Present, "UEFI Secure Boot is on"),
            Some(false) => (State::Absent, "UEFI Secure Boot is off"),
            None => (State::Absent, "not started by UEFI"),
        };
        (state, detail.to_owned())
    })
}

fn unprivileged_bpf(posture: &Posture) -> (State, String) {
    known(&posture.unprivileged_bpf_disabled, |disabled| {
        let (state, detail) = match disabled {
            Some(0) => (
                State::Absent,
                "allowed: sysctl kernel.unprivileged_bpf_disabled=1",
            ),
            Some(1) => (State::Present, "refused until reboot"),
            Some(_) => (State::Present, "refused, until uid 0 allows it"),
            None => (State::Present, "this kernel has no bpf()"),
        };
        (state, detail.to_owned())
    })
}

fn kernel_addresses(posture: &Posture) -> (State, String) {
    known(&posture.kptr_restrict, |level| {
        let (state, detail) = match level {
            Some(0) => (State::Absent, "shown: sysctl kernel.kptr_restrict=1"),
            Some(_) => (State::Present, "kernel.kptr_restrict hides them"),
            None => (State::Unknown, "no kernel.kptr_restrict"),
        };
        (state, detail.to_owned())
    })
}
