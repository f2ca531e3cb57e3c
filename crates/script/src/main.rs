//! `bpftrust-script FILE [PARAMETER…]`: starts a loader on a signed script, and is the
//! interpreter of scripts that begin with `#!/usr/bin/bpftrust-script`.
//!
//! The script is opened once. What is open is what the kernel side judges, and what the
//! loader reads from its standard input; no path is looked at again.

mod sys;

use std::convert::Infallible;
use std::env;
use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bpftrust_script::{
    DIRECTORIES, Granted, MAX_SIZE, Problem, TOKEN_VARIABLE, XATTR, XATTR_MAX, command_line,
    environment, loader_of,
};

const USAGE: &str = "usage: bpftrust-script FILE [PARAMETER...]";

/// An error, for people.
struct Failed(String);

impl<E: fmt::Display> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let Some(file) = words.next().filter(|word| !word.is_empty()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let Err(Failed(what)) = start(Path::new(&file), words);
    let file = file.to_string_lossy();
    eprintln!("bpftrust-script: {}: {what}", file.escape_debug());
    ExitCode::from(2)
}

/// Becomes the loader; returns if it can't.
fn start(
    path: &Path,
    parameters: impl IntoIterator<Item = OsString>,
) -> Result<Infallible, Failed> {
    let script = open(path)?;
    let mut line = [0; 256];
    let length = script.read_at(&mut line, 0)?;
    let loader = loader_of(&line[..length])?;
    let program = find(loader)?;
    let granted = Granted::read(&sys::xattr(&script, &CString::new(XATTR)?, XATTR_MAX));
    let words = command_line(loader, granted, parameters)?;
    sys::keep_as_input(script)?;
    sys::show_to_the_guard().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failed(
            "refused: it, or this program, is not signed for that, or its file system is \
             mounted 'noexec'; type 'bpftrust events' to see which"
                .to_owned(),
        ),
        _ => Failed(format!("showing it to the guard: {error}")),
    })?;
    let error = Command::new(&program)
        .arg0(&words[0])
        .args(&words[1..])
        .env_clear()
        .envs(environment(env::var_os(TOKEN_VARIABLE)))
        .exec();
    Err(Failed(format!("executing {}: {error}", program.display())))
}

/// A regular file that is no larger than a script.
fn open(path: &Path) -> Result<File, Failed> {
    // A pipe would keep us waiting.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let data = file.metadata()?;
    if !data.is_file() {
        return Err(Failed("it is no regular file".to_owned()));
    }
    if data.len() > MAX_SIZE {
        return Err(Problem::TooLarge.into());
    }
    Ok(file)
}

/// Where the loader of this name is.
fn find(name: &str) -> Result<PathBuf, Failed> {
    let places = || DIRECTORIES.iter().map(|place| Path::new(place).join(name));
    let Some(program) = places().find(|path| path.exists()) else {
        return Err(Failed(format!(
            "its loader {name} is not in {}",
            DIRECTORIES.join(", ")
        )));
    };
    let mut magic = [0; 4];
    let program_is_elf = File::open(&program)?.read_at(&mut magic, 0)? == 4 && magic == *b"\x7fELF";
    if !program_is_elf {
        return Err(Failed(format!(
            "its loader {} is no ELF file: another script is no loader",
            program.display()
        )));
    }
    Ok(program)
}
