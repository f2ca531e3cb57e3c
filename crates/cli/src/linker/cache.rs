//! `/etc/ld.so.cache`, as `ldconfig` writes it: which files have a name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Of the form that glibc writes since 2.32 (sysdeps/generic/dl-cache.h, struct
/// cache_file_new).
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Bytes of that struct.
const HEADER: usize = 48;

/// Bytes of one struct file_entry_new: flags, key, value, osversion, hwcap.
const ENTRY: usize = 24;

/// The content of a cache.
#[derive(Debug)]
pub(super) struct Cache {
    bytes: Vec<u8>,
}

/// A file in a cache.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) path: PathBuf,
    /// Only for processors that have something more.
    pub(super) is_variant: bool,
}

impl Cache {
    /// Nothing of another form is read: the directories say as much, only slower.
    pub(super) fn new(bytes: Vec<u8>) -> Option<Self> {
        bytes.starts_with(MAGIC).then_some(Self { bytes })
    }

    /// The files of this name, for whatever machine.
    pub(super) fn find<'a>(&'a self, name: &'a OsStr) -> impl Iterator<Item = Cached> + 'a {
        let room = self.bytes.len().saturating_sub(HEADER) / ENTRY;
        let count = self.number(MAGIC.len()).unwrap_or_default().min(room);
        (0..count).filter_map(move |index| {
            let entry = HEADER + index * ENTRY;
            let key = self.text(self.number(entry + 4)?)?;
            if key != name.as_bytes() {
                return None;
            }
            let value = self.text(self.number(entry + 8)?)?;
            let hwcap = self.bytes.get(entry + 16..entry + 24)?;
            Some(Cached {
                path: Path::new(OsStr::from_bytes(value)).to_owned(),
                is_variant: hwcap != [0; 8],
            })
        })
    }

    /// The number at an offset: 32 bits in the machine's order.
    fn number(&self, at: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..)?.first_chunk()?;
        usize::try_from(u32::from_ne_bytes(*bytes)).ok()
    }

    /// The text at an offset, up to its NUL.
    fn text(&self, at: usize) -> Option<&[u8]> {
        let rest = self.bytes.get(at..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        Some(&rest[..end])
    }
}

/// A cache with these names, files and whether they are variants.
#[cfg(test)]
pub(super) fn bytes_of(entries: &[(&str, &str, bool)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_ne_bytes();
    let mut strings = Vec::new();
    let mut table = Vec::new();
    for (key, value, is_variant) in entries {
        let start = HEADER + entries.len() * ENTRY + strings.len();
        table.extend(number(0x303));
        table.extend(number(start));
        table.extend(number(start + key.len() + 1));
        table.extend(number(0));
        table.extend(u64::from(*is_variant).to_ne_bytes());
        strings.extend(format!("{key}\0{value}\0").into_bytes());
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend(number(entries.len()));
    bytes.extend(number(strings.len()));
    bytes.resize(HEADER, 0);
    [bytes, table, strings].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: &[(&str, &str, bool)] = &[
        ("libb.so.1", "/opt/libb.so.1", false),
        ("liba.so.1", "/usr/lib/glibc-hwcaps/x/liba.so.1", true),
        ("liba.so.1", "/usr/lib/liba.so.1", false),
    ];

    #[test]
    fn names_lead_to_their_files() {
        let cache = Cache::new(bytes_of(ENTRIES)).unwrap();
        let found: Vec<_> = cache.find(OsStr::new("liba.so.1")).collect();
        let cached = |path: &str, is_variant| Cached {
            path: path.into(),
            is_variant,
        };
        assert_eq!(
            found,
            [
                cached("/usr/lib/glibc-hwcaps/x/liba.so.1", true),
                cached("/usr/lib/liba.so.1", false)
            ]
        );
        assert_eq!(cache.find(OsStr::new("liba.so")).count(), 0);
    }

    #[test]
    fn a_damaged_cache_is_no_panic() {
        let whole = bytes_of(ENTRIES);
        for at in 0..whole.len() {
            for bytes in [whole[..at].to_vec(), {
                let mut bytes = whole.clone();
                bytes[at] ^= 0xff;
                bytes
            }] {
                if let Some(cache) = Cache::new(bytes) {
                    let _ = cache.find(OsStr::new("liba.so.1")).count();
                }
            }
        }
    }

    #[test]
    fn the_cache_of_this_machine_is_understood() {
        let cache = Cache::new(std::fs::read("/etc/ld.so.cache").unwrap()).unwrap();
        let files: Vec<_> = cache.find(OsStr::new("libc.so.6")).collect();
        assert!(
            files.iter().any(|file| file.path.exists()),
            "no libc.so.6: {files:?}"
        );
    }
}
