//! Orders: what a policy key signs for a sealed guard (`struct bt_order` of
//! `bpf/abi.h`).

use std::fmt;
use std::str::FromStr;

use crate::envelope::Envelope;
use crate::signed_data::hex;
use crate::{Certificate, Error, KeyHint, Kind, Malformed, SignedData};

/// The name of one guard between its start and its first permit, or between two
/// permits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; Self::SIZE]);

/// Text that is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a nonce (expected 64 hexadecimal digits)")]
pub struct ParseNonceError;

impl Nonce {
    /// `BT_NONCE_SIZE`, in bytes.
    pub const SIZE: usize = 32;
}

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Nonce {
    type Err = ParseNonceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // from_str_radix would take a sign.
        if text.len() != 2 * Self::SIZE || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseNonceError);
        }
        let mut nonce = [0; Self::SIZE];
        for (place, byte) in nonce.iter_mut().enumerate() {
            let digits = &text[2 * place..2 * place + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ParseNonceError)?;
        }
        Ok(Self(nonce))
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nonce({self})")
    }
}

/// What a sealed guard is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take this policy.
    Policy {
        /// SHA-256 of the policy in its compiled form.
        digest: [u8; 32],
    },
    /// Let the seal be lifted.
    Permit {
        /// Of the guard that it is for.
        nonce: Nonce,
        /// The end, in seconds since that machine was started (`CLOCK_BOOTTIME`).
        until: u64,
    },
}

impl Order {
    /// Bytes of `struct bt_order`.
    pub const SIZE: usize = 56;
    const MAGIC: [u8; 8] = *b"BPForder";
    const FORM: u16 = 1;

    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Policy { .. } => Kind::Policy,
            Self::Permit { .. } => Kind::Permit,
        }
    }

    /// The message that is signed.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let (until, subject) = match *self {
            Self::Policy { digest } => (0, digest),
            Self::Permit { nonce, until } => (until, nonce.0),
        };
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&Self::MAGIC);
        bytes[8..10].copy_from_slice(&Self::FORM.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.kind().number().to_le_bytes());
        bytes[16..24].copy_from_slice(&until.to_le_bytes());
        bytes[24..].copy_from_slice(&subject);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; Self::SIZE] = bytes.try_into().map_err(|_| Malformed::StatementSize)?;
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let until = *bytes[16..].first_chunk().expect("40 bytes are behind it");
        let until = u64::from_le_bytes(until);
        let subject = *bytes.last_chunk().expect("more bytes than these");
        if bytes[..8] != Self::MAGIC {
            return Err(Malformed::NoOrder);
        }
        if word(8) != Self::FORM {
            return Err(Malformed::Form { form: word(8) });
        }
        let order = match word(10) {
            kind if kind == Kind::Policy.number() => Self::Policy { digest: subject },
            kind if kind == Kind::Permit.number() => Self::Permit {
                nonce: Nonce(subject),
                until,
            },
            kind => return Err(Malformed::Kind { kind }),
        };
        // Reserved, or of no meaning for a policy.
        match order.to_bytes() == *bytes {
            true => Ok(order),
            false => Err(Malformed::Reserved),
        }
    }
}

/// An order and the signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOrder {
    key: KeyHint,
    order: Order,
    pkcs7: Vec<u8>,
}

impl SignedOrder {
    /// Puts together what belongs together.
    pub(crate) fn new(key: KeyHint, order: Order, pkcs7: Vec<u8>) -> Result<Self, Error> {
        if pkcs7.len() > SignedData::MAX_SIZE {
            return Err(Error::TooLarge {
                size: pkcs7.len(),
                max: SignedData::MAX_SIZE,
            });
        }
        Ok(Self { key, order, pkcs7 })
    }

