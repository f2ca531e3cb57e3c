//! Making sense of a policy file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bpftrust_signature::{Certificate, KeyHint, Name, Rights};
use toml::Spanned;

use super::text::{DigestText, PolicyKeysText, PolicyText, PublisherText, RefusedText};
use super::{Keys, MAX_SIZE, Policy, PolicyError, Publisher, Refused, Signer, SystemKeyring};
use crate::source::{NameText, Source, TextError, read_regular};
use crate::vocabulary::known;
use crate::{Mode, Vocabulary};

/// Beside the policy file: what relative certificate paths are relative to.
const CERTIFICATES: &str = "certificates";

/// No certificate is larger, in bytes.
const MAX_CERTIFICATE: u64 = 256 * 1024;

/// The ability that a signature without a grant has, unless the policy says what
/// it means.
const CHILDREN: &str = "children";

/// Whose the keys are that sign policies, in words.
const POLICY_KEYS: &str = "the policy keys";

/// A policy file that is being read.
pub(super) struct Reading<'a> {
    path: &'a Path,
    source: &'a Source,
    /// Whose a key is, in words.
    keys: BTreeMap<KeyHint, String>,
    keyrings: BTreeMap<SystemKeyring, Name>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(path: &'a Path, source: &'a Source) -> Self {
        Self {
            path,
            source,
            keys: BTreeMap::new(),
            keyrings: BTreeMap::new(),
        }
    }

    pub(super) fn policy(mut self, text: PolicyText) -> Result<Policy, PolicyError> {
        if text.publisher.is_empty() {
            return Err(self.problem(0..0, "no publisher: nobody could sign anything"));
        }
        self.limit("publishers", text.publisher.len(), Policy::MAX_PUBLISHERS)?;
        let no_limit = Rights::UNLIMITED;
        let ceiling = text.ceiling.rights(self.source, &no_limit, &no_limit)?;
        let fallback = match &text.default {
            Some(text) if !text.requires().is_empty() => {
                return Err(self.problem(
                    0..0,
                    "[default] has no requirements of its own: say \"all\" or a list there, \
                     and `require` for everybody or for a publisher",
                ));
            }
            Some(text) => text.rights(self.source, &Rights::NONE, &ceiling)?,
            None => without_grant(),
        };
        let mut publishers = Vec::with_capacity(text.publisher.len());
        for (name, publisher) in text.publisher {
            publishers.push(self.publisher(&name, publisher, &ceiling)?);
        }
        let PolicyKeysText {
            certificates,
            allow_issuer,
        } = text.policy_keys;
        let policy_keys = certificates
            .iter()
            .map(|path| self.signer(POLICY_KEYS, path, allow_issuer))
            .collect::<Result<_, _>>()?;
        let mode = text.mode.into();
        let sealed_boot = match text.boot.sealed {
            Some(sealed) if *sealed.get_ref() && mode == Mode::Audit => {
                let problem = "mode = \"audit\" refuses nothing: there is nothing to seal";
                return Err(self.problem(sealed.span(), problem));
            }
            sealed => sealed.is_some_and(Spanned::into_inner),
        };
        let versions = text.minimum_version.into_iter();
        let policy = Policy {
            mode,
            serial: text.serial.0,
            sealed_boot,
            policy_keys,
            libraries: text.libraries.into(),
            requires: text.require.0 | text.ceiling.requires(),
            ceiling,
            fallback,
            publishers,
            minimum_versions: versions
                .map(|(name, version)| (name.0, version.0))
                .collect(),
            refused: self.refused(text.refused)?,
        };
        // Each has an entry in the kernel side's table.
        let refused = policy.refused.keys.iter();
        let nobodys = refused.filter(|key| !self.keys.contains_key(key)).count();
        self.limit(
            "keys, keyrings and refused keys",
            self.keys.len() + self.keyrings.len() + nobodys,
            Policy::MAX_KEYS,
        )?;
        self.limit(
            "refused digests, refused names, minimum versions and names that publishers may sign",
            policy.rules(),
            Policy::MAX_RULES,
        )?;
        Ok(policy)
    }

    fn publisher(
        &mut self,
        name: &Spanned<NameText>,
        text: PublisherText,
        ceiling: &Rights,
    ) -> Result<Publisher, PolicyError> {
        let span = name.span();
        let name = name.get_ref().0.clone();
        let no_limit = Rights::UNLIMITED;
        Ok(Publisher {
            ceiling: text.ceiling.rights(self.source, &no_limit, ceiling)?,
            keys: self.keys(&name, span, &text)?,
            loaders: match text.loaders {
                Some(loaders) if loaders.get_ref().is_empty() => {
                    let problem = format!("publisher \"{name}\" may not sign anything");
                    return Err(self.problem(loaders.span(), problem));
                }
                Some(loaders) => Some(
                    loaders
                        .into_inner()
                        .into_iter()
                        .map(|name| name.0)
                        .collect(),
                ),
                None => None,
            },
            bare: text.bare.map(Into::into),
            requires: text.require.0 | text.ceiling.requires(),
            name,
        })
    }

    fn keys(
        &mut self,
        name: &Name,
        span: Range<usize>,
        text: &PublisherText,
    ) -> Result<Keys, PolicyError> {
        match (&text.certificates, &text.keyring) {
            (None, None) => {
                let problem =
                    format!("publisher \"{name}\" has neither certificates nor a keyring");
                Err(self.problem(span, problem))
            }
            (Some(_), Some(keyring)) => {
                let problem = format!("publisher \"{name}\" has certificates and a keyring");
                Err(self.problem(keyring.span(), problem))
            }
            (None, Some(keyring)) => {
                if let Some(allow_issuer) = &text.allow_issuer {
                    let problem = "allow-issuer is about certificates, and a keyring has its own";
                    return Err(self.problem(allow_issuer.span(), problem));
                }
                let span = keyring.span();
                let keyring = (*keyring.get_ref()).into();
                if let Some(other) = self.keyrings.insert(keyring, name.clone()) {
                    let problem = format!(
                        "publisher \"{other}\" has the keyring \"{}\" already: it would prove \
                         neither",
                        keyring.name()
                    );
                    return Err(self.problem(span, problem));
                }
                Ok(Keys::Keyring(keyring))
            }
            (Some(paths), None) => {
                if paths.get_ref().is_empty() {
                    let problem = format!("publisher \"{name}\" has no certificate");
                    return Err(self.problem(paths.span(), problem));
                }
                let allow_issuer = text.allow_issuer.as_ref().is_some_and(|yes| *yes.get_ref());
                let owner = format!("publisher \"{name}\"");
                let paths = paths.get_ref().iter();
                let signers = paths.map(|path| self.signer(&owner, path, allow_issuer));
                Ok(Keys::Certificates(signers.collect::<Result<_, _>>()?))
            }
        }
    }

    fn signer(
        &mut self,
        owner: &str,
        path: &Spanned<PathBuf>,
        allow_issuer: bool,
    ) -> Result<Signer, PolicyError> {
        let (line, column) = self.source.position(path.span());
        let file = self.beside(CERTIFICATES).join(path.get_ref());
        let unfit = |source| PolicyError::Certificate {
            path: self.path.to_owned(),
            line,
            column,
            owner: owner.to_owned(),
            certificate: file.clone(),
            source,
        };
        let bytes = read_regular(&file, MAX_CERTIFICATE).map_err(|error| unfit(error.into()))?;
        let certificate = Certificate::parse(&bytes).map_err(|error| unfit(error.into()))?;
        if !allow_issuer {
            certificate
                .require_end_entity()
                .map_err(|error| unfit(error.into()))?;
        }
        let hint = certificate.key_hint();
        if let Some(other) = self.keys.insert(hint, owner.to_owned()) {
            let has = if other == POLICY_KEYS { "have" } else { "has" };
            let problem = format!("{other} {has} the key {hint} already: it would prove neither");
            return Err(self.problem(path.span(), problem));
        }
        Ok(Signer {
            hint,
            certificate: certificate.der().to_vec(),
            public_key: certificate.public_key().to_vec(),
        })
    }

    fn refused(&self, text: RefusedText) -> Result<Refused, PolicyError> {
        let mut digests = text.digests;
        if let Some(path) = &text.digests_file {
            let (line, column) = self.source.position(path.span());
            let file = self.beside("").join(path.get_ref());
            let read = digests_in(&file).map_err(|source| PolicyError::Digests {
                path: self.path.to_owned(),
                line,
                column,
                source,
            })?;
            digests.extend(read);
        }
        Ok(Refused {
            digests: digests.into_iter().map(|digest| digest.0).collect(),
            keys: text.keys.into_iter().map(|key| key.0).collect(),
            names: text.names.into_iter().map(|name| name.0).collect(),
        })
    }

    /// A path in the policy file's directory.
    fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }

    fn limit(&self, what: &'static str, count: usize, limit: usize) -> Result<(), PolicyError> {
        if count > limit {
            return Err(PolicyError::TooMany {
                path: self.path.to_owned(),
                what,
                count,
                limit,
            });
        }
        Ok(())
    }

    fn problem(&self, span: Range<usize>, problem: impl Into<String>) -> PolicyError {
        self.source.problem(span, problem).into()
    }
}

/// One digest a line; `#` begins a comment.
fn digests_in(path: &Path) -> Result<Vec<DigestText>, TextError> {
    let source = Source::read(path, MAX_SIZE)?;
    let mut digests = Vec::new();
    let mut start = 0;
    for line in source.text().split_inclusive('\n') {
        let text = line.split('#').next().unwrap_or_default();
        let digest = text.trim();
        if !digest.is_empty() {
            let at = start + text.len() - text.trim_start().len();
            let digest = DigestText::parse(digest);
            digests.push(digest.map_err(|problem| source.problem(at..at, problem))?);
        }
        start += line.len();
    }
    Ok(digests)
}

/// What a signature without a grant means, unless the policy says it.
fn without_grant() -> Rights {
    let mut rights = known(&[
        Vocabulary::Commands,
        Vocabulary::Programs,
        Vocabulary::Attaches,
        Vocabulary::Maps,
    ]);
    let children = Vocabulary::Abilities.number(CHILDREN);
    Vocabulary::Abilities.insert_all(&mut rights, children);
    rights
}
