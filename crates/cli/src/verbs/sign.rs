//! `bpftrust sign`: files, many files, whole directories.

mod libraries;
mod script;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use bpftrust_guard::GrantFile;
use bpftrust_signature::{
    FileSignature, Grant, Kind, PemSigner, Requirements, Signer, Statement, sign, verify,
};
use bpftrust_verity::Digest;

use crate::advice::advised;
use crate::cli::{SignArgs, SignKind};
use crate::elf::{self, Role};
use crate::file_systems::FileSystems;
use crate::output::{self, Outcome, escaped};
use crate::parallel;
use crate::replace::replace;
use crate::signature_tree::{self, SUFFIX};
use crate::signer::read_signer;
use crate::target::Target;
use crate::tree::{self, Member, Named};

/// So many files are brought to disk together; fewer one by one.
const MANY: usize = 64;

/// How many files that are signed wait at most to be brought to disk, and told ...
const BATCH: usize = 512;
/// ... and how long.
const PATIENCE: Duration = Duration::from_secs(1);

pub fn run(args: &SignArgs) -> anyhow::Result<Outcome> {
    let grant = grant(args)?;
    let signer = read_signer(&args.key)?;
    let mut outcome = Outcome::Yes;
    let mut jobs = Vec::new();
    for path in &args.files {
        match tree::named(path) {
            Ok(Named::File(member)) => jobs.push(member),
            Ok(Named::Directory(members)) => jobs.extend(members),
            Err(error) => {
                output::report(&error);
                outcome = Outcome::Unknown;
            }
        }
    }
    if args.with_libraries {
        let programs = jobs.iter().filter(|member| maps_libraries(member, args));
        let programs: Vec<_> = programs.map(|member| &*member.path).collect();
        outcome = outcome.max(libraries::sign_libraries(&programs, &signer));
    }
    let places = Places::new(args, &jobs)?;
    let disk = (jobs.len() >= MANY).then(FileSystems::default);
    let mut signed = 0;
    let mut tell = |written: &mut Vec<(&Member, anyhow::Result<Option<Done>>)>| {
        let synced = disk.as_ref().map_or(Ok(()), FileSystems::sync);
        for (member, result) in written.drain(..) {
            let result = match (result, &synced) {
                (Ok(Some(_)), Err(error)) => Err(anyhow!("{error:#}")),
                (result, _) => result,
            };
            match result {
                Ok(Some(done)) => {
                    signed += 1;
                    done.tell(member, args, grant.as_ref());
                }
                Ok(None) => {}
                Err(error) => {
                    output::report(&error.context(format!("signing {}", escaped(&member.path))));
                    outcome = Outcome::Unknown;
                }
            }
        }
    };
    let mut written = Vec::new();
    let mut last = Instant::now();
    parallel::for_each_on_disk(
        &jobs,
        |member| {
            let disk = disk.as_ref();
            sign_member(member, args, grant.as_ref(), &signer, &places, disk)
        },
        |member, result| {
            written.push((member, result));
            if disk.is_none() || written.len() >= BATCH || last.elapsed() > PATIENCE {
                tell(&mut written);
                last = Instant::now();
            }
        },
    );
    tell(&mut written);
    if signed == 0 && outcome == Outcome::Yes {
        bail!("nothing there to sign as a {}", kind_name(args));
    }
    Ok(outcome)
}

fn grant(args: &SignArgs) -> anyhow::Result<Option<Grant>> {
    let Some(path) = &args.grant else {
        return Ok(None);
    };
    ensure!(
        kind(args) != SignKind::Library,
        "--grant says what a loader or script may do, and --kind {} signs none",
        kind_name(args)
    );
    let grant = GrantFile::load(path)?;
    if kind(args) == SignKind::Loader
        && let Some(what) = grant.script.names().next()
    {
        return Err(advised(
            anyhow!("{} grants '{what}', which only scripts have", escaped(path)),
            format!("take '{what}' out, or sign a script: --script"),
        ));
    }
    Ok(Some(grant))
}

/// What was done to one file.
struct Done {
    digest: Digest,
    detached: Option<PathBuf>,
}

