//! The xattr of a signed file: `struct bt_envelope` of `bpf/abi.h`, statement,
//! PKCS#7.

use bpftrust_verity::Digest;

use crate::{Error, KeyHint, MAX_SIZE, Malformed, SignedData, Statement};

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
    const MAGIC: [u8; 4] = *b"BPFT";
    const FORM: u16 = 1;
    /// Bytes of `struct bt_envelope`.
    const ENVELOPE: usize = 24;

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
        bytes.starts_with(&Self::MAGIC)
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
        let statement_size = u16::try_from(statement.len()).expect("at most 520 bytes");
        let signature_size = u32::try_from(self.pkcs7.len()).expect("at most 3072 bytes");
        let mut bytes = Vec::with_capacity(Self::ENVELOPE + statement.len() + self.pkcs7.len());
        bytes.extend(Self::MAGIC);
        bytes.extend(Self::FORM.to_le_bytes());
        bytes.extend(statement_size.to_le_bytes());
        bytes.extend(signature_size.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(self.key.0);
        bytes.extend(statement);
        bytes.extend(&self.pkcs7);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.is_empty() {
            return Err(Malformed::Empty);
        }
        if bytes.len() > MAX_SIZE {
            return Err(Malformed::TooLarge {
                size: bytes.len(),
                max: MAX_SIZE,
            });
        }
        if !Self::MAGIC.starts_with(bytes) && !bytes.starts_with(&Self::MAGIC) {
            return Err(Malformed::Magic);
        }
        let cut_short = |expected| Malformed::CutShort {
            size: bytes.len(),
            expected,
        };
        let mut rest = bytes.get(4..).ok_or_else(|| cut_short(Self::ENVELOPE))?;
        let mut take = |count| {
            let (taken, after) = rest
                .split_at_checked(count)
                .ok_or_else(|| cut_short(Self::ENVELOPE))?;
            rest = after;
            Ok(taken)
        };
        let form = u16_at(take(2)?);
        let statement_size = usize::from(u16_at(take(2)?));
        let signature_size = u32_at(take(4)?) as usize;
        let reserved = u32_at(take(4)?);
        let key = KeyHint(take(8)?.try_into().expect("8 bytes were taken"));
        if form != Self::FORM {
            return Err(Malformed::Form { form });
        }
        if reserved != 0 {
            return Err(Malformed::Reserved);
        }
        if statement_size > Statement::MAX {
            return Err(Malformed::StatementSize);
        }
        if signature_size > SignedData::MAX_SIZE {
            return Err(Malformed::TooLarge {
                size: signature_size,
                max: SignedData::MAX_SIZE,
            });
        }
        let expected = Self::ENVELOPE + statement_size + signature_size;
        if bytes.len() < expected {
            return Err(cut_short(expected));
        }
        if bytes.len() > expected {
            return Err(Malformed::TrailingBytes {
                count: bytes.len() - expected,
            });
        }
        let (statement, pkcs7) = rest.split_at(statement_size);
        if pkcs7.is_empty() {
            return Err(Malformed::NoSignedData);
        }
        let statement = match statement {
            [] => None,
            statement => Some(Statement::parse(statement)?),
        };
        Ok(Self {
            key,
            statement,
            pkcs7: pkcs7.to_vec(),
        })
    }
}

/// The formatted digest, then the statement.
pub(crate) fn message(digest: &Digest, statement: Option<&Statement>) -> Vec<u8> {
    let mut message = digest.formatted();
    message.extend(statement.map(Statement::to_bytes).unwrap_or_default());
    message
}

fn u16_at(bytes: &[u8]) -> u16 {
    u16::from_le_bytes(bytes.try_into().expect("2 bytes were taken"))
}

fn u32_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("4 bytes were taken"))
}
