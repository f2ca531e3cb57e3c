//! Many threads that do the same at once, on every CPU.

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_setaffinity};

/// How many; as many are bound to each CPU as to none.
pub const THREADS: usize = 6;

/// Runs `work` in each thread, by its number, and returns when all have ended:
/// the error of one that failed, if any did.
pub fn on_all_cpus(work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get();
    let bound = |thread: usize| -> Result<()> {
        if thread % (cpus + 1) < cpus {
            let mut set = CpuSet::new();
            set.set(thread % (cpus + 1));
            sched_setaffinity(None, &set).context("cannot bind to a CPU")?;
        }
        work(thread)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let bound = &bound;
                scope.spawn(move || bound(thread))
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread panicked"),
            }
        }
        Ok(())
    })
}
