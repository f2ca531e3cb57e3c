//! The kernel's BTF: numbers of types by their names.

use std::io;

/// `BTF_KIND_*` of what is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Struct = 4,
    Typedef = 8,
    Function = 12,
}

/// A type that was found.
pub struct Type {
    /// Its number.
    pub id: u32,
    /// What the field says that is the size, if it is a structure.
    pub size: u32,
}

/// Finds a type of the running kernel; ENOENT if it has none of that name.
pub fn find(kind: Kind, name: &str) -> io::Result<Type> {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux")?;
    search(&btf, kind, name)
        .ok_or_else(|| io::Error::other("cannot read the kernel's BTF"))?
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// The outer `None` means that this is no BTF.
fn search(btf: &[u8], kind: Kind, name: &str) -> Option<Option<Type>> {
    let word = |at: usize| Some(u32::from_ne_bytes(*btf.get(at..)?.first_chunk()?));
    // struct btf_header
    let header = word(4)? as usize;
    let types = header + word(8)? as usize;
    let end = types + word(12)? as usize;
    let strings = btf.get(header + word(16)? as usize..)?;
    let mut at = types;
    let mut id = 1;
    while at < end {
        // struct btf_type
        let (its_name, info, size) = (word(at)?, word(at + 4)?, word(at + 8)?);
        let its_kind = info >> 24 & 0x1f;
        let rest = strings.get(its_name as usize..)?;
        let after = rest.strip_prefix(name.as_bytes());
        if its_kind == kind as u32 && after.is_some_and(|after| after.first() == Some(&0)) {
            return Some(Some(Type { id, size }));
        }
        at += 12 + more(its_kind, info & 0xffff)?;
        id += 1;
    }
    Some(None)
}

/// Bytes after a `struct btf_type` of that kind with `count` members.
fn more(kind: u32, count: u32) -> Option<usize> {
    let count = count as usize;
    Some(match kind {
        // INT, VAR, DECL_TAG
        1 | 14 | 17 => 4,
        // ARRAY
        3 => 12,
        // STRUCT, UNION, DATASEC, ENUM64
        4 | 5 | 15 | 19 => 12 * count,
        // ENUM, FUNC_PROTO
        6 | 13 => 8 * count,
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}
