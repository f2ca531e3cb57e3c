//! Signing, with whatever holds the key.

use std::io;

use bpftrust_verity::{Algorithm, Digest};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use zeroize::Zeroizing;

use crate::file_signature::message;
use crate::{
    Certificate, Error, FileSignature, Hash, KeyAlgorithm, Order, SignedData, SignedOrder,
    Statement,
};

/// A private key, wherever it is.
pub trait Signer: Sync {
    /// The certificate of the key.
    fn certificate(&self) -> &Certificate;

    /// The signature value over the hash of `message`: PKCS#1 version 1.5 for
    /// RSA, the DER of `ECDSA-Sig-Value` (RFC 3279) for ECDSA.
    ///
    /// # Errors
    /// Whatever keeps the key from signing.
    fn sign_value(&self, message: &[u8], hash: Hash) -> Result<Vec<u8>, Error>;
}

/// Signs a file that has this digest. Without a statement the signature is a
/// bare one, over the digest alone.
///
/// # Errors
/// As the signer's, and [`Error::TooLarge`] if the certificate's issuer has a
/// name too long for an xattr.
pub fn sign(
    signer: &impl Signer,
    digest: &Digest,
    statement: Option<Statement>,
) -> Result<FileSignature, Error> {
    let certificate = signer.certificate();
    let hash = hash_for(certificate.algorithm(), digest);
    let pkcs7 = sign_message(signer, &message(digest, statement.as_ref()), hash)?;
    FileSignature::new(certificate.key_hint(), statement, pkcs7)
}

/// Signs a policy or a permit.
///
/// # Errors
/// As [`sign`].
pub fn sign_order(signer: &impl Signer, order: Order) -> Result<SignedOrder, Error> {
    let certificate = signer.certificate();
    let hash = match certificate.algorithm() {
        KeyAlgorithm::P384 => Hash::Sha384,
        _ => Hash::Sha256,
    };
    let pkcs7 = sign_message(signer, &order.to_bytes(), hash)?;
    SignedOrder::new(certificate.key_hint(), order, pkcs7)
}

/// Signs what the kernel has of a BPF program when it verifies it
/// (`kernel/bpf/syscall.c`, `bpf_prog_verify_signature`): PKCS#7 in DER, with nothing
/// around it.
///
/// # Errors
/// As the signer's.
pub fn sign_program(signer: &impl Signer, message: &[u8]) -> Result<Vec<u8>, Error> {
    let hash = match signer.certificate().algorithm() {
        KeyAlgorithm::P384 => Hash::Sha384,
        _ => Hash::Sha256,
    };
    sign_message(signer, message, hash)
}

/// PKCS#7 over a message.
fn sign_message(signer: &impl Signer, message: &[u8], hash: Hash) -> Result<Vec<u8>, Error> {
    let certificate = signer.certificate();
    let value = signer.sign_value(message, hash)?;
    let (issuer, serial) = certificate.id();
    let signed_data = SignedData {
        issuer,
        serial,
        hash,
        scheme: certificate.algorithm().scheme(),
        signature: &value,
    };
    Ok(signed_data.to_der())
}

/// RSA hashes as `fsverity sign` does: with the hash function of the digest.
/// ECDSA with the one that fits the curve.
fn hash_for(key: KeyAlgorithm, digest: &Digest) -> Hash {
    match (key, digest.algorithm()) {
        (KeyAlgorithm::P256, _) => Hash::Sha256,
        (KeyAlgorithm::P384, _) => Hash::Sha384,
        (_, Algorithm::Sha512) => Hash::Sha512,
        (_, _) => Hash::Sha256,
    }
}

/// A private key out of a PEM file.
pub struct PemSigner {
    key: PKey<Private>,
    certificate: Certificate,
}

impl PemSigner {
    /// Reads a key in PEM, PKCS#8 or traditional. `ask` gives the passphrase
    /// and is called only if the key is encrypted.
    ///
    /// # Errors
    /// [`Error::ParseKey`], [`Error::AskPassphrase`], [`Error::WrongPassphrase`];
    /// [`Error::UnsupportedKey`] for a weak or other key, [`Error::KeyMismatch`]
    /// if the certificate is of another one.
    pub fn new(
        pem: &[u8],
        certificate: Certificate,
        ask: impl FnOnce() -> io::Result<Zeroizing<String>>,
    ) -> Result<Self, Error> {
        let key = read_key(pem, ask)?;
        KeyAlgorithm::of(&key)?;
        if !certificate.is_of(&key) {
            return Err(Error::KeyMismatch);
        }
        Ok(Self { key, certificate })
    }
}

impl Signer for PemSigner {
    fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    fn sign_value(&self, message: &[u8], hash: Hash) -> Result<Vec<u8>, Error> {
        openssl::sign::Signer::new(hash.message_digest(), &self.key)
            .and_then(|mut signer| signer.sign_oneshot_to_vec(message))
            .map_err(|source| Error::Sign { source })
    }
}

fn read_key(
    pem: &[u8],
    ask: impl FnOnce() -> io::Result<Zeroizing<String>>,
) -> Result<PKey<Private>, Error> {
    let mut asked = None;
    // With a callback in any case, or OpenSSL itself asks on the terminal.
    let result = PKey::private_key_from_pem_callback(pem, |buffer| {
        let passphrase = asked.insert(ask());
        let bytes = passphrase
            .as_ref()
            .map_or(&[][..], |passphrase| passphrase.as_bytes());
        let room = buffer.get_mut(..bytes.len()).ok_or_else(ErrorStack::get)?;
        room.copy_from_slice(bytes);
        Ok(bytes.len())
    });
    match (result, asked) {
        (_, Some(Err(source))) => Err(Error::AskPassphrase { source }),
        (Ok(key), _) => Ok(key),
        (Err(_), Some(Ok(_))) => Err(Error::WrongPassphrase),
        (Err(source), None) => Err(Error::ParseKey { source }),
    }
}
