//! Which file system holds a file, for help lines.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{AtFlags, StatxFlags, statx};

/// One line of `/proc/self/mountinfo` (`man 5 proc_pid_mountinfo`).
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type of the file system.
    pub kind: String,
    /// What is mounted, for instance a device.
    pub source: String,
}

impl Mount {
    /// The mount that holds `file`, or `None` if that can't be found out.
    pub fn of(file: impl AsFd) -> Option<Self> {
        let facts = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
        find(&table, facts.stx_mnt_id)
    }
}

fn find(table: &str, id: u64) -> Option<Mount> {
    let id = id.to_string();
    let line = table
        .lines()
        .find(|line| line.split(' ').next() == Some(&id))?;
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    Some(Mount {
        point: unescape(before.split(' ').nth(4)?).into(),
        kind: after.next()?.to_owned(),
        source: unescape(after.next()?),
    })
}

/// The kernel writes these characters in octal (`fs/proc_namespace.c`).
fn unescape(field: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\043", "#"),
        (r"\134", "\\"),
    ]
    .into_iter()
    .fold(field.to_owned(), |text, (code, character)| {
        text.replace(code, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_number() {
        let table = "\
29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
36 29 0:30 / /mnt/a\\040b rw - tmpfs none rw
";
        let root = Mount {
            point: "/".into(),
            kind: "ext4".into(),
            source: "/dev/vda".into(),
        };
        assert_eq!(find(table, 29), Some(root));
        assert_eq!(find(table, 36).unwrap().point, PathBuf::from("/mnt/a b"));
        assert_eq!(find(table, 2), None);
    }

    #[test]
    fn this_program_is_on_some_mount() {
        let file = fs::File::open("/proc/self/exe").unwrap();
        assert!(Mount::of(&file).is_some());
    }
}
