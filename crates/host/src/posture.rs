//! Facts that enforcement doesn't need but its promise rests on: by what other
//! doors uid 0 could get into the kernel.

use crate::facts::securityfs;
use crate::mounts::Mounts;
use crate::{Root, Unknown};

/// Each is `None` where the kernel lacks the thing itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Posture {
    /// `/sys/kernel/security/lockdown`.
    pub lockdown: Result<Option<Lockdown>, Unknown>,
    /// The kernel can load modules at all.
    pub modules: Result<bool, Unknown>,
    /// `kernel.modules_disabled`: no more modules until reboot.
    pub modules_disabled: Result<Option<u32>, Unknown>,
    /// `module.sig_enforce`: only signed modules.
    pub module_signatures: Result<Option<bool>, Unknown>,
    /// `kernel.kexec_load_disabled`: no new kernel without a reboot.
    pub kexec_load_disabled: Result<Option<u32>, Unknown>,
    /// `kernel.unprivileged_bpf_disabled`: 0 allowed, 1 refused until reboot, 2
    /// refused.
    pub unprivileged_bpf_disabled: Result<Option<u32>, Unknown>,
    /// `kernel.kptr_restrict`: 0 shows the kernel's addresses to everybody, 1 to
    /// root, 2 to nobody.
    pub kptr_restrict: Result<Option<u32>, Unknown>,
    /// The kernel has `/dev/mem`: uid 0 can make the node where there is none.
    pub dev_mem: Result<bool, Unknown>,
    /// UEFI Secure Boot; `None` on a machine that wasn't started by UEFI.
    pub secure_boot: Result<Option<bool>, Unknown>,
}

/// What the kernel denies even uid 0 (`security/lockdown/lockdown.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lockdown {
    /// Nothing.
    None,
    /// Changing the running kernel.
    Integrity,
    /// Reading its memory too.
    Confidentiality,
}

impl Posture {
    /// Reads the facts.
    pub fn probe(root: &Root, mounts: &Result<Mounts, Unknown>) -> Self {
        Self {
            lockdown: securityfs(root, mounts, "lockdown").and_then(|text| {
                text.map(|text| {
                    Lockdown::parse(&text)
                        .ok_or_else(|| Unknown(format!("an unknown kind of lockdown: {text}")))
                })
                .transpose()
            }),
            modules: root
                .proc_is_mounted()
                .and_then(|()| root.has("/proc/modules")),
            modules_disabled: root.sysctl("kernel.modules_disabled"),
            module_signatures: root
                .text("/sys/module/module/parameters/sig_enforce")
                .map(|text| text.map(|text| text == "Y")),
            kexec_load_disabled: root.sysctl("kernel.kexec_load_disabled"),
            unprivileged_bpf_disabled: root.sysctl("kernel.unprivileged_bpf_disabled"),
            kptr_restrict: root.sysctl("kernel.kptr_restrict"),
            dev_mem: root.has("/sys/class/mem/mem"),
            secure_boot: secure_boot(root),
        }
    }
}

impl Lockdown {
    /// All kinds are listed, the active one in brackets.
    fn parse(text: &str) -> Option<Self> {
        let active = text
            .split_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))?;
        match active {
            "none" => Some(Self::None),
            "integrity" => Some(Self::Integrity),
            "confidentiality" => Some(Self::Confidentiality),
            _ => None,
        }
    }
}

/// An EFI variable's file holds four bytes of attributes, then its value
/// (`fs/efivarfs/file.c`); that of `SecureBoot` is one byte.
fn secure_boot(root: &Root) -> Result<Option<bool>, Unknown> {
    const VARIABLES: &str = "/sys/firmware/efi/efivars";
    const NAME: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    if !root.has("/sys/firmware/efi")? {
        return Ok(None);
    }
    match std::fs::read(root.path(VARIABLES).join(NAME)) {
        Ok(bytes) => match bytes[..] {
            [_, _, _, _, value] => Ok(Some(value == 1)),
            _ => Err(Unknown(format!("{NAME} has {} bytes, not 5", bytes.len()))),
        },
        Err(error) => Err(Unknown::new(format!("{VARIABLES}/{NAME}"), &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_lockdown_is_the_one_in_brackets() {
        for (text, expected) in [
            ("[none] integrity confidentiality", Some(Lockdown::None)),
            (
                "none [integrity] confidentiality",
                Some(Lockdown::Integrity),
            ),
            (
                "none integrity [confidentiality]",
                Some(Lockdown::Confidentiality),
            ),
            ("none integrity [secrecy]", None),
            ("", None),
        ] {
            assert_eq!(Lockdown::parse(text), expected, "{text:?}");
        }
    }
}
