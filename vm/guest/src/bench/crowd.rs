//! What `bpftrust-bench` does for `cargo xtask scale`: much of something at once.

use crate::sys;
use anyhow::{Context, Result};
use libc::{PROT_EXEC, PROT_READ};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// Forks so many processes that do nothing until this one ends, says so, and waits.
pub fn stand(count: u32) -> Result<()> {
    for _ in 0..count {
        sys::fork(|| {
            let kill = Some(rustix::process::Signal::KILL);
            // What fails is left to the end of the guest.
            let _ = rustix::process::set_parent_process_death_signal(kill);
            std::thread::sleep(Duration::MAX);
        })
        .context("cannot fork")?;
    }
    println!("{count} are there");
    std::thread::sleep(Duration::MAX);
    Ok(())
}

/// Maps each file of a directory once, to execute.
pub fn map_all(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = File::open(entry?.path())?;
        sys::map_and_unmap(PROT_READ | PROT_EXEC, Some(file.as_fd()))?;
    }
    Ok(())
}

/// Executes a program on each CPU at once, `rounds` times there, and prints the
/// instructions of all CPUs together.
pub fn execute_on_all(program: &str, rounds: u32) -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    let start = sys::instructions();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cpus)
            .map(|cpu| scope.spawn(move || execute_on(cpu, program, rounds)))
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        anyhow::Ok(())
    })?;
    println!("{}", sys::instructions() - start);
    Ok(())
}

fn execute_on(cpu: usize, program: &str, rounds: u32) -> Result<()> {
    let mut only = rustix::thread::CpuSet::new();
    only.set(cpu);
    rustix::thread::sched_setaffinity(None, &only).context("cannot bind to a CPU")?;
    let mut command = crate::processes::command(program.into(), &["true"]);
    for _ in 0..rounds {
        crate::processes::execute(&mut command)?;
    }
    Ok(())
}
