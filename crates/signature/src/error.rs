//! What can go wrong with keys and certificates, and what can be wrong with a
//! signature.

use std::io;

use openssl::error::ErrorStack;

/// Why a key or certificate can't be used, or a signature could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither PEM nor DER of an X.509 certificate.
    #[error("not a certificate in PEM or DER")]
    ParseCertificate {
        /// As OpenSSL said it.
        #[source]
        source: ErrorStack,
    },
    /// A part of the certificate is not DER, or is missing.
    #[error("the certificate is malformed")]
    MalformedCertificate {
        /// Where.
        #[source]
        source: der::Error,
    },
    /// One certificate was expected.
    #[error("{count} certificates where one was expected")]
    CertificateCount {
        /// How many there are.
        count: usize,
    },
    /// A certificate with `CA:TRUE`, so that a key that it doesn't name may sign.
    #[error("the certificate may issue others (CA:TRUE), so it stands for more than one key")]
    IssuesOthers,
    /// A key that the kernel can't verify with, or that is too weak.
    #[error("{found}: not one of RSA 2048, 3072 or 4096, ECDSA P-256 or P-384")]
    UnsupportedKey {
        /// What it is.
        found: String,
    },
    /// Not a private key in PEM.
    #[error("not a private key in PEM")]
    ParseKey {
        /// As OpenSSL said it.
        #[source]
        source: ErrorStack,
    },
    /// The passphrase could not be had.
    #[error("asking for the passphrase of the key")]
    AskPassphrase {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The passphrase doesn't open the key.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// The certificate belongs to another key.
    #[error("the certificate is not of this key")]
    KeyMismatch,
    /// A name that doesn't fit a certificate.
    #[error("a certificate's name has 1 to 64 characters, this one has {length}")]
    NameLength {
        /// Characters in it.
        length: usize,
    },
    /// Making a key or its certificate failed.
    #[error("making a key and its certificate")]
    Generate {
        /// As OpenSSL said it.
        #[source]
        source: ErrorStack,
    },
    /// Signing failed.
    #[error("signing")]
    Sign {
        /// As OpenSSL said it.
        #[source]
        source: ErrorStack,
    },
    /// The signature with its statement is larger than [`MAX_SIZE`](crate::MAX_SIZE)
    /// or what the kernel side reads of PKCS#7.
    #[error("the signature has {size} bytes (at most {max} are possible)")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// What is wrong with the bytes of a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// An envelope without a signature.
    #[error("it has no PKCS#7")]
    NoSignedData,
    /// Larger than any signature.
    #[error("it has {size} bytes (at most {max} are possible)")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Shorter than an envelope, or than its envelope says.
    #[error("it is cut short: {size} bytes where {expected} belong")]
    CutShort {
        /// Its size in bytes.
        size: usize,
        /// What the envelope takes or says, in bytes.
        expected: usize,
    },
    /// Longer than its envelope says.
    #[error("{count} bytes follow its end")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Doesn't begin as a signature of ours.
    #[error("it does not begin with \"BPFT\"")]
    Magic,
    /// A form of the future.
    #[error("it has form {form}, and only form 1 is known")]
    Form {
        /// The envelope's form number.
        form: u16,
    },
    /// A reserved field is in use.
    #[error("a reserved field is not 0")]
    Reserved,
    /// The statement's sizes contradict each other.
    #[error("its statement has a wrong size")]
    StatementSize,
    /// What is signed is neither a policy nor a permit.
    #[error("what it signs is neither a policy nor a permit")]
    NoOrder,
    /// A kind of the future, or none.
    #[error("its kind {kind} is unknown")]
    Kind {
        /// The statement's kind number.
        kind: u16,
    },
    /// A grant of another form than ours.
    #[error("its grant has {size} bytes, and only those of 104 are known")]
    GrantSize {
        /// What it has, or says that it has, in bytes.
        size: usize,
    },
    /// A version that can't be.
    #[error("its grant has version {version}, above 2^63 - 1")]
    GrantVersion {
        /// The version.
        version: u64,
    },
    /// It requires what this version does not know.
    #[error("a grant with the requirements {bits:#x}, of which not all are known")]
    Requirement {
        /// `enum bt_requirement` of `bpf/abi.h`.
        bits: u16,
    },
    /// It lets a script have what this version does not know.
    #[error("a grant with the rights of scripts {bits:#x}, of which not all are known")]
    ScriptRight {
        /// `enum bt_script_right` of `bpf/abi.h`.
        bits: u16,
    },
    /// A grant without a name, or with one that can't be.
    #[error("the name in its grant is none")]
    GrantName,
    /// A part of the PKCS#7 is missing or not DER.
    #[error("its PKCS#7 is broken at {part}")]
    Der {
        /// The part, in the words of RFC 2315.
        part: &'static str,
        /// What is wrong.
        source: der::Error,
    },
    /// A part of the PKCS#7 is not what belongs there.
    #[error("its PKCS#7 has something else in place of {part}")]
    Unexpected {
        /// What belongs there, in the words of RFC 2315.
        part: &'static str,
    },
    /// The signed content is inside.
    #[error("its PKCS#7 includes the content")]
    Content,
    /// Certificates are inside.
    #[error("its PKCS#7 carries certificates")]
    Certificates,
    /// Revocation lists are inside.
    #[error("its PKCS#7 carries revocation lists")]
    RevocationLists,
    /// None or several signers.
    #[error("its PKCS#7 does not have exactly one signer")]
    SignerCount,
    /// Attributes are signed in place of the content.
    #[error("its PKCS#7 has signed attributes")]
    SignedAttributes,
    /// Attributes that nobody signed.
    #[error("its PKCS#7 has unsigned attributes")]
    UnsignedAttributes,
    /// Not SHA-256, SHA-384 or SHA-512.
    #[error("its PKCS#7 has another digest algorithm than SHA-256, SHA-384 or SHA-512")]
    DigestAlgorithm,
    /// Neither RSA (PKCS#1) nor ECDSA with the digest algorithm.
    #[error("its PKCS#7 has another signature algorithm than RSA or ECDSA with the same digest")]
    SignatureAlgorithm,
}
