//! Signatures as an attacker makes them: other bytes in the xattr of the file
//! `forged`, whose own is kept beside it.

use crate::lab::Lab;
use anyhow::{Context, Result, ensure};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `BT_XATTR` of `bpf/abi.h`.
const XATTR: &str = "user.bpftrust";
/// Bytes of `struct bt_envelope`; where in it are the sizes of what follows.
const ENVELOPE: usize = 24;
const STATEMENT_SIZE: usize = 6;
const SIGNATURE_SIZE: usize = 8;

/// Where the newer one of two statements is kept.
const NEWER: &str = "newer.kept";

/// The xattr of a file.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let mut value = vec![0; 64 * 1024];
    let size = getxattr(file, XATTR, &mut value[..])
        .with_context(|| format!("reading the xattr of {}", file.display()))?;
    value.truncate(size);
    Ok(value)
}

/// Sets or replaces it.
pub fn write(file: &Path, value: &[u8]) -> Result<()> {
    setxattr(file, XATTR, value, XattrFlags::empty())
        .with_context(|| format!("writing the xattr of {}", file.display()))
}

/// Keeps a file's xattr beside it.
pub fn keep(file: &Path) -> Result<()> {
    fs::write(kept(file), read(file)?).context("keeping a signature")
}

fn kept(file: &Path) -> PathBuf {
    file.with_extension("kept")
}

/// The file's older statement takes the place of its newer one, which was
/// executed by then.
pub fn put_back_older(lab: &Lab) -> Result<()> {
    let file = lab.path("older");
    let newer = lab.path(NEWER);
    if !newer.exists() {
        fs::write(&newer, read(&file)?).context("keeping a signature")?;
    }
    write(
        &file,
        &fs::read(&newer).context("reading a kept signature")?,
    )?;
    lab.act("older", crate::attack::CALL, None)?;
    write(
        &file,
        &fs::read(kept(&file)).context("reading a kept signature")?,
    )
}

/// Gives `forged` a signature that is made of its own.
fn forge(lab: &Lab, change: impl FnOnce(Vec<u8>) -> Result<Vec<u8>>) -> Result<()> {
    let file = lab.path("forged");
    let own = fs::read(kept(&file)).context("reading the kept signature")?;
    write(&file, &change(own)?)
}

pub fn empty(lab: &Lab) -> Result<()> {
    forge(lab, |_| Ok(Vec::new()))
}

pub fn truncated(lab: &Lab) -> Result<()> {
    forge(lab, |mut own| {
        own.truncate(own.len() - 1);
        Ok(own)
    })
}

/// More than a PKCS#7 may take, with sizes that fit.
pub fn oversized(lab: &Lab) -> Result<()> {
    forge(lab, |mut own| {
        own.resize(3900, 0x30);
        resize(own)
    })
}

/// The envelope is right, and the rest is noise.
pub fn random(lab: &Lab) -> Result<()> {
    forge(lab, |mut own| {
        let mut noise = File::open("/dev/urandom").context("opening /dev/urandom")?;
        std::io::Read::read_exact(&mut noise, &mut own[ENVELOPE..]).context("reading noise")?;
        own[ENVELOPE] = 0xff;
        Ok(own)
    })
}

/// One bit of the signature's value is another.
pub fn flipped(lab: &Lab) -> Result<()> {
    forge(lab, |mut own| {
        *own.last_mut().context("an empty signature")? ^= 1;
        Ok(own)
    })
}

/// The stranger's, said to be of the trusted key.
pub fn forged_hint(lab: &Lab) -> Result<()> {
    let stranger = read(&lab.path("strangers"))?;
    forge(lab, |own| {
        let mut forged = stranger;
        forged[ENVELOPE - 8..ENVELOPE].copy_from_slice(&own[ENVELOPE - 8..ENVELOPE]);
        Ok(forged)
    })
}

/// Of another file by the same key.
pub fn of_another_file(lab: &Lab) -> Result<()> {
    let other = fs::read(kept(&lab.path("older"))).context("reading the kept signature")?;
    forge(lab, |_| Ok(other))
}

/// A good signature of the trusted key, over something else.
pub fn over_other_data(lab: &Lab) -> Result<()> {
    sign(lab, b"something else", &["-noattr", "-nocerts"])
}

/// Over the right data, with signed attributes, which are what is signed then.
pub fn with_attributes(lab: &Lab) -> Result<()> {
    sign(lab, &message(lab)?, &["-nocerts"])
}

/// One that brings its own certificates.
pub fn with_certificates(lab: &Lab) -> Result<()> {
    sign(lab, &message(lab)?, &["-noattr"])
}

/// What is signed: the digest as fs-verity formats it, and the statement.
fn message(lab: &Lab) -> Result<Vec<u8>> {
    let file = lab.path("forged");
    let open = File::open(&file).with_context(|| format!("opening {}", file.display()))?;
    let digest = bpftrust_verity::measure(&open)
        .context("measuring a file")?
        .context("fs-verity is not enabled")?;
    let own = fs::read(kept(&file)).context("reading the kept signature")?;
    let size = usize::from(u16::from_le_bytes([
        own[STATEMENT_SIZE],
        own[STATEMENT_SIZE + 1],
    ]));
    let statement = own
        .get(ENVELOPE..ENVELOPE + size)
        .context("a short signature")?;
    Ok([digest.formatted(), statement.to_vec()].concat())
}

/// Has openssl sign `data` with the trusted key, in the shape that its options
/// choose, and puts that where the signature is.
fn sign(lab: &Lab, data: &[u8], options: &[&str]) -> Result<()> {
    let (message, signature) = (lab.path("message"), lab.path("signature"));
    fs::write(&message, data).context("writing what is to be signed")?;
    let mut command = Command::new("openssl");
    command
        .args([
            "cms", "-sign", "-binary", "-outform", "DER", "-md", "sha256",
        ])
        .args(options)
        .arg("-in")
        .arg(&message)
        .arg("-out")
        .arg(&signature)
        .arg("-signer")
        .arg(lab.path("acme/certificate.pem"))
        .arg("-inkey")
        .arg(lab.path("acme/key.pem"));
    let output = lab.run(&mut command, crate::lab::PATIENCE)?;
    ensure!(
        output.status.is_some_and(|status| status.success()),
        "openssl cms failed: {}",
        output.stderr
    );
    let signature = fs::read(&signature).context("reading what openssl wrote")?;
    forge(lab, |mut own| {
        let size = u16::from_le_bytes([own[STATEMENT_SIZE], own[STATEMENT_SIZE + 1]]);
        own.truncate(ENVELOPE + usize::from(size));
        own.extend(signature);
        resize(own)
    })
}

/// Makes the envelope say how long the signature is.
fn resize(mut xattr: Vec<u8>) -> Result<Vec<u8>> {
    let statement = usize::from(u16::from_le_bytes([
        xattr[STATEMENT_SIZE],
        xattr[STATEMENT_SIZE + 1],
    ]));
    let size = u32::try_from(xattr.len() - ENVELOPE - statement)?;
    xattr[SIGNATURE_SIZE..SIGNATURE_SIZE + 4].copy_from_slice(&size.to_le_bytes());
    Ok(xattr)
}
