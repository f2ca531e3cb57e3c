//! Ways to execute a file.

use super::sys;
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Executes `path` with `words` (`path` is the first); returns if it can't.
pub fn execute(how: &str, path: &str, words: &[&str]) -> io::Result<Infallible> {
    let words = words
        .iter()
        .map(|word| CString::new(*word))
        .collect::<Result<Vec<_>, _>>()?;
    match how {
        "fexec" => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            sys::execute_descriptor(&rustix::fs::open(path, flags, Mode::empty())?, &words)
        }
        "memfd-exec" => {
            let memory = memfd_create("memfd", MemfdFlags::empty())?;
            let mut memory = File::from(memory);
            memory.write_all(&fs::read(path)?)?;
            sys::execute_descriptor(&memory, &words)
        }
        "tmpfile-exec" => {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::open(".", flags, Mode::RWXU)?);
            file.write_all(&fs::read(path)?)?;
            // Open for writing, it would be busy.
            let readable = File::open(descriptor_path(&file))?;
            drop(file);
            sys::execute_path(&CString::new(descriptor_path(&readable))?, &words)
        }
        _ => sys::execute_path(&CString::new(path)?, &words),
    }
}

fn descriptor_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
