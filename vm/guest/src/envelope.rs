//! Signatures as an attacker makes them: any bytes in our xattr, and PKCS#7 of
//! every shape that openssl can be talked into.

use crate::fixture::Key;
use crate::guest::Guest;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// `BT_XATTR` of `bpf/abi.h`.
pub const XATTR: &str = "user.bpftrust";

/// Bytes of `struct bt_envelope`.
pub const ENVELOPE_SIZE: usize = 24;

/// Bytes of a `struct bt_statement` without a grant.
pub const STATEMENT_SIZE: usize = 8;

/// `BT_KIND_LOADER`.
pub const LOADER: u16 = 1;

/// How openssl makes the one shape that counts.
pub const GOOD_SHAPE: &[&str] = &["-md", "sha256", "-noattr", "-nocerts"];

/// The xattr of a file.
pub fn read(file: &Path) -> Result<Vec<u8>> {
    let mut value = vec![0; 64 * 1024];
    let size = rustix::fs::getxattr(file, XATTR, &mut value[..])
        .with_context(|| format!("cannot read the xattr of {}", file.display()))?;
    value.truncate(size);
    Ok(value)
}

/// Sets or replaces the xattr of a file.
pub fn write(file: &Path, value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::setxattr(file, XATTR, value, rustix::fs::XattrFlags::empty())
}

/// Takes the xattr away.
pub fn remove(file: &Path) -> Result<()> {
    rustix::fs::removexattr(file, XATTR)
        .with_context(|| format!("cannot remove the xattr of {}", file.display()))
}

/// What the xattr holds, each part at the test's choice.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Version of the form.
    pub form: u16,
    /// 0.
    pub reserved: u32,
    /// Which key to try.
    pub key: [u8; 8],
    /// `struct bt_statement` and its grant; nothing in a bare signature.
    pub statement: Vec<u8>,
    /// The signature.
    pub pkcs7: Vec<u8>,
}

impl Envelope {
    /// Reads what `bpftrust sign` wrote.
    pub fn of(file: &Path) -> Result<Self> {
        let bytes = read(file)?;
        let parts = bytes.split_at_checked(ENVELOPE_SIZE);
        let (envelope, rest) = parts.context("shorter than an envelope")?;
        let size = u16::from_le_bytes([envelope[6], envelope[7]]);
        let parts = rest.split_at_checked(size.into());
        let (statement, pkcs7) = parts.context("shorter than its statement")?;
        Ok(Self {
            form: u16::from_le_bytes([envelope[4], envelope[5]]),
            reserved: 0,
            key: envelope[16..].try_into()?,
            statement: statement.to_vec(),
            pkcs7: pkcs7.to_vec(),
        })
    }

    /// The bytes of the xattr.
    pub fn bytes(&self) -> Vec<u8> {
        let statement_size = u16::try_from(self.statement.len()).unwrap_or(u16::MAX);
        let pkcs7_size = u32::try_from(self.pkcs7.len()).unwrap_or(u32::MAX);
        [
            &b"BPFT"[..],
            &self.form.to_le_bytes(),
            &statement_size.to_le_bytes(),
            &pkcs7_size.to_le_bytes(),
            &self.reserved.to_le_bytes(),
            &self.key,
            &self.statement,
            &self.pkcs7,
        ]
        .concat()
    }

    /// The same, but the statement says something else and `key` signs it.
    pub fn restate(
        &self,
        guest: &Guest,
        file: &Path,
        key: Key,
        statement: Vec<u8>,
    ) -> Result<Self> {
        let message = [formatted_digest(guest, file)?, statement.clone()].concat();
        Ok(Self {
            pkcs7: pkcs7(guest, key, &message, GOOD_SHAPE)?,
            statement,
            ..self.clone()
        })
    }
}

/// `struct bt_statement`, and the grant behind it.
pub fn statement(kind: u16, grant: &[u8], reserved: u32) -> Vec<u8> {
    let size = u16::try_from(grant.len()).unwrap_or(u16::MAX);
    [
        &kind.to_le_bytes()[..],
        &size.to_le_bytes(),
        &reserved.to_le_bytes(),
        grant,
    ]
    .concat()
}

/// `struct fsverity_formatted_digest` of a file's content, SHA-256.
pub fn formatted_digest(guest: &Guest, file: &Path) -> Result<Vec<u8>> {
    let file = file.to_str().context("a path of ASCII")?;
    let said = guest.run(&["fsverity", "digest", file])?.success()?;
    let hex = said.strip_prefix("sha256:").context("no SHA-256")?;
    let hex = hex.get(..64).context("a short digest")?;
    let mut bytes = b"FSVerity\x01\x00\x20\x00".to_vec();
    for at in (0..64).step_by(2) {
        bytes.push(u8::from_str_radix(&hex[at..at + 2], 16)?);
    }
    Ok(bytes)
}

/// A detached PKCS#7 signature over `message`, in the shape that `options` of
/// `openssl cms -sign` choose.
pub fn pkcs7(guest: &Guest, key: Key, message: &[u8], options: &[&str]) -> Result<Vec<u8>> {
    guest.write("message", message)?;
    let (certificate, private) = (key.certificate(), key.private());
    let words = ["openssl", "cms", "-sign", "-binary", "-outform", "DER"];
    let files = ["-in", "message", "-out", "signature"];
    let signer = ["-signer", &certificate, "-inkey", &private];
    guest
        .run(&[&words[..], &files, &signer, options].concat())?
        .success()?;
    fs::read(guest.path("signature")).context("openssl wrote no signature")
}
