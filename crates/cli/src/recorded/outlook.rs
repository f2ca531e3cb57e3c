//! What a policy would make of what was recorded, with the files as they are now.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use bpftrust_guard::{Entitlement, Libraries, Policy, Publisher, Question, Vocabulary};
use bpftrust_signature::{FileSignature, Kind, Name, Rights, Statement, verify};

use super::{Found, Loader, Now};
use crate::linker;
use crate::output::escaped;
use crate::rights::short;
use crate::target::Target;
use crate::verbs::explain::{Answer, Judge, Verdict};

/// What becomes of a loader once a policy is enforced.
#[derive(Debug)]
pub enum Outlook {
    /// It does what it did.
    Works {
        /// Who signed it, and as what, in words.
        signed: String,
    },
    /// It doesn't.
    Refused {
        /// In the words of the events.
        reason: String,
        /// What is wrong, if there is more to say.
        detail: Option<String>,
        /// Rights that its calls take and it would not have.
        missing: Rights,
    },
    /// It could not be told, and why.
    Unknown(String),
}

impl Outlook {
    /// As `--json` says it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Works { .. } => "works",
            Self::Refused { .. } => "refused",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// In words, without the loader's name.
impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works { signed } => write!(f, "works: {signed}"),
            Self::Unknown(why) => write!(f, "can't be told: {why}"),
            Self::Refused {
                reason,
                detail,
                missing,
            } => {
                write!(f, "would be refused: {reason}")?;
                if let Some(detail) = detail {
                    write!(f, ", {detail}")?;
                }
                if *missing != Rights::NONE {
                    write!(f, ", it lacks {}", short(missing))?;
                }
                Ok(())
            }
        }
    }
}

/// Keys that may sign the libraries of one process (`BT_SIGNERS` of `bpf/abi.h`).
const LIBRARY_KEYS: usize = 4;

/// A policy, to be asked of loaders.
pub struct Prospect {
    judge: Judge,
}

impl Prospect {
    /// # Errors
    /// If a certificate of the policy is none.
    pub fn new(policy: Policy) -> anyhow::Result<Self> {
        Judge::new(policy).map(|judge| Self { judge })
    }

    /// What becomes of a loader.
    pub fn of(&self, found: &Found) -> Outlook {
        let now = match &found.now {
            Ok(now) => now,
            Err(why) => return Outlook::Unknown(why.clone()),
        };
        if let Some(reason) = found.loader.circumstances.first() {
            return refused(reason, "it was executed so when it was recorded".into());
        }
        match self.judge.explain(&now.path, None) {
            Err(error) => Outlook::Unknown(format!("{error:#}")),
            Ok(answer) => match &answer.verdict {
                Verdict::Refused { reason, detail } => Outlook::Refused {
                    reason: (*reason).to_owned(),
                    detail: detail.clone(),
                    missing: Rights::NONE,
                },
                Verdict::Script(_) => refused("wrong-kind", "it is signed as script".into()),
                Verdict::Trusted(entitlement) => {
                    self.of_trusted(&found.loader, now, &answer, entitlement)
                }
            },
        }
    }

    fn of_trusted(
        &self,
        loader: &Loader,
        now: &Now,
        answer: &Answer,
        entitlement: &Entitlement,
    ) -> Outlook {
        let name = answer.grant.as_ref().map(|grant| &grant.name);
        let ceilings = match self.libraries(loader, &now.path, name) {
            Err(error) => return Outlook::Unknown(format!("its libraries: {error:#}")),
            Ok(Err((reason, detail))) => return refused(reason, detail),
            Ok(Ok(ceilings)) => ceilings,
        };
        let missing = missing(&loader.takes, &entitlement.rights, &ceilings);
        if missing != Rights::NONE {
            return Outlook::Refused {
                reason: "not-granted".into(),
                detail: None,
                missing,
            };
        }
        if !entitlement.requires.is_empty() {
            let required: Vec<_> = entitlement.requires.names().collect();
            return Outlook::Unknown(format!(
                "it requires {}, and no event says that it has it",
                required.join(" and ")
            ));
        }
        let publisher = answer
            .signer
            .as_ref()
            .map_or("", |(publisher, _)| publisher);
        let signed = match &answer.grant {
            Some(grant) => format!("{} version {} of {publisher}", grant.name, grant.version),
            None => format!("without a grant, of {publisher}"),
        };
        Outlook::Works { signed }
    }

