//! The one shape of PKCS#7 that counts: SignedData (RFC 2315, 9.1), detached,
//! exactly one signer named by issuer and serial number, no attributes, no
//! certificates, SHA-2.
//!
//! The kernel side takes no other (`bpf/pkcs7.h`), and this reader takes
//! nothing that the kernel side refuses.

use der::Tag;
use der::asn1::ObjectIdentifier;

use crate::elements::{Elements, context, element, oid_element};
use crate::{Hash, Malformed};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

const NULL: &[u8] = &[0x05, 0x00];
const VERSION_1: &[u8] = &[0x02, 0x01, 0x01];

/// How the signature value was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// RSA, PKCS#1 version 1.5.
    Rsa,
    /// ECDSA; the digest algorithm is part of the name.
    Ecdsa,
}

impl Scheme {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ecdsa => "ecdsa",
        }
    }
}

/// A PKCS#7 signature of the shape that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedData<'a> {
    pub(crate) issuer: &'a [u8],
    pub(crate) serial: &'a [u8],
    pub(crate) hash: Hash,
    pub(crate) scheme: Scheme,
    pub(crate) signature: &'a [u8],
}

impl<'a> SignedData<'a> {
    /// The largest that the kernel side reads, `BT_SIGNATURE_MAX`, in bytes.
    pub const MAX_SIZE: usize = 3072;

    /// Does `bytes` begin as DER of PKCS#7, and so never as an envelope of ours?
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        bytes.first() == Some(&0x30)
    }

    /// Reads DER.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Err(Malformed::NoSignedData);
        }
        if bytes.len() > Self::MAX_SIZE {
            return Err(Malformed::TooLarge {
                size: bytes.len(),
                max: Self::MAX_SIZE,
            });
        }
        let mut signed_data = open(bytes)?;
        let algorithms = enter(&mut signed_data, Tag::Set, "digestAlgorithms")?;
        let mut content = enter(&mut signed_data, Tag::Sequence, "contentInfo")?;
        expect_oid(&mut content, DATA, "contentType data")?;
        if content.next_is(context(0)) {
            return Err(Malformed::Content);
        }
        expect_end(&content, "the end of contentInfo")?;
        if signed_data.next_is(context(0)) {
            return Err(Malformed::Certificates);
        }
        if signed_data.next_is(context(1)) {
            return Err(Malformed::RevocationLists);
        }
        let mut signers = enter(&mut signed_data, Tag::Set, "signerInfos")?;
        expect_end(&signed_data, "the end of SignedData")?;
        if signers.is_at_end() {
            return Err(Malformed::SignerCount);
        }
        let signer = enter(&mut signers, Tag::Sequence, "signerInfo")?;
        if !signers.is_at_end() {
            return Err(Malformed::SignerCount);
        }
        let parsed = signer_info(signer)?;
        only_algorithm(algorithms, parsed.hash)?;
        Ok(parsed)
    }

    /// The digest algorithm over the message.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// How the signature value was made.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The serial number of the signer's certificate in hexadecimal.
    pub fn serial(&self) -> String {
        hex(self.serial)
    }

    /// The issuer of the signer's certificate, as text of somebody's choice.
    pub fn issuer(&self) -> String {
        crate::certificate::name_text(self.issuer)
    }

    /// The bytes that [`parse`](Self::parse) reads; for RSA those of `PKCS7_sign`
    /// of OpenSSL, so of `fsverity sign`.
    pub(crate) fn to_der(self) -> Vec<u8> {
        let digest_algorithm = element(Tag::Sequence, &[&oid_element(self.hash.oid()), NULL]);
        let signature_algorithm = match self.scheme {
            Scheme::Rsa => element(Tag::Sequence, &[&oid_element(RSA), NULL]),
            Scheme::Ecdsa => element(Tag::Sequence, &[&oid_element(self.hash.ecdsa_oid())]),
        };
        let signer_id = element(
            Tag::Sequence,
            &[
                &element(Tag::Sequence, &[self.issuer]),
                &element(Tag::Integer, &[self.serial]),
            ],
        );
        let signer_info = element(
            Tag::Sequence,
            &[
                VERSION_1,
                &signer_id,
                &digest_algorithm,
                &signature_algorithm,
                &element(Tag::OctetString, &[self.signature]),
            ],
        );
        let signed_data = element(
            Tag::Sequence,
            &[
                VERSION_1,
                &element(Tag::Set, &[&digest_algorithm]),
                &element(Tag::Sequence, &[&oid_element(DATA)]),
                &element(Tag::Set, &[&signer_info]),
            ],
        );
        let content = element(context(0), &[&signed_data]);
        element(Tag::Sequence, &[&oid_element(SIGNED_DATA), &content])
    }
}

