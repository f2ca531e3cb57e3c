//! The kernels that bpftrust is proven on, and what each of them cannot do.

use anyhow::{Result, bail};

/// One series of Debian's kernels.
#[derive(Debug)]
pub struct Kernel {
    /// The series as a user types it, such as `6.18`.
    pub series: &'static str,
    /// The Debian suite whose cloud kernel is taken.
    pub suite: &'static str,
    /// Whether bpftrust can enforce there; where it cannot, only the tests that
    /// say so run.
    pub supported: bool,
    /// What this kernel lacks: the capability that a test may need, and why it
    /// is absent. A test that needs it is reported as left out, with the reason.
    pub cannot: &'static [(&'static str, &'static str)],
}

/// Every kernel that `cargo xtask vm` knows, oldest first.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        series: "6.1",
        suite: "bookworm",
        supported: false,
        cannot: &[],
    },
    Kernel {
        series: "6.12",
        suite: "trixie",
        supported: true,
        cannot: &[
            (
                "program-signature",
                "signed BPF programs came with Linux 6.18",
            ),
            ("signed-maps", "signed BPF programs came with Linux 6.18"),
            (
                "security-bpf-xattr",
                "bpf_get_file_xattr reads only user.* before Linux 6.13",
            ),
        ],
    },
    Kernel {
        series: "6.18",
        suite: "trixie-backports",
        supported: true,
        cannot: &[(
            "signed-maps",
            "signatures of BPF programs cover the maps that they use since Linux 7.3",
        )],
    },
    Kernel {
        series: "7.3",
        suite: "trixie-backports",
        supported: true,
        cannot: &[],
    },
];

/// What a kernel's packages are called. Before 7.x all is in the image.
const PARTS: &[&str] = &["linux-image", "linux-base", "linux-binary", "linux-modules"];

/// The kernel of `series`.
pub fn find(series: &str) -> Result<&'static Kernel> {
    match KERNELS.iter().find(|kernel| kernel.series == series) {
        Some(kernel) => Ok(kernel),
        None => {
            let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.series).collect();
            bail!(
                "no kernel of series {series:?} is in the table; try one of: {}",
                known.join(", ")
            )
        }
    }
}

/// The kernel whose series a release, as `uname -r` says it, belongs to.
pub fn of_release(release: &str) -> Option<&'static Kernel> {
    KERNELS.iter().find(|kernel| {
        release
            .strip_prefix(kernel.series)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The suites of every kernel and of the bare guest's packages, each once.
pub fn suites() -> Vec<&'static str> {
    let mut suites = vec![crate::system::BARE.suite];
    for kernel in KERNELS {
        if !suites.contains(&kernel.suite) {
            suites.push(kernel.suite);
        }
    }
    suites
}

impl Kernel {
    /// Why this kernel lacks a capability, if it does.
    pub fn lacks(&self, capability: &str) -> Option<&'static str> {
        self.cannot
            .iter()
            .find(|(lacked, _)| *lacked == capability)
            .map(|(_, reason)| *reason)
    }

    /// The packages that carry the newest signed cloud kernel of this series,
    /// out of the names of all packages: the image and, where the kernel is
    /// split (7.x), the packages with its binary and modules.
    pub fn choose(&self, names: &[String]) -> Result<Choice> {
        let prefix = format!("linux-image-{}", self.series);
        let newest = names
            .iter()
            .filter_map(|name| {
                let release = name.strip_prefix("linux-image-")?;
                let rest = name.strip_prefix(&prefix)?;
                // "6.1" must not take "6.12.3", nor debug and unsigned packages.
                (rest.starts_with('.') && release.ends_with("-cloud-amd64")).then_some(release)
            })
            .max_by_key(|release| numbers(release));
        let Some(release) = newest else {
            bail!(
                "no package {prefix}.*-cloud-amd64 is in suite {}; \
                 try `cargo xtask vm --refresh`",
                self.suite
            );
        };
        let packages = PARTS
            .iter()
            .map(|kind| format!("{kind}-{release}"))
            .filter(|package| names.contains(package))
            .collect();
        Ok(Choice {
            release: release.to_owned(),
            packages,
        })
    }
}

/// A kernel release and the packages that hold it.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// As `uname -r` says it.
    pub release: String,
    /// Packages to unpack.
    pub packages: Vec<String>,
}

/// The numbers in a release, which order releases of one series.
fn numbers(release: &str) -> Vec<u64> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_newest_is_chosen_by_number() {
        let names = names(&[
            "linux-image-6.18.9+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64",
            "linux-image-6.18.15+deb13-cloud-amd64-dbg",
            "linux-image-6.18.15+deb13-cloud-amd64-unsigned",
            "linux-image-6.18.20+deb13-amd64",
        ]);
        let choice = find("6.18").unwrap().choose(&names).unwrap();
        assert_eq!(choice.release, "6.18.15+deb13-cloud-amd64");
        assert_eq!(
            choice.packages,
            ["linux-image-6.18.15+deb13-cloud-amd64".to_owned()]
        );
    }

    #[test]
    fn a_split_kernel_brings_its_parts() {
        let names = names(&[
            "linux-image-7.3.4+deb13-cloud-amd64",
            "linux-base-7.3.4+deb13-cloud-amd64",
            "linux-binary-7.3.4+deb13-cloud-amd64",
            "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
            "linux-modules-7.3.4+deb13-cloud-amd64",
        ]);
        let choice = find("7.3").unwrap().choose(&names).unwrap();
        assert_eq!(choice.packages.len(), 4);
        assert!(!choice.packages.iter().any(|p| p.contains("unsigned")));
    }

    #[test]
    fn a_series_does_not_take_a_longer_one() {
        let names = names(&[
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
        ]);
        let choice = find("6.1").unwrap().choose(&names).unwrap();
        assert_eq!(choice.release, "6.1.0-50-cloud-amd64");
    }

    #[test]
    fn a_running_kernel_is_found() {
        let series = |release| of_release(release).map(|kernel| kernel.series);
        assert_eq!(series("6.1.0-50-cloud-amd64"), Some("6.1"));
        assert_eq!(series("6.12.94+deb13-cloud-amd64"), Some("6.12"));
        assert_eq!(series("5.10.0"), None);
    }

    #[test]
    fn errors_name_what_to_type() {
        let unknown = find("5.4").unwrap_err().to_string();
        assert!(unknown.contains("6.18"), "{unknown}");
        let absent = find("6.18").unwrap().choose(&[]).unwrap_err().to_string();
        assert!(absent.contains("--refresh"), "{absent}");
    }
}
