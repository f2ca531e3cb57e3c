//! `bpftrust sign --with-libraries`: what the dynamic linker maps for a loader is
//! signed before the loader itself.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use bpftrust_signature::{FileSignature, KeyHint, Kind, PemSigner, Signer, Statement, verify};
use bpftrust_verity::Digest;

use super::make_signature;
use crate::advice::{advised, quoted};
use crate::linker::{self, Libraries};
use crate::output::{self, Outcome, escape_bytes, escaped};
use crate::parallel;
use crate::target::{Target, Verity};

/// Signs the libraries of these programs. The outcome is [`Outcome::Yes`] if all
/// that they need is there and signed.
pub(super) fn sign_libraries(programs: &[&Path], signer: &PemSigner) -> Outcome {
    let mut outcome = Outcome::Yes;
    let mut files = Vec::new();
    let mut known = BTreeSet::new();
    for program in programs {
        match linker::libraries(program) {
            Ok(libraries) => {
                if !libraries.missing.is_empty() {
                    outcome = Outcome::Unknown;
                }
                tell_missing(program, &libraries);
                let new = libraries.files.into_iter();
                files.extend(new.filter(|file| known.insert(file.clone())));
            }
            Err(error) => {
                output::report(&error.context(format!("libraries of {}", escaped(program))));
                outcome = Outcome::Unknown;
            }
        }
    }
    parallel::for_each(
        &files,
        |path: &PathBuf| sign_library(path, signer),
        |path, result| match result {
            Ok(done) => done.tell(path),
            Err(error) => {
                output::report(&error.context(format!("signing {}", escaped(path))));
                outcome = Outcome::Unknown;
            }
        },
    );
    outcome
}

fn tell_missing(program: &Path, libraries: &Libraries) {
    let name = |name: &OsStr| escape_bytes(name.as_bytes());
    for missing in &libraries.missing {
        output::report(&anyhow!(
            "{} needs {}, which is not there",
            escaped(&missing.needed_by),
            name(&missing.name)
        ));
    }
    for misplaced in &libraries.misplaced {
        output::warn(&format!(
            "{} finds {} through $ORIGIN, where the dynamic linker does not look for a trusted \
             loader: add its directory to /etc/ld.so.conf and type 'ldconfig', or it won't start",
            escaped(program),
            name(&misplaced.name),
        ));
    }
}

/// What was done to a library.
enum Done {
    Signed(Digest),
    /// By the same key, as a library.
    WasSigned(Digest),
    /// By this one, as a library.
    OfAnother(KeyHint),
}

impl Done {
    fn tell(&self, path: &Path) {
        let path = escaped(path);
        match self {
            Self::Signed(digest) => {
                output::print(&format!("{path}: signed as library, {digest}\n"));
            }
            Self::WasSigned(digest) => {
                output::print(&format!("{path}: signed as library already, {digest}\n"));
            }
            Self::OfAnother(key) => output::warn(&format!(
                "{path} is signed as library by key {key} and left as it is: it counts where the \
                 policy has that key; to replace the signature, type 'bpftrust sign --kind library'"
            )),
        }
    }
}

fn sign_library(path: &Path, signer: &PemSigner) -> anyhow::Result<Done> {
    let target = Target::open(path)?;
    target.require_verity()?;
    let content = target.content()?;
    let value = target.xattr()?.unwrap_or_default();
    if let (Ok(present), Verity::Enabled) = (FileSignature::parse(&value), content.verity) {
        let kind = present.statement().map(Statement::kind);
        let own = std::slice::from_ref(signer.certificate());
        let key = present.key();
        match kind {
            Some(Kind::Library) if verify(&present, &content.digest, own).is_ok() => {
                return Ok(Done::WasSigned(content.digest));
            }
            Some(Kind::Library) if key != signer.certificate().key_hint() => {
                return Ok(Done::OfAnother(key));
            }
            Some(Kind::Loader) => {
                return Err(advised(
                    anyhow!("it is signed as loader already, and a file has one signature"),
                    format!("copy it, and sign the copy: cp {0} {0}.so", quoted(path)),
                ));
            }
            _ => {}
        }
    }
    let (signature, digest) = make_signature(&target, Some(Statement::new(Kind::Library)), signer)?;
    target
        .attach(&signature, &digest)
        .context("as library")
        .map(|()| Done::Signed(digest))
}
