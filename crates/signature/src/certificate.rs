//! Certificates: what the kernel finds a key by, and what makes one fit for a
//! policy.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use der::asn1::ObjectIdentifier;
use der::{Decode, Tag};
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, PKeyRef, Private, Public};
use openssl::sha::sha256;
use openssl::sign::Verifier;
use openssl::x509::{X509, X509Name};

use crate::elements::{Elements, context, element};
use crate::signed_data::hex;
use crate::{Error, KeyAlgorithm, SignedData};

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

/// Which key to try: the first 8 bytes of the SHA-256 of a certificate's DER
/// SubjectPublicKeyInfo. A hint, never evidence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHint(pub [u8; 8]);

/// Text that is no key hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key (expected 16 hexadecimal digits)")]
pub struct ParseKeyHintError;

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for KeyHint {
    type Err = ParseKeyHintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // from_str_radix would take a sign.
        let fits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).map_err(|_| ParseKeyHintError)?;
        match fits {
            true => Ok(Self(number.to_be_bytes())),
            false => Err(ParseKeyHintError),
        }
    }
}

impl fmt::Display for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHint({self})")
    }
}

/// How a moment relates to a certificate's dates. The kernel looks at neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Before the first date.
    NotYet,
    /// Between the dates.
    Valid,
    /// After the last date.
    Expired,
}

/// An X.509 certificate of a key that may sign.
#[derive(Clone)]
pub struct Certificate {
    x509: X509,
    der: Vec<u8>,
    key: PKey<Public>,
    algorithm: KeyAlgorithm,
    fields: Fields,
}

impl Certificate {
    /// Reads one certificate in PEM or DER.
    ///
    /// # Errors
    /// [`Error::CertificateCount`] if there are several, and as
    /// [`parse_all`](Self::parse_all).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut certificates = Self::parse_all(bytes)?;
        match (certificates.pop(), certificates.len()) {
            (Some(certificate), 0) => Ok(certificate),
            (_, others) => Err(Error::CertificateCount { count: others + 1 }),
        }
    }

    /// Reads one certificate in DER, or one or more in PEM.
    ///
    /// # Errors
    /// [`Error::ParseCertificate`] or [`Error::MalformedCertificate`] if `bytes`
    /// hold anything else, [`Error::UnsupportedKey`] for a key that can't sign.
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        let parsing = |source| Error::ParseCertificate { source };
        let stack = if bytes.starts_with(&[0x30]) {
            vec![X509::from_der(bytes).map_err(parsing)?]
        } else {
            X509::stack_from_pem(bytes).map_err(parsing)?
        };
        if stack.is_empty() {
            return Err(Error::ParseCertificate {
                source: ErrorStack::get(),
            });
        }
        stack.into_iter().map(Self::from_x509).collect()
    }

    pub(crate) fn from_x509(x509: X509) -> Result<Self, Error> {
        let parsing = |source| Error::ParseCertificate { source };
        let der = x509.to_der().map_err(parsing)?;
        let fields =
            Fields::parse(&der).map_err(|source| Error::MalformedCertificate { source })?;
        let key = x509.public_key().map_err(parsing)?;
        let algorithm = KeyAlgorithm::of(&key)?;
        Ok(Self {
            x509,
            der,
            key,
            algorithm,
            fields,
        })
    }

    /// Refuses a certificate with `CA:TRUE`: the kernel would also take
    /// signatures by keys that it certifies.
    ///
    /// # Errors
    /// [`Error::IssuesOthers`]
    pub fn require_end_entity(&self) -> Result<(), Error> {
        if self.issues_others() {
            Err(Error::IssuesOthers)
        } else {
            Ok(())
        }
    }

    /// May it issue others (`CA:TRUE`)?
    pub fn issues_others(&self) -> bool {
        self.fields.issues_others
    }

    /// Its bytes, as the kernel takes them.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// What a signature by its key is found by.
    pub fn key_hint(&self) -> KeyHint {
        self.fields.key_hint
    }

    /// Its key: the bytes of `subjectPublicKey` (RFC 5280, 4.1), which the
    /// kernel keeps as `struct public_key` (`include/crypto/public_key.h`).
    pub fn public_key(&self) -> &[u8] {
        &self.fields.public_key
    }

    /// The kind of its key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Who it is of, as text of somebody's choice.
    pub fn subject(&self) -> String {
        name_text(&self.fields.subject)
    }

    /// Who issued it, as text of somebody's choice.
    pub fn issuer(&self) -> String {
        name_text(&self.fields.issuer)
    }

    /// Its serial number in hexadecimal.
    pub fn serial(&self) -> String {
        hex(&self.fields.serial)
    }

    /// Its last date, as text.
    pub fn not_after(&self) -> String {
        self.x509.not_after().to_string()
    }

    /// Where `now` is relative to its dates.
    pub fn validity(&self, now: SystemTime) -> Validity {
        let seconds = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        match Asn1Time::from_unix(seconds) {
            Ok(now) if self.x509.not_before() > now => Validity::NotYet,
            Ok(now) if self.x509.not_after() >= now => Validity::Valid,
            _ => Validity::Expired,
        }
    }

    /// Is this the certificate that `signed` names?
    pub(crate) fn is_named_by(&self, signed: &SignedData<'_>) -> bool {
        self.fields.issuer == signed.issuer && self.fields.serial == signed.serial
    }

    /// Did its key sign `message`?
    pub(crate) fn has_signed(&self, message: &[u8], signed: &SignedData<'_>) -> bool {
        let verify = || {
            Verifier::new(signed.hash.message_digest(), &self.key)?
                .verify_oneshot(signed.signature, message)
        };
        signed.scheme == self.algorithm.scheme() && verify().unwrap_or(false)
    }

    /// Is `key` the private half of its key?
    pub(crate) fn is_of(&self, key: &PKeyRef<Private>) -> bool {
        self.key.public_eq(key)
    }

    pub(crate) fn to_pem(&self) -> Result<Vec<u8>, ErrorStack> {
        self.x509.to_pem()
    }

    /// The content of issuer and serial number, for a signature.
    pub(crate) fn id(&self) -> (&[u8], &[u8]) {
        (&self.fields.issuer, &self.fields.serial)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.algorithm, self.key_hint())
    }
}

