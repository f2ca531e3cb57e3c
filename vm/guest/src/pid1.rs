//! PID 1 of a guest: finds the disk, mounts what a system has, runs one job,
//! reports how it ended and powers off; or leaves that to another PID 1.

use crate::handover;
use crate::runner::GO_ON;
use anyhow::{Context, Result};
use bpftrust_vm::initramfs::LOAD_ORDER;
use bpftrust_vm::protocol::{CHANNEL, FILES_DIR, JOB_PATH, Job, NONCE_VARIABLE, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags};
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::system::RebootCommand;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DISK: &str = "/dev/vda";

/// The environment of the job; one that reports has the nonce beside it.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"),
    ("TERM", "dumb"),
];

/// What a system has mounted beside its root: type, place, options.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("securityfs", "/sys/kernel/security", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("bpf", "/sys/fs/bpf", "mode=700"),
    ("cgroup2", "/sys/fs/cgroup", ""),
];

/// Does PID 1's work; what goes wrong is on the console, which the host keeps.
pub fn run() -> ! {
    if let Err(error) = boot_and_serve() {
        eprintln!("bpftrust-guest: PID 1: {error:#}");
    }
    rustix::fs::sync();
    let error = rustix::system::reboot(RebootCommand::PowerOff);
    panic!("cannot power off: {error:?}");
}

fn boot_and_serve() -> Result<()> {
    let job = fs::read_to_string(format!("/{JOB_PATH}")).context("cannot read the job")?;
    let job = Job::parse(&job)?;
    switch_to_disk()?;
    if let Some(init) = &job.init {
        return handover::hand_over(init, &job);
    }
    mount_all()?;
    settle()?;
    report(&job)
}

/// Runs the job and tells the host how it ended.
pub fn report(job: &Job) -> Result<()> {
    let mut channel = fs::OpenOptions::new()
        .write(true)
        .open(CHANNEL)
        .with_context(|| format!("cannot open {CHANNEL}, the channel to the host"))?;
    let tell = |channel: &mut File, record: &Record| {
        channel
            .write_all(record.to_line(&job.nonce).as_bytes())
            .context("cannot report to the host")
    };
    tell(&mut channel, &Record::Started)?;
    let status = match serve(job, &mut channel) {
        Ok(status) => status,
        Err(error) => {
            writeln!(channel, "bpftrust-guest: PID 1: {error:#}")?;
            127
        }
    };
    tell(&mut channel, &Record::Exit(status))
}

/// Loads the disk's driver, puts this run's files onto the disk, and makes the
/// disk the root.
fn switch_to_disk() -> Result<()> {
    mount_one("devtmpfs", "/dev", "")?;
    let order =
        fs::read_to_string(format!("/{LOAD_ORDER}")).context("cannot read the list of modules")?;
    for name in order.lines() {
        let path = Path::new("/modules").join(name);
        let module =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        rustix::system::finit_module(module, c"", 0)
            .with_context(|| format!("cannot load {}", path.display()))?;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    while !Path::new(DISK).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    mount(DISK, "/disk", "ext4", MountFlags::NOATIME, None)
        .with_context(|| format!("cannot mount {DISK}"))?;
    let disk = Path::new("/disk");
    copy_tree(&Path::new("/").join(FILES_DIR), disk)?;
    let harness = disk.join("usr/bin/bpftrust-guest");
    fs::copy("/init", &harness)
        .with_context(|| format!("cannot copy /init to {}", harness.display()))?;
    std::env::set_current_dir(disk).context("cannot enter /disk")?;
    mount_move(".", "/").context("cannot move the disk to /")?;
    rustix::process::chroot(".").context("cannot make the disk the root")?;
    std::env::set_current_dir("/").context("cannot enter /")
}

pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)
                .with_context(|| format!("cannot make {}", target.display()))?;
            copy_tree(&source, &target)?;
        } else {
            fs::copy(&source, &target)
                .with_context(|| format!("cannot copy to {}", target.display()))?;
        }
    }
    Ok(())
}

pub fn mount_all() -> Result<()> {
    for (kind, place, options) in MOUNTS {
        mount_one(kind, place, options)?;
    }
    Ok(())
}

/// What an installed system has that the disk lacks.
pub fn settle() -> Result<()> {
    rustix::system::sethostname(b"guest").context("cannot set the host's name")?;
    chown("/home/user", Some(1000), Some(1000)).context("cannot give /home/user to its user")?;
    fs::set_permissions("/root", fs::Permissions::from_mode(0o700))
        .context("cannot set the mode of /root")
}

pub fn mount_one(kind: &str, place: &str, options: &str) -> Result<()> {
    // /dev/pts and the like are directories that only the mounted parent has.
    fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
    let options = std::ffi::CString::new(options)?;
    mount(kind, place, kind, MountFlags::empty(), options.as_c_str())
        .with_context(|| format!("cannot mount {kind} on {place}"))
}

/// Runs the job to its end, passes on what it prints, and buries every process
/// that was left to PID 1.
fn serve(job: &Job, channel: &mut File) -> Result<i32> {
    let (output, input) = rustix::pipe::pipe().context("cannot make a pipe")?;
    rustix::io::fcntl_setfd(&output, FdFlags::CLOEXEC).context("cannot set up a pipe")?;
    let mut pid = start(job, &input)?;
    let mut output = File::from(output);
    let mut status = None;
    loop {
        // Once the job has ended, only what is already in the pipe is passed
        // on: a process that it left behind may hold the pipe open for ever.
        let patience = if status.is_some() { 0 } else { 50 };
        if wait_readable(&output, patience)? {
            let mut buffer = [0; 16 * 1024];
            let count = output
                .read(&mut buffer)
                .context("cannot read the job's output")?;
            channel
                .write_all(&buffer[..count])
                .context("cannot pass the job's output to the host")?;
        } else if let Some(status) = status {
            return Ok(status);
        }
        match bury(pid)? {
            Some(KILLED) if Path::new(GO_ON).exists() => pid = start(job, &input)?,
            Some(ended) => status = Some(ended),
            None => {}
        }
    }
}

/// The status of what SIGKILL has ended.
const KILLED: i32 = 128 + 9;

fn start(job: &Job, input: &OwnedFd) -> Result<Pid> {
    let output = input.try_clone().context("cannot share a pipe")?;
    let errors = input.try_clone().context("cannot share a pipe")?;
    let mut command = Command::new(&job.command[0]);
    command.env_clear().envs(ENVIRONMENT.iter().copied());
    if job.reports {
        command.env(NONCE_VARIABLE, &job.nonce);
    }
    let child = command
        .args(&job.command[1..])
        .current_dir("/work")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {}", job.command[0]))?;
    Pid::from_raw(child.id() as i32).context("the job's process has no id")
}

fn wait_readable(file: &File, millis: i64) -> Result<bool> {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: millis * 1_000_000,
    };
    let mut fds = [PollFd::from_borrowed_fd(file.as_fd(), PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error).context("cannot wait for the job's output"),
    }
}

/// Takes the status of every process that has ended; returns `job`'s, as a
/// shell would say it.
fn bury(job: Pid) -> Result<Option<i32>> {
    let mut found = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == job => found = Some(shell_status(status)),
            Ok(Some(_)) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(found),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for processes"),
        }
    }
}

fn shell_status(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
