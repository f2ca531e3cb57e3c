//! Taking away the pins of one owner's objects. With its last pin and descriptor
//! an object goes, and a link with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bpftrust_host::{Mounts, Root};
use bpftrust_signature::Name;

use crate::abi::bt_owner;
use crate::enforce::require_root;
use crate::gate::Gate;
use crate::pins::Pins;
use crate::{Error, Result};

/// Who made an object: who signed the loader, and the name that he gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The policy's name for who signed.
    pub publisher: Name,
    /// The grant's; `None` for signatures without a grant.
    pub loader: Option<Name>,
}

/// Removes the pins of all objects of `owner`, in every bpffs that this process
/// sees, and returns their paths. Whose a pin is says the kernel side, pin by pin.
///
/// # Errors
/// [`Error::NotRoot`], [`Error::NotEnforcing`]; [`Error::Evict`] if the kernel side
/// doesn't allow it; [`Error::Pin`] if a directory can't be read.
pub fn evict(owner: &Owner) -> Result<Vec<PathBuf>> {
    require_root()?;
    Pins::standard().state()?;
    let mounts = Mounts::probe(&Root::host()).map_err(|unknown| Error::Evict {
        source: io::Error::other(unknown.to_string()),
    })?;
    Gate::evict(&bt_owner {
        publisher: owner.publisher.to_bytes(),
        loader: owner
            .loader
            .as_ref()
            .map(Name::to_bytes)
            .unwrap_or_default(),
    })
    .map_err(|source| Error::Evict { source })?;
    let mut removed = Vec::new();
    for mount in mounts.0.iter().filter(|mount| mount.kind == "bpf") {
        sweep(&mount.point, &mut removed)?;
    }
    Ok(removed)
}

/// Tries to remove each file below a directory; the kernel side lets go of the
/// right ones.
fn sweep(directory: &Path, removed: &mut Vec<PathBuf>) -> Result<()> {
    let error = |operation, path: &Path, source| Error::Pin {
        operation,
        path: path.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        // It went meanwhile.
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|source| error("list", directory, source))?,
    };
    for entry in entries {
        let entry = entry.map_err(|source| error("list", directory, source))?;
        let path = entry.path();
        let kind = entry
            .file_type()
            .map_err(|source| error("look at", &path, source))?;
        if kind.is_dir() {
            sweep(&path, removed)?;
        } else if kind.is_file() && fs::remove_file(&path).is_ok() {
            removed.push(path);
        }
    }
    Ok(())
}
