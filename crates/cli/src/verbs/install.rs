//! `bpftrust install`: signatures that were made elsewhere.

mod tree;

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use bpftrust_signature::{Certificate, FileSignature, Reason, Refusal, SignedData, import, verify};
use bpftrust_verity::Digest;

use crate::advice::advised;
use crate::cli::{CERTIFICATE_DIRECTORY, InstallArgs};
use crate::input::{pem_files, read_certificates, read_regular};
use crate::output::{self, Outcome, escaped};
use crate::signature_tree::SUFFIX;
use crate::target::Target;
use crate::tree::with_suffix;

pub fn run(args: &InstallArgs) -> anyhow::Result<Outcome> {
    ensure!(
        args.signature.is_none() || args.files.len() == 1,
        "--signature is the signature of one file, and {} are given",
        args.files.len()
    );
    let judges = Judges {
        given: read_certificates(&args.certificates, args.allow_issuer)?,
        known: if args.certificates.is_empty() {
            known_certificates()
        } else {
            Vec::new()
        },
    };
    if let Some(directory) = &args.tree {
        return tree::run(directory, &args.files, judges.certificates());
    }
    let mut outcome = Outcome::Yes;
    for path in &args.files {
        let beside = with_suffix(path, SUFFIX);
        let source = args.signature.as_deref().unwrap_or(&beside);
        if let Err(error) = install(path, source, &judges) {
            output::report(&error.context(format!("installing on {}", escaped(path))));
            outcome = Outcome::Unknown;
        }
    }
    Ok(outcome)
}

/// What signatures are checked against before they are put on a file.
struct Judges {
    /// On the command line: one of these must have signed.
    given: Vec<Certificate>,
    /// Those of this host's policy: a signature of another key may be meant for
    /// another host, or for a policy that is yet to come.
    known: Vec<Certificate>,
}

impl Judges {
    /// Those that may say that a signature is good.
    fn certificates(&self) -> &[Certificate] {
        match &self.given[..] {
            [] => &self.known,
            given => given,
        }
    }

    /// Was the signature checked? `false` if no certificate is there to do it.
    fn check(&self, signature: &FileSignature, digest: &Digest) -> Result<bool, Refusal> {
        if !self.given.is_empty() {
            return verify(signature, digest, &self.given).map(|_| true);
        }
        match verify(signature, digest, &self.known) {
            Err(refusal) if refusal.reason() == Reason::UnknownKey => Ok(false),
            verdict => verdict.map(|_| true),
        }
    }
}

fn known_certificates() -> Vec<Certificate> {
    let paths = pem_files(Path::new(CERTIFICATE_DIRECTORY)).unwrap_or_default();
    let read = |path| match read_certificates(&[path], true) {
        Ok(certificates) => certificates,
        Err(error) => {
            output::warn(&format!("{error:#}"));
            Vec::new()
        }
    };
    paths.into_iter().flat_map(read).collect()
}

fn install(path: &Path, source: &Path, judges: &Judges) -> anyhow::Result<()> {
    let naming = || format!("signature {}", escaped(source));
    let signature = read_signature(source, &judges.given).with_context(naming)?;
    let target = Target::open(path)?;
    target.require_content()?;
    target.require_verity()?;
    let digest = target.content()?.digest;
    let is_checked = judges.check(&signature, &digest).with_context(naming)?;
    target.attach(&signature, &digest)?;
    let signed_as = signed_as(&signature);
    output::print(&match is_checked {
        true => format!("{}: {signed_as}, {digest}\n", escaped(path)),
        false => format!(
            "{}: {signed_as} it says, not checked: no certificate of key {}\n",
            escaped(path),
            signature.key()
        ),
    });
    Ok(())
}

/// "signed as loader execsnoop version 2".
fn signed_as(signature: &FileSignature) -> String {
    let Some(statement) = signature.statement() else {
        return "signed as bare file".into();
    };
    let kind = statement.kind().name();
    match statement.grant() {
        Some(grant) => format!("signed as {kind} {} version {}", grant.name, grant.version),
        None => format!("signed as {kind}"),
    }
}

/// A signature from a file, with what to type if it does not say whose it is.
pub fn read_signature(path: &Path, certificates: &[Certificate]) -> anyhow::Result<FileSignature> {
    let bytes = read_regular(path)?;
    const HELP: &str = "--certificate CERT.pem gives the certificate of the key";
    if SignedData::is_begun_by(&bytes) && certificates.is_empty() {
        return Err(advised(
            anyhow!("a bare signature does not say which key made it"),
            HELP,
        ));
    }
    parse_signature(bytes, certificates).map_err(|refusal| match refusal {
        Refusal::UnknownCertificate { .. } => advised(refusal, HELP),
        Refusal::Malformed(malformed) => malformed.into(),
        refusal => refusal.into(),
    })
}

/// A signature: one of ours, or the PKCS#7 that `fsverity sign` wrote. Its shape
/// is good, and nothing more is known.
pub fn parse_signature(
    bytes: Vec<u8>,
    certificates: &[Certificate],
) -> Result<FileSignature, Refusal> {
    if SignedData::is_begun_by(&bytes) {
        return import(bytes, certificates);
    }
    let signature = FileSignature::parse(&bytes)?;
    signature.signed_data()?;
    Ok(signature)
}
