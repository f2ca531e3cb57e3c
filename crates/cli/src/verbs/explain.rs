//! `bpftrust explain`: what the kernel side would make of a file's signature
//! under a policy, without executing the file.

mod script;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow, ensure};
use bpftrust_guard::{Denial, Entitlement, Keys, Libraries, Policy, Publisher, Signed, Vocabulary};
use bpftrust_host::{KernelTypes, ProgramSignatures, Root};
use bpftrust_signature::{
    Certificate, FileSignature, Grant, KeyHint, Kind, Reason, Refusal, Requirements, Rights,
    Statement, verify,
};
use bpftrust_verity::Digest;
use serde_json::{Map, Value, json};

use crate::advice::{advised, quoted};
use crate::cli::ExplainArgs;
use crate::guard_advice::load_policy;
use crate::input::read_regular;
use crate::output::{self, Outcome, escaped};
use crate::rights::{end, end_as_json, moment, require, rights_as_json};
use crate::target::Target;
use crate::verbs::install::parse_signature;
use crate::verbs::policy::libraries;
use script::Script;

pub fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    ensure!(
        args.signature.is_none() || args.files.len() == 1,
        "--signature is the signature of one file, and {} are given",
        args.files.len()
    );
    let judge = Judge::new(load_policy(args.policy.as_deref())?)?;
    let mut outcome = Outcome::Yes;
    for path in &args.files {
        match judge.explain(path, args.signature.as_deref()) {
            Ok(answer) => {
                if args.json {
                    output::print_json(&answer.as_json(path));
                } else {
                    output::print(&answer.text(path));
                }
                outcome = outcome.max(match answer.verdict {
                    Verdict::Trusted(_) | Verdict::Script(_) => Outcome::Yes,
                    Verdict::Refused { .. } => Outcome::No,
                });
            }
            Err(error) => {
                output::report(&error.context(format!("explaining {}", escaped(path))));
                outcome = Outcome::Unknown;
            }
        }
    }
    Ok(outcome)
}

/// What a file that is executed may do under a policy.
///
/// # Errors
/// If it could not be told, or the answer is nothing.
pub fn rights_of(path: &Path, policy: Policy) -> anyhow::Result<Rights> {
    match Judge::new(policy)?.explain(path, None)?.verdict {
        Verdict::Trusted(entitlement) => Ok(entitlement.rights),
        Verdict::Script(_) => Err(advised(
            anyhow!("{} is signed as script, and no loader", escaped(path)),
            format!("type 'bpftrust script run {}'", quoted(path)),
        )),
        Verdict::Refused { reason, detail } => Err(advised(
            match detail {
                Some(detail) => anyhow!("{} is not trusted, {reason}: {detail}", escaped(path)),
                None => anyhow!("{} is not trusted, {reason}", escaped(path)),
            },
            format!("type 'bpftrust explain {}'", quoted(path)),
        )),
    }
}

/// A policy, ready to verify.
pub struct Judge {
    /// The policy.
    pub policy: Policy,
    /// The certificates of its publishers.
    pub certificates: Vec<Certificate>,
    now: u64,
}

/// What is known of one file.
#[derive(Default)]
pub struct Answer {
    digest: Option<Digest>,
    /// Whose key signed it; only if the signature is good.
    pub signer: Option<(String, KeyHint)>,
    /// What was signed.
    pub grant: Option<Grant>,
    /// What the policy asks of files that it maps.
    libraries: Libraries,
    /// The answer.
    pub verdict: Verdict,
}

/// Whether a file gives trust.
pub enum Verdict {
    /// It does, and this.
    Trusted(Box<Entitlement>),
    /// As script: a loader that is started on it has this at most.
    Script(Box<Script>),
    /// It does not.
    Refused {
        /// In the words of the events.
        reason: &'static str,
        /// What is wrong.
        detail: Option<String>,
    },
}

impl Default for Verdict {
    fn default() -> Self {
        Self::refused(Reason::NoSignature.name(), None)
    }
}

impl Verdict {
    fn refused(reason: &'static str, detail: Option<String>) -> Self {
        Self::Refused { reason, detail }
    }

    fn not_good(refusal: &Refusal) -> Self {
        let detail = format!("{:#}", anyhow::Error::new(refusal.clone()));
        Self::refused(refusal.reason().name(), Some(detail))
    }

    fn denied(denial: &Denial) -> Self {
        let mut detail = denial.to_string();
        if let Denial::Expired { not_after } = denial {
            detail = format!("{detail}: {}", moment(*not_after));
        }
        Self::refused(denial.reason(), Some(detail))
    }
}

impl Judge {
    /// # Errors
    /// If a certificate of the policy is none.
    pub fn new(policy: Policy) -> anyhow::Result<Self> {
        let certificates = policy
            .signers()
            .map(|(_, signer)| Certificate::parse(&signer.certificate))
            .collect::<Result<_, _>>()
            .context("the policy's certificates")?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Ok(Self {
            policy,
            certificates,
            now,
        })
    }

