//! The columns of the tables: the kinds of guests that rows run in.

use bpftrust_vm::qemu::Firmware;
use bpftrust_vm::system::{BARE, COMPARED, RESTRICTED, System};

/// A kind of guest.
#[derive(Debug)]
pub struct Column {
    /// As tables name it.
    pub name: &'static str,
    /// What `vm/guest/src/cost.rs` calls what it does.
    pub does: &'static str,
    /// More for the kernel's command line.
    pub line: &'static str,
    /// What starts the kernel.
    pub firmware: Firmware,
    /// What is on its disk.
    pub system: &'static System,
    /// The rows that it runs unless others are named; all, if there are none here.
    pub rows: &'static [&'static str],
    /// What it is compared with, if with anything: the same guest without what it shows.
    pub than: Option<&'static str>,
}

const PLAIN: Column = Column {
    name: "nothing",
    does: "nothing",
    line: "",
    firmware: Firmware::Bios,
    system: &BARE,
    rows: &[],
    than: None,
};

/// Rows of the columns that show empty hooks.
const EMPTY_ROWS: &[&str] = &[
    "nothing",
    "eventfd",
    "read",
    "open",
    "stat",
    "fork-exit",
    "exec",
];

/// Rows that IMA's appraisal has a part in, or could have. It lets nobody execute pages of
/// a file that were mapped to read.
const IMA_ROWS: &[&str] = &[
    "exec",
    "exec-signed-warm",
    "exec-signed-cold",
    "exec-dynamic-signed",
    "fork-exit",
    "mmap",
    "mmap-file",
    "mmap-code",
    "mprotect",
    "open",
    "read",
    "write",
    "stat",
];

/// The same of IPE and systemd, which keep no answers: what they ask of fs-verity or
/// dm-verity was verified when the file was opened first, or the device made.
const STATELESS_ROWS: &[&str] = &[
    "exec",
    "exec-signed-warm",
    "exec-dynamic-signed",
    "fork-exit",
    "mmap",
    "mmap-file",
    "mmap-code",
    "mprotect",
    "mprotect-code",
    "open",
    "read",
    "write",
    "stat",
];

const WITHOUT_BPF: &str = "lsm=landlock,lockdown,yama,integrity,apparmor,tomoyo";
const WITH_BPF: &str = "lsm=landlock,lockdown,yama,integrity,apparmor,tomoyo,bpf";

const fn bpftrust(name: &'static str) -> Column {
    Column {
        name,
        does: name,
        than: Some("nothing"),
        ..PLAIN
    }
}

const fn empty(name: &'static str, line: &'static str) -> Column {
    Column {
        name,
        does: "bare",
        line,
        rows: EMPTY_ROWS,
        ..PLAIN
    }
}

const fn ima(name: &'static str) -> Column {
    Column {
        name,
        does: name,
        system: &COMPARED,
        rows: IMA_ROWS,
        than: Some("nothing"),
        ..PLAIN
    }
}

/// All of them.
pub const COLUMNS: &[Column] = &[
    PLAIN,
    bpftrust("audit"),
    bpftrust("enforce"),
    ima("ima-hash"),
    ima("ima-signature"),
    // Where a kernel that UEFI started has its memory differs, and so does what it does.
    Column {
        name: "nothing-uefi",
        firmware: Firmware::Uefi,
        rows: STATELESS_ROWS,
        ..PLAIN
    },
    Column {
        name: "ipe",
        does: "ipe",
        firmware: Firmware::Uefi,
        rows: STATELESS_ROWS,
        than: Some("nothing-uefi"),
        ..PLAIN
    },
    // Another C library, so another `exec`.
    Column {
        name: "nothing-sid",
        system: &RESTRICTED,
        rows: STATELESS_ROWS,
        ..PLAIN
    },
    Column {
        name: "systemd",
        does: "systemd",
        system: &RESTRICTED,
        rows: STATELESS_ROWS,
        than: Some("nothing-sid"),
        ..PLAIN
    },
    empty("without-bpf", WITHOUT_BPF),
    empty("with-bpf", WITH_BPF),
];

impl Column {
    /// Whether it is to show what the kernel's hooks cost alone: on every kernel, also on
    /// those that bpftrust does not support.
    pub fn empty(&self) -> bool {
        self.does == "bare"
    }

    /// Whether it shows what is not bpftrust.
    pub fn compared(&self) -> bool {
        self.than.is_some() && !self.rows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_compared_with_one_that_has_its_rows() {
        for column in COLUMNS {
            let Some(than) = column.than else { continue };
            let than = COLUMNS.iter().find(|other| other.name == than).unwrap();
            let missing = column.rows.iter().find(|row| !than.rows.contains(row));
            assert!(than.rows.is_empty() || missing.is_none(), "{missing:?}");
        }
    }
}
