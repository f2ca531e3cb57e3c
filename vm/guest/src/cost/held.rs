//! What bpftrust's programs take in a few rows, quickly: figures that are committed, and
//! that a change is held to.

use super::{BENCH, Row, Taken, bench, in_place, programs};
use crate::fixture::{self, ACME, sign_with_grant};
use crate::grant::Grant;
use crate::guest::Guest;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
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

/// How often each is counted. An interrupt that falls into a program counts as its own: the
/// middle of these has none.
const COUNTS: usize = 5;

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
        let mut counts: BTreeMap<String, Vec<Taken>> = BTreeMap::new();
        for _ in 0..COUNTS {
            for (program, taken) in programs(&guest, &row)? {
                counts.entry(program).or_default().push(taken);
            }
        }
        let sum = |of: fn(&Taken) -> f64| -> f64 {
            let middle = |counts: &Vec<Taken>| middle(counts.iter().map(of).collect());
            counts.values().map(middle).sum()
        };
        let (instructions, runs) = (sum(|taken| taken.instructions), sum(|taken| taken.runs));
        println!("{name} {instructions:.0} {runs:.0}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The middle one of some figures.
fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
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
