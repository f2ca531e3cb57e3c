//! The verdict on a signature, as the kernel side will give it.

use std::fmt;

use bpftrust_verity::Digest;

use crate::{Certificate, FileSignature, KeyHint, Kind, Malformed, SignedData};

/// Why a signature gives no trust, in the words of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The file has no signature.
    NoSignature,
    /// fs-verity is not enabled on the file.
    NoVerity,
    /// The signature is malformed, or over something else.
    BadSignature,
    /// No certificate is of the key that signed.
    UnknownKey,
}

impl Reason {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSignature => "no-signature",
            Self::NoVerity => "no-verity",
            Self::BadSignature => "bad-signature",
            Self::UnknownKey => "unknown-key",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a signature was refused, in more detail than its [`Reason`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is not in the one shape that counts.
    #[error("the signature is malformed")]
    Malformed(#[from] Malformed),
    /// Its key signed something else, or it was damaged.
    #[error("the signature is not over this content, or not by this key")]
    Wrong,
    /// No certificate of that key is there.
    #[error("no certificate is of the key {key} that made the signature")]
    UnknownKey {
        /// The signature's hint.
        key: KeyHint,
    },
    /// The certificate that a bare signature names is not there.
    #[error("the signature names certificate {named}, which is not there")]
    UnknownCertificate {
        /// Serial number in the signature.
        named: String,
    },
    /// A certificate of that key is there, but the signature names another.
    #[error("the signature names certificate {named}, and the one of its key is {known}")]
    OtherCertificate {
        /// Serial number in the signature.
        named: String,
        /// Serial number of the certificate with that key.
        known: String,
    },
}

impl Refusal {
    /// The same in the words of the events.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) | Self::Wrong => Reason::BadSignature,
            Self::UnknownKey { .. }
            | Self::UnknownCertificate { .. }
            | Self::OtherCertificate { .. } => Reason::UnknownKey,
        }
    }
}

/// A good signature.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    /// The certificate of the key that made it.
    pub certificate: &'a Certificate,
    /// What the signature says that the file is; `None` for a bare one.
    pub kind: Option<Kind>,
}

/// A bare signature out of the PKCS#7 that `fsverity sign` wrote, which says
/// nothing of its key but who issued its certificate.
///
/// # Errors
/// [`Refusal::Malformed`], or [`Refusal::UnknownCertificate`] if the PKCS#7 names
/// none of `certificates`.
pub fn import(pkcs7: Vec<u8>, certificates: &[Certificate]) -> Result<FileSignature, Refusal> {
    let signed = SignedData::parse(&pkcs7)?;
    let certificate = certificates
        .iter()
        .find(|certificate| certificate.is_named_by(&signed))
        .ok_or_else(|| Refusal::UnknownCertificate {
            named: signed.serial(),
        })?;
    let key = certificate.key_hint();
    Ok(FileSignature::bare(key, pkcs7))
}

/// Did the key of `certificate` sign a BPF program, of which the kernel has `message`
/// (see [`sign_program`](crate::sign_program))?
///
/// # Errors
/// Why not.
pub fn verify_program(
    pkcs7: &[u8],
    message: &[u8],
    certificate: &Certificate,
) -> Result<(), Refusal> {
    let signed = SignedData::parse(pkcs7)?;
    if !certificate.is_named_by(&signed) {
        return Err(Refusal::OtherCertificate {
            named: signed.serial(),
            known: certificate.serial(),
        });
    }
    match certificate.has_signed(message, &signed) {
        true => Ok(()),
        false => Err(Refusal::Wrong),
    }
}

/// Did the key of one of `certificates` sign a file with this digest?
///
/// Dates of certificates play no part, as in the kernel: see
/// [`Certificate::validity`].
///
/// # Errors
/// Why not.
pub fn verify<'a>(
    signature: &FileSignature,
    digest: &Digest,
    certificates: &'a [Certificate],
) -> Result<Verified<'a>, Refusal> {
    let signed = signature.signed_data()?;
    let message = signature.message(digest);
    let key = signature.key();
    let mut refusal = Refusal::UnknownKey { key };
    // One key may have several certificates, for instance after a renewal.
    for certificate in certificates.iter().filter(|one| one.key_hint() == key) {
        if !certificate.is_named_by(&signed) {
            refusal = Refusal::OtherCertificate {
                named: signed.serial(),
                known: certificate.serial(),
            };
        } else if certificate.has_signed(&message, &signed) {
            let kind = signature.statement().map(|statement| statement.kind());
            return Ok(Verified { certificate, kind });
        } else {
            return Err(Refusal::Wrong);
        }
    }
    Err(refusal)
}
