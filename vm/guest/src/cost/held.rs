//! What bpftrust's programs take in a few rows, quickly: figures that are committed, and
//! that a change is held to.

use super::{BENCH, Row, bench, in_place, programs};
use crate::fixture::{self, ACME, sign_with_grant};
use crate::grant::Grant;
use crate::guest::Guest;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The rows, and whether a trusted process must do them.
const ROWS: &[(&str, bool)] = &[
    ("exec", false),
    ("exec-signed-warm", false),
    ("fork-exit", false),
    ("open", false),
    ("bpf-map-create", true),
];

/// How often each is counted. An interrupt that falls into a program counts as its own.
const COUNTS: usize = 3;

/// Has bpftrust enforce, and prints for each row what its programs take in a round,
/// together: instructions, and how many ran.
pub fn run() -> Result<ExitCode> {
    let mut guest = Guest::new("cost", "held")?;
    prepare(&mut guest)?;
    for (name, trusted) in ROWS {
        let row = Row {
            name: (*name).to_owned(),
            trusted: *trusted,
        };
        // What the first exec of a signed file takes is not this row's.
        bench(&row, "0", "10")?;
        let mut least = [f64::INFINITY; 2];
        for _ in 0..COUNTS {
            let programs = programs(&guest, &row)?;
            let programs = programs.as_object().context("no programs")?;
            for (least, field) in least.iter_mut().zip(["instructions", "runs"]) {
                let sum: f64 = programs.values().filter_map(|p| p[field].as_f64()).sum();
                *least = least.min(sum);
            }
        }
        let [instructions, runs] = least;
        println!("{name} {instructions:.0} {runs:.0}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Enforces, and makes a static program, unsigned and signed, and the drivers and bpftool,
/// signed.
pub fn prepare(guest: &mut Guest) -> Result<()> {
    fixture::enforce(guest)?;
    fs::create_dir_all(super::PLACE).context("cannot make the files' directory")?;
    for (from, to) in [
        ("/usr/bin/busybox", "static"),
        ("/usr/bin/busybox", "static-signed"),
        (BENCH, "bench-signed"),
        ("/usr/sbin/bpftool", "bpftool"),
    ] {
        let path = in_place(to);
        fs::copy(Path::new(from), &path).with_context(|| format!("cannot copy {from}"))?;
        if to != "static" {
            sign_with_grant(guest, ACME, &path, &Grant::ALL.of(to, 1))?;
        }
    }
    // What is written later would be among what is counted.
    rustix::fs::sync();
    Ok(())
}
