//! The smallest program that calls `bpf()`: no dynamic linker, no C library, so
//! that thousands of them are executed in little time.
//!
//! Its exit status is the answer: see [`Answer`]. With an argument it forks
//! first, and its child asks, too: the status is then the parent's answer and,
//! two bits higher, the child's.

use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What `BPF_PROG_GET_NEXT_ID` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An id, or that there is none: the kernel answered.
    Allowed,
    /// `EPERM`.
    Refused,
}

impl Answer {
    fn of(status: i32) -> Result<Self> {
        match status {
            1 => Ok(Self::Allowed),
            2 => Ok(Self::Refused),
            other => bail!("{other} is no answer"),
        }
    }
}

/// The answers in an exit status: its own and, if it forked, its child's.
pub fn answers(status: i32, forked: bool) -> Result<Vec<Answer>> {
    let mut answers = vec![Answer::of(status & 3)?];
    if forked {
        answers.push(Answer::of(status >> 2)?);
    }
    Ok(answers)
}

/// Where the file is mapped, and how large its headers are: ELF's own and two of
/// segments.
const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 2 * 56;

#[rustfmt::skip]
const CODE: &[u8] = &[
    0x31, 0xed,                         //      xor ebp, ebp
    0x83, 0x3c, 0x24, 0x01,             //      cmp dword ptr [rsp], 1  ; argc
    0x74, 0x28,                         //      je ask
    0xb8, 0x39, 0x00, 0x00, 0x00,       //      mov eax, 57             ; fork
    0x0f, 0x05,                         //      syscall
    0x85, 0xc0,                         //      test eax, eax
    0x74, 0x1d,                         //      je ask
    0x48, 0x83, 0xcf, 0xff,             //      or rdi, -1
    0x48, 0x8d, 0x74, 0x24, 0xc0,       //      lea rsi, [rsp-64]
    0x31, 0xd2,                         //      xor edx, edx
    0x45, 0x31, 0xd2,                   //      xor r10d, r10d
    0xb8, 0x3d, 0x00, 0x00, 0x00,       //      mov eax, 61             ; wait4
    0x0f, 0x05,                         //      syscall
    0x0f, 0xb6, 0x6c, 0x24, 0xc1,       //      movzx ebp, byte ptr [rsp-63]
    0xc1, 0xe5, 0x02,                   //      shl ebp, 2
    0x6a, 0x00,                         // ask: push 0
    0x6a, 0x00,                         //      push 0
    0xbf, 0x0b, 0x00, 0x00, 0x00,       //      mov edi, 11   ; BPF_PROG_GET_NEXT_ID
    0x48, 0x89, 0xe6,                   //      mov rsi, rsp
    0xba, 0x0c, 0x00, 0x00, 0x00,       //      mov edx, 12
    0xb8, 0x41, 0x01, 0x00, 0x00,       //      mov eax, 321            ; bpf
    0x0f, 0x05,                         //      syscall
    0xbf, 0x02, 0x00, 0x00, 0x00,       //      mov edi, 2
    0x83, 0xf8, 0xff,                   //      cmp eax, -1             ; EPERM
    0x74, 0x13,                         //      je end
    0xbf, 0x01, 0x00, 0x00, 0x00,       //      mov edi, 1
    0x85, 0xc0,                         //      test eax, eax
    0x74, 0x0a,                         //      je end
    0x83, 0xf8, 0xfe,                   //      cmp eax, -2             ; ENOENT
    0x74, 0x05,                         //      je end
    0xbf, 0x03, 0x00, 0x00, 0x00,       //      mov edi, 3
    0x09, 0xef,                         // end: or edi, ebp
    0xb8, 0x3c, 0x00, 0x00, 0x00,       //      mov eax, 60             ; exit
    0x0f, 0x05,                         //      syscall
];

/// Writes the program; `salt`, behind its code, makes it a file of its own.
pub fn write(path: &Path, salt: &str) -> Result<()> {
    let size = HEADERS + CODE.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |bytes: &mut Vec<u8>, values: &[u16]| {
        values
            .iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    };
    let words = |bytes: &mut Vec<u8>, values: &[u32]| {
        values
            .iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    };
    let longs = |bytes: &mut Vec<u8>, values: &[u64]| {
        values
            .iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    };
    // ET_EXEC for x86-64, EV_CURRENT; entry, program headers, no sections.
    halves(&mut bytes, &[2, 62]);
    words(&mut bytes, &[1]);
    longs(&mut bytes, &[BASE + HEADERS, 64, 0]);
    words(&mut bytes, &[0]);
    halves(&mut bytes, &[64, 56, 2, 64, 0, 0]);
    // PT_LOAD, readable and executable: all of it.
    words(&mut bytes, &[1, 5]);
    longs(&mut bytes, &[0, BASE, BASE, size, size, 0x1000]);
    // PT_GNU_STACK, not executable.
    words(&mut bytes, &[0x6474_e551, 6]);
    longs(&mut bytes, &[0, 0, 0, 0, 0, 16]);
    bytes.extend(CODE);
    bytes.extend(salt.as_bytes());
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot make {}", path.display()))
}

#[cfg(test)]
mod unit_tests {
    use super::*;
    use std::io::ErrorKind;
    use std::process::Command;

    /// Nobody has `bpf()` here for certain, but an answer there is.
    #[test]
    fn it_runs_and_answers() {
        let dir = std::env::temp_dir().join(format!("asker-{}", std::process::id()));
        write(&dir, "salt").unwrap();
        for (arguments, forked) in [(&[][..], false), (&["fork"], true)] {
            let status = loop {
                match Command::new(&dir).args(arguments).status() {
                    // What another test forks meanwhile has it open for writing, until
                    // it executes something itself.
                    Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                        std::thread::yield_now();
                    }
                    status => break status.unwrap(),
                }
            };
            let answers = answers(status.code().unwrap(), forked).unwrap();
            assert_eq!(answers.len(), 1 + usize::from(forked));
            assert!(answers.iter().all(|answer| *answer == answers[0]));
        }
        fs::remove_file(&dir).unwrap();
    }
}
