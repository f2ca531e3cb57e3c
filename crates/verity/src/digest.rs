//! The digest of a file, and the form in which it is signed.

use std::fmt;
use std::str::FromStr;

use crate::Algorithm;

/// The fs-verity digest of a file: the hash of its descriptor, which holds the
/// root of its Merkle tree and its size.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Bytes past the algorithm's digest size are 0.
    bytes: [u8; 64],
}

impl Digest {
    /// A digest from its bytes; `None` if their number is not the algorithm's.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != algorithm.digest_size() {
            return None;
        }
        let mut padded = [0; 64];
        padded[..bytes.len()].copy_from_slice(bytes);
        Some(Self {
            algorithm,
            bytes: padded,
        })
    }

    /// The hash function of descriptor and tree.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes of the digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_size()]
    }

    /// What gets signed: `struct fsverity_formatted_digest`, that is
    /// `"FSVerity"`, algorithm and size as 16 bits little endian, the digest.
    pub fn formatted(&self) -> Vec<u8> {
        let bytes = self.as_bytes();
        let size = u16::try_from(bytes.len()).expect("a digest has at most 64 bytes");
        let mut formatted = b"FSVerity".to_vec();
        formatted.extend(u16::from(self.algorithm.number()).to_le_bytes());
        formatted.extend(size.to_le_bytes());
        formatted.extend(bytes);
        formatted
    }
}

/// `sha256:` and hexadecimal digits, as `fsverity digest` prints it.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.algorithm)?;
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Text that is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an fs-verity digest (expected sha256: or sha512: and hexadecimal digits)")]
pub struct ParseDigestError;

/// Reads what [`Display`](fmt::Display) writes.
impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, digits) = text.split_once(':').ok_or(ParseDigestError)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(ParseDigestError),
        };
        let bytes = from_hex(digits).ok_or(ParseDigestError)?;
        Self::new(algorithm, &bytes).ok_or(ParseDigestError)
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|n| u8::try_from(n).ok())
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs
        .iter()
        .map(|&[high, low]| Some(nibble(high)? << 4 | nibble(low)?))
        .collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::new(algorithm, &vec![0xa5; algorithm.digest_size()]).unwrap();
            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn other_text_is_refused() {
        let long = format!("sha256:{}", "0".repeat(66));
        let sign = format!("sha256:+1{}", "0".repeat(62));
        for text in [
            "",
            "sha256",
            "sha256:",
            "sha1:00",
            "sha256:0g",
            "sha256:é",
            &long,
            &sign,
        ] {
            assert_eq!(text.parse::<Digest>(), Err(ParseDigestError), "{text}");
        }
    }

    #[test]
    fn formatted_digest_is_the_kernels() {
        let digest = Digest::new(Algorithm::Sha256, &[7; 32]).unwrap();
        let mut expected = b"FSVerity\x01\x00\x20\x00".to_vec();
        expected.extend([7; 32]);
        assert_eq!(digest.formatted(), expected);
    }
}
