//! Programs that are executed, forks, threads.

use crate::{Driver, HEAVY, Place, Row, USUAL, row, sys};
use anyhow::{Context, Result, ensure};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "exec",
            USUAL,
            |place| executes(place.path("static"), &["true"]),
            "posix_spawn of busybox `true`, static and unsigned, and its end",
        ),
        row(
            "exec-signed-warm",
            USUAL,
            |place| executes(place.path("static-signed"), &["true"]),
            "the same of a signed copy whose verdict is kept",
        ),
        row(
            "exec-signed-cold",
            HEAVY,
            executes_cold,
            "the same of a signed copy whose signature was set again: it is verified anew",
        ),
        row(
            "exec-dynamic",
            (10, 20),
            |place| executes(place.path("dynamic"), &[]),
            "an unsigned program with 20 libraries of its own",
        ),
        row(
            "exec-dynamic-signed",
            (10, 20),
            |place| executes(place.path("dynamic-signed"), &[]),
            "a signed program with 20 signed libraries of its own, verdicts kept",
        ),
        row(
            "fork-exit",
            USUAL,
            |_| Driver::new(|| Ok(sys::fork_and_exit()?)),
            "fork, the child ends, wait",
        ),
        row(
            "fork-exit-trusted",
            USUAL,
            |_| Driver::new(|| Ok(sys::fork_and_exit()?)),
            "the same by a trusted process whose children have trust",
        )
        .by_trusted(),
        row(
            "thread",
            (200, 300),
            |_| {
                Driver::new(|| {
                    let joined = std::thread::spawn(|| ()).join();
                    joined.map_err(|_| anyhow::anyhow!("a thread panicked"))
                })
            },
            "pthread_create and pthread_join",
        ),
    ]
}

/// Executes a program, which must end well.
pub fn execute(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    ensure!(status.success(), "it ended with {status}");
    Ok(())
}

/// Executes busybox at `program` to do this.
pub fn command(program: PathBuf, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Busybox goes by the name that it is called by.
    command.arg0("busybox").args(words);
    command.stdin(Stdio::null()).env_clear();
    command
}

fn executes(program: PathBuf, words: &[&str]) -> Result<Driver> {
    let mut command = command(program, words);
    Driver::new(move || execute(&mut command))
}

/// Where a signature may be: bpftrust's, or in columns that compare it with IMA, IMA's.
const SIGNATURES: &[&str] = &["user.bpftrust", "security.ima"];

fn executes_cold(place: &Place) -> Result<Driver> {
    let program = place.path("static-signed");
    let mut command = command(program.clone(), &["true"]);
    let mut signature = vec![0; 65_536];
    let mut read = |name: &&str| rustix::fs::getxattr(&program, *name, &mut signature[..]).ok();
    let (name, length) = SIGNATURES
        .iter()
        .find_map(|name| Some((*name, read(name)?)))
        .with_context(|| format!("{} has no signature", program.display()))?;
    signature.truncate(length);
    let flags = rustix::fs::XattrFlags::REPLACE;
    Driver::with_before(
        move || Ok(rustix::fs::setxattr(&program, name, &signature, flags)?),
        move || execute(&mut command),
    )
}
