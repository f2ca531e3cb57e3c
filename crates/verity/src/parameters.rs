//! How a Merkle tree is built.

use std::fmt;

use crate::Error;

/// The longest salt that a descriptor holds, in bytes.
pub const MAX_SALT: usize = 32;

/// A hash function that fs-verity knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// `FS_VERITY_HASH_ALG_SHA256`
    Sha256,
    /// `FS_VERITY_HASH_ALG_SHA512`
    Sha512,
}

impl Algorithm {
    /// The algorithm of this `FS_VERITY_HASH_ALG_*` number.
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its `FS_VERITY_HASH_ALG_*` number.
    pub fn number(self) -> u8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// Its name, as `fsverity digest` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Bytes in a digest.
    pub fn digest_size(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Bytes that the hash function takes at a time. A salt is padded to this.
    pub(crate) fn input_size(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Hash function, block size and salt. The default is SHA-256, 4096 bytes, no
/// salt: what every kernel with fs-verity accepts on any page size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    algorithm: Algorithm,
    block_size: u32,
    salt: Vec<u8>,
}

impl Parameters {
    /// `block_size` is in bytes: a power of two from 1024 to 65536. `salt` has
    /// at most [`MAX_SALT`] bytes.
    ///
    /// # Errors
    /// [`Error::BlockSize`] or [`Error::SaltSize`] outside these bounds.
    pub fn new(algorithm: Algorithm, block_size: u32, salt: &[u8]) -> Result<Self, Error> {
        if !block_size.is_power_of_two() || !(1024..=65536).contains(&block_size) {
            return Err(Error::BlockSize { block_size });
        }
        if salt.len() > MAX_SALT {
            return Err(Error::SaltSize { size: salt.len() });
        }
        Ok(Self {
            algorithm,
            block_size,
            salt: salt.to_vec(),
        })
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Bytes per block of data and of the tree.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The salt, empty if there is none.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            block_size: 4096,
            salt: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_parameters_are_refused() {
        for block_size in [0, 1, 512, 4095, 4097, 131_072, u32::MAX] {
            assert!(matches!(
                Parameters::new(Algorithm::Sha256, block_size, &[]),
                Err(Error::BlockSize { .. })
            ));
        }
        assert!(matches!(
            Parameters::new(Algorithm::Sha256, 4096, &[0; MAX_SALT + 1]),
            Err(Error::SaltSize { size: 33 })
        ));
    }
}
