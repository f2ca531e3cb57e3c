//! `bpftrust inspect`: what a signature says, without judging it.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use bpftrust_signature::{FileSignature, Grant, MAX_SIZE, Malformed, SignedData};
use serde::{Serialize, Serializer};

use crate::cli::InspectArgs;
use crate::output::{self, Outcome, escape_bytes, escaped};
use crate::rights;
use crate::target::Target;

pub fn run(args: &InspectArgs) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Yes;
    for path in &args.files {
        match inspect(path) {
            Ok(found) => {
                if args.json {
                    output::print_json(&found);
                } else {
                    output::print(&found.text());
                }
                let is_good = found.form.is_some() && found.problems.is_empty();
                outcome = outcome.max(if is_good { Outcome::Yes } else { Outcome::No });
            }
            Err(error) => {
                output::report(&error.context(format!("inspecting {}", escaped(path))));
                outcome = Outcome::Unknown;
            }
        }
    }
    Ok(outcome)
}

/// What was found in one file or on it.
#[derive(Default, Serialize)]
struct Found {
    path: String,
    /// `xattr`, or `file` for a detached signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'static str>,
    /// `statement`, `bare`, or `pkcs7` for a bare one without envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    form: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serialize_grant"
    )]
    grant: Option<Grant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pkcs7_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    problems: Vec<String>,
}

fn inspect(path: &Path) -> anyhow::Result<Found> {
    let target = Target::open(path)?;
    let mut found = Found {
        path: escaped(path),
        ..Found::default()
    };
    if let Some(value) = target.xattr()? {
        found.place = Some("xattr");
        found.signature(&value);
        return Ok(found);
    }
    let mut bytes = Vec::new();
    // One byte more than any signature has, to see that it is too large.
    target
        .file()
        .take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .context("reading it")?;
    if FileSignature::is_begun_by(&bytes) {
        found.place = Some("file");
        found.signature(&bytes);
    } else if SignedData::is_begun_by(&bytes) {
        found.place = Some("file");
        found.form = Some("pkcs7");
        found.size = Some(bytes.len());
        found.signed_data(&bytes);
    } else {
        found.problems.push("no signature".into());
    }
    Ok(found)
}

impl Found {
    fn signature(&mut self, bytes: &[u8]) {
        self.size = Some(bytes.len());
        let signature = match FileSignature::parse(bytes) {
            Ok(signature) => signature,
            Err(error) => return self.problem(error),
        };
        self.key = Some(signature.key().to_string());
        self.form = Some(if signature.statement().is_some() {
            "statement"
        } else {
            "bare"
        });
        if let Some(statement) = signature.statement() {
            self.kind = Some(statement.kind().name());
            self.grant = statement.grant().cloned();
        }
        self.signed_data(signature.pkcs7());
    }

    fn signed_data(&mut self, pkcs7: &[u8]) {
        self.pkcs7_size = Some(pkcs7.len());
        match SignedData::parse(pkcs7) {
            Ok(signed) => {
                self.digest_algorithm = Some(signed.hash().name());
                self.signature_algorithm = Some(signed.scheme().name());
                self.issuer = Some(escape_bytes(signed.issuer().as_bytes()));
                self.serial = Some(signed.serial());
            }
            Err(error) => self.problem(error),
        }
    }

    fn problem(&mut self, error: Malformed) {
        self.problems
            .push(format!("{:#}", anyhow::Error::new(error)));
    }

    fn text(&self) -> String {
        let size = self.size.map(|size| format!("{size} bytes"));
        let pkcs7_size = self.pkcs7_size.map(|size| format!("{size} bytes"));
        let mut text = format!("{}:\n", self.path);
        let owned = |value: Option<&str>| value.map(str::to_owned);
        let grant = match (&self.grant, self.form) {
            (Some(grant), _) => rights::grant_lines(grant),
            (None, Some("statement")) => vec![("grant", "none".to_owned())],
            (None, _) => Vec::new(),
        };
        let before = [
            ("place", owned(self.place)),
            ("form", owned(self.form)),
            ("kind", owned(self.kind)),
        ];
        let grant = grant.into_iter().map(|(name, value)| (name, Some(value)));
        let behind = [
            ("key", self.key.clone()),
            ("size", size),
            ("PKCS#7", pkcs7_size),
            ("digest", owned(self.digest_algorithm)),
            ("signature", owned(self.signature_algorithm)),
            ("issuer", self.issuer.clone()),
            ("serial", self.serial.clone()),
        ];
        for (name, value) in before.into_iter().chain(grant).chain(behind) {
            if let Some(value) = value {
                text.push_str(&format!("  {name:<10} {value}\n"));
            }
        }
        for problem in &self.problems {
            text.push_str(&format!("  {:<10} {problem}\n", "problem"));
        }
        text
    }
}

fn serialize_grant<S: Serializer>(grant: &Option<Grant>, serializer: S) -> Result<S::Ok, S::Error> {
    grant
        .as_ref()
        .map(rights::grant_as_json)
        .serialize(serializer)
}
