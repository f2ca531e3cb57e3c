//! `struct bt_envelope` of `bpf/abi.h`: what holds a statement and the signature
//! over it together.

use crate::{KeyHint, MAX_SIZE, Malformed, SignedData, Statement};

/// What is in an envelope, unjudged.
pub(crate) struct Envelope<'a> {
    /// Which key made the signature. A hint, never evidence.
    pub(crate) key: KeyHint,
    /// What is said; nothing for a bare signature.
    pub(crate) statement: &'a [u8],
    /// The signature.
    pub(crate) pkcs7: &'a [u8],
}

impl<'a> Envelope<'a> {
    pub(crate) const MAGIC: [u8; 4] = *b"BPFT";
    const FORM: u16 = 1;
    /// Bytes of `struct bt_envelope`.
    const SIZE: usize = 24;

    /// The envelope with what is in it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let statement_size = u16::try_from(self.statement.len()).expect("at most 520 bytes");
        let signature_size = u32::try_from(self.pkcs7.len()).expect("at most 3072 bytes");
        let size = Self::SIZE + self.statement.len() + self.pkcs7.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend(Self::MAGIC);
        bytes.extend(Self::FORM.to_le_bytes());
        bytes.extend(statement_size.to_le_bytes());
        bytes.extend(signature_size.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(self.key.0);
        bytes.extend(self.statement);
        bytes.extend(self.pkcs7);
        bytes
    }

    /// Opens what [`to_bytes`](Self::to_bytes) closes, and nothing else.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
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
        let mut rest = bytes.get(4..).ok_or_else(|| cut_short(Self::SIZE))?;
        let mut take = |count| {
            let (taken, after) = rest
                .split_at_checked(count)
                .ok_or_else(|| cut_short(Self::SIZE))?;
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
        let expected = Self::SIZE + statement_size + signature_size;
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
        Ok(Self {
            key,
            statement,
            pkcs7,
        })
    }
}

fn u16_at(bytes: &[u8]) -> u16 {
    u16::from_le_bytes(bytes.try_into().expect("2 bytes were taken"))
}

fn u32_at(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("4 bytes were taken"))
}
