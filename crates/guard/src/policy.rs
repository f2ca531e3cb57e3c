//! The policy file: whose signatures count on this host.
//!
//! ```toml
//! [publisher.acme]
//! certificates = ["acme.pem"]     # in certificates/ beside this file
//! bare = "loader"                 # what a signature of `fsverity sign` means
//! allow-issuer = false            # take certificates that may issue others
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bpftrust_signature::{Certificate, KeyHint, Kind};
use serde::Deserialize;
use toml::Spanned;

use crate::abi::NAME_SIZE;
use crate::source::{Source, TextError};

/// Where the policy is unless the command line names another.
pub const POLICY: &str = "/etc/bpftrust/policy.toml";

/// No policy is larger, in bytes.
const MAX_SIZE: u64 = 32 * 1024 * 1024;

/// Beside the policy file: what relative certificate paths are relative to.
const CERTIFICATES: &str = "certificates";

/// A policy that holds together: every certificate was read, and is fit.
#[derive(Clone, Debug)]
pub struct Policy {
    signers: Vec<Signer>,
}

/// A key that may sign, and for whom.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The policy's name for who holds it.
    pub publisher: String,
    /// How signatures refer to it.
    pub hint: KeyHint,
    /// Its certificate, in DER.
    pub certificate: Vec<u8>,
    /// The key itself: the certificate's subjectPublicKey (RFC 5280, 4.1).
    pub public_key: Vec<u8>,
    /// What a bare signature of it means.
    pub bare: Option<Kind>,
}

/// Why a policy is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file can't be read, or what stands in it is wrong.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A certificate can't be read or is not fit.
    #[error("{}:{line}:{column}: certificate {} of publisher {publisher:?}", path.display(), certificate.display())]
    Certificate {
        /// The policy file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// Whose it should be.
        publisher: String,
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    publisher: BTreeMap<Spanned<String>, Publisher>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Publisher {
    certificates: Spanned<Vec<Spanned<PathBuf>>>,
    bare: Option<Bare>,
    #[serde(default)]
    allow_issuer: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Bare {
    Loader,
    Library,
}

impl Policy {
    /// Reads a policy and all certificates that it names.
    ///
    /// # Errors
    /// [`PolicyError`], which says where.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let source = Source::read(path, MAX_SIZE)?;
        let file = source.parse()?;
        Reading {
            path,
            source: &source,
        }
        .policy(file)
    }

    /// Every key that may sign, by publisher.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }
}

/// A policy file that is being made sense of.
struct Reading<'a> {
    path: &'a Path,
    source: &'a Source,
}

impl Reading<'_> {
    fn policy(&self, file: File) -> Result<Policy, PolicyError> {
        let mut signers = Vec::new();
        if file.publisher.is_empty() {
            return Err(self.problem(0..0, "no publisher: nobody could sign anything"));
        }
        for (name, publisher) in &file.publisher {
            self.check_name(name)?;
            if publisher.certificates.get_ref().is_empty() {
                let problem = format!("publisher {:?} has no certificate", name.get_ref());
                return Err(self.problem(publisher.certificates.span(), problem));
            }
            for certificate in publisher.certificates.get_ref() {
                signers.push(self.signer(name.get_ref(), publisher, certificate)?);
            }
        }
        Ok(Policy { signers })
    }

    /// Names go into keyrings, events and status lines.
    fn check_name(&self, name: &Spanned<String>) -> Result<(), PolicyError> {
        let text = name.get_ref();
        let fits = (1..NAME_SIZE).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if fits {
            return Ok(());
        }
        let problem = format!(
            "publisher {text:?}: a name has 1 to {} letters, digits, '-', '_' or '.'",
            NAME_SIZE - 1
        );
        Err(self.problem(name.span(), problem))
    }

    fn signer(
        &self,
        name: &str,
        publisher: &Publisher,
        path: &Spanned<PathBuf>,
    ) -> Result<Signer, PolicyError> {
        let (line, column) = self.source.position(path.span());
        let directory = self
            .path
            .parent()
            .unwrap_or(Path::new("."))
            .join(CERTIFICATES);
        let file = directory.join(path.get_ref());
        let unfit = |source| PolicyError::Certificate {
            path: self.path.to_owned(),
            line,
            column,
            publisher: name.to_owned(),
            certificate: file.clone(),
            source,
        };
        let bytes = fs::read(&file).map_err(|error| unfit(error.into()))?;
        let certificate = Certificate::parse(&bytes).map_err(|error| unfit(error.into()))?;
        if !publisher.allow_issuer {
            certificate
                .require_end_entity()
                .map_err(|error| unfit(error.into()))?;
        }
        Ok(Signer {
            publisher: name.to_owned(),
            hint: certificate.key_hint(),
            certificate: certificate.der().to_vec(),
            public_key: certificate.public_key().to_vec(),
            bare: publisher.bare.map(|bare| match bare {
                Bare::Loader => Kind::Loader,
                Bare::Library => Kind::Library,
            }),
        })
    }

    fn problem(&self, span: Range<usize>, problem: impl Into<String>) -> PolicyError {
        self.source.problem(span, problem).into()
    }
}
