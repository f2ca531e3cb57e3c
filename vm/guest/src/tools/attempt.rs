//! One run of a tool, and what became of it.

use super::arrangement::{Arrangement, PRELOAD, PROBES};
use super::table::Row;
use crate::guest::{Guest, text};
use crate::preload;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a tool that does not end by itself looks, from its first line on (bpftrace
/// has one before it attaches, which takes a while), until it is interrupted; one that
/// has seen something is interrupted sooner.
const LOOKS: Duration = Duration::from_secs(8);

/// How long it may take to its first line, or to its end if it ends by itself.
const WORKS: Duration = Duration::from_secs(90);

/// How long it may take to end after that, before it is killed.
const ENDS: Duration = Duration::from_secs(15);

/// Makes libbpf take the old way to kprobes and uprobes: it finds no perf event of
/// that kind (`libbpf.c`, `determine_kprobe_perf_type`).
const HIDE: &str = "for kind in kprobe uprobe; do \
                    mount -t tmpfs none /sys/bus/event_source/devices/$kind/ || exit 99; done; \
                    exec \"$@\"";

/// What a tool did.
pub struct Attempt {
    /// The exit status, or 128 and the signal.
    pub status: i32,
    said: String,
    complained: String,
}

impl Attempt {
    /// Runs it as root, or with what is arranged under a token as `nobody`, until it
    /// ends or has seen something; then it is interrupted, as a user does. It writes
    /// to a terminal, so that its lines come as it writes them.
    pub fn run(guest: &Guest, row: &Row, arranged: Option<Arrangement>) -> Result<Self> {
        let mut words: Vec<&str> = Vec::new();
        if let Some(arrangement) = arranged {
            if arrangement.has(PROBES) {
                words.extend(["unshare", "--mount", "/bin/sh", "-c", HIDE, "sh"]);
            }
            words.extend(["bpftrust", "run", "--user", "nobody"]);
            words.extend(row.as_root.then_some("--as-root"));
            words.push("--");
        }
        words.push(text(&row.program)?);
        words.extend(row.arguments.iter().map(String::as_str));
        let (program, arguments) = words.split_first().context("nothing to run")?;

        let (terminal, slave) = terminal()?;
        let errors = guest.path("errors");
        let mut command = Command::new(program);
        if arranged.is_some_and(|arrangement| arrangement.has(PRELOAD)) {
            command.env(preload::VARIABLE, preload::NAME);
        }
        let mut child = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(slave)
            .stderr(File::create(&errors).context("cannot make a file")?)
            .spawn()
            .with_context(|| format!("cannot run {program}"))?;
        let mut said = Vec::new();
        let status = follow(&mut child, row.ends, &terminal, &mut said)?;
        Ok(Self {
            status,
            said: String::from_utf8_lossy(&said).replace('\r', ""),
            complained: fs::read_to_string(errors).context("cannot read what it said")?,
        })
    }

    /// Whether what it printed has figures: it saw something.
    pub fn measured(&self) -> bool {
        measured(&self.said)
    }

    /// Whether it saw something, or at least ended, or was interrupted, without a
    /// complaint.
    pub fn works(&self) -> bool {
        self.measured() || (matches!(self.status, 0 | 130) && self.complaint().is_none())
    }

    /// Whether it went as the reference did: the same status, and figures if that
    /// had some; if that had none, no complaint that it didn't have.
    pub fn is_like(&self, reference: &Self) -> bool {
        let seen = if reference.measured() {
            self.measured()
        } else {
            self.complaint() == reference.complaint()
        };
        self.status == reference.status && seen
    }

    /// The first line that says what failed.
    pub fn complaint(&self) -> Option<&str> {
        let lines = || self.complained.lines().chain(self.said.lines());
        let says = |words: &[&str]| {
            lines().find(|line| {
                let line = line.to_lowercase();
                // To set it is refused, and of no consequence with a token.
                !line.contains("rlimit") && words.iter().any(|word| line.contains(word))
            })
        };
        says(&["permission denied", "not permitted", "eperm", "eacces"])
            .or_else(|| says(&["failed", "error", "cannot", "can't", "not found", "unable"]))
            .or_else(|| (self.status != 0).then(|| lines().last()).flatten())
            .map(str::trim)
    }
}

/// A new terminal: where its output is read, and what a program has as its output.
fn terminal() -> Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).context("cannot make a terminal")?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new()).context("a terminal without a name")?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = open(name.as_c_str(), flags, Mode::empty()).context("cannot open a terminal")?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave))
}

