//! What signing many small files takes, by `bpftrust sign` and by a shell loop of the
//! usual tools. `cargo xtask scale` runs this where instructions are counted, so that the
//! guest's nanoseconds are instructions, of one CPU.

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

/// Signs so many files by a key of `algorithm`, and `sample` of the same kind by the shell;
/// prints a line of JSON for each.
pub fn run(algorithm: &str, files: u32, sample: u32) -> Result<ExitCode> {
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

    let directory = make(&guest, "by-shell", sample)?;
    let script = guest.script("loop.sh", LOOP)?;
    let words = ["sh", text(&script)?, text(&directory)?, &key, &certificate];
    let start = Instant::now();
    guest.run(&words)?.success()?;
    tell("shell", algorithm, sample, start);

    let directory = make(&guest, "by-bpftrust", files)?;
    let words = ["bpftrust", "sign", "--kind", "library", "--key", &key];
    let more = ["--certificate", &certificate, text(&directory)?];
    let start = Instant::now();
    let said = guest.run(&[&words[..], &more].concat())?.success()?;
    tell("sign", algorithm, files, start);
    ensure!(
        said.lines().count() == files as usize,
        "not {files} files: {said}"
    );
    Ok(ExitCode::SUCCESS)
}

fn tell(by: &str, algorithm: &str, files: u32, start: Instant) {
    let taken = start.elapsed().as_nanos();
    println!(
        "{}",
        json!({"by": by, "algorithm": algorithm, "files": files, "instructions": taken as u64})
    );
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
