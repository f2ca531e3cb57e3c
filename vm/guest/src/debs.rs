//! Debian packages that tests make, and what installs them.

use crate::guest::{Guest, text};
use crate::process::{Output, Program};
use anyhow::{Context, Result, ensure};
use bpftrust_vm::system::PACKAGE_PATH;
use std::fs;
use std::path::{Path, PathBuf};

/// Ours, as `cargo xtask dist` builds it.
pub const OURS: &str = PACKAGE_PATH;

/// Packs a directory with the files of a package, by their paths below it.
pub fn pack(guest: &Guest, root: &Path, name: &str, version: &str) -> Result<PathBuf> {
    let control = root.join("DEBIAN");
    fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    let fields = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\n\
         Maintainer: acme <acme@acme.test>\nDescription: {name}\n"
    );
    fs::write(control.join("control"), fields).context("cannot write the control file")?;
    build(guest, root, &format!("{name}_{version}.deb"))
}

/// Ours, as if it was of another version.
pub fn ours_as(guest: &Guest, version: &str) -> Result<PathBuf> {
    let tree = guest.path(&format!("bpftrust-{version}"));
    let unpack = ["dpkg-deb", "--raw-extract", OURS, text(&tree)?];
    guest.run(&unpack)?.success()?;
    let control = tree.join("DEBIAN/control");
    let fields = fs::read_to_string(&control)?;
    let mut lines = fields.lines();
    let own = lines.find(|line| line.starts_with("Version: "));
    let own = own.context("a package without a version")?;
    let fields = fields.replace(own, &format!("Version: {version}"));
    fs::write(control, fields)?;
    build(guest, &tree, &format!("bpftrust_{version}.deb"))
}

/// Without compression, which takes long where it is emulated.
fn build(guest: &Guest, root: &Path, name: &str) -> Result<PathBuf> {
    let deb = guest.path(name);
    let words = ["dpkg-deb", "-Znone", "--root-owner-group", "--build"];
    guest
        .run(&[&words[..], &[text(root)?, text(&deb)?]].concat())?
        .success()?;
    Ok(deb)
}

/// apt, on the network of no machine.
pub fn apt(words: &[&str]) -> Result<Output> {
    Program::new("apt-get")
        .args(["--yes", "--allow-downgrades"])
        .args(["--option", "APT::Sandbox::User=root"])
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

/// Has apt install packages, and returns all that is said meanwhile.
pub fn install(debs: &[&Path]) -> Result<String> {
    let mut words = vec!["install"];
    for deb in debs {
        words.push(text(deb)?);
    }
    let output = apt(&words)?;
    let said = format!("{}{}", output.stdout, output.stderr);
    output.success()?;
    Ok(said)
}

/// The version of a package that is installed.
pub fn version(guest: &Guest, name: &str) -> Result<String> {
    let words = ["dpkg-query", "--show", "--showformat=${Status} ${Version}"];
    let said = guest.run(&[&words[..], &[name]].concat())?.success()?;
    let version = said.strip_prefix("install ok installed ");
    let version = version.with_context(|| format!("{name} is not installed: {said}"))?;
    Ok(version.to_owned())
}

/// Requires that apt fails and says this, and that the package stays as it was.
pub fn expect_refused(guest: &Guest, words: &[&str], name: &str, complaint: &str) -> Result<()> {
    let before = version(guest, name)?;
    let output = apt(words)?;
    ensure!(output.status != 0, "unexpected success: {output}");
    // As often as dpkg asks; its own progress is between.
    ensure!(output.to_string().contains(complaint), "{output}");
    let after = version(guest, name)?;
    ensure!(before == after, "{before} before, {after} now");
    Ok(())
}