/// What OpenSSL's interface doesn't give, or not byte for byte: the kernel
/// compares issuer and serial number as they stand in the certificate.
#[derive(Clone)]
struct Fields {
    issuer: Vec<u8>,
    serial: Vec<u8>,
    subject: Vec<u8>,
    key_hint: KeyHint,
    public_key: Vec<u8>,
    issues_others: bool,
}

impl Fields {
    /// Reads `TBSCertificate` (RFC 5280, 4.1).
    fn parse(certificate: &[u8]) -> Result<Self, der::Error> {
        let mut certificate = Elements::new(certificate)?.enter(Tag::Sequence)?;
        let mut fields = certificate.enter(Tag::Sequence)?;
        if fields.next_is(context(0)) {
            fields.any()?; // version
        }
        let serial = fields.integer()?;
        fields.content(Tag::Sequence)?; // signature
        let issuer = fields.content(Tag::Sequence)?;
        fields.content(Tag::Sequence)?; // validity
        let subject = fields.content(Tag::Sequence)?;
        let public_key_info = fields.raw()?;
        let key_hint = key_hint(public_key_info);
        let mut info = Elements::new(public_key_info)?.enter(Tag::Sequence)?;
        info.any()?; // algorithm
        let bits = info.content(Tag::BitString)?;
        // The first byte counts unused bits: none, the key is whole bytes.
        let public_key = bits.get(1..).unwrap_or_default().to_vec();
        let mut issues_others = false;
        while !fields.is_at_end() {
            if fields.next_is(context(3)) {
                issues_others = extensions_say_ca(fields.enter(context(3))?)?;
            } else {
                fields.any()?; // unique identifiers
            }
        }
        Ok(Self {
            issuer: issuer.to_vec(),
            serial: serial.to_vec(),
            subject: subject.to_vec(),
            key_hint,
            public_key,
            issues_others,
        })
    }
}

fn extensions_say_ca(mut field: Elements<'_>) -> Result<bool, der::Error> {
    let mut extensions = field.enter(Tag::Sequence)?;
    while !extensions.is_at_end() {
        let mut extension = extensions.enter(Tag::Sequence)?;
        if extension.oid()? != BASIC_CONSTRAINTS {
            continue;
        }
        if extension.next_is(Tag::Boolean) {
            extension.any()?; // critical
        }
        let mut value = extension.enter(Tag::OctetString)?;
        let mut constraints = value.enter(Tag::Sequence)?;
        if constraints.next_is(Tag::Boolean) {
            return bool::from_der(constraints.raw()?);
        }
    }
    Ok(false)
}

fn key_hint(public_key_info: &[u8]) -> KeyHint {
    let hash = sha256(public_key_info);
    KeyHint(*hash.first_chunk().expect("SHA-256 has 32 bytes"))
}

/// A name like `CN=build key, O=Example`, from the content of its DER.
pub(crate) fn name_text(content: &[u8]) -> String {
    let Ok(name) = X509Name::from_der(&element(Tag::Sequence, &[content])) else {
        return format!("(malformed name {})", hex(content));
    };
    let entry = |entry: &openssl::x509::X509NameEntryRef| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        match entry.data().to_string() {
            Ok(value) => format!("{key}={value}"),
            Err(_) => format!("{key}=(malformed)"),
        }
    };
    name.entries().map(entry).collect::<Vec<_>>().join(", ")
}
