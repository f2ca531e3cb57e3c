//! `bpftrust keygen`: a key and its self-signed certificate, each in a file of
//! its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, ensure};
use bpftrust_signature::{self as signature, Identity, Zeroizing};

use crate::advice::advised;
use crate::cli::{KeyAlgorithm, KeygenArgs};
use crate::input::{ask_passphrase, read_passphrase, without_terminal};
use crate::output::{self, Outcome, escape_bytes, escaped};

pub fn run(args: &KeygenArgs) -> anyhow::Result<Outcome> {
    let key = args.out.join("key.pem");
    let certificate = args.out.join("certificate.pem");
    for path in [&key, &certificate] {
        // Before any question is asked; creating the files is what really decides.
        if path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
    }
    let passphrase = if args.encrypt {
        Some(passphrase(args)?)
    } else {
        None
    };
    let identity = Identity::generate(args.algorithm.into(), &args.name, args.days)?;
    let key_pem = identity.key_pem(passphrase.as_deref().map(String::as_str))?;
    let certificate_pem = identity.certificate_pem()?;

    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.out)
        .with_context(|| format!("making directory {}", escaped(&args.out)))?;
    create(&key, 0o600, &key_pem)?;
    if let Err(error) = create(&certificate, 0o644, &certificate_pem) {
        // A key without certificate is of no use, and would be in the way.
        let _ = fs::remove_file(&key);
        return Err(error);
    }
    output::print(&format!(
        "{}: private key, {}\n{}: certificate of key {}, CN={}, until {}\n",
        escaped(&key),
        identity.certificate().algorithm(),
        escaped(&certificate),
        identity.certificate().key_hint(),
        escape_bytes(args.name.as_bytes()),
        identity.certificate().not_after()
    ));
    Ok(Outcome::Yes)
}

impl From<KeyAlgorithm> for signature::KeyAlgorithm {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::Rsa2048 => Self::Rsa2048,
            KeyAlgorithm::Rsa3072 => Self::Rsa3072,
            KeyAlgorithm::Rsa4096 => Self::Rsa4096,
            KeyAlgorithm::P256 => Self::P256,
            KeyAlgorithm::P384 => Self::P384,
        }
    }
}

fn passphrase(args: &KeygenArgs) -> anyhow::Result<Zeroizing<String>> {
    if let Some(file) = &args.passphrase_file {
        return read_passphrase(file);
    }
    let ask = |prompt| {
        ask_passphrase(prompt)
            .context("asking for a passphrase")
            .map_err(without_terminal)
    };
    let first = ask("Passphrase for the new key: ")?;
    ensure!(!first.is_empty(), "an empty passphrase protects nothing");
    let second = ask("The same again: ")?;
    ensure!(first == second, "the two passphrases differ");
    Ok(first)
}

/// A new file that nobody else may have put there, on disk when this returns.
fn create(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
        file => file.with_context(|| format!("creating {}", escaped(path)))?,
    };
    fill(file, content)
        .inspect_err(|_| _ = fs::remove_file(path))
        .with_context(|| format!("writing {}", escaped(path)))
}

fn fill(mut file: File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

fn exists(path: &Path) -> anyhow::Error {
    advised(
        anyhow::anyhow!("{} exists already", escaped(path)),
        "nothing is overwritten: give --out another directory",
    )
}
