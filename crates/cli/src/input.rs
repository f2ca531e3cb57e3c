//! Reading what the command line names: regular files only where a file is to
//! be signed or judged, and never more than a bounded amount of the others.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, bail, ensure};
use bpftrust_signature::{Certificate, Validity, Zeroizing};
use rustix::fs::OFlags;

use crate::advice::{Advise, advised, quoted};
use crate::output::{self, escaped};

/// No key, certificate or signature file is larger, in bytes.
const MAX_SMALL_FILE: u64 = 256 * 1024;

/// Opens a regular file for reading. Looks before it opens, because opening a
/// FIFO waits and opening a device may do something; and again after, because
/// the name may mean another file by then.
pub fn open_regular(path: &Path) -> anyhow::Result<File> {
    let opening = || format!("opening {}", escaped(path));
    require_regular(&fs::metadata(path).with_context(opening)?).with_context(opening)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)
        .with_context(opening)?;
    require_regular(&file.metadata().with_context(opening)?).with_context(opening)?;
    Ok(file)
}

/// Refuses everything but a regular file, and says what it is instead.
pub fn require_regular(metadata: &Metadata) -> anyhow::Result<()> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "a symbolic link"
    };
    bail!("it is {what}, not a regular file")
}

/// The content of a regular file of bounded size.
pub fn read_regular(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_bounded(open_regular(path)?, path)
}

/// The content of an open file of bounded size; `path` is for the error.
pub fn read_bounded(file: File, path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_SMALL_FILE + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("reading {}", escaped(path)))?;
    ensure!(
        bytes.len() as u64 <= MAX_SMALL_FILE,
        "reading {}: more than {MAX_SMALL_FILE} bytes",
        escaped(path)
    );
    Ok(bytes)
}

/// The content of a file with a private key. It may be a pipe, as in
/// `--key <(decrypt key)`.
pub fn read_key(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let reading = || format!("reading key {}", escaped(path));
    let file = File::open(path).with_context(reading)?;
    let metadata = file.metadata().with_context(reading)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        output::warn(&format!("others may read {0}: chmod 600 {0}", quoted(path)));
    }
    read_bounded(file, path).map(Zeroizing::new)
}

/// The first line of a file. It may be a pipe.
pub fn read_passphrase(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let reading = || format!("reading passphrase file {}", escaped(path));
    let file = File::open(path).with_context(reading)?;
    let bytes = read_bounded(file, path).map(Zeroizing::new)?;
    let line = bytes
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let text = std::str::from_utf8(line)
        .context("it is not UTF-8")
        .with_context(reading)?;
    let text = text.strip_suffix('\r').unwrap_or(text);
    ensure!(
        !text.is_empty(),
        "passphrase file {}: its first line is empty",
        escaped(path)
    );
    Ok(Zeroizing::new(text.to_owned()))
}

/// The one certificate in a file, for signing.
pub fn read_certificate(path: &Path, allow_issuer: bool) -> anyhow::Result<Certificate> {
    let certificate = Certificate::parse(&read_regular(path)?).with_context(|| context(path))?;
    judge_certificate(&certificate, path, allow_issuer)?;
    Ok(certificate)
}

/// All certificates in some files.
pub fn read_certificates(
    paths: &[PathBuf],
    allow_issuer: bool,
) -> anyhow::Result<Vec<Certificate>> {
    let mut certificates = Vec::new();
    for path in paths {
        let found = Certificate::parse_all(&read_regular(path)?).with_context(|| context(path))?;
        for certificate in &found {
            judge_certificate(certificate, path, allow_issuer)?;
        }
        certificates.extend(found);
    }
    Ok(certificates)
}

/// `*.pem` in a directory, in order of name.
pub fn pem_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let reading = || format!("reading directory {}", escaped(directory));
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("no certificate in {}", escaped(directory));
    }
    paths.sort();
    Ok(paths)
}

fn context(path: &Path) -> String {
    format!("certificate {}", escaped(path))
}

fn judge_certificate(
    certificate: &Certificate,
    path: &Path,
    allow_issuer: bool,
) -> anyhow::Result<()> {
    if !allow_issuer {
        certificate
            .require_end_entity()
            .advise(|| {
                "--allow-issuer takes it nevertheless; `bpftrust keygen` makes one that issues none"
                    .into()
            })
            .with_context(|| context(path))?;
    }
    let state = match certificate.validity(SystemTime::now()) {
        Validity::Valid => return Ok(()),
        Validity::NotYet => "is not valid yet",
        Validity::Expired => "has expired",
    };
    output::warn(&format!(
        "{} {state} (last date {}); the kernel does not look at dates",
        context(path),
        certificate.not_after()
    ));
    Ok(())
}

/// Asks on the terminal.
pub fn ask_passphrase(prompt: &str) -> std::io::Result<Zeroizing<String>> {
    rpassword::prompt_password(prompt).map(Zeroizing::new)
}

/// An error for who has no terminal to be asked on.
pub fn without_terminal(error: impl Into<anyhow::Error>) -> anyhow::Error {
    advised(
        error,
        "--passphrase-file FILE gives the passphrase without a terminal",
    )
}
