//! `struct fsverity_descriptor`: what a digest is the hash of.

use std::fs::File;
use std::io::Read;

use crate::hasher::Hasher;
use crate::{Digest, Error, Parameters, large, merkle};

/// The facts that an fs-verity digest stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    parameters: Parameters,
    data_size: u64,
    /// Bytes past the algorithm's digest size are 0; all are for an empty file.
    root_hash: [u8; 64],
}

impl Descriptor {
    /// Bytes of `struct fsverity_descriptor` without a signature.
    pub const SIZE: usize = 256;

    /// Reads `data` to its end and builds its Merkle tree, in memory that
    /// grows with the tree's height only.
    ///
    /// # Errors
    /// [`Error::Read`] if `data` can't be read.
    pub fn compute(data: impl Read, parameters: &Parameters) -> Result<Self, Error> {
        let (data_size, root_hash) = merkle::root(data, parameters)?;
        Ok(Self {
            parameters: parameters.clone(),
            data_size,
            root_hash,
        })
    }

    /// The same of a file from its beginning to its end, wherever it was read to. The
    /// blocks of a large file are hashed on all CPUs that this process may use.
    ///
    /// # Errors
    /// [`Error::Read`] if it can't be read, [`Error::Resized`] if its size changes
    /// meanwhile and that is noticed.
    pub fn of_file(file: &File, parameters: &Parameters) -> Result<Self, Error> {
        let (data_size, root_hash) = large::root(file, parameters)?;
        Ok(Self {
            parameters: parameters.clone(),
            data_size,
            root_hash,
        })
    }

    /// Bytes in the file.
    pub fn data_size(&self) -> u64 {
        self.data_size
    }

    /// The digest of the file.
    pub fn digest(&self) -> Digest {
        let algorithm = self.parameters.algorithm();
        let hash = Hasher::new(algorithm, &[]).hash(&self.to_bytes());
        Digest::new(algorithm, &hash[..algorithm.digest_size()])
            .expect("the hash has the size of its algorithm")
    }

    /// `struct fsverity_descriptor`, as the kernel hashes it: with a
    /// `sig_size` of 0.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let salt = self.parameters.salt();
        let mut bytes = [0; Self::SIZE];
        bytes[0] = 1; // version
        bytes[1] = self.parameters.algorithm().number();
        bytes[2] = self.parameters.block_size().ilog2() as u8;
        bytes[3] = salt.len() as u8;
        bytes[8..16].copy_from_slice(&self.data_size.to_le_bytes());
        bytes[16..80].copy_from_slice(&self.root_hash);
        bytes[80..80 + salt.len()].copy_from_slice(salt);
        bytes
    }
}
