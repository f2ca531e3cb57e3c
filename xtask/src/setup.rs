//! Installs what building and testing need beside Rust.

use crate::workspace;
use anyhow::{Context, Result, bail};
use bpftrust_vm::tool;
use std::path::Path;
use std::process::Command;

/// Debian packages, each with a file by which it is recognised.
const NEEDED: &[(&str, &str)] = &[
    ("clang-19", "/usr/bin/clang-19"),
    ("clang-format-19", "/usr/bin/clang-format-19"),
    (
        "debian-archive-keyring",
        "/usr/share/keyrings/debian-archive-keyring.gpg",
    ),
    ("e2fsprogs", "/sbin/mke2fs"),
    ("fsverity", "/usr/bin/fsverity"),
    ("gcc", "/usr/bin/cc"),
    ("kmod", "/sbin/depmod"),
    ("libelf-dev", "/usr/include/libelf.h"),
    ("libssl-dev", "/usr/include/openssl/ssl.h"),
    ("openssl", "/usr/bin/openssl"),
    ("pkg-config", "/usr/bin/pkg-config"),
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("xz-utils", "/usr/bin/xz"),
    ("zlib1g-dev", "/usr/include/zlib.h"),
];

/// What makes Debian packages.
const PACKAGING: &[(&str, &str)] = &[
    ("debhelper", "/usr/bin/dh"),
    ("dpkg-dev", "/usr/bin/dpkg-buildpackage"),
];

/// What judges them.
const LINTIAN: &[(&str, &str)] = &[("lintian", "/usr/bin/lintian")];

/// Cargo's subcommands that come as components of a toolchain.
const COMPONENTS: &[&str] = &["rustfmt", "clippy"];

/// Installs cargo's subcommands that only lint needs.
pub fn lint() -> Result<()> {
    for component in COMPONENTS {
        let program = format!("cargo-{}", component.trim_start_matches("rust"));
        if tool::output(Command::new(program).arg("--version")).is_err() {
            eprintln!("installing {component}");
            tool::output(Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("cannot install {component} for this Rust toolchain"))?;
        }
    }
    Ok(())
}

/// Installs cargo-deny if it is not there, which takes some minutes once.
pub fn cargo_deny() -> Result<()> {
    if tool::output(Command::new("cargo-deny").arg("--version")).is_ok() {
        return Ok(());
    }
    eprintln!("installing cargo-deny, which takes some minutes once");
    let mut command = workspace::cargo();
    // Its own target directory, or ours would hold its hundreds of crates.
    command.env_remove("CARGO_TARGET_DIR");
    command.args(["install", "--quiet", "--locked", "cargo-deny@^0.20"]);
    tool::output(&mut command).map(drop)
}

/// Installs what is missing to build and test, through apt; elsewhere says what to
/// install.
pub fn run() -> Result<()> {
    install(NEEDED)
}

/// The same, to make Debian packages.
pub fn packaging() -> Result<()> {
    install(PACKAGING)
}

/// The same, to judge them.
pub fn lintian() -> Result<()> {
    install(LINTIAN)
}

fn install(needed: &[(&'static str, &str)]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "this is not a Debian machine, so nothing is installed; please install what \
             these Debian packages hold: {list}"
        );
    }
    eprintln!("installing {list}");
    let privileged = |arguments: &[&str]| {
        let mut command = if rustix::process::geteuid().is_root() {
            Command::new("apt-get")
        } else {
            let mut command = Command::new("sudo");
            command.arg("--non-interactive").arg("apt-get");
            command
        };
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-q", "--yes", "--no-install-recommends"])
            .args(arguments);
        tool::output(&mut command).map(drop)
    };
    let install: Vec<&str> = ["install"].into_iter().chain(missing).collect();
    // A fresh machine has no lists of packages, or old ones.
    if privileged(&install).is_ok() {
        return Ok(());
    }
    privileged(&["update"])
        .and_then(|()| privileged(&install))
        .map_err(|error| error.context(format!("please install by hand: apt-get install {list}")))
}