    /// Does `bytes` begin as an order, as far as it goes?
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        bytes.starts_with(&Envelope::MAGIC)
    }

    /// Which key made it. A hint, never evidence.
    pub fn key(&self) -> KeyHint {
        self.key
    }

    /// What is ordered.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Did the key of `certificate` sign it?
    pub fn is_by(&self, certificate: &Certificate) -> bool {
        SignedData::parse(&self.pkcs7).is_ok_and(|signed| {
            certificate.key_hint() == self.key
                && certificate.is_named_by(&signed)
                && certificate.has_signed(&self.order.to_bytes(), &signed)
        })
    }

    /// As the kernel side takes it, and as it is kept in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        Envelope {
            key: self.key,
            statement: &self.order.to_bytes(),
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
        SignedData::parse(envelope.pkcs7)?;
        Ok(Self {
            key: envelope.key,
            order: Order::parse(envelope.statement)?,
            pkcs7: envelope.pkcs7.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, KeyAlgorithm, PemSigner, Statement, sign_order};

    const POLICY: Order = Order::Policy { digest: [7; 32] };
    const PERMIT: Order = Order::Permit {
        nonce: Nonce([0xab; 32]),
        until: 0x0102,
    };

    #[test]
    fn bytes_are_those_of_the_abi() {
        let bytes = PERMIT.to_bytes();
        assert_eq!(bytes[..8], *b"BPForder");
        assert_eq!(bytes[8..16], [1, 0, 5, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[24..], [0xab; 32]);
        assert_eq!(POLICY.to_bytes()[10], 4);
        assert_eq!(Order::parse(&bytes), Ok(PERMIT));
        assert_eq!(Order::parse(&POLICY.to_bytes()), Ok(POLICY));
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = POLICY.to_bytes();
        for (place, value, error) in [
            (0, b'x', Malformed::NoOrder),
            (8, 2, Malformed::Form { form: 2 }),
            (10, 1, Malformed::Kind { kind: 1 }),
            (11, 1, Malformed::Kind { kind: 260 }),
            (12, 1, Malformed::Reserved),
            (23, 1, Malformed::Reserved),
        ] {
            let mut bytes = good;
            bytes[place] = value;
            assert_eq!(Order::parse(&bytes), Err(error), "byte {place}");
        }
        for bytes in [&good[..55], &[&good[..], &[0]].concat(), &[]] {
            assert_eq!(Order::parse(bytes), Err(Malformed::StatementSize));
        }
        let statement = Statement::new(Kind::Policy).to_bytes();
        assert_eq!(Order::parse(&statement), Err(Malformed::StatementSize));
    }

    #[test]
    fn an_order_is_by_the_key_that_signed_it_and_about_nothing_else() {
        for algorithm in [
            KeyAlgorithm::Rsa2048,
            KeyAlgorithm::P256,
            KeyAlgorithm::P384,
        ] {
            let signer = |name| {
                let identity = Identity::generate(algorithm, name, 1).unwrap();
                let certificate = identity.certificate().clone();
                let pem = identity.key_pem(None).unwrap();
                PemSigner::new(&pem, certificate, || unreachable!("it is not encrypted")).unwrap()
            };
            let (one, other) = (signer("one"), signer("other"));
            let certificate = |signer| crate::Signer::certificate(signer).clone();
            let signed = sign_order(&one, PERMIT).unwrap();
            let bytes = signed.to_bytes();
            assert_eq!(SignedOrder::parse(&bytes), Ok(signed.clone()));
            assert!(signed.is_by(&certificate(&one)), "{algorithm}");
            assert!(!signed.is_by(&certificate(&other)), "{algorithm}");
            let changed = SignedOrder {
                order: POLICY,
                ..signed
            };
            assert!(!changed.is_by(&certificate(&one)), "{algorithm}");
        }
    }

    #[test]
    fn a_nonce_is_64_digits() {
        let text = "0f".repeat(32);
        assert_eq!(text.parse(), Ok(Nonce([15; 32])));
        assert_eq!(Nonce([15; 32]).to_string(), text);
        for wrong in [
            "",
            "0f",
            &"+f".repeat(32),
            &"0f".repeat(33),
            &"é".repeat(32),
        ] {
            assert_eq!(wrong.parse::<Nonce>(), Err(ParseNonceError), "{wrong}");
        }
    }
}
