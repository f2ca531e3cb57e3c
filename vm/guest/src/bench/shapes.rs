//! Drivers of the same shape as some of UnixBench's tests
//! (github.com/kdlucas/byte-unixbench: `execl.c`, `fstime.c`, `spawn.c`, `tst.sh`). They are
//! not those programs, and their figures are not UnixBench's.

use crate::processes::execute;
use crate::{Driver, HEAVY, Place, Row, row, sys};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "like-execl",
            (3, 2),
            |_| {
                let mut command = Command::new("/usr/bin/bpftrust-bench");
                command
                    .args(["again", "10"])
                    .env_clear()
                    .stdin(Stdio::null());
                Driver::new(move || execute(&mut command))
            },
            "shape of UnixBench's Execl Throughput: a program that executes itself 10 times",
        ),
        row(
            "like-file-write",
            HEAVY,
            writes,
            "shape of UnixBench's File Write: 1,000 blocks of 1 KiB, one after the other",
        ),
        row(
            "like-process-creation",
            HEAVY,
            |_| {
                Driver::new(|| {
                    for _ in 0..10 {
                        sys::fork_and_exit()?;
                    }
                    Ok(())
                })
            },
            "shape of UnixBench's Process Creation: 10 forks, each waited for",
        ),
        row(
            "like-shell-scripts",
            (2, 2),
            scripts,
            "shape of UnixBench's Shell Scripts (1 concurrent): sort, od, grep, tee, wc by dash",
        ),
    ]
}

/// Executes this program again until nothing is left.
pub fn execute_again(left: u32) -> Result<()> {
    match left.checked_sub(1) {
        None => Ok(()),
        Some(left) => Err(Command::new("/proc/self/exe")
            .args(["again", &left.to_string()])
            .exec()
            .into()),
    }
}

fn writes(place: &Place) -> Result<Driver> {
    let path = place.path("blocks");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Driver::new(move || {
        for block in 0..1_000 {
            rustix::io::pwrite(&file, &[0; 1024], block * 1024)?;
        }
        Ok(())
    })
}

const SCRIPT: &str = "sort < lines > sorted; od sorted | sort -n -k 1 > dumped; \
                      grep the sorted | tee found | wc > counted; rm sorted dumped found counted";

fn scripts(place: &Place) -> Result<Driver> {
    let lines: String = (0..200)
        .map(|line| format!("the line {}\n", line * 7919 % 1009))
        .collect();
    std::fs::write(place.path("lines"), lines)?;
    let mut command = Command::new("/usr/bin/dash");
    command
        .args(["-c", SCRIPT])
        .current_dir(&place.0)
        .stdin(Stdio::null());
    Driver::new(move || execute(&mut command))
}