impl Done {
    fn tell(&self, member: &Member, args: &SignArgs, grant: Option<&Grant>) {
        let path = escaped(&member.path);
        let name = match grant {
            Some(grant) => format!(" {} version {}", grant.name, grant.version),
            None => String::new(),
        };
        let place = match &self.detached {
            Some(place) => format!(" in {}", escaped(place)),
            None => String::new(),
        };
        output::print(&format!(
            "{path}: signed as {}{name}{place}, {}\n",
            kind_name(args),
            self.digest
        ));
        let bound = grant.is_some_and(|grant| {
            let signed = Requirements::SCRIPT | Requirements::SIGNED_PROGRAMS;
            grant.requires.intersects(signed)
        });
        if kind(args) == SignKind::Loader && !bound && is_generic_loader(&member.path) {
            output::warn(&format!(
                "{path} loads what it is told to: signing it signs everything that it can be \
                 told to load"
            ));
        }
    }
}

/// `None` for a file of a directory that is not of the kind asked for. With `disk`, what is
/// written is on disk after its `sync()`.
fn sign_member(
    member: &Member,
    args: &SignArgs,
    grant: Option<&Grant>,
    signer: &PemSigner,
    places: &Places,
    disk: Option<&FileSystems>,
) -> anyhow::Result<Option<Done>> {
    let target = Target::new(member.open()?, &member.path);
    if member.inside.is_some() && kind(args) == SignKind::Script {
        if !script::is_meant(&target, &member.path)? {
            return Ok(None);
        }
        script::require_script(&target, args.allow_includes)?;
    } else if member.inside.is_some() {
        if !is_meant(&target, args) {
            return Ok(None);
        }
    } else {
        target.require_content()?;
        require_kind(&target, args)?;
    }
    let statement = match grant {
        _ if args.bare => None,
        None => Some(Statement::new(kind(args).into())),
        Some(grant) => {
            require_newer(&target, grant)?;
            Some(Statement::with_grant(kind(args).into(), grant.clone()))
        }
    };
    if !args.detached {
        target.require_verity()?;
    }
    let (signature, digest) = make_signature(&target, statement, signer)?;
    let detached = match places.of(member, &digest)? {
        None => {
            match disk {
                Some(disk) => {
                    disk.note(target.file())?;
                    target.put(&signature, &digest)?;
                }
                None => target.attach(&signature, &digest)?,
            }
            None
        }
        Some(place) => {
            write_detached(&place, &signature, args.bare)?;
            Some(place)
        }
    };
    Ok(Some(Done { digest, detached }))
}

/// A signature over what the file holds now.
fn make_signature(
    target: &Target,
    statement: Option<Statement>,
    signer: &PemSigner,
) -> anyhow::Result<(FileSignature, Digest)> {
    let digest = target.content()?.digest;
    let signature = sign(signer, &digest, statement)?;
    // What left the key is checked before it is used: a fault in the key's
    // hardware, or memory, must not look like success.
    verify(
        &signature,
        &digest,
        std::slice::from_ref(signer.certificate()),
    )?;
    Ok((signature, digest))
}

/// Is a file to be signed, and its libraries with it? One that was named is; what
/// is wrong with it is told where it is signed.
fn maps_libraries(member: &Member, args: &SignArgs) -> bool {
    match member.open() {
        Ok(file) if member.inside.is_some() => is_meant(&Target::new(file, &member.path), args),
        Ok(file) => elf::role(&file).is_some(),
        Err(_) => false,
    }
}

/// Refuses to put an older version in place of a newer one.
fn require_newer(target: &Target, grant: &Grant) -> anyhow::Result<()> {
    let value = target.xattr()?.unwrap_or_default();
    let Ok(signature) = FileSignature::parse(&value) else {
        return Ok(());
    };
    let present = signature.statement().and_then(Statement::grant);
    match present {
        Some(present) if present.name == grant.name && present.version > grant.version => {
            Err(advised(
                anyhow!(
                    "it is signed as {} version {} already, and the grant has version {}",
                    present.name,
                    present.version,
                    grant.version
                ),
                format!(
                    "raise `version` in the grant: version = {}",
                    present.version.saturating_add(1).min(Grant::MAX_VERSION)
                ),
            ))
        }
        _ => Ok(()),
    }
}

/// Is a file of a directory one of those to sign?
fn is_meant(target: &Target, args: &SignArgs) -> bool {
    match elf::role(target.file()) {
        Some(Role::Executable) if tree::is_executable(target.file()) => {
            args.bare || kind(args) == SignKind::Loader
        }
        Some(Role::Library) => args.bare || kind(args) == SignKind::Library,
        _ => false,
    }
}

/// Refuses a file that would not count as what it is to be signed as.
fn require_kind(target: &Target, args: &SignArgs) -> anyhow::Result<()> {
    if kind(args) == SignKind::Script {
        return script::require_script(target, args.allow_includes);
    }
    if args.bare || elf::role(target.file()).is_some() {
        return Ok(());
    }
    Err(advised(
        anyhow!(
            "it is no ELF file, so the kernel never takes it for a {}",
            kind_name(args)
        ),
        "a script that a loader is started on is signed with --script; --bare signs any file",
    ))
}

