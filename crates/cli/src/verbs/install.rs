//! `bpftrust install`: signatures that were made elsewhere.

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use bpftrust_signature::{Certificate, FileSignature, Refusal, SignedData, import, verify};

use crate::advice::advised;
use crate::cli::InstallArgs;
use crate::input::{read_certificates, read_regular};
use crate::output::{self, Outcome, escaped};
use crate::target::Target;
use crate::tree::with_suffix;
use crate::verbs::sign::SUFFIX;

pub fn run(args: &InstallArgs) -> anyhow::Result<Outcome> {
    ensure!(
        args.signature.is_none() || args.files.len() == 1,
        "--signature is the signature of one file, and {} are given",
        args.files.len()
    );
    let certificates = read_certificates(&args.certificates, args.allow_issuer)?;
    let mut outcome = Outcome::Yes;
    for path in &args.files {
        let beside = with_suffix(path, SUFFIX);
        let source = args.signature.as_deref().unwrap_or(&beside);
        if let Err(error) = install(path, source, &certificates) {
            output::report(&error.context(format!("installing on {}", escaped(path))));
            outcome = Outcome::Unknown;
        }
    }
    Ok(outcome)
}

fn install(path: &Path, source: &Path, certificates: &[Certificate]) -> anyhow::Result<()> {
    let signature = read_signature(source, certificates)
        .with_context(|| format!("signature {}", escaped(source)))?;
    let target = Target::open(path)?;
    target.require_content()?;
    target.require_verity()?;
    let digest = target.content()?.digest;
    let remark = if certificates.is_empty() {
        ", not checked against a certificate"
    } else {
        verify(&signature, &digest, certificates)
            .with_context(|| format!("signature {}", escaped(source)))?;
        ""
    };
    target.attach(&signature, &digest)?;
    let kind = signature
        .statement()
        .map_or("bare file", |statement| statement.kind().name());
    output::print(&format!(
        "{}: signed as {kind}, {digest}{remark}\n",
        escaped(path)
    ));
    Ok(())
}

/// A signature from a file: one of ours, or the PKCS#7 that `fsverity sign`
/// wrote. Its shape is good, and nothing more is known.
pub fn read_signature(path: &Path, certificates: &[Certificate]) -> anyhow::Result<FileSignature> {
    let bytes = read_regular(path)?;
    if !SignedData::is_begun_by(&bytes) {
        let signature = FileSignature::parse(&bytes)?;
        signature.signed_data()?;
        return Ok(signature);
    }
    if certificates.is_empty() {
        return Err(advised(
            anyhow!("a bare signature does not say which key made it"),
            "--certificate CERT.pem gives the certificate of the key",
        ));
    }
    import(bytes, certificates).map_err(|refusal| match refusal {
        Refusal::UnknownCertificate { .. } => advised(
            refusal,
            "--certificate CERT.pem gives the certificate of the key",
        ),
        refusal => refusal.into(),
    })
}
