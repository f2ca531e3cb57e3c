//! `bpftrust install --tree`: what fits, of a directory of signatures, on the files that
//! it is for.
//!
//! Packages bring such directories, and dpkg runs this after each change, so it must do
//! no harm whatever is in there. A signature is put on a file, and the file frozen, only
//! if a certificate of this host says that it is good for what the file holds now.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bpftrust_signature::{Certificate, FileSignature, Reason, Refusal, Statement, XATTR, verify};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{parse_signature, signed_as};
use crate::advice::{advised, quoted};
use crate::cli::CERTIFICATE_DIRECTORY;
use crate::input::read_bounded;
use crate::output::{self, Outcome, escaped};
use crate::parallel;
use crate::signature_tree::{meant, place};
use crate::target::{Target, Verity};
use crate::tree::{self, Member, Named, open_beneath};

/// Signatures by the file that they are for, by its path below `/`.
type Candidates = BTreeMap<PathBuf, Vec<Member>>;

/// Settles these files, or all that the directory has signatures for.
pub fn run(
    directory: &Path,
    files: &[PathBuf],
    certificates: &[Certificate],
) -> anyhow::Result<Outcome> {
    let (candidates, strangers) = read(directory)?;
    for path in &strangers {
        output::warn(&format!(
            "{}: no place of a signature, so it is left out",
            escaped(path)
        ));
    }
    let mut tally = Tally::default();
    let chosen = choose(&candidates, files, directory, &mut tally);
    if certificates.is_empty() && !chosen.is_empty() {
        return Err(advised(
            anyhow!("no certificate is there, so no signature can be checked, and none is put on"),
            format!("put those of who signs into {CERTIFICATE_DIRECTORY}, then type this again"),
        ));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).context("opening /")?;
    parallel::for_each(
        &chosen,
        |(path, members)| match open_beneath(&root, path) {
            Err(error) if is_absent(&error) => Ok(Settled::Absent),
            Err(error) => Err(told(error, path)),
            Ok(file) => settle(&Target::new(file, &on_host(path)), members, certificates),
        },
        |(path, _), settled| tally.add(&on_host(path), settled),
    );
    // Nothing to say where no package brought anything.
    if !candidates.is_empty() {
        output::print(&tally.text());
    }
    Ok(match tally {
        Tally { failed: 1.., .. } => Outcome::Unknown,
        Tally { unfit: 1.., .. } => Outcome::No,
        _ if !strangers.is_empty() => Outcome::No,
        _ => Outcome::Yes,
    })
}

/// All signatures in a directory, and what else is there.
fn read(directory: &Path) -> anyhow::Result<(Candidates, Vec<PathBuf>)> {
    let Named::Directory(members) = tree::named(directory)? else {
        bail!("{} is no directory of signatures", escaped(directory));
    };
    let (mut candidates, mut strangers) = (Candidates::new(), Vec::new());
    for member in members {
        match member.inside.as_deref().and_then(meant) {
            Some(path) => candidates.entry(path.to_owned()).or_default().push(member),
            None => strangers.push(member.path),
        }
    }
    Ok((candidates, strangers))
}

/// Those of the files that were named; all if none was.
fn choose<'a>(
    candidates: &'a Candidates,
    files: &[PathBuf],
    directory: &Path,
    tally: &mut Tally,
) -> Vec<(&'a Path, &'a [Member])> {
    let pair = |(path, members): (&'a PathBuf, &'a Vec<Member>)| (&**path, &**members);
    if files.is_empty() {
        return candidates.iter().map(pair).collect();
    }
    let mut chosen = Vec::new();
    for file in files {
        let path = file.canonicalize().context("finding it");
        let found = path.and_then(|path| {
            let inside = path.strip_prefix("/").unwrap_or(&path);
            candidates
                .get_key_value(inside)
                .with_context(|| format!("no signature in {} is for it", escaped(directory)))
        });
        match found {
            Ok(found) => chosen.push(pair(found)),
            Err(error) => tally.fail(file, error),
        }
    }
    chosen
}

/// What became of one file.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    /// It has a signature now, as it says.
    Put(String),
    /// It has that already, or another that stays; and why, if that may surprise.
    Kept(Option<String>),
    /// No signature fits; why not.
    Unfit(String),
    /// There is no such file.
    Absent,
}

/// An error of opening a file that signatures are for.
fn told(error: anyhow::Error, path: &Path) -> anyhow::Error {
    match error.downcast_ref() {
        Some(&Errno::LOOP) => advised(
            anyhow!("a symbolic link is in its path, and none is followed"),
            format!(
                "its signatures belong to the path that this prints: realpath {}",
                quoted(&on_host(path))
            ),
        ),
        _ => error.context("opening it"),
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(&(Errno::NOENT | Errno::NOTDIR)))
}

