//! Running programs in tests: to their end, or in the background.

use anyhow::{Context, Result, bail, ensure};
use bpftrust_vm::log;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A program that a test is about to run.
#[derive(Debug)]
pub struct Program {
    command: Command,
    line: String,
    input: Vec<u8>,
    may_be_rejected: bool,
}

impl Program {
    /// The program `name`, found in `PATH`.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Self {
            line: name.as_ref().to_string_lossy().into_owned(),
            command: Command::new(name),
            input: Vec::new(),
            may_be_rejected: false,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line += &format!(" {}", arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<T: AsRef<OsStr>>(self, args: impl IntoIterator<Item = T>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it this standard input, instead of none.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Runs it as the guest's ordinary user (uid 1000).
    pub fn by_user(mut self) -> Self {
        self.command.uid(1000).gid(1000).env("HOME", "/home/user");
        self
    }

    /// Says that the verifier's rejection of its BPF program is what the test
    /// expects; anywhere else that is a failure.
    pub fn may_be_rejected(mut self) -> Self {
        self.may_be_rejected = true;
        self
    }

    /// Runs it to its end.
    pub fn run(mut self) -> Result<Output> {
        let line = self.line;
        let stdin = if self.input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        };
        let mut child = self
            .command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run `{line}`"))?;
        if let Some(mut pipe) = child.stdin.take() {
            let input = self.input;
            // In a thread: it may print more than a pipe holds before it reads.
            // One that does not care for its input closes it, which is its
            // right.
            std::thread::spawn(move || pipe.write_all(&input));
        }
        let (status, stdout, stderr) =
            collect(&mut child).with_context(|| format!("cannot follow `{line}`"))?;
        let output = Output {
            line,
            status: shell_status(status),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        };
        if !self.may_be_rejected
            && let Some(said) =
                log::rejection(&output.stderr).or_else(|| log::rejection(&output.stdout))
        {
            bail!(
                "`{}`: the verifier rejected a program:\n{said}",
                output.line
            );
        }
        Ok(output)
    }

    /// Starts it in the background; what it prints is kept in `log`.
    pub fn start(mut self, log: PathBuf) -> Result<Background> {
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let errors = file.try_clone().context("cannot share a file")?;
        let child = self
            .command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start `{}`", self.line))?;
        Ok(Background {
            child,
            log,
            line: self.line,
        })
    }
}

/// Waits for a program's end and returns what it printed. Unlike
/// [`Child::wait_with_output`] it does not wait for processes that the program
/// left behind, which may hold its output open for ever.
fn collect(child: &mut Child) -> Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut pipes: Vec<(OwnedFd, &mut Vec<u8>)> = Vec::new();
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        pipes.push((out.into(), &mut stdout));
        pipes.push((err.into(), &mut stderr));
    }
    for (pipe, _) in &pipes {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    let status = loop {
        if pipes.is_empty() {
            break child.wait()?;
        }
        // Asked before reading: what is read after its end is all it printed.
        let ended = child.try_wait()?;
        let mut open = Vec::new();
        for (pipe, said) in pipes {
            if read_available(&pipe, said)? {
                open.push((pipe, said));
            }
        }
        pipes = open;
        if let Some(status) = ended {
            break status;
        }
        let mut waiting: Vec<PollFd<'_>> = pipes
            .iter()
            .map(|(pipe, _)| PollFd::new(pipe, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        match poll(&mut waiting, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    Ok((status, stdout, stderr))
}

/// Reads what is there; returns whether more may come.
fn read_available(pipe: &OwnedFd, into: &mut Vec<u8>) -> Result<bool> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match rustix::io::read(pipe, &mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => into.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a program that has ended left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line.
    pub line: String,
    /// The exit status, or 128 and the signal.
    pub status: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// Requires status 0, and returns what it printed.
    pub fn success(self) -> Result<String> {
        ensure!(self.status == 0, "unexpected failure: {self}");
        Ok(self.stdout)
    }

    /// Requires another status than 0, and returns the complaint.
    pub fn failure(self) -> Result<String> {
        ensure!(self.status != 0, "unexpected success: {self}");
        Ok(self.stderr)
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            line,
            status,
            stdout,
            stderr,
        } = self;
        write!(f, "`{line}` ended with status {status}")?;
        for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim())?;
            }
        }
        Ok(())
    }
}

/// A program that runs beside the test and ends with it at the latest.
#[derive(Debug)]
pub struct Background {
    child: Child,
    log: PathBuf,
    line: String,
}

impl Background {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed by now, on both its outputs.
    pub fn said(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its status, if it has ended by itself.
    pub fn status(&mut self) -> Result<Option<i32>> {
        let status = self
            .child
            .try_wait()
            .with_context(|| format!("cannot wait for `{}`", self.line))?;
        Ok(status.map(shell_status))
    }

    /// Kills it and returns what it printed.
    pub fn stop(mut self) -> Result<String> {
        // One that has ended by itself is as good.
        let _ = self.child.kill();
        self.child
            .wait()
            .with_context(|| format!("cannot wait for `{}`", self.line))?;
        Ok(self.said())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shell_status(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn output_and_status_are_kept_apart() {
        let output = Program::new("sh")
            .args(["-c", "cat; echo err >&2; exit 3"])
            .input("in")
            .run()
            .unwrap();
        assert_eq!(output.status, 3);
        assert_eq!(output.stdout, "in");
        assert_eq!(output.stderr, "err\n");
        assert!(output.clone().success().is_err());
        assert_eq!(output.failure().unwrap(), "err\n");
    }

    #[test]
    fn much_output_is_read_whole() {
        let output = Program::new("sh")
            .args([
                "-c",
                "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2",
            ])
            .run()
            .unwrap();
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (300_000, 300_000)
        );
    }

    #[test]
    fn a_process_left_behind_is_not_waited_for() {
        let start = std::time::Instant::now();
        let output = Program::new("sh")
            .args(["-c", "sleep 20 & echo done"])
            .run()
            .unwrap();
        assert_eq!(output.stdout, "done\n");
        assert!(start.elapsed().as_secs() < 10);
    }

    #[test]
    fn a_signal_is_a_status() {
        let output = Program::new("sh").args(["-c", "kill -9 $$"]).run().unwrap();
        assert_eq!(output.status, 137);
    }
}