/// The inside of SignedData, behind its version.
fn open(bytes: &[u8]) -> Result<Elements<'_>, Malformed> {
    const CONTENT_INFO: &str = "ContentInfo";
    let mut file = Elements::new(bytes).map_err(broken(CONTENT_INFO))?;
    let mut content_info = enter(&mut file, Tag::Sequence, CONTENT_INFO)?;
    if !file.is_at_end() {
        return Err(Malformed::TrailingBytes {
            count: file.remaining(),
        });
    }
    expect_oid(&mut content_info, SIGNED_DATA, "contentType signedData")?;
    let mut content = enter(&mut content_info, context(0), "content")?;
    expect_end(&content_info, "the end of ContentInfo")?;
    let mut signed_data = enter(&mut content, Tag::Sequence, "SignedData")?;
    expect_end(&content, "the end of content")?;
    expect_version_1(&mut signed_data, "version 1 of SignedData")?;
    Ok(signed_data)
}

fn signer_info(mut signer: Elements<'_>) -> Result<SignedData<'_>, Malformed> {
    expect_version_1(&mut signer, "version 1 of signerInfo")?;
    let mut id = enter(&mut signer, Tag::Sequence, "issuerAndSerialNumber")?;
    let issuer = id.content(Tag::Sequence).map_err(broken("issuer"))?;
    let serial = id.integer().map_err(broken("serialNumber"))?;
    expect_end(&id, "the end of issuerAndSerialNumber")?;
    let hash = digest_algorithm(&mut signer)?;
    if signer.next_is(context(0)) {
        return Err(Malformed::SignedAttributes);
    }
    let scheme = signature_algorithm(&mut signer, hash)?;
    let signature = signer
        .content(Tag::OctetString)
        .map_err(broken("encryptedDigest"))?;
    if signer.next_is(context(1)) {
        return Err(Malformed::UnsignedAttributes);
    }
    expect_end(&signer, "the end of signerInfo")?;
    Ok(SignedData {
        issuer,
        serial,
        hash,
        scheme,
        signature,
    })
}

/// The set of digest algorithms holds the signer's and no other.
fn only_algorithm(mut algorithms: Elements<'_>, hash: Hash) -> Result<(), Malformed> {
    if digest_algorithm(&mut algorithms)? != hash || !algorithms.is_at_end() {
        return Err(Malformed::Unexpected {
            part: "the one digest algorithm of the signer",
        });
    }
    Ok(())
}

fn digest_algorithm(elements: &mut Elements<'_>) -> Result<Hash, Malformed> {
    const PART: &str = "digestAlgorithm";
    let mut algorithm = enter(elements, Tag::Sequence, PART)?;
    let oid = algorithm.oid().map_err(broken(PART))?;
    let hash = Hash::ALL.into_iter().find(|hash| hash.oid() == oid);
    expect_no_parameters(&mut algorithm, PART)?;
    hash.ok_or(Malformed::DigestAlgorithm)
}

fn signature_algorithm(elements: &mut Elements<'_>, hash: Hash) -> Result<Scheme, Malformed> {
    const PART: &str = "digestEncryptionAlgorithm";
    let mut algorithm = enter(elements, Tag::Sequence, PART)?;
    let oid = algorithm.oid().map_err(broken(PART))?;
    expect_no_parameters(&mut algorithm, PART)?;
    match oid {
        RSA => Ok(Scheme::Rsa),
        oid if oid == hash.ecdsa_oid() => Ok(Scheme::Ecdsa),
        _ => Err(Malformed::SignatureAlgorithm),
    }
}

/// Both ways to write "none" are in use (RFC 5754, section 2).
fn expect_no_parameters(algorithm: &mut Elements<'_>, part: &'static str) -> Result<(), Malformed> {
    if algorithm.is_at_end() || algorithm.raw().map_err(broken(part))? == NULL {
        return expect_end(algorithm, part);
    }
    Err(Malformed::Unexpected {
        part: "the parameters of an algorithm, which are NULL",
    })
}

fn enter<'a>(
    elements: &mut Elements<'a>,
    tag: Tag,
    part: &'static str,
) -> Result<Elements<'a>, Malformed> {
    elements.enter(tag).map_err(broken(part))
}

fn expect_oid(
    elements: &mut Elements<'_>,
    oid: ObjectIdentifier,
    part: &'static str,
) -> Result<(), Malformed> {
    if elements.oid().map_err(broken(part))? == oid {
        return Ok(());
    }
    Err(Malformed::Unexpected { part })
}

fn expect_version_1(elements: &mut Elements<'_>, part: &'static str) -> Result<(), Malformed> {
    if elements.raw().map_err(broken(part))? == VERSION_1 {
        return Ok(());
    }
    Err(Malformed::Unexpected { part })
}

fn expect_end(elements: &Elements<'_>, part: &'static str) -> Result<(), Malformed> {
    if elements.is_at_end() {
        Ok(())
    } else {
        Err(Malformed::Unexpected { part })
    }
}

fn broken(part: &'static str) -> impl FnOnce(der::Error) -> Malformed {
    move |source| Malformed::Der { part, source }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
