//! What an ELF file says of other files.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use object::elf;
use object::read::elf::{Dyn, FileHeader, NoteIterator, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use serde::Deserialize;

use crate::elf::MAX_DYNAMIC;

/// No name or search path is longer, in bytes. Bounds what a hostile file makes
/// us read.
const MAX_TEXT: u64 = 64 * 1024;

/// For which machines a file is: files are mapped together only if this is the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    is_64: bool,
    number: u16,
}

impl Machine {
    /// What `$PLATFORM` stands for, and the directory of its libraries.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match (elf::Machine(self.number), self.is_64) {
            (elf::EM_X86_64, true) => ("x86_64", "x86_64-linux-gnu"),
            (elf::EM_X86_64, false) => ("x86_64", "x86_64-linux-gnux32"),
            (elf::EM_AARCH64, _) => ("aarch64", "aarch64-linux-gnu"),
            (elf::EM_386, _) => ("i686", "i386-linux-gnu"),
            _ => ("", ""),
        }
    }
}

/// What a file needs, and where it says to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) machine: Machine,
    /// The dynamic linker.
    pub(super) interpreter: Option<OsString>,
    /// Names of libraries, in order.
    pub(super) needed: Vec<OsString>,
    /// Names of libraries that are mapped if they are there, or that the file says it
    /// opens itself.
    pub(super) wanted: Vec<OsString>,
    /// Lists of directories.
    pub(super) rpath: Vec<OsString>,
    pub(super) runpath: Vec<OsString>,
    /// Nothing is to be looked for where the system has its libraries.
    pub(super) no_default: bool,
}

impl Needs {
    /// `None` if it is no ELF file.
    pub(super) fn of(file: &File) -> Option<Self> {
        let data = ReadCache::new(file);
        match FileKind::parse(&data).ok()? {
            FileKind::Elf32 => read::<elf::FileHeader32<Endianness>, _>(&data, false),
            FileKind::Elf64 => read::<elf::FileHeader64<Endianness>, _>(&data, true),
            _ => None,
        }
    }
}

fn read<'a, H, R>(data: R, is_64: bool) -> Option<Needs>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let mut needs = Needs {
        machine: Machine {
            is_64,
            number: header.e_machine(endian).0,
        },
        interpreter: None,
        needed: Vec::new(),
        wanted: Vec::new(),
        rpath: Vec::new(),
        runpath: Vec::new(),
        no_default: false,
    };
    let mut texts = Vec::new();
    let mut table = None;
    for segment in segments {
        let size: u64 = segment.p_filesz(endian).into();
        if size > MAX_DYNAMIC {
            continue;
        }
        if let Some(name) = segment.interpreter(endian, data).ok()? {
            needs.interpreter = Some(OsStr::from_bytes(name).to_owned());
        }
        if let Some(notes) = segment.notes(endian, data).ok()? {
            needs.wanted.extend(opened(notes, endian));
        }
        for entry in segment.dynamic(endian, data).ok()?.unwrap_or_default() {
            let value: u64 = entry.d_val(endian).into();
            match entry.tag(endian) {
                // What is behind it does not count.
                elf::DT_NULL => break,
                elf::DT_STRTAB => table = Some(value),
                elf::DT_FLAGS_1 => needs.no_default |= value & elf::DF_1_NODEFLIB.0 != 0,
                tag @ (elf::DT_NEEDED
                | elf::DT_AUXILIARY
                | elf::DT_FILTER
                | elf::DT_RPATH
                | elf::DT_RUNPATH) => texts.push((tag, value)),
                _ => {}
            }
        }
    }
    // Where the table is in the file: the segments say so.
    let table = table.and_then(|address| {
        segments.iter().find_map(|segment| {
            let start: u64 = segment.p_vaddr(endian).into();
            let size: u64 = segment.p_filesz(endian).into();
            let offset: u64 = segment.p_offset(endian).into();
            let inside = address.checked_sub(start).filter(|&inside| inside < size)?;
            (segment.p_type(endian) == elf::PT_LOAD).then(|| offset.checked_add(inside))?
        })
    });
    for (tag, at) in texts {
        let start = table?.checked_add(at)?;
        let end = start.saturating_add(MAX_TEXT).min(data.len().ok()?);
        let text = data.read_bytes_at_until(start..end, 0).ok()?;
        let text = OsStr::from_bytes(text).to_owned();
        match tag {
            elf::DT_NEEDED => needs.needed.push(text),
            elf::DT_RPATH => needs.rpath.push(text),
            elf::DT_RUNPATH => needs.runpath.push(text),
            _ => needs.wanted.push(text),
        }
    }
    Some(needs)
}

/// The owner and type of notes that name libraries which are opened with `dlopen()`
/// (uapi-group.org/specifications, "ELF dlopen metadata").
const DLOPEN_OWNER: &[u8] = b"FDO";
const DLOPEN_TYPE: elf::NoteType = elf::NoteType(0x407c_0c0a);

/// An entry of such a note: one library, by any of these names.
#[derive(Deserialize)]
struct Opened {
    soname: Vec<String>,
}

/// All names in a file's notes. What is malformed names none: it is for packagers, and
/// nothing that is needed to start depends on it.
fn opened<H>(mut notes: NoteIterator<'_, H>, endian: Endianness) -> Vec<OsString>
where
    H: FileHeader<Endian = Endianness>,
{
    let mut names = Vec::new();
    while let Ok(Some(note)) = notes.next() {
        if note.name() == DLOPEN_OWNER && note.n_type(endian) == DLOPEN_TYPE {
            let text = note.desc().split(|&byte| byte == 0).next();
            let text = text.unwrap_or_default();
            let entries: Vec<Opened> = serde_json::from_slice(text).unwrap_or_default();
            names.extend(entries.into_iter().flat_map(|entry| entry.soname));
        }
    }
    names.into_iter().map(OsString::from).collect()
}
