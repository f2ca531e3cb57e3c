//! New keys.

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, KeyUsage, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509NameBuilder};
use zeroize::Zeroizing;

use crate::{Certificate, Error, KeyAlgorithm};

/// A new private key and its self-signed certificate.
pub struct Identity {
    key: PKey<Private>,
    certificate: Certificate,
}

impl Identity {
    /// Makes a key and a certificate for `name` (its CN, 1 to 64 characters)
    /// that is valid from now for `days` days.
    ///
    /// The certificate may sign but not issue others, and has the identifiers
    /// that the kernel finds keys by.
    ///
    /// # Errors
    /// [`Error::NameLength`], [`Error::Generate`]
    pub fn generate(algorithm: KeyAlgorithm, name: &str, days: u32) -> Result<Self, Error> {
        let length = name.chars().count();
        if !(1..=64).contains(&length) {
            return Err(Error::NameLength { length }); // ub-common-name of RFC 5280
        }
        let generating = |source| Error::Generate { source };
        let key = new_key(algorithm).map_err(generating)?;
        let x509 = self_signed(&key, algorithm, name, days).map_err(generating)?;
        Ok(Self {
            key,
            certificate: Certificate::from_x509(x509)?,
        })
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The certificate in PEM.
    ///
    /// # Errors
    /// [`Error::Generate`]
    pub fn certificate_pem(&self) -> Result<Vec<u8>, Error> {
        self.certificate
            .to_pem()
            .map_err(|source| Error::Generate { source })
    }

    /// The private key in PEM: PKCS#8, encrypted with AES-256 if there is a
    /// passphrase.
    ///
    /// # Errors
    /// [`Error::Generate`]
    pub fn key_pem(&self, passphrase: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Error> {
        match passphrase {
            Some(passphrase) => self
                .key
                .private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), passphrase.as_bytes()),
            None => self.key.private_key_to_pem_pkcs8(),
        }
        .map(Zeroizing::new)
        .map_err(|source| Error::Generate { source })
    }
}

fn new_key(algorithm: KeyAlgorithm) -> Result<PKey<Private>, ErrorStack> {
    let rsa = |bits| PKey::from_rsa(Rsa::generate(bits)?);
    let ec = |curve| {
        let group = EcGroup::from_curve_name(curve)?;
        PKey::from_ec_key(EcKey::generate(&group)?)
    };
    match algorithm {
        KeyAlgorithm::Rsa2048 => rsa(2048),
        KeyAlgorithm::Rsa3072 => rsa(3072),
        KeyAlgorithm::Rsa4096 => rsa(4096),
        KeyAlgorithm::P256 => ec(Nid::X9_62_PRIME256V1),
        KeyAlgorithm::P384 => ec(Nid::SECP384R1),
    }
}

fn self_signed(
    key: &PKeyRef<Private>,
    algorithm: KeyAlgorithm,
    name: &str,
    days: u32,
) -> Result<X509, ErrorStack> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_nid(Nid::COMMONNAME, name)?;
    let subject = subject.build();
    // 159 random bits: at most 20 bytes, as RFC 5280 4.1.2.2 wants.
    let mut serial = BigNum::new()?;
    serial.rand(159, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?; // v3
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(days)?)?;
    builder.set_pubkey(key)?;
    builder.append_extension(BasicConstraints::new().critical().build()?)?;
    builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
    let subject_key = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None))?;
    builder.append_extension(subject_key)?;
    let authority_key = AuthorityKeyIdentifier::new()
        .keyid(true)
        .build(&builder.x509v3_context(None, None))?;
    builder.append_extension(authority_key)?;
    builder.sign(
        key,
        match algorithm {
            KeyAlgorithm::P384 => MessageDigest::sha384(),
            _ => MessageDigest::sha256(),
        },
    )?;
    Ok(builder.build())
}
