//! The hash functions, with the salt taken in.

use openssl::sha::{Sha256, Sha512};

use crate::{Algorithm, Parameters};

#[cfg(target_arch = "x86_64")]
use crate::sha_ni::Pair;

/// A hash function that has already taken the salt.
///
/// OpenSSL's low-level functions are the fastest here for one message: the `sha2` crate,
/// and OpenSSL's EVP interface as used by `fsverity digest`, take a ninth longer. No
/// library that is old enough to be trusted with this takes two at a time; own code does.
pub(crate) enum Hasher {
    Sha256(Sha256, Option<Pair>),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm, salt: &[u8]) -> Self {
        let mut padded = salt.to_vec();
        padded.resize(salt.len().next_multiple_of(algorithm.input_size()), 0);
        match algorithm {
            Algorithm::Sha256 => {
                let mut state = Sha256::new();
                state.update(&padded);
                Self::Sha256(state, Pair::new(&padded))
            }
            Algorithm::Sha512 => {
                let mut state = Sha512::new();
                state.update(&padded);
                Self::Sha512(state)
            }
        }
    }

    /// Hash of salt and `block`, padded with zeros to 64 bytes.
    pub(crate) fn hash(&self, block: &[u8]) -> [u8; 64] {
        let mut hash = [0; 64];
        match self {
            Self::Sha256(state, _) => {
                let mut state = state.clone();
                state.update(block);
                hash[..32].copy_from_slice(&state.finish());
            }
            Self::Sha512(state) => {
                let mut state = state.clone();
                state.update(block);
                hash = state.finish();
            }
        }
        hash
    }
}

/// Hashes blocks.
pub(crate) struct Blocks {
    hasher: Hasher,
    block_size: usize,
    digest_size: usize,
}

impl Blocks {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let algorithm = parameters.algorithm();
        Self {
            hasher: Hasher::new(algorithm, parameters.salt()),
            block_size: parameters.block_size() as usize,
            digest_size: algorithm.digest_size(),
        }
    }

    /// Bytes of a block.
    pub(crate) fn block_size(&self) -> usize {
        self.block_size
    }

    /// Bytes of a hash.
    pub(crate) fn digest_size(&self) -> usize {
        self.digest_size
    }

    /// The hashes of the blocks of `data`, one after the other. The last block is padded
    /// with zeros, if it is not full.
    pub(crate) fn hash(&self, data: &[u8], hashes: &mut Vec<u8>) {
        let size = self.block_size;
        let mut rest = data;
        if let Hasher::Sha256(_, Some(pair)) = &self.hasher {
            let mut pairs = data.chunks_exact(2 * size);
            for blocks in &mut pairs {
                let (first, second) = blocks.split_at(size);
                hashes.extend(pair.hash([first, second]).as_flattened());
            }
            rest = pairs.remainder();
        }
        for block in rest.chunks(size) {
            let hash = if block.len() == size {
                self.hasher.hash(block)
            } else {
                let mut padded = block.to_vec();
                padded.resize(size, 0);
                self.hasher.hash(&padded)
            };
            hashes.extend(&hash[..self.digest_size]);
        }
    }
}

/// Elsewhere, there is none.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) enum Pair {}

#[cfg(not(target_arch = "x86_64"))]
impl Pair {
    fn new(_: &[u8]) -> Option<Self> {
        None
    }

    fn hash(&self, _: [&[u8]; 2]) -> [[u8; 32]; 2] {
        match *self {}
    }
}
