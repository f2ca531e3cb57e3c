//! Programs as publishers sign them, and loaders that may load no others.

use crate::envelope::{GOOD_SHAPE, pkcs7};
use crate::fixture::{self, ACME, GLOBEX, Key, UNSIGNED, words};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::owner::WORKER;
use crate::policy::{self, acme, apply, loader, publisher};
use crate::process::Program;
use anyhow::{Context, Result};
use bpftrust_vm::kernels;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a grant says so that nothing but signed programs is loaded.
pub const REQUIRE: &str = "require = \"signed-programs\"\n";

/// Two publishers, neither of whom requires anything.
pub fn setup(guest: &mut Guest) -> Result<()> {
    GLOBEX.make(guest)?;
    fixture::enforce(guest)?;
    apply(guest, &policy(""))
}

/// Those two, and more.
pub fn policy(more: &str) -> String {
    acme(&format!("{}{more}", publisher("globex", &[GLOBEX])))
}

/// Does this kernel verify signatures of programs?
pub fn is_verified_here() -> Result<bool> {
    can("program-signature")
}

/// Does the table of kernels say that this one can do that?
pub fn can(capability: &str) -> Result<bool> {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    let kernel = kernels::of_release(&release).context("a kernel that no table has")?;
    Ok(kernel.lacks(capability).is_none())
}

/// A loader that may do all with programs that were signed, and nothing with others.
pub fn tied(guest: &Guest, name: &str) -> Result<PathBuf> {
    tied_to(guest, name, WORKER)
}

/// The same with this grant.
pub fn tied_to(guest: &Guest, name: &str, grant: Grant<'_>) -> Result<PathBuf> {
    loader(guest, name, ACME, &(grant.of("agent", 2) + REQUIRE))
}

/// The same loader as it was before, which may load anything.
pub fn free(guest: &Guest, name: &str) -> Result<PathBuf> {
    loader(guest, name, ACME, &WORKER.of("agent", 1))
}

/// What `status` says of the key of that publisher.
fn key_of(guest: &Guest, publisher: Key) -> Result<Value> {
    let status = policy::status(guest)?;
    let keys = status["keys"].as_array().context("no keys")?;
    let found = keys.iter().find(|key| key["publisher"] == publisher.name());
    found
        .cloned()
        .with_context(|| format!("no key of {publisher:?} in {status:#}"))
}

/// How signatures refer to it.
pub fn hint(guest: &Guest, publisher: Key) -> Result<String> {
    let key = key_of(guest, publisher)?;
    Ok(key["key"].as_str().context("no hint")?.to_owned())
}

/// The serial of the keyring that the policy has for it.
pub fn ring(guest: &Guest, publisher: Key) -> Result<i64> {
    key_of(guest, publisher)?["ring"]
        .as_i64()
        .context("no ring")
}

/// A certificate as keyrings take it, in a file.
pub fn der(guest: &Guest, key: Key, name: &str) -> Result<PathBuf> {
    let (from, to) = (key.certificate(), guest.path(name));
    let words = ["openssl", "x509", "-outform", "DER", "-in", &from, "-out"];
    guest
        .run(&[&words[..], &[text(&to)?]].concat())?
        .success()?;
    Ok(to)
}

/// What `key` signs for this action of the probe, in a file. Which program that is
/// says the probe itself.
pub fn signature(guest: &Guest, key: Key, action: &str) -> Result<PathBuf> {
    let name = action.replace([' ', ':'], "-");
    let code = guest.path(&format!("{name}.code"));
    let _ = fs::remove_file(&code);
    let line = format!("instructions-to {} {action}", text(&code)?);
    Program::new(UNSIGNED).args(words(&line)).run()?.success()?;
    let mut message = fs::read(&code).with_context(|| format!("{action} has no program"))?;
    if is_with_map(action) && can("signed-maps")? {
        message.extend(fs::read(guest.path(&format!("{name}.code.map")))?);
    }
    let signed = pkcs7(guest, key, &message, GOOD_SHAPE)?;
    guest.write(&format!("{name}.{}", key.name()), signed)
}

/// Does this action load a program that has a map?
fn is_with_map(action: &str) -> bool {
    action.starts_with("load-inner")
}

/// The same action, with what `key` signed for it offered by the policy's keyring, in
/// the form that this kernel takes.
pub fn offered(guest: &Guest, key: Key, action: &str) -> Result<String> {
    let file = signature(guest, key, action)?;
    let offered = with_signature(ring(guest, key)?, &file, action);
    if !is_with_map(action) || !can("signed-maps")? {
        return Ok(offered);
    }
    let code = file.with_extension("code");
    let said = guest.run(&["sha256sum", text(&code)?])?.success()?;
    let hash = said.split_whitespace().next().context("no hash")?;
    Ok(format!("bind-maps {hash} {offered}"))
}

/// This action with that signature, to be verified by that keyring.
pub fn with_signature(ring: i64, file: &Path, action: &str) -> String {
    format!("with-signature {ring}:{} {action}", file.display())
}
