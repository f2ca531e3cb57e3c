//! `bpftrust propose`: grants, commands to sign and a policy, out of what was recorded.

mod files;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use bpftrust_signature::{Grant, Name, Rights};

use crate::advice::{advised, quoted};
use crate::cli::ProposeArgs;
use crate::input::{read_certificate, read_regular};
use crate::output::{self, Outcome, counted, escaped, print};
use crate::recorded::{Found, Loader, Now, Recording};
use crate::rights::short;

pub fn run(args: &ProposeArgs) -> anyhow::Result<Outcome> {
    require_free(&args.out)?;
    let publisher =
        Name::new(&args.publisher).with_context(|| format!("--publisher {:?}", args.publisher))?;
    read_certificate(&args.certificate, false)?;
    let recording = Recording::load(&args.source)?;
    let proposal = Proposal::new(Found::all(recording.loaders()), recording.lost);
    let outcome = proposal.tell_problems();
    if proposal.loaders.is_empty() {
        print("nothing to propose: no loader lacked anything that can be granted\n");
        return Ok(outcome);
    }
    let key = std::path::absolute(&args.key).context("--key")?;
    if !key.exists() {
        output::warn(&format!("{} is not here: sign.sh names it", escaped(&key)));
    }
    let certificate = read_regular(&args.certificate)?;
    write(
        &args.out,
        &files::all(&proposal, &publisher, &key, &certificate),
    )?;
    for proposed in &proposal.loaders {
        let now = &proposed.now;
        let package = now.package.as_ref().map_or_else(String::new, |package| {
            format!(" ({} {})", package.name, package.version)
        });
        print(&format!(
            "{}: {}{package}: {}\n",
            escaped(&args.out.join(&proposed.file)),
            proposed.loader.executable,
            short(&proposed.grant.rights)
        ));
    }
    print(&format!(
        "{out}/sign.sh: signs {}\n{out}/policy.toml: trusts them, and nothing beyond\n\
         read these, then type: sh {out}/sign.sh && bpftrust replay --policy {out}/policy.toml\n",
        counted(proposal.loaders.len(), "loader"),
        out = quoted(&args.out)
    ));
    Ok(outcome)
}

/// What is proposed.
struct Proposal {
    loaders: Vec<Proposed>,
    /// By path, and why.
    left_out: Vec<(String, String)>,
    /// What those may do that are trusted already and lack nothing.
    trusted: Vec<(Option<Name>, Rights)>,
    lost: u64,
}

/// A loader that is to be signed.
struct Proposed {
    loader: Loader,
    now: Now,
    grant: Grant,
    /// Where the grant goes, in the proposal.
    file: PathBuf,
}

impl Proposal {
    fn new(all: Vec<Found>, lost: u64) -> Self {
        let mut proposal = Self {
            loaders: Vec::new(),
            left_out: Vec::new(),
            trusted: Vec::new(),
            lost,
        };
        let mut names = BTreeSet::new();
        for Found { loader, now } in all {
            match now {
                Err(why) => proposal.left_out.push((loader.executable, why)),
                Ok(now) if loader.refused() == 0 => {
                    let grant = now.grant.as_ref();
                    let rights = grant.map_or(loader.takes, |grant| grant.rights);
                    proposal
                        .trusted
                        .push((grant.map(|grant| grant.name.clone()), rights));
                }
                Ok(_) if loader.takes.commands.is_empty() => {
                    let why = "it called no bpf() itself: a program was given to it";
                    proposal.left_out.push((loader.executable, why.into()));
                }
                Ok(now) => {
                    let (grant, file) = grant(&loader, &now, &mut names);
                    proposal.loaders.push(Proposed {
                        loader,
                        now,
                        grant,
                        file: format!("grants/{file}.toml").into(),
                    });
                }
            }
        }
        proposal
    }

    /// What is not as it should be.
    fn tell_problems(&self) -> Outcome {
        for (executable, why) in &self.left_out {
            output::warn(&format!("{executable} is left out: {why}"));
        }
        if self.lost > 0 {
            output::warn(&format!(
                "{} events were lost, of whom can't be told: any loader may take more than is \
                 proposed; to have all, type 'bpftrust events --follow --json > FILE' while it is \
                 used",
                self.lost
            ));
        }
        for Proposed { loader, .. } in &self.loaders {
            for remark in remarks(loader) {
                output::warn(&format!("{}: {remark}", loader.executable));
            }
        }
        if self.left_out.is_empty() && self.lost == 0 {
            Outcome::Yes
        } else {
            Outcome::No
        }
    }
}

/// What no grant mends, or who reads it should know.
fn remarks(loader: &Loader) -> Vec<String> {
    let mut remarks = Vec::new();
    if loader.was_denied {
        remarks.push(
            "it was recorded while it was refused, so what it would have done then is not known; \
             record it in audit mode"
                .to_owned(),
        );
    }
    for reason in &loader.circumstances {
        remarks.push(format!(
            "it was executed so that no signature counts ({reason}); see docs/events.md"
        ));
    }
    for (reason, file) in &loader.files {
        remarks.push(format!("it runs code of {file}: {reason}"));
    }
    if loader.reaches {
        remarks.push(
            "it reached for BPF objects of others; to read them it takes `inspect`, to change them \
             the name of their owner"
                .to_owned(),
        );
    }
    if loader.makes_tokens {
        remarks.push(
            "it makes BPF tokens, so it must be granted all that its bpffs delegates; add what is \
             not here"
                .to_owned(),
        );
    }
    if loader.executable == SYSTEMD {
        remarks.push(
            "user managers (user@.service) execute it, too, and do not start in secure \
             execution, as trusted loaders are: give them a copy, see docs/host.md"
                .to_owned(),
        );
    }
    if loader.runs_scripts {
        remarks.push("it ran signed scripts, whose own grants count besides".to_owned());
    }
    remarks
}