fn settle(
    target: &Target,
    members: &[Member],
    certificates: &[Certificate],
) -> anyhow::Result<Settled> {
    target.require_content()?;
    // Before its digest is computed: what has no fs-verity may have no end, either.
    target.require_verity()?;
    let content = target.content()?;
    let is_good =
        |signature: &FileSignature| verify(signature, &content.digest, certificates).is_ok();
    let mut fitting = Vec::new();
    let mut unknown = None;
    let mut damaged = Vec::new();
    for member in members {
        let bytes = read_bounded(member.open()?, &member.path)?;
        let judged = parse_signature(bytes, certificates).and_then(|signature| {
            verify(&signature, &content.digest, certificates)?;
            Ok(signature)
        });
        let Err(refusal) = judged else {
            fitting.extend(judged);
            continue;
        };
        let is_named_so = member.inside.as_deref().is_some_and(|inside| {
            inside.file_name() == place(Path::new(""), &content.digest).file_name()
        });
        if refusal.reason() == Reason::UnknownKey && is_named_so {
            unknown = Some(refusal);
        } else if matches!(refusal, Refusal::Malformed(_)) {
            let refusal = anyhow!(refusal);
            damaged.push(format!("{}: {refusal:#}", escaped(&member.path)));
        }
    }
    for what in &damaged {
        output::warn(what);
    }
    let present = match content.verity {
        Verity::Enabled => FileSignature::parse(&target.xattr()?.unwrap_or_default()).ok(),
        _ => None,
    };
    let present = present.filter(is_good);
    // Of equals the last, which is the one that sorts last by name.
    let best = fitting.iter().max_by_key(|signature| version(signature));
    Ok(match (present, best) {
        (Some(present), Some(best)) if *best == present => Settled::Kept(None),
        (Some(present), Some(best)) if best.key() != present.key() => Settled::Kept(Some(format!(
            "it keeps the good signature of key {} that it has; for that of key {} type \
             'setfattr -x {} {}' and this again",
            present.key(),
            best.key(),
            XATTR,
            quoted(target.path())
        ))),
        (Some(present), Some(best)) if version(&present) > version(best) => {
            Settled::Kept(Some(format!(
                "it keeps version {} that it is signed as; the directory has version {}",
                version(&present),
                version(best)
            )))
        }
        (_, Some(best)) => {
            target.attach(best, &content.digest)?;
            Settled::Put(format!("{}, {}", signed_as(best), content.digest))
        }
        (Some(_), None) => Settled::Kept(None),
        (None, None) => Settled::Unfit(match unknown {
            Some(refusal) => format!(
                "its signature can't be checked: {refusal}; put that into \
                 {CERTIFICATE_DIRECTORY}, then type this again"
            ),
            None => format!(
                "no signature is for what it holds, {} ({} looked at); it may take a newer \
                 package of signatures",
                content.digest,
                members.len()
            ),
        }),
    })
}

/// The version in its grant; 0 without one.
fn version(signature: &FileSignature) -> u64 {
    let grant = signature.statement().and_then(Statement::grant);
    grant.map_or(0, |grant| grant.version)
}

fn on_host(path: &Path) -> PathBuf {
    Path::new("/").join(path)
}

/// How many files ended how.
#[derive(Default)]
struct Tally {
    put: usize,
    kept: usize,
    absent: usize,
    unfit: usize,
    failed: usize,
}

impl Tally {
    fn add(&mut self, path: &Path, settled: anyhow::Result<Settled>) {
        match settled {
            Ok(Settled::Put(what)) => {
                self.put += 1;
                output::print(&format!("{}: {what}\n", escaped(path)));
            }
            Ok(Settled::Kept(why)) => {
                self.kept += 1;
                if let Some(why) = why {
                    output::warn(&format!("{}: {why}", escaped(path)));
                }
            }
            Ok(Settled::Unfit(why)) => {
                self.unfit += 1;
                output::warn(&format!("{}: {why}", escaped(path)));
            }
            Ok(Settled::Absent) => self.absent += 1,
            Err(error) => self.fail(path, error),
        }
    }

    fn fail(&mut self, path: &Path, error: anyhow::Error) {
        self.failed += 1;
        output::report(&error.context(format!("installing on {}", escaped(path))));
    }

    fn text(&self) -> String {
        let Self {
            put,
            kept,
            absent,
            unfit,
            failed,
        } = self;
        format!(
            "signatures: {put} put on, {kept} there already, {absent} of files that are not \
             installed, {unfit} that fit nothing, {failed} failed\n"
        )
    }
}
