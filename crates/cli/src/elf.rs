//! What an ELF file is for: enough to tell executables from libraries.

use std::fs::File;

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};

/// No program has a larger dynamic section, in bytes. Bounds what a hostile
/// file makes us read.
pub const MAX_DYNAMIC: u64 = 1 << 20;

/// What an ELF file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Made to be executed.
    Executable,
    /// Made to be mapped by others. Some can be executed too (`ld.so`,
    /// `libc.so.6`), which makes no loader of them.
    Library,
}

/// What `file` is for; `None` if it is no ELF file that can be executed or
/// mapped. Moves the file's position.
pub fn role(file: &File) -> Option<Role> {
    let data = ReadCache::new(file);
    match FileKind::parse(&data).ok()? {
        FileKind::Elf32 => role_in::<elf::FileHeader32<Endianness>, _>(&data),
        FileKind::Elf64 => role_in::<elf::FileHeader64<Endianness>, _>(&data),
        _ => None,
    }
}

fn role_in<'a, H, R>(data: R) -> Option<Role>
where
    H: FileHeader<Endian = Endianness>,
    R: ReadRef<'a>,
{
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    match header.e_type(endian) {
        elf::ET_EXEC => return Some(Role::Executable),
        elf::ET_DYN => {}
        _ => return None,
    }
    let mut has_interpreter = false;
    let mut has_name = false;
    let mut is_pie = false;
    for segment in header.program_headers(endian, data).ok()? {
        if segment.p_type(endian) == elf::PT_INTERP {
            has_interpreter = true;
        }
        let size: u64 = segment.p_filesz(endian).into();
        if size > MAX_DYNAMIC {
            continue;
        }
        for entry in segment.dynamic(endian, data).ok()?.unwrap_or_default() {
            match entry.tag(endian) {
                elf::DT_SONAME => has_name = true,
                elf::DT_FLAGS_1 => {
                    let flags: u64 = entry.d_val(endian).into();
                    is_pie |= flags & elf::DF_1_PIE.0 != 0;
                }
                _ => {}
            }
        }
    }
    let is_executable = !has_name && (is_pie || has_interpreter);
    Some(if is_executable {
        Role::Executable
    } else {
        Role::Library
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_and_libraries_are_told_apart() {
        let role_of = |path: &str| role(&File::open(path).unwrap());
        assert_eq!(role_of("/proc/self/exe"), Some(Role::Executable));
        assert_eq!(role_of("/bin/sh"), Some(Role::Executable));
        assert_eq!(role_of("/etc/passwd"), None);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let library = maps.lines().find_map(|line| {
            line.split(' ')
                .next_back()
                .filter(|path| path.ends_with("/libc.so.6"))
        });
        assert_eq!(library.map(role_of), Some(Some(Role::Library)));
    }

    #[test]
    fn a_damaged_file_is_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let whole = std::fs::read("/bin/sh").unwrap();
        for at in 0..1024 {
            let mut bytes = whole[..4096].to_vec();
            bytes[at] ^= 0xff;
            std::fs::write(&path, bytes).unwrap();
            let _ = role(&File::open(&path).unwrap());
        }
    }
}
