//! File systems that many files are written to, so that these are brought to disk together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use rustix::fs::syncfs;

/// By device number, a file of each that was open before any was written to.
#[derive(Default)]
pub struct FileSystems(Mutex<BTreeMap<u64, File>>);

impl FileSystems {
    /// Takes note of a file before it is written to: the kernel tells of the errors that
    /// come after a file was opened (syncfs(2)).
    ///
    /// # Errors
    /// Those of fstat(2) and dup(2).
    pub fn note(&self, file: &File) -> anyhow::Result<()> {
        let device = file.metadata().context("asking for its device")?.dev();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(entry) = known.entry(device) {
            entry.insert(file.try_clone().context("keeping a file open")?);
        }
        Ok(())
    }

    /// Brings to disk what was written to them before.
    ///
    /// # Errors
    /// If something of any of them may not be on disk.
    pub fn sync(&self) -> anyhow::Result<()> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for file in known.values() {
            syncfs(file).context("writing to disk")?;
        }
        Ok(())
    }
}
