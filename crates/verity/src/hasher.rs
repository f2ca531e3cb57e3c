//! The hash functions, with the salt taken in.

use openssl::sha::{Sha256, Sha512};

use crate::{Algorithm, Parameters};

#[cfg(target_arch = "x86_64")]
use crate::{
    avx512::{LANES, Sixteen},
    sha_ni::Pair,
};

/// A hash function that has already taken the salt.
///
/// OpenSSL's low-level functions are the fastest here for one message: the `sha2` crate,
/// and OpenSSL's EVP interface as used by `fsverity digest`, take a ninth longer. No
/// library that is old enough to be trusted with this takes more at a time; own code does.
pub(crate) enum Hasher {
    Sha256(Sha256, Box<Fast>),
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
                Self::Sha256(state, Box::new(Fast::new(&padded)))
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
        let rest = match &self.hasher {
            Hasher::Sha256(_, fast) => fast.hash(data, size, hashes),
            Hasher::Sha512(_) => data,
        };
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

/// SHA-256 of several blocks at a time, as far as this processor can do that.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Fast {
    sixteen: Option<Sixteen>,
    pair: Option<Pair>,
}

#[cfg(target_arch = "x86_64")]
impl Fast {
    fn new(salt: &[u8]) -> Self {
        Self {
            sixteen: Sixteen::new(salt),
            pair: Pair::new(salt),
        }
    }

    /// Adds the hashes of the first blocks to `hashes`, and returns the data behind them.
    fn hash<'a>(&self, data: &'a [u8], size: usize, hashes: &mut Vec<u8>) -> &'a [u8] {
        let mut rest = data;
        if let Some(sixteen) = &self.sixteen {
            let mut sixteens = rest.chunks_exact(LANES * size);
            for blocks in &mut sixteens {
                hashes.extend(sixteen.hash(blocks).as_flattened());
            }
            rest = sixteens.remainder();
        }
        if let Some(pair) = &self.pair {
            let mut pairs = rest.chunks_exact(2 * size);
            for blocks in &mut pairs {
                let (first, second) = blocks.split_at(size);
                hashes.extend(pair.hash([first, second]).as_flattened());
            }
            rest = pairs.remainder();
        }
        rest
    }
}

/// Elsewhere, it can't.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) struct Fast;

#[cfg(not(target_arch = "x86_64"))]
impl Fast {
    fn new(_: &[u8]) -> Self {
        Self
    }

    fn hash<'a>(&self, data: &'a [u8], _: usize, _: &mut Vec<u8>) -> &'a [u8] {
        data
    }
}
