//! `bpftrust verify`: whether the signature on a file is good, and why not. What
//! it makes of the file (kind, bare signatures) is the policy's to say.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, ensure};
use bpftrust_signature::{Certificate, FileSignature, Reason, Refusal, Validity, verify};
use serde::Serialize;

use crate::advice::Advise;
use crate::cli::{CERTIFICATE_DIRECTORY, VerifyArgs};
use crate::input::{pem_files, read_certificates};
use crate::output::{self, Outcome, escape_bytes, escaped};
use crate::target::{Content, Target};
use crate::verbs::install::read_signature;

pub fn run(args: &VerifyArgs) -> anyhow::Result<Outcome> {
    ensure!(
        args.signature.is_none() || args.files.len() == 1,
        "--signature is the signature of one file, and {} are given",
        args.files.len()
    );
    let certificates = certificates(args)?;
    let mut outcome = Outcome::Yes;
    for path in &args.files {
        match judge(path, args.signature.as_deref(), &certificates) {
            Ok(answer) => {
                if args.json {
                    output::print_json(&answer);
                } else {
                    output::print(&answer.text());
                }
                outcome = outcome.max(if answer.verified {
                    Outcome::Yes
                } else {
                    Outcome::No
                });
            }
            Err(error) => {
                output::report(&error.context(format!("verifying {}", escaped(path))));
                outcome = Outcome::Unknown;
            }
        }
    }
    Ok(outcome)
}

fn certificates(args: &VerifyArgs) -> anyhow::Result<Vec<Certificate>> {
    let mut paths: Vec<PathBuf> = args.certificates.clone();
    if paths.is_empty() {
        paths = pem_files(Path::new(CERTIFICATE_DIRECTORY))
            .advise(|| "--certificate CERT.pem gives a certificate to trust".into())?;
    }
    read_certificates(&paths, args.allow_issuer)
}

/// The answer for one file.
#[derive(Serialize)]
struct Answer {
    path: String,
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

impl Answer {
    fn no(path: &Path, reason: Reason, detail: Option<String>) -> Self {
        Self {
            path: escaped(path),
            verified: false,
            reason: Some(reason.name()),
            detail,
            kind: None,
            key: None,
            certificate: None,
            expired: None,
            digest: None,
        }
    }

    fn text(&self) -> String {
        let Self { path, .. } = self;
        let mut text = match self.reason {
            Some(reason) => format!("{path}: no, {reason}"),
            None => format!("{path}: yes"),
        };
        if let (Some(kind), Some(certificate), Some(key)) =
            (self.kind, &self.certificate, &self.key)
        {
            text.push_str(&format!(", signed as {kind} by {certificate} (key {key})"));
        }
        if let Some(detail) = &self.detail {
            text.push_str(&format!(": {detail}"));
        }
        text.push('\n');
        text
    }
}

fn judge(
    path: &Path,
    detached: Option<&Path>,
    certificates: &[Certificate],
) -> anyhow::Result<Answer> {
    let target = Target::open(path)?;
    let signature = match detached {
        Some(detached) => match read_signature(detached, certificates) {
            Ok(signature) => signature,
            Err(error) => return refusal_of(path, error),
        },
        None => match target.xattr()? {
            None => return Ok(Answer::no(path, Reason::NoSignature, None)),
            Some(value) => match FileSignature::parse(&value) {
                Ok(signature) => signature,
                Err(error) => return Ok(refused(path, &Refusal::Malformed(error))),
            },
        },
    };
    let content = target.content()?;
    let mut answer = match verify(&signature, &content.digest, certificates) {
        Err(refusal) => refused(path, &refusal),
        Ok(verified) => {
            let certificate = verified.certificate;
            let expired = certificate.validity(SystemTime::now()) == Validity::Expired;
            Answer {
                path: escaped(path),
                verified: true,
                reason: None,
                detail: None,
                kind: Some(verified.kind.map_or("bare file", |kind| kind.name())),
                key: Some(certificate.key_hint().to_string()),
                certificate: Some(escape_bytes(certificate.subject().as_bytes())),
                expired: expired.then_some(true),
                digest: None,
            }
        }
    };
    answer.digest = Some(content.digest.to_string());
    if detached.is_none() {
        require_verity(&mut answer, &content);
    }
    Ok(answer)
}

/// However good the signature: content that may change is not trusted.
fn require_verity(answer: &mut Answer, content: &Content) {
    let Some(lacking) = content.verity.lacking() else {
        return;
    };
    let besides = match answer.reason {
        None => "the signature itself is good".to_owned(),
        Some(reason) => format!("besides, {reason}"),
    };
    answer.verified = false;
    answer.reason = Some(Reason::NoVerity.name());
    answer.detail = Some(format!("{lacking}; {besides}"));
}

fn refused(path: &Path, refusal: &Refusal) -> Answer {
    let chain = anyhow::Error::new(refusal.clone());
    Answer::no(path, refusal.reason(), Some(format!("{chain:#}")))
}

/// What is wrong with a detached signature is an answer; that it can't be read
/// is none.
fn refusal_of(path: &Path, error: anyhow::Error) -> anyhow::Result<Answer> {
    use bpftrust_signature::Malformed;
    for cause in error.chain() {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Ok(refused(path, refusal));
        }
        if let Some(malformed) = cause.downcast_ref::<Malformed>() {
            return Ok(refused(path, &Refusal::Malformed(malformed.clone())));
        }
    }
    Err(error).context("the detached signature")
}
