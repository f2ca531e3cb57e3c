//! What a guest's disk holds, and who is PID 1 there.

use anyhow::{Result, bail};

/// A kind of guest, whatever its kernel.
#[derive(Debug)]
pub struct System {
    /// As a user types it; in the cache, the suffix of what is made of it.
    pub name: &'static str,
    /// The Debian suite of its packages.
    pub suite: &'static str,
    /// Packages beside [`crate::disk::PACKAGES`]; what they depend on comes with them.
    pub more: &'static [&'static str],
    /// What becomes PID 1 once the disk is the root; none if the harness stays.
    pub init: Option<&'static str>,
}

/// Tools, and the harness as PID 1: boots fastest.
pub const BARE: System = System {
    name: "bare",
    suite: "trixie",
    more: &[],
    init: None,
};

/// Under systemd 258 or later, which delegates BPF (`PrivateBPF=`). The libraries are
/// those that systemd opens if they are there: without libbpf it does no BPF itself.
pub const SYSTEMD: System = System {
    name: "systemd",
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
};

/// Every kind that has guest tests.
pub const SYSTEMS: &[&System] = &[&BARE, &SYSTEMD];

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

impl System {
    /// What is put behind names in the cache; nothing for [`BARE`].
    pub fn suffix(&self) -> String {
        if self.name == BARE.name {
            String::new()
        } else {
            format!("-{}", self.name)
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
        assert!(error.contains("bare, systemd"), "{error}");
    }
}
