//! Which keys and hash functions are good enough, and verifiable in the kernel.

use std::fmt;

use der::asn1::ObjectIdentifier;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef};

use crate::{Error, Scheme};

/// A hash function of a PKCS#7 signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hash {
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl Hash {
    pub(crate) const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(crate) fn message_digest(self) -> MessageDigest {
        match self {
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    /// `id-sha256` and so on (RFC 5754).
    pub(crate) fn oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
            Self::Sha384 => "2.16.840.1.101.3.4.2.2",
            Self::Sha512 => "2.16.840.1.101.3.4.2.3",
        })
    }

    /// `ecdsa-with-SHA256` and so on (RFC 5758).
    pub(crate) fn ecdsa_oid(self) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(match self {
            Self::Sha256 => "1.2.840.10045.4.3.2",
            Self::Sha384 => "1.2.840.10045.4.3.3",
            Self::Sha512 => "1.2.840.10045.4.3.4",
        })
    }
}

/// The keys that may sign.
///
/// The kernel verifies RSA of no size between these (`crypto/rsa.c`,
/// `rsa_check_key_length`), and ECDSA where it has `CRYPTO_ECDSA`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyAlgorithm {
    /// RSA, 2048 bits
    Rsa2048,
    /// RSA, 3072 bits
    Rsa3072,
    /// RSA, 4096 bits
    Rsa4096,
    /// ECDSA on NIST P-256
    P256,
    /// ECDSA on NIST P-384
    P384,
}

impl KeyAlgorithm {
    /// What `key` is.
    ///
    /// # Errors
    /// [`Error::UnsupportedKey`] for every other key.
    pub(crate) fn of<T: HasPublic>(key: &PKeyRef<T>) -> Result<Self, Error> {
        let found = match key.id() {
            Id::RSA => match key.bits() {
                2048 => return Ok(Self::Rsa2048),
                3072 => return Ok(Self::Rsa3072),
                4096 => return Ok(Self::Rsa4096),
                bits => format!("an RSA key of {bits} bits"),
            },
            Id::EC => match key.ec_key().ok().and_then(|key| key.group().curve_name()) {
                Some(Nid::X9_62_PRIME256V1) => return Ok(Self::P256),
                Some(Nid::SECP384R1) => return Ok(Self::P384),
                Some(curve) => {
                    format!(
                        "an ECDSA key on curve {}",
                        curve.short_name().unwrap_or("unknown")
                    )
                }
                None => "an ECDSA key on a curve without name".into(),
            },
            Id::RSA_PSS => "an RSA-PSS key".into(),
            Id::DSA => "a DSA key".into(),
            Id::ED25519 => "an Ed25519 key".into(),
            Id::ED448 => "an Ed448 key".into(),
            _ => "a key of another algorithm".into(),
        };
        Err(Error::UnsupportedKey { found })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
            Self::P256 => "p256",
            Self::P384 => "p384",
        }
    }

    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Scheme::Rsa,
            Self::P256 | Self::P384 => Scheme::Ecdsa,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
