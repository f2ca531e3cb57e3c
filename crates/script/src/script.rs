//! The text of a script: its first line, and what can't be a script.

use std::fmt;

use crate::{DEFAULT_LOADER, LAUNCHER};

/// No script is larger, in bytes.
pub const MAX_SIZE: u64 = 1 << 20;

/// The kernel reads no more of a first line (`BINPRM_BUF_SIZE`), in bytes.
pub const MAX_LINE: usize = 255;

/// The longest name of a loader, in bytes: `LOADER_NAME_SIZE` of `bpf/script.h`, less
/// the NUL.
const MAX_NAME: usize = 31;

/// Why something is no script that a loader is started on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// There is nothing in it.
    Empty,
    /// It has more than [`MAX_SIZE`] bytes.
    TooLarge,
    /// A NUL in this line, counted from 1.
    Nul(usize),
    /// A carriage return in this line.
    CarriageReturn(usize),
    /// The first line is longer than the kernel reads.
    LongLine,
    /// `#!`, and no interpreter.
    NoLoader,
    /// What is named there can't be a loader's name.
    NoName(String),
    /// The first line gives the loader an option.
    Option(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLarge => write!(f, "it has more than {MAX_SIZE} bytes"),
            Self::Nul(line) => write!(f, "line {line} has a NUL: it is no text"),
            Self::CarriageReturn(line) => write!(
                f,
                "line {line} has a carriage return; make its lines end as here: sed -i 's/\\r$//'"
            ),
            Self::LongLine => write!(f, "its first line has more than {MAX_LINE} bytes"),
            Self::NoLoader => f.write_str("its first line names no loader behind '#!'"),
            Self::NoName(name) => write!(
                f,
                "its first line names {name:?}: a loader's name has 1 to {MAX_NAME} letters, \
                 digits, '.', '-' or '_'"
            ),
            Self::Option(option) => write!(
                f,
                "its first line gives the loader {option:?}, and scripts are started without \
                 options: take it out, or grant 'unsafe' if that is what it is about"
            ),
        }
    }
}

impl std::error::Error for Problem {}

/// The name of the loader that a script is for, by its first line: the last part of
/// the interpreter's path, or what `env` is to start. `start` is the script's
/// beginning, of at least 256 bytes unless it has less.
///
/// # Errors
/// What is wrong with the line. No option in it is ever passed on.
pub fn loader_of(start: &[u8]) -> Result<&str, Problem> {
    if start.is_empty() {
        return Err(Problem::Empty);
    }
    let Some(rest) = start.strip_prefix(b"#!") else {
        return Ok(DEFAULT_LOADER);
    };
    let line = rest.split(|&byte| byte == b'\n').next().unwrap_or(rest);
    if line.len() + 2 > MAX_LINE {
        return Err(Problem::LongLine);
    }
    if line.contains(&0) {
        return Err(Problem::Nul(1));
    }
    if line.contains(&b'\r') {
        return Err(Problem::CarriageReturn(1));
    }
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let mut named = words.next().ok_or(Problem::NoLoader)?;
    if last_part(named) == b"env" {
        named = words.next().ok_or(Problem::NoLoader)?;
        if named == b"-S" {
            named = words.next().ok_or(Problem::NoLoader)?;
        }
    }
    let name = name(last_part(named)).ok_or_else(|| Problem::NoName(text(named)))?;
    match words.next() {
        Some(option) => Err(Problem::Option(text(option))),
        None if name == LAUNCHER => Ok(DEFAULT_LOADER),
        None => Ok(name),
    }
}

