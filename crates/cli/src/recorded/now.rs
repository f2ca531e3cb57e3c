//! What is at a loader's path now, and whether it is what was recorded.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use bpftrust_signature::{FileSignature, Grant, Statement};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::Loader;
use crate::target::{Target, Verity};

/// A loader as it was recorded, and its file as it is.
#[derive(Debug)]
pub struct Found {
    /// What was recorded.
    pub loader: Loader,
    /// The file, or why it is not the one.
    pub now: Result<Now, String>,
}

/// A file that is what was recorded.
#[derive(Debug)]
pub struct Now {
    /// Where.
    pub path: PathBuf,
    /// Its fs-verity digest, the kernel's or computed.
    pub digest: String,
    /// Which package it is of.
    pub package: Option<Package>,
    /// The grant in the signature that it has, good or not.
    pub grant: Option<Grant>,
}

/// A package of dpkg's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Found {
    /// Looks at the file of each, and takes together what is of one file: events of
    /// the time before it had fs-verity, and after.
    pub fn all(loaders: Vec<Loader>) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for loader in loaders {
            let now = Now::of(&loader);
            // In order of path; those without digest come first.
            match (&now, all.last_mut()) {
                (Ok(_), Some(last))
                    if last.now.is_ok() && last.loader.executable == loader.executable =>
                {
                    last.loader.merge(loader);
                }
                _ => all.push(Self { loader, now }),
            }
        }
        all
    }
}

impl Now {
    fn of(loader: &Loader) -> Result<Self, String> {
        let path = place_of(&loader.executable)?;
        let gone = |error: anyhow::Error| {
            let place = "it may be of another root directory, as a container has";
            format!("{:#}; {place}", error)
        };
        let target = Target::open(&path).map_err(gone)?;
        let content = target.content().map_err(gone)?;
        let digest = content.digest.to_string();
        match &loader.digest {
            Some(recorded) if *recorded != digest => {
                return Err(format!(
                    "it changed meanwhile: it was {recorded} and is {digest}"
                ));
            }
            Some(_) => {}
            None => {
                let is_frozen = content.verity == Verity::Enabled;
                require_unchanged(&path, &loader.first, is_frozen)?;
            }
        }
        let signature = target.xattr().ok().flatten();
        let signature = signature.and_then(|value| FileSignature::parse(&value).ok());
        let statement = signature.as_ref().and_then(FileSignature::statement);
        let grant = statement.and_then(Statement::grant).cloned();
        Ok(Self {
            package: Package::of(&path),
            path,
            digest,
            grant,
        })
    }
}

/// Where programs are that are found by their name.
const DIRECTORIES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The path of an executable. Of one that is the root of its mount, as crun's is that
/// executes itself from a mount of its own, the name alone is recorded: it is the one
/// that programs of that name are.
fn place_of(executable: &str) -> Result<PathBuf, String> {
    let not_whole = "its path was not recorded whole";
    if executable.contains('\\') {
        return Err(not_whole.into());
    }
    if executable.starts_with('/') {
        return Ok(executable.into());
    }
    if executable.is_empty() || executable.contains('/') {
        return Err(not_whole.into());
    }
    let found: BTreeSet<_> = DIRECTORIES
        .iter()
        .filter_map(|directory| fs::canonicalize(Path::new(directory).join(executable)).ok())
        .collect();
    match found.len() {
        1 => found.into_iter().next().ok_or_else(|| not_whole.into()),
        count => Err(format!(
            "{not_whole}, but the name, and {count} files are called so in {}",
            DIRECTORIES.join(", ")
        )),
    }
}

/// Without a digest of then: another file in its place was made later, and what is
/// written leaves a time, until fs-verity is enabled, which leaves the same (seen with
/// ext4). Who signs it vouches for what it was by then.
fn require_unchanged(path: &Path, first: &str, is_frozen: bool) -> Result<(), String> {
    let seen = humantime::parse_rfc3339(first).map_err(|error| format!("{first}: {error}"))?;
    let seen = seen
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let stat = statx(
        CWD,
        path,
        AtFlags::empty(),
        StatxFlags::BASIC_STATS | StatxFlags::BTIME,
    )
    .map_err(|errno| errno.to_string())?;
    let born = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
    let mut times = Vec::new();
    times.extend(born.then_some(stat.stx_btime.tv_sec));
    if !is_frozen {
        times.extend([stat.stx_mtime.tv_sec, stat.stx_ctime.tv_sec]);
    }
    let is_later = |time: &i64| u64::try_from(*time).is_ok_and(|time| time > seen);
    if times.iter().any(is_later) {
        return Err(format!("it changed after {first}, when it was first seen"));
    }
    Ok(())
}

impl Package {
    /// The one that a file is of, if this host has dpkg and it knows.
    fn of(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        // Packages may have it where /usr was not merged.
        let names = [Some(text), text.strip_prefix("/usr")];
        let owner = names.into_iter().flatten().find_map(|name| {
            // As a pattern: what has a meaning in one is no path of a package.
            let is_plain = !name.contains(['*', '?', '[', '\\']);
            is_plain.then(|| dpkg_query(&["--search", name])).flatten()
        })?;
        // "libbpf-tools: /usr/sbin/execsnoop-libbpf", or "a:amd64, b: …"
        let line = owner.lines().find(|line| !line.starts_with("diversion "))?;
        let (packages, _) = line.split_once(": ")?;
        let package = packages.split(", ").next()?;
        let shown = dpkg_query(&["--show", "--showformat=${Package} ${Version}", package])?;
        let (name, version) = shown.split_once(' ')?;
        Some(Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }
}

fn dpkg_query(arguments: &[&str]) -> Option<String> {
    if !fs::exists("/var/lib/dpkg/status").ok()? {
        return None;
    }
    let output = Command::new("dpkg-query")
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_what_programs_of_that_name_are() {
        let shell = fs::canonicalize("/bin/sh").unwrap();
        assert_eq!(place_of("/x/y"), Ok("/x/y".into()));
        assert_eq!(place_of("sh"), Ok(shell));
        for odd in ["", "a/b", "../bin/sh", "a\\x5cb"] {
            assert_eq!(place_of(odd), Err("its path was not recorded whole".into()));
        }
        let nobody = place_of("nobody-is-called-so").unwrap_err();
        assert!(nobody.contains("0 files are called so"), "{nobody}");
    }
}