fn kind_name(args: &SignArgs) -> &'static str {
    if args.bare {
        "bare file"
    } else {
        Kind::from(kind(args)).name()
    }
}

fn kind(args: &SignArgs) -> SignKind {
    if args.script {
        SignKind::Script
    } else {
        args.kind
    }
}

impl From<SignKind> for Kind {
    fn from(kind: SignKind) -> Self {
        match kind {
            SignKind::Loader => Self::Loader,
            SignKind::Library => Self::Library,
            SignKind::Script => Self::Script,
        }
    }
}

/// Where detached signatures go.
enum Places {
    Nowhere,
    Beside,
    File(PathBuf),
    Directory(PathBuf),
    /// A directory of signatures, and the root of the host that they are for.
    Tree(PathBuf, PathBuf),
}

impl Places {
    /// # Errors
    /// If two files would get the same place.
    fn new(args: &SignArgs, members: &[Member]) -> anyhow::Result<Self> {
        if let Some(tree) = &args.tree {
            let root = args.root.as_deref().unwrap_or(Path::new("/"));
            let finding = || format!("finding {}", escaped(root));
            let root = root.canonicalize().with_context(finding)?;
            return Ok(Self::Tree(tree.clone(), root));
        }
        let Some(out) = &args.out else {
            return Ok(if args.detached {
                Self::Beside
            } else {
                Self::Nowhere
            });
        };
        let is_directory = out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/");
        if let ([member], false) = (members, is_directory)
            && member.inside.is_none()
        {
            return Ok(Self::File(out.clone()));
        }
        let mut taken: Vec<_> = members.iter().map(|member| inside(out, member)).collect();
        taken.sort();
        if let Some(pair) = taken.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!(
                "two of the files would have their signature in {}",
                escaped(&pair[0])
            );
        }
        Ok(Self::Directory(out.clone()))
    }

    /// # Errors
    /// If the file is not below the root that was named.
    fn of(&self, member: &Member, digest: &Digest) -> anyhow::Result<Option<PathBuf>> {
        Ok(match self {
            Self::Nowhere => None,
            Self::Beside => Some(tree::with_suffix(&member.path, SUFFIX)),
            Self::File(path) => Some(path.clone()),
            Self::Directory(directory) => Some(inside(directory, member)),
            Self::Tree(tree, root) => {
                let path = member.path.canonicalize().context("finding its path")?;
                let path = path
                    .strip_prefix(root)
                    .with_context(|| format!("it is not below {}", escaped(root)))?;
                Some(tree.join(signature_tree::place(path, digest)))
            }
        })
    }
}

/// Where in a directory the signature of a file goes.
fn inside(directory: &Path, member: &Member) -> PathBuf {
    let name = member.path.file_name().map(Path::new);
    let inside = member.inside.as_deref().or(name).unwrap_or(Path::new(""));
    directory.join(tree::with_suffix(inside, SUFFIX))
}

/// Writes a signature to a file of its own, wholly or not at all. A bare one is
/// the PKCS#7 alone, as `fsverity sign` writes it.
fn write_detached(path: &Path, signature: &FileSignature, bare: bool) -> anyhow::Result<()> {
    let bytes = if bare {
        signature.pkcs7().to_vec()
    } else {
        signature.to_bytes()
    };
    replace(path, &bytes)
}

/// Programs that load, or run, whatever they are told to.
const GENERIC_LOADERS: &[&str] = &[
    "bash",
    "bpftool",
    "bpftrace",
    "busybox",
    "dash",
    "gdb",
    "ip",
    "lua",
    "node",
    "perf",
    "perl",
    "ply",
    "python",
    "ruby",
    "sh",
    "stap",
    "tc",
    "xdp-loader",
    "zsh",
];

/// By name, with or without a version behind it (`python3.13`).
fn is_generic_loader(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    GENERIC_LOADERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_loaders_are_known_by_name() {
        for name in [
            "bpftool",
            "/usr/sbin/bpftool",
            "python3",
            "python3.13",
            "perf-6.1",
            "sh",
        ] {
            assert!(is_generic_loader(Path::new(name)), "{name}");
        }
        for name in ["execsnoop-libbpf", "ship", "tcp", "/", "bpftool-wrapper"] {
            assert!(!is_generic_loader(Path::new(name)), "{name}");
        }
    }
}