    /// What the guard would make of a file that is executed.
    ///
    /// # Errors
    /// If it can't be read, or only the kernel can tell.
    pub fn explain(&self, path: &Path, detached: Option<&Path>) -> anyhow::Result<Answer> {
        let target = Target::open(path)?;
        let mut answer = Answer {
            libraries: self.policy.libraries,
            ..Answer::default()
        };
        let signature = match (detached, target.xattr()?) {
            (Some(detached), _) => parse_signature(read_regular(detached)?, &self.certificates),
            (None, Some(value)) => FileSignature::parse(&value).map_err(Refusal::from),
            (None, None) => return Ok(answer),
        };
        let signature = match signature {
            Ok(signature) => signature,
            Err(refusal) => {
                self.require_known(&refusal)?;
                answer.verdict = Verdict::not_good(&refusal);
                return Ok(answer);
            }
        };
        let content = target.content()?;
        answer.digest = Some(content.digest);
        if let (None, Some(lacking)) = (detached, content.verity.lacking()) {
            answer.verdict = Verdict::refused(Reason::NoVerity.name(), Some(lacking.into()));
            return Ok(answer);
        }
        let mut policy_keys = self.policy.policy_keys.iter();
        if policy_keys.any(|signer| signer.hint == signature.key()) {
            let detail = "its key signs policies, and what it says of files counts nothing";
            answer.verdict = Verdict::refused("wrong-kind", Some(detail.into()));
            return Ok(answer);
        }
        if let Err(refusal) = verify(&signature, &content.digest, &self.certificates) {
            self.require_known(&refusal)?;
            answer.verdict = Verdict::not_good(&refusal);
            return Ok(answer);
        }
        let key = signature.key();
        let (publisher, _) = self
            .policy
            .signers()
            .find(|(_, signer)| signer.hint == key)
            .expect("its certificate is the policy's");
        answer.signer = Some((publisher.name.to_string(), key));
        answer.grant = signature.statement().and_then(Statement::grant).cloned();
        let signed = Signed {
            publisher,
            key,
            digest: &content.digest,
            grant: answer.grant.as_ref(),
        };
        let kind = signature.statement().map(Statement::kind);
        answer.verdict = if kind == Some(Kind::Script) {
            match self.policy.entitle_script(&signed, self.now) {
                Ok(entitlement) => {
                    let script = Script::new(&target, entitlement, signed.grant)?;
                    Verdict::Script(Box::new(script))
                }
                Err(denial) => Verdict::denied(&denial),
            }
        } else if let Err(detail) = require_loader(kind, publisher) {
            Verdict::refused("wrong-kind", Some(detail))
        } else {
            match self.policy.entitle(&signed, self.now) {
                Ok(entitlement) => Verdict::Trusted(Box::new(entitlement)),
                Err(denial) => Verdict::denied(&denial),
            }
        };
        Ok(answer)
    }

    /// Who is unknown here may be known to a keyring of the kernel.
    fn require_known(&self, refusal: &Refusal) -> anyhow::Result<()> {
        let keyring = self
            .policy
            .publishers
            .iter()
            .find_map(|one| match one.keys {
                Keys::Keyring(keyring) => Some((keyring, &one.name)),
                _ => None,
            });
        match keyring {
            Some((keyring, name)) if refusal.reason() == Reason::UnknownKey => Err(advised(
                anyhow!(
                    "no certificate of the policy is of its key, and only the kernel can ask the \
                     {} keyring of publisher {name}",
                    keyring.name()
                ),
                "to see what the kernel says, execute it and type 'bpftrust events'",
            )),
            _ => Ok(()),
        }
    }
}

fn require_loader(kind: Option<Kind>, publisher: &Publisher) -> Result<(), String> {
    match (kind, publisher.bare) {
        (Some(Kind::Loader), _) | (None, Some(Kind::Loader)) => Ok(()),
        (Some(kind), _) => Err(format!("it is signed as {kind}")),
        (None, Some(kind)) => Err(format!(
            "a bare signature of publisher {} means {kind}",
            publisher.name
        )),
        (None, None) => Err(format!(
            "a bare signature of publisher {} means nothing",
            publisher.name
        )),
    }
}

/// May it load only programs that the running kernel has verified, and does that verify
/// none? Where that can't be told nothing is said of it; `bpftrust check` does.
fn loads_none_here(entitlement: &Entitlement) -> bool {
    entitlement.requires.contains(Requirements::SIGNED_PROGRAMS)
        && matches!(
            KernelTypes::probe(&Root::host()),
            Ok(Some(types)) if types.signatures == ProgramSignatures::None
        )
}

