//! The mounts that this process sees (`/proc/self/mountinfo`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::{Root, Unknown};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// Its number, as statx(2) gives it for a file (`stx_mnt_id`).
    pub id: u64,
    /// Where it is.
    pub point: PathBuf,
    /// The type of its file system, as for `mount -t`.
    pub kind: String,
    /// What is mounted: a device, or a word that means nothing.
    pub source: OsString,
    /// Nothing can be written through this mount.
    pub read_only: bool,
}

impl Mount {
    /// `proc_pid_mountinfo(5)`: ID, parent, device, root, point, options, any
    /// number of tags, a dash, type, source, options of the superblock.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let point = unescape(fields.nth(3)?);
        let options = fields.next()?;
        let mut fields = fields.skip_while(|&field| field != b"-").skip(1);
        let kind = String::from_utf8(unescape(fields.next()?)).ok()?;
        let source = OsString::from_vec(unescape(fields.next()?));
        let super_options = fields.next().unwrap_or_default();
        let read_only = [options, super_options].iter().any(|options| {
            options
                .split(|&byte| byte == b',')
                .any(|word| word == b"ro")
        });
        Some(Self {
            id,
            point: OsString::from_vec(point).into(),
            kind,
            source,
            read_only,
        })
    }
}

/// All mounts, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts(pub Vec<Mount>);

impl Mounts {
    /// Reads them.
    ///
    /// # Errors
    /// [`Unknown`] if `/proc` doesn't tell.
    pub fn probe(root: &Root) -> Result<Self, Unknown> {
        const PATH: &str = "/proc/self/mountinfo";
        let bytes = std::fs::read(root.path(PATH)).map_err(|error| Unknown::new(PATH, &error))?;
        Ok(Self(
            bytes
                .split(|&byte| byte == b'\n')
                .filter_map(Mount::parse)
                .collect(),
        ))
    }

    /// The mount that holds `path`, which is absolute and without symbolic
    /// links. Of several on one place the last one hides the others.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        self.0
            .iter()
            .filter(|mount| path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    /// Whether a file system of this type is what one sees at `point`.
    pub fn has(&self, kind: &str, point: &str) -> bool {
        self.holding(Path::new(point))
            .is_some_and(|mount| mount.point == Path::new(point) && mount.kind == kind)
    }

    /// The mount with this number.
    pub fn numbered(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }
}

/// The kernel writes space, tab, newline, backslash and hash as three octal
/// digits (`fs/proc_namespace.c:mangle`).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let code = match (first, tail) {
            (b'\\', [a, b, c, ..]) => octal([*a, *b, *c]),
            _ => None,
        };
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    let text = std::str::from_utf8(&digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(text: &str) -> Mounts {
        Mounts(
            text.lines()
                .filter_map(|line| Mount::parse(line.as_bytes()))
                .collect(),
        )
    }

    #[test]
    fn innermost_and_latest_mount_holds_a_path() {
        let mounts = mounts(
            "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
             2 1 8:2 / /usr ro,relatime shared:2 master:3 - erofs /dev/sda2 rw\n\
             3 1 0:9 / /usr rw - tmpfs none rw\n\
             4 1 0:8 / /mnt/with\\040space rw - btrfs /dev/sdb ro,subvol=/a\n",
        );
        for (path, kind, read_only) in [
            ("/etc", "ext4", false),
            ("/usrx", "ext4", false),
            ("/usr/bin/tool", "tmpfs", false),
            ("/mnt/with space/x", "btrfs", true),
        ] {
            let mount = mounts.holding(Path::new(path)).unwrap();
            assert_eq!(
                (mount.kind.as_str(), mount.read_only),
                (kind, read_only),
                "{path}"
            );
        }
        assert!(mounts.has("tmpfs", "/usr"));
        assert!(!mounts.has("erofs", "/usr"), "hidden by the one above it");
        assert!(!mounts.has("ext4", "/etc"), "not a mount of its own");
    }

    #[test]
    fn a_mount_is_found_by_its_number() {
        let mounts = mounts(
            "29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
             36 29 0:30 / /mnt/a\\040b rw - tmpfs none rw\n",
        );
        let root = Mount {
            id: 29,
            point: "/".into(),
            kind: "ext4".into(),
            source: "/dev/vda".into(),
            read_only: false,
        };
        assert_eq!(mounts.numbered(29), Some(&root));
        assert_eq!(
            mounts.numbered(36).unwrap().point,
            PathBuf::from("/mnt/a b")
        );
        assert_eq!(mounts.numbered(2), None);
    }

    #[test]
    fn cut_off_lines_are_no_mounts() {
        for line in [
            "",
            "1 0 8:1 / /",
            "1 0 8:1 / / rw - ext4",
            "1 0 8:1 / / rw shared:1",
        ] {
            assert_eq!(Mount::parse(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn lone_backslashes_are_kept() {
        assert_eq!(unescape(b"a\\"), b"a\\");
        assert_eq!(unescape(b"a\\9x\\134"), b"a\\9x\\");
    }
}
