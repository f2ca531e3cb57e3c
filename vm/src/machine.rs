//! One boot of a guest, from its job to how it ended.

use crate::disk::Boot;
use crate::initramfs::{self, Extra};
use crate::log;
use crate::protocol::{Item, Job, Record, Splitter};
use crate::qemu::{self, Hardware};
use crate::system::System;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// To power off takes seconds; a loaded host may need ten times that.
const OFF_TIMEOUT: Duration = Duration::from_secs(120);

/// What to boot, and for how long.
#[derive(Debug)]
pub struct Run<'a> {
    /// What it boots from.
    pub boot: &'a Boot,
    /// What that holds.
    pub system: &'a System,
    /// What executes it.
    pub hardware: Hardware<'a>,
    /// The `bpftrust-guest` binary, which becomes PID 1, or hands on to it.
    pub harness: &'a Path,
    /// The program to run as root and its arguments.
    pub command: Vec<String>,
    /// Whether it reports results itself.
    pub reports: bool,
    /// Files of the host that it wants.
    pub extras: &'a [Extra],
    /// How long the job may take.
    pub timeout: Duration,
}

/// How a boot ended.
#[derive(Debug)]
pub struct Ended {
    /// The job's exit status; none if the guest died or hung before.
    pub status: Option<i32>,
    /// From the start of QEMU to the start of the job.
    pub boot_time: Option<Duration>,
    /// What makes the run a failure whatever the job says: a hang, a panic, a
    /// warning of the kernel; with an excerpt of its log.
    pub trouble: Option<String>,
    /// The kernel's log.
    pub log: String,
}

/// What a guest tells while it runs.
#[derive(Debug)]
pub enum Event {
    /// Bytes that the job printed.
    Output(Vec<u8>),
    /// A test's result, or how many there will be.
    Record(Record),
}

impl Run<'_> {
    /// Boots, hands everything that the guest tells to `on_event`, and returns
    /// when the guest is off.
    pub fn run(&self, mut on_event: impl FnMut(Event)) -> Result<Ended> {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let initramfs = dir.path().join("initramfs");
        let console = dir.path().join("console");
        let job = Job {
            nonce: nonce()?,
            reports: self.reports,
            init: self.system.init.map(str::to_owned),
            system: self.system.name.to_owned(),
            early: self.system.early.map(str::to_owned),
            command: self.command.clone(),
        };
        initramfs::make(
            &self.boot.initramfs,
            self.system.generator.is_none().then_some(self.harness),
            &job,
            self.extras,
            &initramfs,
        )?;
        let line = format!("{} {}", self.hardware.line, self.system.kernel_line());
        let hardware = Hardware {
            line: line.trim(),
            ..self.hardware
        };
        let start = Instant::now();
        let mut qemu = Qemu(
            qemu::command(
                hardware,
                self.boot,
                &initramfs,
                &console,
                self.system.reboots,
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run qemu-system-x86_64; try `cargo xtask setup`")?,
        );
        let mut ended = Ended {
            status: None,
            boot_time: None,
            trouble: None,
            log: String::new(),
        };
        let hung = self.follow(&mut qemu, &job, start, &mut ended, &mut on_event)?;
        // Asked to end before its log is read, so that the log is whole.
        let said = qemu.end()?;
        let bytes = fs::read(&console).unwrap_or_default();
        ended.log = String::from_utf8_lossy(&bytes).replace('\r', "");
        ended.trouble = log::trouble(&ended.log);
        if ended.trouble.is_none() {
            let tail = || log::tail(&ended.log);
            if let Some(limit) = hung {
                ended.trouble = Some(format!(
                    "the guest did not finish within {} s; its kernel's log ends:\n{}",
                    limit.as_secs(),
                    tail()
                ));
            } else if ended.status.is_none() {
                ended.trouble = Some(format!(
                    "the guest died before its job ended; QEMU said: {said:?}; \
                     its kernel's log ends:\n{}",
                    tail()
                ));
            }
        }
        Ok(ended)
    }

    /// Reads the channel until QEMU closes it; returns the time limit if that
    /// came first.
    fn follow(
        &self,
        qemu: &mut Qemu,
        job: &Job,
        start: Instant,
        ended: &mut Ended,
        on_event: &mut impl FnMut(Event),
    ) -> Result<Option<Duration>> {
        let pieces = qemu.pieces()?;
        let mut splitter = Splitter::new(&job.nonce);
        let mut limit = Duration::from_secs(self.system.boot_limit);
        let mut deadline = start + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let piece = match pieces.recv_timeout(left) {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => return Ok(Some(limit)),
            };
            for item in splitter.push(&piece) {
                match item {
                    Item::Output(bytes) => on_event(Event::Output(bytes)),
                    Item::Record(body) => match Record::parse(&body)? {
                        Record::Started => {
                            ended.boot_time = Some(start.elapsed());
                            limit = self.timeout;
                            deadline = Instant::now() + limit;
                        }
                        Record::Exit(status) => {
                            ended.status = Some(status);
                            // What is left is to power off.
                            limit = OFF_TIMEOUT;
                            deadline = Instant::now() + limit;
                        }
                        record => on_event(Event::Record(record)),
                    },
                }
            }
        }
    }
}

/// A running QEMU, which does not outlive its handle.
struct Qemu(Child);

impl Qemu {
    /// Its standard output in pieces, until it is closed.
    fn pieces(&mut self) -> Result<mpsc::Receiver<Vec<u8>>> {
        let Some(mut stdout) = self.0.stdout.take() else {
            bail!("QEMU's output was already taken");
        };
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            // An error is the end as well; so is a receiver that is gone.
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }

    /// Ends it if it has not ended, and returns what it complained about.
    fn end(&mut self) -> Result<String> {
        // The channel is closed when QEMU exits or is stuck; both end here.
        let _ = self.0.kill();
        self.0.wait().context("cannot wait for QEMU")?;
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr
                .read_to_string(&mut said)
                .context("cannot read what QEMU said")?;
        }
        Ok(said.trim().to_owned())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Already ended, in the usual case.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sixteen hexadecimal digits that the guest's programs cannot guess.
fn nonce() -> Result<String> {
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
