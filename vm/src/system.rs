//! What a guest's disk holds, and who is PID 1 there.

use anyhow::{Result, bail};

/// A kind of guest, whatever its kernel.
#[derive(Debug)]
pub struct System {
    /// As a user types it.
    pub name: &'static str,
    /// In the cache, the suffix of what is made of it; kinds with the same packages may
    /// share one.
    pub suffix: &'static str,
    /// The Debian suite of its packages.
    pub suite: &'static str,
    /// Packages beside [`crate::disk::PACKAGES`]; what they depend on comes with them.
    pub more: &'static [&'static str],
    /// What becomes PID 1 once the disk is the root; none if the harness stays.
    pub init: Option<&'static str>,
    /// Whether the harness has bpftrust enforce before that is executed.
    pub enforced: bool,
    /// Seconds in which it comes to its job: ten times what an idle host needs.
    pub boot_limit: u64,
    /// The series that its tests run on if none is named; none for all: a boot of
    /// this takes minutes where it is emulated.
    pub series: Option<&'static str>,
}

/// Tools, and the harness as PID 1: boots fastest.
pub const BARE: System = System {
    name: "bare",
    suffix: "",
    suite: "trixie",
    more: &[],
    init: None,
    enforced: false,
    boot_limit: 120,
    series: None,
};

/// Under systemd 258 or later, which delegates BPF (`PrivateBPF=`). The libraries are
/// those that systemd opens if they are there: without libbpf it does no BPF itself.
pub const SYSTEMD: System = System {
    name: "systemd",
    suffix: "-systemd",
    suite: "sid",
    more: &[
        "libapparmor1",
        "libbpf1",
        "libkmod2",
        "libseccomp2",
        "systemd",
        "udev",
    ],
    init: Some("/usr/lib/systemd/systemd"),
    enforced: false,
    boot_limit: 400,
    series: Some("6.18"),
};

/// The same, and bpftrust enforces from before its start and trusts it.
pub const TRUSTED_SYSTEMD: System = System {
    name: "trusted-systemd",
    enforced: true,
    ..SYSTEMD
};

/// With Debian's bpftrace, which the others lack: LLVM comes with it, 60 MB more to
/// download and 270 MB more on the disk.
pub const BPFTRACE: System = System {
    name: "bpftrace",
    suffix: "-bpftrace",
    more: &["bpftrace"],
    ..BARE
};

/// Every kind that has guest tests.
pub const SYSTEMS: &[&System] = &[&BARE, &BPFTRACE, &SYSTEMD, &TRUSTED_SYSTEMD];

/// The kind of this name.
///
/// # Errors
///
/// If there is none; the error names all.
pub fn find(name: &str) -> Result<&'static System> {
    match SYSTEMS.iter().find(|system| system.name == name) {
        Some(system) => Ok(system),
        None => {
            let known: Vec<_> = SYSTEMS.iter().map(|system| system.name).collect();
            bail!(
                "no guest is called {name:?}; try one of: {}",
                known.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name() {
        for system in SYSTEMS {
            assert_eq!(find(system.name).unwrap().name, system.name);
        }
        let error = find("nothing").unwrap_err().to_string();
        assert!(
            error.contains("bare, bpftrace, systemd, trusted-systemd"),
            "{error}"
        );
    }
}
