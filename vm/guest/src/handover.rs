//! A guest whose PID 1 is another: it gets a unit that serves the job.

use crate::pid1;
use crate::tests::boot;
use crate::unit::UNITS;
use anyhow::{Context, Result, ensure};
use bpftrust_vm::protocol::{FILES_DIR, JOB_PATH, Job, SERVED_JOB_PATH, SERVICE};
use bpftrust_vm::suite::HARNESS;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What makes caches of the packages' files, which an installed system has; it takes
/// half of an emulated boot.
const MASKED: &[&str] = &[
    "ldconfig.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
];

/// The job, once the system is up; it ends the machine, however it ends itself.
const CONTENT: &str = "\
[Unit]
Description=What this machine was started for
Requires=basic.target
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate

[Service]
ExecStart=/usr/bin/bpftrust-guest serve
StandardError=journal+console
TimeoutStopSec=infinity
";

/// Does the harness's part in an initramfs that has an `/init` of its own, with the disk
/// mounted at `root`: what a disk has that was installed, and the job.
pub fn stage(root: &Path) -> Result<ExitCode> {
    let job = fs::read_to_string(format!("/{JOB_PATH}")).context("cannot read the job")?;
    let job = Job::parse(&job)?;
    pid1::copy_tree(&Path::new("/").join(FILES_DIR), root)?;
    let harness = root.join(HARNESS.trim_start_matches('/'));
    fs::copy(HARNESS, &harness).with_context(|| format!("cannot copy to {}", harness.display()))?;
    pass(&job, root)?;
    boot::stage(&job.system, root)?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes a program of the disk that is mounted at `root`. Returns if it can't.
pub fn on_disk(root: &Path, words: &[&str]) -> Result<ExitCode> {
    let (program, arguments) = words.split_first().context("nothing to run")?;
    std::env::set_current_dir(root).with_context(|| format!("cannot enter {}", root.display()))?;
    rustix::process::chroot(".").context("cannot make the disk the root")?;
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("cannot execute {program}"))
}

/// Leaves the job to the service of another PID 1, whose root is or will be `root`.
fn pass(job: &Job, root: &Path) -> Result<()> {
    let mut file = fs::OpenOptions::new();
    let mut file = file
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(SERVED_JOB_PATH)
        .with_context(|| format!("cannot make {SERVED_JOB_PATH}"))?;
    file.write_all(job.to_text().as_bytes())
        .context("cannot pass the job")?;
    let units = Path::new(UNITS);
    fs::create_dir_all(units).with_context(|| format!("cannot make {UNITS}"))?;
    fs::write(units.join(SERVICE), CONTENT).with_context(|| format!("cannot write {SERVICE}"))?;
    for unit in MASKED {
        symlink("/dev/null", units.join(unit)).with_context(|| format!("cannot mask {unit}"))?;
    }
    // Empty, not absent: an identity is made, and nothing is set up as if it was the
    // system's first boot (machine-id(5)).
    fs::write(root.join("etc/machine-id"), "").context("cannot empty /etc/machine-id")
}

/// Makes `init` PID 1, on the disk. Returns if it can't.
pub fn hand_over(init: &str, job: &Job) -> Result<()> {
    // systemd mounts what is not mounted yet.
    if let Some(early) = &job.early {
        pid1::mount_all()?;
        run_early(early)?;
    } else {
        pid1::mount_one("tmpfs", "/run", "mode=755")?;
    }
    pass(job, Path::new("/"))?;
    let error = Command::new(init)
        .args([&format!("--unit={SERVICE}"), "--show-status=no"])
        .env_clear()
        .exec();
    Err(error).with_context(|| format!("cannot execute {init}"))
}

/// Has a process of its own do what PID 1, which is to be executed with trust, must not
/// have done.
fn run_early(command: &str) -> Result<()> {
    let status = Command::new(HARNESS)
        .arg(command)
        .env_clear()
        .envs(pid1::ENVIRONMENT.iter().copied())
        .status()
        .with_context(|| format!("cannot execute {HARNESS}"))?;
    ensure!(status.success(), "{command} failed ({status})");
    Ok(())
}

/// What the unit runs: the job, as PID 1 does it elsewhere.
pub fn serve() -> Result<ExitCode> {
    let job = fs::read_to_string(SERVED_JOB_PATH)
        .with_context(|| format!("cannot read {SERVED_JOB_PATH}"))?;
    fs::remove_file(SERVED_JOB_PATH).with_context(|| format!("cannot remove {SERVED_JOB_PATH}"))?;
    pid1::settle()?;
    pid1::report(&Job::parse(&job)?)?;
    rustix::fs::sync();
    Ok(ExitCode::SUCCESS)
}
