//! What signing many small files takes, by `bpftrust sign` and by a shell loop of the
//! usual tools. `cargo xtask scale` runs this where instructions are counted, so that the
//! nanoseconds in which the guest's CPU does something are instructions, and elsewhere,
//! where time goes by as it does for the host.

use crate::fixture::CONFIGURATION;
use crate::guest::{Guest, text};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// The smallest library here, 14 KiB.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libdl.so.2";

/// A bare signature, fs-verity, and the signature as an xattr: `fsverity sign` reads and
/// hashes the file, and signs by OpenSSL.
const LOOP: &str = "set -e
for file in \"$1\"/*; do
    fsverity sign \"$file\" signature --key=\"$2\" --cert=\"$3\" >/dev/null
    fsverity enable \"$file\"
    setfattr -n user.bpftrust -v \"0s$(base64 -w0 signature)\" \"$file\"
done
sync
";

/// Signs so many files by a key of `algorithm`, and `sample` of the same kind by the shell,
/// `pairs` times by turns; prints a line of JSON for each.
pub fn run(algorithm: &str, files: u32, sample: u32, pairs: u32) -> Result<ExitCode> {
    let guest = Guest::new("throughput", algorithm)?;
    let out = format!("{CONFIGURATION}/{algorithm}");
    let words = [
        "bpftrust",
        "keygen",
        "--algorithm",
        algorithm,
        "--name",
        "acme",
    ];
    guest
        .run(&[&words[..], &["--out", &out]].concat())?
        .success()?;
    let key = format!("{out}/key.pem");
    let certificate = format!("{out}/certificate.pem");

    for pair in 0..pairs {
        let directory = make(&guest, &format!("by-shell-{pair}"), sample)?;
        let script = guest.script("loop.sh", LOOP)?;
        let words = ["sh", text(&script)?, text(&directory)?, &key, &certificate];
        let start = Start::now()?;
        guest.run(&words)?.success()?;
        start.tell("shell", algorithm, sample)?;

        let directory = make(&guest, &format!("by-bpftrust-{pair}"), files)?;
        let words = ["bpftrust", "sign", "--kind", "library", "--key", &key];
        let more = ["--certificate", &certificate, text(&directory)?];
        let start = Start::now()?;
        let said = guest.run(&[&words[..], &more].concat())?.success()?;
        start.tell("sign", algorithm, files)?;
        ensure!(
            said.lines().count() == files as usize,
            "not {files} files: {said}"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// When something began.
struct Start {
    clock: Instant,
    idle: u64,
}

impl Start {
    fn now() -> Result<Self> {
        Ok(Self {
            clock: Instant::now(),
            idle: idle()?,
        })
    }

    /// Prints what was done since, and nanoseconds: by the clock, and those of them in which
    /// one CPU had something to do.
    fn tell(&self, by: &str, algorithm: &str, files: u32) -> Result<()> {
        let clock = self.clock.elapsed().as_nanos() as u64;
        let busy = clock.saturating_sub(idle()? - self.idle);
        println!(
            "{}",
            json!({"by": by, "algorithm": algorithm, "files": files, "clock": clock, "busy": busy})
        );
        Ok(())
    }
}

/// How long the CPUs had nothing to do since the start, or waited for disks, in
/// nanoseconds (proc_stat(5); in units of 10 ms).
fn idle() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = text.lines().next().context("nothing in /proc/stat")?;
    // After its name: user, nice, system, idle, iowait.
    let idle = line.split_whitespace().skip(4).take(2);
    let ticks: Result<Vec<u64>, _> = idle.map(str::parse).collect();
    Ok(ticks
        .context("no numbers in /proc/stat")?
        .iter()
        .sum::<u64>()
        * 10_000_000)
}

/// So many small libraries, no two of which are the same.
fn make(guest: &Guest, name: &str, count: u32) -> Result<PathBuf> {
    let directory = guest.path(name);
    fs::create_dir(&directory)?;
    let content = fs::read(LIBRARY).context("cannot read a library")?;
    for number in 0..count {
        let mut file = File::create(directory.join(format!("{number:05}")))?;
        file.write_all(&content)?;
        // What is behind its sections is not looked at.
        file.write_all(number.to_string().as_bytes())?;
    }
    rustix::fs::sync();
    Ok(directory)
}
