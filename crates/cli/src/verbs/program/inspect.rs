//! `bpftrust program inspect`: what is in a signed light skeleton, and who takes it.

use std::path::Path;

use bpftrust_program::{Form, Generation, Package, takes_overrides};
use bpftrust_signature::{Certificate, SignedData, verify_program};
use serde::Serialize;

use crate::cli::ProgramInspectArgs;
use crate::input::read_certificates;
use crate::output::{self, Outcome, escape_bytes, escaped};

pub fn run(args: &ProgramInspectArgs) -> anyhow::Result<Outcome> {
    let certificates = read_certificates(&args.certificates, args.allow_issuer)?;
    let mut outcome = Outcome::Yes;
    for path in &args.files {
        match super::read_package(path) {
            Ok(package) => {
                let found = Found::new(path, &package, &certificates);
                match args.json {
                    true => output::print_json(&found),
                    false => output::print(&found.text()),
                }
                let is_good = found.forms.iter().all(FoundForm::is_good);
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

/// What was found in one file.
#[derive(Serialize)]
struct Found {
    path: String,
    /// The key that it names, which is no evidence.
    key: String,
    /// The generations of kernels that have no form in it, or verify nothing.
    not_for: Vec<&'static str>,
    forms: Vec<FoundForm>,
    programs: Vec<String>,
    maps: Vec<String>,
    metadata_size: usize,
}

/// Its form for one generation.
#[derive(Serialize)]
struct FoundForm {
    kernel: &'static str,
    instructions: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    /// By one of the certificates that were given; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<bool>,
    /// Values that the caller may choose instead of what was signed.
    overrides: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl FoundForm {
    fn new(form: Form<'_>, package: &Package, certificates: &[Certificate]) -> Self {
        let parsed = SignedData::parse(form.signature);
        let message = package.content.message(form.generation).unwrap_or_default();
        let answers: Vec<_> = certificates
            .iter()
            .map(|certificate| verify_program(form.signature, &message, certificate))
            .collect();
        let verified = answers.iter().any(Result::is_ok);
        let problem = match &parsed {
            Err(malformed) => Some(malformed.to_string()),
            Ok(_) if verified => None,
            Ok(_) => answers
                .into_iter()
                .find_map(Result::err)
                .map(|why| why.to_string()),
        };
        Self {
            kernel: form.generation.name(),
            instructions: form.loader.len() / 8,
            issuer: parsed.as_ref().ok().map(SignedData::issuer),
            serial: parsed.as_ref().ok().map(SignedData::serial),
            verified: (!certificates.is_empty()).then_some(verified),
            overrides: takes_overrides(form.loader),
            problem,
        }
    }

    fn is_good(&self) -> bool {
        self.problem.is_none() && self.overrides == 0
    }
}

impl Found {
    fn new(path: &Path, package: &Package, certificates: &[Certificate]) -> Self {
        let forms = Generation::ALL.map(|generation| package.form(generation));
        let not_for = Generation::ALL.iter().zip(&forms);
        Self {
            path: escaped(path),
            key: package.signer.to_string(),
            not_for: ["6.12"]
                .into_iter()
                .chain(
                    not_for
                        .filter(|(_, form)| form.is_none())
                        .map(|(of, _)| of.name()),
                )
                .collect(),
            forms: forms
                .into_iter()
                .flatten()
                .map(|form| FoundForm::new(form, package, certificates))
                .collect(),
            programs: package.content.programs.clone(),
            maps: package.content.maps.clone(),
            metadata_size: package.content.metadata.len(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{}:\n  key        {}\n", self.path, self.key);
        for form in &self.forms {
            let who = match (&form.issuer, &form.serial) {
                (Some(issuer), Some(serial)) => format!(
                    "serial {} of {}",
                    escape_bytes(serial.as_bytes()),
                    escape_bytes(issuer.as_bytes())
                ),
                _ => "nobody".to_owned(),
            };
            let verified = match form.verified {
                Some(true) => ", verified",
                Some(false) => ", NOT verified",
                None => "",
            };
            let what = match form.kernel {
                "6.18" => "instructions signed; they compare the metadata's hash",
                _ => "instructions and metadata signed",
            };
            text += &format!("  Linux {:<4} {what}, by {who}{verified}\n", form.kernel);
            if let Some(problem) = &form.problem {
                text += &format!("             {problem}\n");
            }
            if form.overrides > 0 {
                text += &format!(
                    "             its caller may choose {} values that no signature covers: the \
                     content and size of maps\n",
                    form.overrides
                );
            }
        }
        text += &format!("  not for    Linux {}\n", self.not_for.join(", "));
        text += &format!("  programs   {}\n", self.programs.join(" "));
        text += &format!("  maps       {}\n", self.maps.join(" "));
        text
    }
}