    /// What the publishers of a loader's libraries leave it, or what is wrong with one:
    /// a reason and words.
    #[allow(
        clippy::type_complexity,
        reason = "could not tell, no with its reason, or yes with a right"
    )]
    fn libraries(
        &self,
        loader: &Loader,
        path: &Path,
        name: Option<&Name>,
    ) -> anyhow::Result<Result<Rights, (&'static str, String)>> {
        let mut ceilings = Rights::UNLIMITED;
        if self.judge.policy.libraries == Libraries::Any {
            return Ok(Ok(ceilings));
        }
        let mut files = linker::libraries(path)?.files;
        // What it opened itself, as far as a guard that knew it has told.
        for (_, file) in &loader.files {
            if file.starts_with('/') && !file.contains('\\') {
                files.push(file.into());
            }
        }
        let mut keys = Vec::new();
        for file in &files {
            match self.library(file, name)? {
                Err((reason, what)) => {
                    return Ok(Err((reason, format!("{} {what}", escaped(file)))));
                }
                Ok(None) => {}
                Ok(Some((publisher, key))) => {
                    ceilings = ceilings.intersection(&publisher.ceiling);
                    if !keys.contains(&key) {
                        keys.push(key);
                    }
                }
            }
        }
        if keys.len() > LIBRARY_KEYS {
            let what = format!("{} keys signed its libraries", keys.len());
            return Ok(Err(("resources", what)));
        }
        Ok(Ok(ceilings))
    }

    /// What `bpf/library.h` makes of a file that is mapped as code.
    #[allow(clippy::type_complexity, reason = "as above")]
    fn library(
        &self,
        file: &Path,
        loader: Option<&Name>,
    ) -> anyhow::Result<
        Result<Option<(&Publisher, bpftrust_signature::KeyHint)>, (&'static str, &'static str)>,
    > {
        const UNSIGNED: &str = "unsigned-library";
        let policy = &self.judge.policy;
        let target = Target::open(file)?;
        let content = target.content()?;
        if content.verity.lacking().is_some() {
            return Ok(Err((UNSIGNED, "has no fs-verity")));
        }
        let refused = bpftrust_guard::Refused::prefix(&content.digest);
        if policy.refused.digests.contains(&refused) {
            return Ok(Err(("revoked", "has a refused digest")));
        }
        if policy.libraries == Libraries::Verity {
            return Ok(Ok(None));
        }
        let value = target.xattr()?.unwrap_or_default();
        let Ok(signature) = FileSignature::parse(&value) else {
            return Ok(Err((UNSIGNED, "is not signed as a library")));
        };
        if verify(&signature, &content.digest, &self.judge.certificates).is_err() {
            return Ok(Err((UNSIGNED, "is signed by no key of the policy")));
        }
        let key = signature.key();
        let (publisher, _) = policy
            .signers()
            .find(|(_, signer)| signer.hint == key)
            .context("its certificate is the policy's")?;
        let kind = signature.statement().map(Statement::kind);
        if kind.or(publisher.bare) != Some(Kind::Library) {
            return Ok(Err((
                UNSIGNED,
                "is signed as something else than a library",
            )));
        }
        if policy.refused.keys.contains(&key) {
            return Ok(Err(("revoked", "is signed by a refused key")));
        }
        let may = |loaders: &std::collections::BTreeSet<Name>| {
            loader.is_some_and(|loader| loaders.contains(loader))
        };
        if publisher
            .loaders
            .as_ref()
            .is_some_and(|loaders| !may(loaders))
        {
            return Ok(Err((
                "not-granted",
                "is of a publisher who may not sign for it",
            )));
        }
        Ok(Ok(Some((publisher, key))))
    }
}

/// What is taken and not had, as the deciding function says it of each.
fn missing(takes: &Rights, rights: &Rights, ceilings: &Rights) -> Rights {
    let mut missing = Rights::NONE;
    for object in Vocabulary::ALL {
        for number in object.numbers(takes) {
            let question = Question {
                grant: *rights,
                publisher: *ceilings,
                policy: Rights::UNLIMITED,
                object,
                number,
            };
            if question.answer().reason != "none" {
                object.insert(&mut missing, number);
            }
        }
    }
    missing
}

fn refused(reason: &str, detail: String) -> Outlook {
    Outlook::Refused {
        reason: reason.to_owned(),
        detail: Some(detail),
        missing: Rights::NONE,
    }
}
