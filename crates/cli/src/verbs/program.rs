//! `bpftrust program`: programs that the kernel verifies.

mod inspect;
mod load;
mod sign;

use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use bpftrust_program::Package;

use crate::advice::Advise;
use crate::cli::{ProgramArgs, ProgramVerb};
use crate::input::open_regular;
use crate::output::{Outcome, escaped};

/// No object and no package is larger, in bytes: the kernel verifies less.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

pub fn run(args: &ProgramArgs) -> anyhow::Result<Outcome> {
    match &args.verb {
        ProgramVerb::Sign(args) => sign::run(args),
        ProgramVerb::Inspect(args) => inspect::run(args),
        ProgramVerb::Load(args) => load::run(args),
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .take(MAX_SIZE + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", escaped(path)))?;
    ensure!(
        bytes.len() as u64 <= MAX_SIZE,
        "reading {}: more than {MAX_SIZE} bytes",
        escaped(path)
    );
    Ok(bytes)
}

fn read_package(path: &Path) -> anyhow::Result<Package> {
    Package::parse(&read(path)?)
        .advise(|| "bpftrust program sign OBJECT -o OUT makes one".to_owned())
}
