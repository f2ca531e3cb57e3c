//! The xattr of a signed file: `struct bt_envelope` of `bpf/abi.h`, statement,
//! PKCS#7.

use bpftrust_verity::Digest;

use crate::envelope::Envelope;
use crate::{Error, KeyHint, Malformed, SignedData, Statement};

/// A signature as it is stored with a file, or detached in a file of its own.
///
/// The envelope was read; whether the PKCS#7 is one is another question, see
/// [`signed_data`](Self::signed_data).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSignature {
    key: KeyHint,
    statement: Option<Statement>,
    pkcs7: Vec<u8>,
}

impl FileSignature {
    /// Puts together what belongs together.
    pub(crate) fn new(
        key: KeyHint,
        statement: Option<Statement>,
        pkcs7: Vec<u8>,
    ) -> Result<Self, Error> {
        if pkcs7.len() > SignedData::MAX_SIZE {
            return Err(Error::TooLarge {
                size: pkcs7.len(),
                max: SignedData::MAX_SIZE,
            });
        }
        Ok(Self {
            key,
            statement,
            pkcs7,
        })
    }

    /// A signature over the digest alone, out of PKCS#7 that was read before.
    pub(crate) fn bare(key: KeyHint, pkcs7: Vec<u8>) -> Self {
        Self {
            key,
            statement: None,
            pkcs7,
        }
    }

    /// Does `bytes` begin as a signature of ours, as far as it goes?
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        bytes.starts_with(&Envelope::MAGIC)
    }

    /// Which key made it. A hint, never evidence.
    pub fn key(&self) -> KeyHint {
        self.key
    }

    /// What it says about the file; `None` for a bare signature.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    /// The PKCS#7 as stored.
    pub fn pkcs7(&self) -> &[u8] {
        &self.pkcs7
    }

    /// The PKCS#7, if it has the one shape that counts.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn signed_data(&self) -> Result<SignedData<'_>, Malformed> {
        SignedData::parse(&self.pkcs7)
    }

    /// What was signed if the file has this digest.
    pub fn message(&self, digest: &Digest) -> Vec<u8> {
        message(digest, self.statement.as_ref())
    }

    /// The value of the xattr.
    pub fn to_bytes(&self) -> Vec<u8> {
        let statement = self
            .statement
            .as_ref()
            .map(Statement::to_bytes)
            .unwrap_or_default();
        Envelope {
            key: self.key,
            statement: &statement,
            pkcs7: &self.pkcs7,
        }
        .to_bytes()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let envelope = Envelope::parse(bytes)?;
        let statement = match envelope.statement {
            [] => None,
            statement => Some(Statement::parse(statement)?),
        };
        Ok(Self {
            key: envelope.key,
            statement,
            pkcs7: envelope.pkcs7.to_vec(),
        })
    }
}

/// The formatted digest, then the statement.
pub(crate) fn message(digest: &Digest, statement: Option<&Statement>) -> Vec<u8> {
    let mut message = digest.formatted();
    message.extend(statement.map(Statement::to_bytes).unwrap_or_default());
    message
}
