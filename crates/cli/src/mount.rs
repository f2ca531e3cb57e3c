//! Which file system holds a file, for help lines.

use std::os::fd::AsFd;

use bpftrust_host::{Mount, Mounts, Root};
use rustix::fs::{AtFlags, StatxFlags, statx};

/// The mount that holds `file`, or `None` if that can't be found out.
pub fn holding(file: impl AsFd) -> Option<Mount> {
    let facts = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let mounts = Mounts::probe(&Root::host()).ok()?;
    mounts.numbered(facts.stx_mnt_id).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_on_some_mount() {
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(holding(&file).is_some());
    }
}
