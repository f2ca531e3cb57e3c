//! The Merkle tree, built from the bottom while the data streams by.
//!
//! A block of a level is the hashes of the blocks below it, one after the
//! other; blocks that are not full are padded with zeros. The root is the hash
//! of the only block of the top level, and of the data itself if that is one
//! block.

use std::io::{ErrorKind, Read};

use crate::hasher::Blocks;
use crate::{Error, Parameters};

/// Data is read in pieces of this many bytes: two blocks of any size, and little enough
/// to stay in the cache until it is hashed.
pub(crate) const READ_SIZE: usize = 128 * 1024;

/// Size of the data, and its root hash padded with zeros. No data has a root
/// of zeros.
pub(crate) fn root(mut data: impl Read, parameters: &Parameters) -> Result<(u64, [u8; 64]), Error> {
    let blocks = Blocks::new(parameters);
    let mut tree = Tree::new(&blocks);
    let mut buffer = vec![0; READ_SIZE];
    let mut hashes = Vec::new();
    let mut size = 0;
    loop {
        let filled = fill(&mut buffer, |into, _| data.read(into))?;
        size += filled as u64;
        hashes.clear();
        blocks.hash(&buffer[..filled], &mut hashes);
        tree.add(&hashes);
        if filled < buffer.len() {
            return Ok((size, tree.finish()));
        }
    }
}

/// Reads until `buffer` is full or the data ends. `read` gets what is still empty, and
/// how many bytes are not.
pub(crate) fn fill(
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], usize) -> std::io::Result<usize>,
) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read(&mut buffer[filled..], filled) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(Error::Read { source }),
        }
    }
    Ok(filled)
}

/// The levels above the data.
pub(crate) struct Tree<'a> {
    blocks: &'a Blocks,
    /// The block under construction of each.
    levels: Vec<Vec<u8>>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(blocks: &'a Blocks) -> Self {
        Self {
            blocks,
            levels: Vec::new(),
        }
    }

    /// Adds hashes of the data's next blocks.
    pub(crate) fn add(&mut self, hashes: &[u8]) {
        for hash in hashes.chunks(self.blocks.digest_size()) {
            self.push(0, hash);
        }
    }

    /// Adds a hash to a level. A full block is passed up only when another
    /// hash follows it, so that the level which ends with one hash is the root.
    fn push(&mut self, level: usize, hash: &[u8]) {
        let size = self.blocks.block_size();
        if level == self.levels.len() {
            self.levels.push(Vec::with_capacity(size));
        }
        if self.levels[level].len() == size {
            self.pass_up(level);
        }
        self.levels[level].extend_from_slice(hash);
    }

    fn pass_up(&mut self, level: usize) {
        let mut hash = Vec::with_capacity(self.blocks.digest_size());
        self.blocks.hash(&self.levels[level], &mut hash);
        self.levels[level].clear();
        self.push(level + 1, &hash);
    }

    pub(crate) fn finish(mut self) -> [u8; 64] {
        let size = self.blocks.digest_size();
        let mut root = [0; 64];
        let mut level = 0;
        while level < self.levels.len() {
            let is_top = level + 1 == self.levels.len();
            if is_top && self.levels[level].len() == size {
                root[..size].copy_from_slice(&self.levels[level]);
                break;
            }
            self.pass_up(level);
            level += 1;
        }
        root
    }
}
