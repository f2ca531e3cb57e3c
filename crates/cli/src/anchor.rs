//! The process that stays when a guard is sealed: this command, executed once
//! more, which starts the guard and then holds it.

use std::env;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use bpftrust_guard::Anchor;

use crate::output::Outcome;

/// What `ps` shows as its command line.
const ARGUMENT_0: &str = "bpftrust: anchor";

/// Runs this command line in the process that stays, which says what there is to
/// say, and waits until it has.
pub fn start() -> anyhow::Result<Outcome> {
    bpftrust_guard::keep_descriptors()
        .context("can't keep descriptors from the process that is to hold the guard")?;
    let (mut ours, theirs) = UnixStream::pair().context("can't make a pair of sockets")?;
    let mut child = Command::new("/proc/self/exe")
        .arg0(ARGUMENT_0)
        .args(env::args_os().skip(1))
        .arg("--anchor")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()
        .context("can't start the process that is to hold the guard")?;
    if ours.read_exact(&mut [0]).is_ok() {
        return Ok(Outcome::Yes);
    }
    let status = child
        .wait()
        .context("can't wait for the process that was to hold the guard")?;
    match status.code() {
        // It has said why.
        Some(2) => Ok(Outcome::Unknown),
        _ => bail!("the process that was to hold the guard ended too early ({status})"),
    }
}

/// Leaves session and terminal of who started it.
pub fn detach() -> anyhow::Result<()> {
    rustix::process::setsid().context("can't begin a session of its own")?;
    Ok(())
}

/// Tells [`start`] that all is done, lets go of everything that is not the
/// guard's, and holds it for ever.
///
/// # Errors
/// If it can't: the guard is sealed all the same.
pub fn hold(anchor: Anchor) -> anyhow::Result<()> {
    UnixStream::from(
        rustix::io::dup(rustix::stdio::stdin())
            .context("can't keep the socket to who started it")?,
    )
    .write_all(&[0])
    .context("can't tell who started it")?;
    env::set_current_dir("/").context("can't leave the directory")?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context("can't open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .context("can't let go of input and output")?;
    drop(null);
    anchor.hold()
}