/// Is this, among other files of a directory, a script for a loader? One whose name ends
/// in `.bt`, and one whose first line names bpftrace or the launcher, whatever else is
/// wrong with it. Of other scripts it can't be told: shells have such lines, too.
/// `start` is the file's beginning, as for [`loader_of`].
pub fn is_meant(name: &[u8], start: &[u8]) -> bool {
    let named = |word: &[u8]| {
        let name = last_part(word);
        name == DEFAULT_LOADER.as_bytes() || name == LAUNCHER.as_bytes()
    };
    let line = start.strip_prefix(b"#!").unwrap_or_default();
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or(line);
    let mut words = line.split(u8::is_ascii_whitespace);
    name.ends_with(b".bt") || words.any(named)
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn name(bytes: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let fits = (1..=MAX_NAME).contains(&bytes.len())
        && bytes.iter().all(plain)
        && !matches!(bytes[0], b'-' | b'.');
    std::str::from_utf8(bytes).ok().filter(|_| fits)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Refuses what a loader would not read as its signer does.
///
/// # Errors
/// The first [`Problem`].
pub fn check(content: &[u8]) -> Result<(), Problem> {
    if content.len() as u64 > MAX_SIZE {
        return Err(Problem::TooLarge);
    }
    for (line, number) in content.split(|&byte| byte == b'\n').zip(1..) {
        if line.contains(&0) {
            return Err(Problem::Nul(number));
        }
        if line.contains(&b'\r') {
            return Err(Problem::CarriageReturn(number));
        }
    }
    loader_of(content).map(drop)
}

/// The lines, counted from 1, that bring in another file: `#include`, or `import` with
/// a string, as bpftrace reads them. What is in that file nobody signs.
pub fn brought_in(content: &[u8]) -> Vec<usize> {
    let brings = |line: &[u8]| {
        let line = line.trim_ascii_start();
        let included = line
            .strip_prefix(b"#")
            .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"include"));
        let imported = line
            .strip_prefix(b"import")
            .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\""));
        included || imported
    };
    content
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .filter(|(line, _)| brings(line))
        .map(|(_, number)| number)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_loader() {
        for (line, expected) in [
            ("#!/usr/bin/env bpftrace\nBEGIN", "bpftrace"),
            ("#! /usr/bin/env\t-S  bpftrace \n", "bpftrace"),
            ("#!/usr/local/bin/bpftrace", "bpftrace"),
            ("#!/usr/bin/bpftrust-script\n", "bpftrace"),
            ("#!/usr/bin/env bpftrust-script\n", "bpftrace"),
            ("#!ply-2.1_x\n", "ply-2.1_x"),
            ("BEGIN { exit(); }", "bpftrace"),
            ("\n#!/bin/sh\n", "bpftrace"),
        ] {
            assert_eq!(loader_of(line.as_bytes()), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn other_first_lines_are_refused() {
        let long = format!("#!/{}", "x".repeat(300));
        for (line, expected) in [
            ("", Problem::Empty),
            ("#!", Problem::NoLoader),
            ("#! \t\nx", Problem::NoLoader),
            ("#!/usr/bin/env", Problem::NoLoader),
            ("#!/usr/bin/env -S\n", Problem::NoLoader),
            ("#!/usr/bin/bpftrace\r\n", Problem::CarriageReturn(1)),
            ("#!/usr/bin/bpf\0trace\n", Problem::Nul(1)),
            ("#!/usr/bin/\n", Problem::NoName("/usr/bin/".into())),
            ("#!/usr/bin/..\n", Problem::NoName("/usr/bin/..".into())),
            ("#!/usr/bin/env -i bpftrace", Problem::NoName("-i".into())),
            (
                "#!/usr/bin/b\u{fc}\n",
                Problem::NoName("/usr/bin/b\u{fc}".into()),
            ),
            (
                "#!/usr/bin/bpftrace --unsafe\n",
                Problem::Option("--unsafe".into()),
            ),
            (
                "#!/usr/bin/env -S bpftrace -e\n",
                Problem::Option("-e".into()),
            ),
            (
                "#!/usr/bin/bpftrust-script bpftrace\n",
                Problem::Option("bpftrace".into()),
            ),
            (&long, Problem::LongLine),
        ] {
            assert_eq!(loader_of(line.as_bytes()), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn scripts_are_found_among_other_files() {
        for (name, start, expected) in [
            ("a.bt", "", true),
            ("a.bt", "#!/bin/sh\n", true),
            ("a", "#!/usr/bin/env bpftrace\n", true),
            ("a", "#! /usr/sbin/bpftrace --unsafe\r\n", true),
            ("a", "#!/usr/bin/bpftrust-script", true),
            ("a", "#!/bin/sh\nbpftrace -e\n", false),
            ("a", "#!/usr/bin/bpftrace-aotrt\n", false),
            ("a", "BEGIN { exit(); }", false),
            ("a.bt~", "", false),
        ] {
            assert_eq!(
                is_meant(name.as_bytes(), start.as_bytes()),
                expected,
                "{name} {start:?}"
            );
        }
    }

    #[test]
    fn what_is_no_text_is_no_script() {
        assert_eq!(check(b"BEGIN { }\n"), Ok(()));
        assert_eq!(check(b""), Err(Problem::Empty));
        assert_eq!(check(b"a\nb\0\n"), Err(Problem::Nul(2)));
        assert_eq!(check(b"a\nb\nc\r\n"), Err(Problem::CarriageReturn(3)));
        assert_eq!(check(&vec![b'\n'; 1 << 20]), Ok(()));
        assert_eq!(check(&vec![b'\n'; 10 << 20]), Err(Problem::TooLarge));
    }

    #[test]
    fn lines_that_bring_files_in_are_found() {
        let text =
            b"#!/bin/x\n#include <a.h>\n  #  include \"b\"\n// #include\nimport \"c\";\nimported";
        assert_eq!(brought_in(text), [2, 3, 5]);
    }
}
