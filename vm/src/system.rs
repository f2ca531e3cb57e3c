//! What a guest's disk holds, and who is PID 1 there.

use crate::protocol::SERVICE;
use anyhow::{Result, bail};

/// What makes the initramfs of a machine that boots as an installed one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generator {
    /// Debian's default.
    InitramfsTools,
    /// The other one that Debian has.
    Dracut,
    /// The same, told to leave systemd out of the image.
    DracutWithoutSystemd,
}

/// A kind of guest, whatever its kernel.
#[derive(Debug, PartialEq, Eq)]
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
    /// The harness's command that runs before that is executed.
    pub early: Option<&'static str>,
    /// Whether it may start again; one whose kernel panics does so, too, until its time
    /// is over.
    pub reboots: bool,
    /// What makes its initramfs, with bpftrust's hook in it; none for the harness's own,
    /// which knows nothing of bpftrust.
    pub generator: Option<Generator>,
    /// What the kernel's command line says of bpftrust.
    pub line: &'static str,
    /// Seconds in which it comes to its job: ten times what an idle host needs.
    pub boot_limit: u64,
    /// The series that its tests run on if none is named; none for all: a boot of
    /// this takes minutes where it is emulated.
    pub series: Option<&'static str>,
}

impl System {
    /// What its kernel is told: with an initramfs of Debian's, the root, and what PID 1 is
    /// to start there (bootparam(7), systemd(1)).
    pub fn kernel_line(&self) -> String {
        match (self.generator, self.init) {
            (Some(_), Some(init)) => format!(
                "root=/dev/vda rootfstype=ext4 rw init={init} systemd.unit={SERVICE} \
                 systemd.show_status=no {}",
                self.line
            ),
            _ => self.line.to_owned(),
        }
    }
}

/// Tools, and the harness as PID 1: boots fastest.
pub const BARE: System = System {
    name: "bare",
    suffix: "",
    suite: "trixie",
    more: &[],
    init: None,
    early: None,
    reboots: false,
    generator: None,
    line: "",
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
    early: None,
    reboots: false,
    generator: None,
    line: "",
    boot_limit: 400,
    series: Some("6.18"),
};

/// The same, and bpftrust enforces from before its start and trusts it.
pub const TRUSTED_SYSTEMD: System = System {
    name: "trusted-systemd",
    early: Some("enforce"),
    ..SYSTEMD
};

/// A stable release's host with what calls `bpf()` on many: systemd, containers and
/// tools. bpftrust audits from before systemd's start.
pub const HOST: System = System {
    name: "host",
    suffix: "-host",
    suite: "trixie",
    more: &[
        "crun",
        "dbus",
        "dbus-user-session",
        "libapparmor1",
        "libbpf1",
        "libkmod2",
        "libpam-systemd",
        "libseccomp2",
        "podman",
        "systemd",
        "udev",
    ],
    early: Some("audit"),
    reboots: true,
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

/// With what only the benchmark's comparisons need: IMA's tool, which signs files.
pub const COMPARED: System = System {
    name: "compared",
    suffix: "-compared",
    more: &["ima-evm-utils"],
    ..BARE
};

/// With Debian's stress-ng, whose stressors make system calls of every kind.
pub const STRESS: System = System {
    name: "stress",
    suffix: "-stress",
    more: &["stress-ng"],
    ..BARE
};

/// With systemd's tests, one of which attaches what `RestrictFileSystemAccess=` is made of
/// without systemd being PID 1. It opens libbpf if that is there.
pub const RESTRICTED: System = System {
    name: "restricted",
    suffix: "-restricted",
    suite: "sid",
    more: &["libbpf1", "systemd-tests"],
    ..BARE
};

/// With dpkg and apt, and their database of what is there: packages of ours are
/// installed as on a host.
pub const DPKG: System = System {
    name: "dpkg",
    suffix: "-dpkg",
    more: &["apt", "dpkg", "init-system-helpers"],
    series: Some("6.18"),
    ..BARE
};

/// Where our package is in a guest of [`DPKG`].
pub const PACKAGE_PATH: &str = "/root/bpftrust.deb";

/// The same, booted as an installed machine: by an initramfs of Debian's initramfs-tools,
/// in which bpftrust starts. The policy there enforces.
pub const BOOT: System = System {
    name: "boot",
    suffix: "-boot",
    more: &[
        "dpkg",
        "dracut-core",
        "gzip",
        "initramfs-tools-core",
        "libapparmor1",
        "libbpf1",
        "libkmod2",
        "libseccomp2",
        "systemd",
        "udev",
        "util-linux-extra",
        "zstd",
    ],
    generator: Some(Generator::InitramfsTools),
    ..SYSTEMD
};

/// Told to do nothing.
pub const BOOT_OFF: System = System {
    name: "boot-off",
    line: "bpftrust=off",
    ..BOOT
};

/// Told to audit; and no unit of bpftrust's is enabled.
pub const BOOT_AUDIT: System = System {
    name: "boot-audit",
    line: "bpftrust=audit",
    ..BOOT
};

/// Told to do nothing, which the policy does not let it.
pub const BOOT_SEALED: System = System {
    name: "boot-sealed",
    line: "bpftrust=off",
    ..BOOT
};

/// The policy in the initramfs is cut off.
pub const BOOT_BROKEN: System = System {
    name: "boot-broken",
    ..BOOT
};

/// By an initramfs of dracut's.
pub const BOOT_DRACUT: System = System {
    name: "boot-dracut",
    generator: Some(Generator::Dracut),
    ..BOOT
};

/// The same, without a systemd in it, which would execute that of the real root.
pub const BOOT_DRACUT_PLAIN: System = System {
    name: "boot-dracut-plain",
    generator: Some(Generator::DracutWithoutSystemd),
    ..BOOT
};

/// Every kind that can be named.
pub const SYSTEMS: &[&System] = &[
    &BARE,
    &BPFTRACE,
    &COMPARED,
    &DPKG,
    &RESTRICTED,
    &STRESS,
    &SYSTEMD,
    &TRUSTED_SYSTEMD,
    &HOST,
    &BOOT,
    &BOOT_OFF,
    &BOOT_AUDIT,
    &BOOT_SEALED,
    &BOOT_BROKEN,
    &BOOT_DRACUT,
    &BOOT_DRACUT_PLAIN,
];

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
            error.contains(
                "bare, bpftrace, compared, dpkg, restricted, stress, systemd, trusted-systemd, host, "
            ),
            "{error}"
        );
    }
}
