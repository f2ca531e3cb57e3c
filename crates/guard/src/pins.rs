//! Where the guard lives in bpffs.
//!
//! The hooks are pinned in a directory of their own, one file per program; what
//! may be read are iterators, pinned beside it. Reading them is open(2) and
//! read(2), so it needs uid 0 and no `bpf()`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::abi::{Shared, bt_event, bt_image, bt_key, bt_owned, bt_state, bt_token, values_of};
use crate::{Error, Result};

/// The bpffs that the guard is pinned in.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Our directory in it.
const DIRECTORY: &str = "/sys/fs/bpf/bpftrust";

/// The hook that gates `bpf()`; the first to go when the guard is taken down.
pub(crate) const GATE: &str = "bt_bpf";

/// The programs that are hooks, in the order in which they are attached: the
/// gate last, when all that it asks is kept.
pub(crate) const HOOKS: [&str; 32] = [
    "bt_fork",
    "bt_exit",
    "bt_setxattr",
    "bt_removexattr",
    "bt_mmap",
    "bt_mprotect",
    "bt_trace",
    "bt_traceme",
    "bt_map_end",
    "bt_load_end",
    "bt_map",
    "bt_load",
    "bt_ioctl",
    "bt_ioctl32",
    "bt_netlink",
    "bt_setsockopt",
    "bt_map_fd",
    "bt_prog_fd",
    "bt_token_end",
    "bt_token_create",
    "bt_token_capable",
    "bt_token_use",
    "bt_receive",
    "bt_open",
    "bt_unpin",
    "bt_hardlink",
    "bt_repin",
    "bt_prctl",
    "bt_exec",
    "bt_run",
    "bt_signature",
    GATE,
];

/// The program that keeps `kernel.ftrace_enabled`, attached to the root cgroup.
pub(crate) const SWITCH: &str = "bt_sysctl";

/// The program that keeps `bpf()` shut when a sealed guard is gone.
pub(crate) const LATCH: &str = "bt_latch";

/// The programs that are hooks besides where the guard is sealed.
pub(crate) const SEAL_HOOKS: [&str; 13] = [
    "bt_unlink",
    "bt_rmdir",
    "bt_rename",
    "bt_umount",
    "bt_mount",
    "bt_move_mount",
    "bt_pivot",
    "bt_kill",
    "bt_sigio",
    "bt_limit_anchor",
    "bt_trace_anchor",
    "bt_keyring",
    "bt_new_key",
];

/// The programs of a guard that are hooks, in the order in which they are attached.
pub(crate) fn hooks(sealed: bool) -> impl Iterator<Item = &'static str> {
    let more = if sealed { &SEAL_HOOKS[..] } else { &[] };
    more.iter().copied().chain(HOOKS)
}

/// What can be read, by the name of its pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    State,
    Events,
    Images,
    Keys,
    Programs,
    Maps,
    Links,
    Tokens,
}

impl View {
    fn file_name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Events => "events",
            Self::Images => "images",
            Self::Keys => "keys",
            Self::Programs => "programs",
            Self::Maps => "maps",
            Self::Links => "links",
            Self::Tokens => "tokens",
        }
    }
}

