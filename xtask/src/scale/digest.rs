//! `bpftrust digest` beside `fsverity digest`, on this machine.

use super::document::median;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use bpftrust_vm::tool;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Bytes of the file: 1/2 GiB.
const SIZE: usize = 512 << 20;

/// How often each is run, by turns.
const PAIRS: usize = 15;

/// What one run took, in seconds.
struct Took {
    wall: f64,
    cpu: f64,
}

/// Runs both by turns over the same file, which stays in the page cache: each on one CPU,
/// then bpftrust on all. The machine may do other work meanwhile, so what is compared is
/// the time on CPUs, and the time by the clock of runs beside each other.
pub fn measure() -> Result<Value> {
    let bpftrust = workspace::build(&["bpftrust"])?.join("bpftrust");
    let file = tempfile::NamedTempFile::new_in(workspace::target()?)?;
    fill(file.path())?;
    let path = file.path();
    let ours = bpftrust.to_str().context("a path of UTF-8")?;
    let programs: [&[&str]; 3] = [
        &["taskset", "--cpu-list", "0", "fsverity", "digest"],
        &["taskset", "--cpu-list", "0", ours, "digest"],
        &[ours, "digest"],
    ];
    let digests: Result<Vec<String>> = programs.iter().map(|words| digest(words, path)).collect();
    let digests = digests?;
    ensure!(
        digests.iter().all(|digest| *digest == digests[0]),
        "not the same digests: {digests:?}"
    );
    let mut took: [Vec<Took>; 3] = Default::default();
    for _ in 0..PAIRS {
        for (words, took) in programs.iter().zip(&mut took) {
            took.push(time(words, path)?);
        }
    }
    let [theirs, one, all] = took;
    let times = |of: &dyn Fn(&Took) -> f64, slow: &[Took], fast: &[Took]| {
        let pairs = slow.iter().zip(fast);
        median(pairs.map(|(slow, fast)| of(slow) / of(fast)))
    };
    let (wall, cpu) = (|took: &Took| took.wall, |took: &Took| took.cpu);
    Ok(json!({
        "megabytes": SIZE >> 20,
        "pairs": PAIRS,
        "cpus": std::thread::available_parallelism()?.get(),
        "load": fs::read_to_string("/proc/loadavg")?.split(' ').next(),
        "processor": processor()?,
        "cpu": {
            "fsverity": median(theirs.iter().map(cpu)),
            "one": median(one.iter().map(cpu)),
            "all": median(all.iter().map(cpu)),
        },
        "faster-by-cpu": times(&cpu, &theirs, &one),
        "faster-by-clock": times(&wall, &theirs, &one),
        "all-by-clock": times(&wall, &one, &all),
    }))
}

/// Numbers, so that no block is like another.
fn fill(path: &Path) -> Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    for number in 0..SIZE as u64 / 8 {
        file.write_all(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())?;
    }
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(())
}

fn command(words: &[&str], path: &Path) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(path);
    command
}

/// The first word that it prints.
fn digest(words: &[&str], path: &Path) -> Result<String> {
    let said = tool::text(&mut command(words, path))?;
    Ok(said.split(' ').next().unwrap_or_default().to_owned())
}

fn time(words: &[&str], path: &Path) -> Result<Took> {
    let cpu = || -> Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let spent = usage.user_time() + usage.system_time();
        Ok(spent.num_microseconds() as f64 / 1e6)
    };
    let (start, before) = (Instant::now(), cpu()?);
    tool::text(&mut command(words, path))?;
    Ok(Took {
        wall: start.elapsed().as_secs_f64(),
        cpu: cpu()? - before,
    })
}

/// What it calls itself, and those of its features that matter.
fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(": ")?.1)
    };
    let model = field("model name").unwrap_or("an unknown processor");
    let flags = field("flags").unwrap_or_default();
    let has = |flag: &str| match flags.split(' ').any(|word| word == flag) {
        true => "with",
        false => "without",
    };
    let (sha, avx512) = (has("sha_ni"), has("avx512bw"));
    Ok(format!("{model}, {sha} SHA extensions, {avx512} AVX-512"))
}