/// The grant that would have sufficed: what it had, if it was signed, and what it took;
/// and a name for its file. Several loaders may have been signed under one name.
fn grant(loader: &Loader, now: &Now, names: &mut BTreeSet<String>) -> (Grant, String) {
    let before = now.grant.as_ref().filter(|_| loader.was_trusted);
    let rights = before.map_or(Rights::NONE, |grant| grant.rights);
    let rights = rights.union(&loader.takes);
    if let Some(before) = before {
        let grant = Grant {
            rights,
            version: before.version + 1,
            ..before.clone()
        };
        let file = free_name(before.name.as_str(), names);
        return (grant, file);
    }
    let file = now.path.file_name().unwrap_or_default().to_string_lossy();
    let file = free_name(&file, names);
    let name = owner_of(&now.path).unwrap_or(&file);
    let grant = Grant {
        name: Name::new(name).unwrap_or_else(|| Name::new("loader").expect("it is a name")),
        version: 1,
        not_after: 0,
        rights,
        requires: Default::default(),
        script: Default::default(),
    };
    (grant, file)
}

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Executables that use each other's objects, by a name that they then share: an owner is
/// a publisher and a name. PID 1 of systemd hands the map of `RestrictFileSystems=` over
/// exec (its src/core/execute-serialize.c, `bpf-outer-map-fd`).
const SHARED: [(&str, &[&str]); 1] = [("systemd", &[SYSTEMD, "/usr/lib/systemd/systemd-executor"])];

/// The name that the executable at `path` must have.
fn owner_of(path: &Path) -> Option<&'static str> {
    let mut all = SHARED.iter();
    let found = all.find(|(_, paths)| paths.iter().any(|known| Path::new(known) == path));
    found.map(|(name, _)| *name)
}

/// A name like this one that can be a loader's and no other has: letters, digits, `-`,
/// `_` and `.`, at most 31.
fn free_name(name: &str, names: &mut BTreeSet<String>) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .take(27)
        .collect();
    let numbered = (2_u32..).map(|number| format!("{plain}.{number}"));
    std::iter::once(plain.clone())
        .chain(numbered)
        .find(|name| names.insert(name.clone()))
        .expect("there are more numbers than loaders")
}

/// Nothing is overwritten.
fn require_free(directory: &Path) -> anyhow::Result<()> {
    let busy = |what: &str| {
        let error = anyhow!(
            "--out {}: {what}, and nothing is overwritten",
            escaped(directory)
        );
        Err(advised(error, "name a directory that is not there yet"))
    };
    match fs::read_dir(directory) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => busy("it is not empty"),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => busy("it is no directory"),
        Err(error) => Err(error).with_context(|| format!("--out {}", escaped(directory))),
    }
}

/// Writes all files, or none: beside the directory first, which then takes the name.
fn write(directory: &Path, files: &[(PathBuf, Vec<u8>)]) -> anyhow::Result<()> {
    let writing = || format!("writing {}", escaped(directory));
    let absolute = std::path::absolute(directory).with_context(writing)?;
    let parent = absolute.parent().with_context(writing)?;
    fs::create_dir_all(parent).with_context(writing)?;
    let place = tempfile::Builder::new()
        .prefix(".proposal")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(writing)?;
    for (name, content) in files {
        let path = place.path().join(name);
        ensure!(!path.exists(), "two loaders are called {}", escaped(name));
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(writing)?;
        }
        fs::write(&path, content).with_context(writing)?;
    }
    // It takes the place of an empty directory, and of no other.
    fs::rename(place.path(), &absolute).with_context(writing)?;
    // It is not there any more under its own name.
    let _ = place.keep();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_objects_shares_a_name() {
        for (path, expected) in [
            ("/usr/lib/systemd/systemd", Some("systemd")),
            ("/usr/lib/systemd/systemd-executor", Some("systemd")),
            ("/usr/lib/systemd/systemd-networkd", None),
        ] {
            assert_eq!(owner_of(Path::new(path)), expected);
        }
        for (name, _) in SHARED {
            assert!(Name::new(name).is_some());
        }
    }

    #[test]
    fn each_name_is_a_loaders_and_another() {
        let mut names = BTreeSet::new();
        for (name, expected) in [
            ("agent", "agent"),
            ("agent.2", "agent.2"),
            ("agent", "agent.3"),
            ("a b", "a-b"),
            ("a/\u{e9}", "a--"),
            ("", ""),
            (
                "0123456789012345678901234567890123",
                "012345678901234567890123456",
            ),
            (
                "0123456789012345678901234567890123",
                "012345678901234567890123456.2",
            ),
        ] {
            let free = free_name(name, &mut names);
            assert_eq!(free, expected);
            assert!(Name::new(&free).is_some() || free.is_empty());
        }
    }
}