/// The guard's directory in a bpffs.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The place that is in use on a host.
    pub(crate) fn standard() -> Self {
        Self {
            directory: DIRECTORY.into(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn hooks(&self) -> PathBuf {
        self.directory.join("hooks")
    }

    /// The pin of a hook's link.
    pub(crate) fn hook(&self, program: &str) -> PathBuf {
        self.hooks().join(program)
    }

    /// The pin of an iterator.
    pub(crate) fn view(&self, view: View) -> PathBuf {
        self.directory.join(view.file_name())
    }

    pub(crate) fn exist(&self) -> Result<bool> {
        self.directory.try_exists().map_err(|source| Error::Pin {
            operation: "look for",
            path: self.directory.clone(),
            source,
        })
    }

    /// Makes the directories, which must not exist yet.
    pub(crate) fn create(&self) -> Result<()> {
        for path in [self.directory.clone(), self.hooks()] {
            fs::create_dir(&path).map_err(|source| Error::Pin {
                operation: "create",
                path,
                source,
            })?;
        }
        Ok(())
    }

    /// Our directory.
    pub(crate) fn open(&self) -> Result<File> {
        File::open(&self.directory).map_err(|source| Error::Pin {
            operation: "open",
            path: self.directory.clone(),
            source,
        })
    }

    /// The programs whose links are pinned.
    pub(crate) fn hook_names(&self) -> Result<Vec<OsString>> {
        Ok(entries(&self.hooks())?
            .iter()
            .filter_map(|path| Some(path.file_name()?.to_owned()))
            .collect())
    }

    /// Those of [`hooks`], and [`SWITCH`], that have no pin.
    pub(crate) fn missing_hooks(&self, sealed: bool) -> Result<Vec<&'static str>> {
        let present = self.hook_names()?;
        Ok(hooks(sealed)
            .chain([SWITCH])
            .filter(|hook| !present.iter().any(|name| name == hook))
            .collect())
    }

    /// Takes everything away, the gate first: while hooks go, nobody should be
    /// refused for a record that is no longer kept.
    pub(crate) fn remove(&self) -> Result<()> {
        remove_if_there(&self.hook(GATE), |path| fs::remove_file(path))?;
        for directory in [self.hooks(), self.directory.clone()] {
            for path in entries(&directory)? {
                remove_if_there(&path, |path| fs::remove_file(path))?;
            }
            remove_if_there(&directory, |path| fs::remove_dir(path))?;
        }
        Ok(())
    }

    /// The guard's state.
    pub(crate) fn state(&self) -> Result<bt_state> {
        self.read(View::State)?.pop().ok_or_else(|| Error::Damaged {
            path: self.view(View::State),
        })
    }

    /// The first slots of the history, this many at most, in no order. The kernel
    /// fills in what is read and no more.
    pub(crate) fn events(&self, slots: usize) -> Result<Vec<bt_event>> {
        self.read_at_most(View::Events, slots)
    }

    /// All images.
    pub(crate) fn images(&self) -> Result<Vec<bt_image>> {
        self.read(View::Images)
    }

    /// All keys that may sign.
    pub(crate) fn keys(&self) -> Result<Vec<bt_key>> {
        self.read(View::Keys)
    }

    /// All programs, maps and links.
    pub(crate) fn objects(&self) -> Result<Vec<bt_owned>> {
        let mut objects = self.read(View::Programs)?;
        objects.extend(self.read::<bt_owned>(View::Maps)?);
        objects.extend(self.read::<bt_owned>(View::Links)?);
        Ok(objects)
    }

    /// All tokens.
    pub(crate) fn tokens(&self) -> Result<Vec<bt_token>> {
        self.read(View::Tokens)
    }

    fn read<T: Shared>(&self, view: View) -> Result<Vec<T>> {
        self.read_at_most(view, usize::MAX)
    }

    fn read_at_most<T: Shared>(&self, view: View, count: usize) -> Result<Vec<T>> {
        let path = self.view(view);
        let limit = (count as u64).saturating_mul(size_of::<T>() as u64);
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&path)?.take(limit).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Ok(values_of(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NotEnforcing),
            Err(source) => Err(Error::Pin {
                operation: "read",
                path,
                source,
            }),
        }
    }
}

/// What a directory holds; nothing if it isn't there.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Pin {
            operation: "list",
            path: directory.to_owned(),
            source,
        }),
        Ok(paths) => Ok(paths),
    }
}

fn remove_if_there(path: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<()> {
    match remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Pin {
            operation: "remove",
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_takes_all_and_needs_nothing_to_be_there() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins {
            directory: root.path().join("bpftrust"),
        };
        pins.remove().unwrap();
        pins.create().unwrap();
        fs::write(pins.hook(GATE), []).unwrap();
        fs::write(pins.hook("bt_exec"), []).unwrap();
        fs::write(pins.view(View::State), []).unwrap();
        assert!(pins.create().is_err(), "a second guard must not move in");
        pins.remove().unwrap();
        assert!(!pins.exist().unwrap());
    }

    #[test]
    fn an_empty_state_is_said_to_be_damaged() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins {
            directory: root.path().join("bpftrust"),
        };
        assert!(matches!(pins.state(), Err(Error::NotEnforcing)));
        pins.create().unwrap();
        fs::write(pins.view(View::State), [1, 2, 3]).unwrap();
        assert!(matches!(pins.state(), Err(Error::Damaged { .. })));
    }
}
