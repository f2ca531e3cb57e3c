//! The Merkle tree of a large file, on several CPUs: each takes the next piece that
//! nobody has, hashes its blocks, and whoever has the piece that the tree waits for
//! adds what there is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use crate::hasher::Blocks;
use crate::merkle::{self, READ_SIZE, Tree};
use crate::{Error, Parameters};

/// From so many bytes on more than one CPU is worth it.
const LARGE: u64 = 16 * READ_SIZE as u64;

/// Pieces that may be ahead of the one that the tree waits for: this bounds memory.
const AHEAD: u64 = 256;

/// Threads that help in this process, whoever they help: many large files at a time do
/// not start as many for each.
static HELPERS: AtomicUsize = AtomicUsize::new(0);

/// As [`merkle::root`], of a file from its beginning.
pub(crate) fn root(file: &File, parameters: &Parameters) -> Result<(u64, [u8; 64]), Error> {
    let size = size(file)?;
    let helpers = Helpers::take(match size {
        LARGE.. => usize::MAX,
        _ => 0,
    });
    if helpers.0 == 0 {
        // Some files have content and no size (proc(5)), so this does not rely on it.
        return merkle::root(FromStart { file, at: 0 }, parameters);
    }
    Ok((size, on_many(file, size, helpers.0, parameters)?))
}

/// The root hash, made by this thread and so many helpers.
fn on_many(
    file: &File,
    size: u64,
    helpers: usize,
    parameters: &Parameters,
) -> Result<[u8; 64], Error> {
    let blocks = Blocks::new(parameters);
    let work = Work {
        file,
        size,
        blocks: &blocks,
        state: Mutex::new(State {
            tree: Tree::new(&blocks),
            taken: 0,
            added: 0,
            early: BTreeMap::new(),
            failed: None,
        }),
        advanced: Condvar::new(),
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|| work.run());
        }
        work.run();
    });
    let state = work.state.into_inner();
    let state = state.unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => Ok(state.tree.finish()),
    }
}

fn size(file: &File) -> Result<u64, Error> {
    let metadata = file.metadata().map_err(|source| Error::Read { source })?;
    Ok(metadata.len())
}

/// Reads a file from its beginning, wherever it was read to.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl io::Read for FromStart<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// So many of [`HELPERS`].
struct Helpers(usize);

impl Helpers {
    /// At most `wanted`, and at most what leaves a CPU to the caller.
    fn take(wanted: usize) -> Self {
        let most = thread::available_parallelism().map_or(0, |cpus| cpus.get() - 1);
        let mut taken = 0;
        let _ = HELPERS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |helping| {
            taken = wanted.min(most.saturating_sub(helping));
            Some(helping + taken)
        });
        Self(taken)
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        HELPERS.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// What all threads share.
struct Work<'a> {
    file: &'a File,
    size: u64,
    blocks: &'a Blocks,
    state: Mutex<State<'a>>,
    /// The tree has got a piece, or something failed.
    advanced: Condvar,
}

struct State<'a> {
    tree: Tree<'a>,
    /// Pieces that somebody took.
    taken: u64,
    /// Pieces that the tree has.
    added: u64,
    /// Hashes of pieces that came before their turn.
    early: BTreeMap<u64, Vec<u8>>,
    failed: Option<Error>,
}

impl Work<'_> {
    fn run(&self) {
        let mut buffer = vec![0; READ_SIZE];
        while let Some(piece) = self.take() {
            let hashes = self.hash(piece, &mut buffer);
            self.add(piece, hashes);
        }
    }

    /// A piece that nobody has; none after the last, or a failure.
    fn take(&self) -> Option<u64> {
        // The last holds less than a whole piece, perhaps nothing.
        let pieces = self.size / READ_SIZE as u64 + 1;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_far = |state: &mut State<'_>| {
            state.failed.is_none() && state.taken < pieces && state.taken >= state.added + AHEAD
        };
        let state = self.advanced.wait_while(state, is_far);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.failed.is_some() || state.taken == pieces {
            return None;
        }
        state.taken += 1;
        Some(state.taken - 1)
    }

    /// The hashes of a piece's blocks.
    fn hash(&self, piece: u64, buffer: &mut [u8]) -> Result<Vec<u8>, Error> {
        let start = piece * READ_SIZE as u64;
        let expected = (self.size - start).min(READ_SIZE as u64);
        let filled = merkle::fill(buffer, |into, filled| {
            self.file.read_at(into, start + filled as u64)
        })?;
        if filled as u64 != expected {
            return Err(Error::Resized);
        }
        let mut hashes = Vec::new();
        self.blocks.hash(&buffer[..filled], &mut hashes);
        Ok(hashes)
    }

    fn add(&self, piece: u64, hashes: Result<Vec<u8>, Error>) {
        let state = self.state.lock();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        match hashes {
            Ok(hashes) => _ = state.early.insert(piece, hashes),
            Err(error) => state.failed = Some(error),
        }
        loop {
            let next = state.added;
            let Some(hashes) = state.early.remove(&next) else {
                break;
            };
            state.tree.add(&hashes);
            state.added += 1;
        }
        drop(state);
        self.advanced.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::rand::rand_bytes;
    use std::io::Write;

    fn file(size: usize) -> File {
        let mut data = vec![0; size];
        rand_bytes(&mut data).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&data).unwrap();
        file
    }

    #[test]
    fn many_threads_build_the_tree_that_one_does() {
        for size in [
            1,
            READ_SIZE - 1,
            READ_SIZE,
            9 * READ_SIZE + 1,
            40 * READ_SIZE,
        ] {
            let file = file(size);
            for parameters in [
                Parameters::default(),
                Parameters::new(crate::Algorithm::Sha512, 65536, b"salt").unwrap(),
            ] {
                let (_, root) =
                    merkle::root(FromStart { file: &file, at: 0 }, &parameters).unwrap();
                for helpers in [0, 1, 7] {
                    let many = on_many(&file, size as u64, helpers, &parameters).unwrap();
                    assert_eq!(many, root, "{size} bytes, {helpers} helpers");
                }
            }
        }
    }

    #[test]
    fn a_file_of_another_size_than_it_had_is_an_error() {
        let size = 9 * READ_SIZE as u64;
        let file = file(9 * READ_SIZE);
        for wrong in [size - 1, size + 1, size - READ_SIZE as u64, 2 * size] {
            let result = on_many(&file, wrong, 2, &Parameters::default());
            assert!(
                matches!(result, Err(Error::Resized)),
                "{wrong} bytes: {result:?}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_an_error() {
        let directory = File::open("/").unwrap();
        let result = on_many(&directory, 100, 2, &Parameters::default());
        assert!(matches!(result, Err(Error::Read { .. })), "{result:?}");
    }

    #[test]
    fn helpers_are_as_many_as_there_are_cpus_besides() {
        let all = Helpers::take(usize::MAX);
        assert_eq!(Helpers::take(usize::MAX).0, 0);
        let cpus = thread::available_parallelism().unwrap().get();
        assert_eq!(all.0, cpus - 1);
        drop(all);
        assert_eq!(HELPERS.load(Ordering::Relaxed), 0);
    }
}