impl Answer {
    fn text(&self, path: &Path) -> String {
        let path = escaped(path);
        let mut text = match &self.verdict {
            Verdict::Trusted(_) => format!("{path}: yes"),
            Verdict::Script(_) => format!("{path}: yes, as script"),
            Verdict::Refused { reason, .. } => format!("{path}: no, {reason}"),
        };
        if let Some((publisher, key)) = &self.signer {
            text.push_str(&match &self.grant {
                Some(grant) => format!(", {} version {}", grant.name, grant.version),
                None => ", without a grant".to_owned(),
            });
            text.push_str(&format!(", signed by {publisher} (key {key})"));
            if let Some(grant) = self.grant.as_ref().filter(|grant| grant.not_after != 0) {
                text.push_str(&format!(", until {}", end(grant)));
            }
        }
        match &self.verdict {
            Verdict::Refused {
                detail: Some(detail),
                ..
            } => text.push_str(&format!(": {detail}\n")),
            Verdict::Refused { detail: None, .. } => text.push('\n'),
            Verdict::Trusted(entitlement) => {
                let rule = libraries(self.libraries);
                text.push_str(&self.lines(entitlement, vec![("libraries", rule)]));
            }
            Verdict::Script(script) => {
                text.push_str(&self.lines(&script.entitlement, script.lines()));
            }
        }
        text
    }

    /// A line for each thing that it may do, or that doing it takes.
    fn lines(&self, entitlement: &Entitlement, more: Vec<(&str, String)>) -> String {
        let mut text = "\n".to_owned();
        for kind in Vocabulary::ALL {
            text.push_str(&self.right(kind, entitlement));
        }
        let mut lines = more;
        let required = require(entitlement.requires).into_iter();
        lines.extend(required.map(|what| ("require", what.to_owned())));
        if loads_none_here(entitlement) {
            let none = "no programs at all: this kernel verifies no signatures of programs \
                        (Linux 6.18 is the first)";
            lines.push(("here", none.to_owned()));
        }
        for (what, says) in lines {
            text.push_str(&format!("  {what:<10} {says}\n"));
        }
        text
    }

    /// What it may do of one kind, and who said so.
    fn right(&self, kind: Vocabulary, entitlement: &Entitlement) -> String {
        let mut text = format!(
            "  {:<10} {}  ({}",
            kind.label(),
            kind.list(&entitlement.rights),
            self.basis()
        );
        for (ceiling, cut) in [
            ("publisher's", &entitlement.cut_by_publisher),
            ("policy's", &entitlement.cut_by_policy),
        ] {
            if !kind.numbers(cut).is_empty() {
                let cut = kind.list(cut);
                text.push_str(&format!("; the {ceiling} ceiling takes {cut}"));
            }
        }
        text.push_str(")\n");
        text
    }

    /// Where its rights come from.
    fn basis(&self) -> &'static str {
        match (&self.grant, &self.verdict) {
            (Some(_), _) => "grant",
            (None, Verdict::Script(_)) => "loader",
            (None, _) => "default",
        }
    }

    fn as_json(&self, path: &Path) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("path", json!(escaped(path)));
        put(
            "trusted",
            json!(!matches!(self.verdict, Verdict::Refused { .. })),
        );
        if let Some(digest) = &self.digest {
            put("digest", json!(digest.to_string()));
        }
        if let Some((publisher, key)) = &self.signer {
            put("publisher", json!(publisher));
            put("key", json!(key.to_string()));
        }
        if let Some(grant) = &self.grant {
            put("name", json!(grant.name.as_str()));
            put("version", json!(grant.version));
            put("not_after", json!(end_as_json(grant)));
        }
        match &self.verdict {
            Verdict::Refused { reason, detail } => {
                put("reason", json!(reason));
                put("detail", json!(detail));
            }
            Verdict::Trusted(entitlement) => {
                put("kind", json!(Kind::Loader.name()));
                put("libraries", json!(self.libraries.name()));
                object.extend(self.entitlement_as_json(entitlement));
            }
            Verdict::Script(script) => {
                put("kind", json!(Kind::Script.name()));
                object.extend(script.to_json());
                object.extend(self.entitlement_as_json(&script.entitlement));
            }
        }
        object.into()
    }

    fn entitlement_as_json(&self, entitlement: &Entitlement) -> Map<String, Value> {
        let mut object = Map::new();
        let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
        put("basis", json!(self.basis()));
        put("require", json!(require(entitlement.requires)));
        if entitlement.requires.contains(Requirements::SIGNED_PROGRAMS) {
            put(
                "verifies_programs_here",
                json!(!loads_none_here(entitlement)),
            );
        }
        for (key, rights) in [
            ("rights", &entitlement.rights),
            ("cut_by_publisher", &entitlement.cut_by_publisher),
            ("cut_by_policy", &entitlement.cut_by_policy),
        ] {
            put(key, rights_as_json(rights).into());
        }
        object
    }
}
