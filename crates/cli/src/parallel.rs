//! The same work on many files, on all CPUs, with results in the order of the
//! files.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Progress is shown from then on.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many threads there are for each CPU, of work that waits for disks again and again.
const WAITING: usize = 4;

/// [`for_each`], for work that waits for disks: more threads than CPUs, so that others work
/// while some wait.
pub fn for_each_on_disk<'a, T: Sync, R: Send>(
    items: &'a [T],
    work: impl Fn(&T) -> R + Sync,
    each: impl FnMut(&'a T, R),
) {
    run(cpus() * WAITING, items, work, each);
}

/// Does `work` for each item and hands the results to `each` in the items'
/// order, while a terminal on stderr shows how many are done.
pub fn for_each<'a, T: Sync, R: Send>(
    items: &'a [T],
    work: impl Fn(&T) -> R + Sync,
    each: impl FnMut(&'a T, R),
) {
    run(cpus(), items, work, each);
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn run<'a, T: Sync, R: Send>(
    threads: usize,
    items: &'a [T],
    work: impl Fn(&T) -> R + Sync,
    mut each: impl FnMut(&'a T, R),
) {
    let threads = threads.min(items.len());
    let next = AtomicUsize::new(0);
    let (results, finished) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (results, next, work) = (results.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((index, item)) = take(items, next) {
                    // The receiver is gone only if `each` panicked.
                    if results.send((index, work(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(results);
        let mut progress = Progress::new(items.len());
        let mut early = BTreeMap::new();
        let mut done = 0;
        loop {
            match finished.recv_timeout(Duration::from_millis(100)) {
                Ok((index, result)) => _ = early.insert(index, result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.erase();
            while let Some(result) = early.remove(&done) {
                each(&items[done], result);
                done += 1;
            }
            progress.show(done + early.len());
        }
        progress.erase();
    });
}

fn take<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

/// `12 of 340` on a line that is erased before anything else is printed.
struct Progress {
    total: usize,
    start: Instant,
    is_wanted: bool,
    is_shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        let is_wanted = total > 1 && stderr().is_terminal();
        Self {
            total,
            start: Instant::now(),
            is_wanted,
            is_shown: false,
        }
    }

    fn show(&mut self, done: usize) {
        if self.is_wanted && self.start.elapsed() > PATIENCE {
            let _ = write!(stderr(), "{done} of {}", self.total);
            self.is_shown = true;
        }
    }

    fn erase(&mut self) {
        if self.is_shown {
            let _ = write!(stderr(), "\r\x1b[K");
            self.is_shown = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..200).collect();
        let mut results = Vec::new();
        let work = |item: &u64| {
            thread::sleep(Duration::from_micros(item * 7919 % 500));
            item * 2
        };
        for_each(&items, work, |item, result| results.push((*item, result)));
        for_each_on_disk(&items, work, |item, result| results.push((*item, result)));
        let twice = items.iter().chain(&items).map(|item| (*item, item * 2));
        assert!(results.iter().copied().eq(twice));
    }

    #[test]
    fn nothing_to_do_is_done_at_once() {
        for_each(&[], |(): &()| (), |(), ()| panic!("there is no item"));
    }
}