/// Reads what it prints until it has ended. One that does not end by itself is
/// interrupted when it has seen something.
fn follow(child: &mut Child, ends: bool, terminal: &OwnedFd, said: &mut Vec<u8>) -> Result<i32> {
    let pid = Pid::from_child(child);
    let mut deadline = Instant::now() + WORKS;
    let (mut began, mut interrupted) = (false, false);
    loop {
        // Asked before reading: what is read after its end is all it printed.
        let ended = child.try_wait()?;
        read_available(terminal, said)?;
        if let Some(status) = ended {
            let signal = status.signal().map(|signal| 128 + signal);
            return Ok(status.code().or(signal).unwrap_or(255));
        }
        if !ends && !began && begins(&String::from_utf8_lossy(said)) {
            began = true;
            deadline = Instant::now() + LOOKS;
        }
        let late = Instant::now() > deadline;
        if interrupted && late {
            child.kill()?;
        } else if !interrupted && (late || !ends && measured(&String::from_utf8_lossy(said))) {
            kill_process(pid, Signal::INT)?;
            interrupted = true;
            deadline = Instant::now() + ENDS;
        }
        wait(terminal)?;
    }
}

/// Until there is something to read, or for a moment.
fn wait(terminal: &OwnedFd) -> Result<()> {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 50_000_000,
    };
    std::thread::sleep(Duration::from_millis(20));
    match poll(&mut [PollFd::new(terminal, PollFlags::IN)], Some(&moment)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => bail!("cannot wait for a terminal: {error}"),
    }
}

fn read_available(terminal: &OwnedFd, into: &mut Vec<u8>) -> Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match rustix::io::read(terminal, &mut buffer) {
            // The other side is closed, as yet or again.
            Ok(0) | Err(Errno::AGAIN | Errno::IO) => return Ok(()),
            Ok(count) => into.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR) => {}
            Err(error) => bail!("cannot read a terminal: {error}"),
        }
    }
}

/// Whether it has said more than that it is about to begin.
fn begins(said: &str) -> bool {
    said.lines().any(|line| !line.starts_with("Attaching "))
}

/// Whether some whole line is one of a histogram, or has a word that is a number other
/// than 0 and is not the sentence that a tool begins with.
fn measured(said: &str) -> bool {
    let (whole, _) = said.rsplit_once('\n').unwrap_or_default();
    whole
        .lines()
        .filter(|line| {
            let first = ["Tracing", "Attaching", "page size"];
            !first.iter().any(|word| line.contains(word))
        })
        .any(|line| {
            line.contains("|*")
                || line.split_whitespace().any(|word| {
                    word.contains(|c: char| ('1'..='9').contains(&c))
                        && word.chars().all(|c| c.is_ascii_digit() || c == '.')
                })
        })
}

#[cfg(test)]
mod unit_tests {
    use super::{begins, measured};

    #[test]
    fn to_attach_is_not_to_look() {
        assert!(!begins(""));
        assert!(!begins("Attaching 41 probes...\n"));
        assert!(begins("Attaching 3 probes...\nTracing"));
        assert!(begins("TIME COMM\n"));
    }

    #[test]
    fn figures_are_told_from_headings() {
        assert!(measured("TIME COMM\n03:32:29 busybox 761\n"));
        assert!(measured(" 2 -> 3 : 1 |***  |\n"));
        assert!(!measured("TIME     COMM  LAT(ms)\n03:33:17\n"));
        assert!(!measured("Attaching 3 probes...\n"));
        assert!(!measured("Tracing latency higher than 100 us\n"));
        assert!(!measured("03:36:07: 0 0.00\n"));
        assert!(!measured("busybox 76"));
        assert!(!measured(""));
    }
}
