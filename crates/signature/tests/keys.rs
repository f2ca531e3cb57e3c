//! Only keys that the kernel can verify with, and certificates of one key.

mod common;

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use bpftrust_signature::{
    Certificate, Error, Identity, KeyAlgorithm, PemSigner, Validity, Zeroizing,
};
use common::{identity, no_passphrase, run, signature_of};

#[test]
fn weak_and_foreign_keys_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for (algorithm, expected) in [
        (&["rsa:1024"][..], "RSA key of 1024 bits"),
        (&["rsa:2560"], "RSA key of 2560 bits"),
        (
            &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"],
            "curve secp521r1",
        ),
        (
            &["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
            "curve secp256k1",
        ),
        (&["ed25519"], "Ed25519"),
        (&["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"], "RSA-PSS"),
    ] {
        let Some(certificate) = openssl_req(directory.path(), algorithm, "CA:FALSE") else {
            return;
        };
        let error = Certificate::parse(&certificate).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_certificate_that_issues_others_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    for (constraint, issues) in [
        ("CA:TRUE", true),
        ("critical,CA:TRUE", true),
        ("CA:FALSE", false),
    ] {
        let Some(pem) = openssl_req(directory.path(), &["rsa:2048"], constraint) else {
            return;
        };
        let certificate = Certificate::parse(&pem).unwrap();
        assert_eq!(certificate.issues_others(), issues, "{constraint}");
        assert_eq!(certificate.require_end_entity().is_err(), issues);
    }
}

#[test]
fn several_certificates_are_not_one() {
    let (one, _) = identity(KeyAlgorithm::P256);
    let (two, _) = identity(KeyAlgorithm::P384);
    let mut both = one.certificate_pem().unwrap();
    both.extend(two.certificate_pem().unwrap());
    assert!(matches!(
        Certificate::parse(&both),
        Err(Error::CertificateCount { count: 2 })
    ));
    assert_eq!(Certificate::parse_all(&both).unwrap().len(), 2);
    for nothing in [&b""[..], b"\n", b"-----BEGIN CERTIFICATE-----\n"] {
        assert!(matches!(
            Certificate::parse(nothing),
            Err(Error::ParseCertificate { .. })
        ));
    }
}

#[test]
fn a_private_key_is_not_a_certificate_and_the_reverse() {
    let (identity, _) = identity(KeyAlgorithm::P256);
    let key = identity.key_pem(None).unwrap();
    let certificate = identity.certificate_pem().unwrap();
    assert!(matches!(
        Certificate::parse(&key),
        Err(Error::ParseCertificate { .. })
    ));
    let swapped = PemSigner::new(&certificate, identity.certificate().clone(), no_passphrase);
    assert!(matches!(swapped.err(), Some(Error::ParseKey { .. })));
}

#[test]
fn a_key_with_the_certificate_of_another_is_refused() {
    let (one, _) = identity(KeyAlgorithm::P256);
    let (two, _) = identity(KeyAlgorithm::P256);
    let mixed = PemSigner::new(
        &one.key_pem(None).unwrap(),
        two.certificate().clone(),
        no_passphrase,
    );
    assert!(matches!(mixed.err(), Some(Error::KeyMismatch)));
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_only() {
    let (identity, _) = identity(KeyAlgorithm::P256);
    let pem = identity.key_pem(Some("pass phrase")).unwrap();
    assert!(pem.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let open = |answer: io::Result<&str>| {
        let answer = answer.map(|text| Zeroizing::new(text.to_owned()));
        PemSigner::new(&pem, identity.certificate().clone(), || answer)
    };
    let signer = open(Ok("pass phrase")).unwrap();
    signature_of(b"content", &signer);
    for wrong in ["", "pass phras", &"x".repeat(5000)] {
        assert!(matches!(
            open(Ok(wrong)).err(),
            Some(Error::WrongPassphrase)
        ));
    }
    let nobody = open(Err(io::Error::other("nobody there")));
    assert!(matches!(nobody.err(), Some(Error::AskPassphrase { .. })));
}

#[test]
fn dates_are_told_apart() {
    let (identity, _) = identity(KeyAlgorithm::P256); // for 30 days
    let certificate = identity.certificate();
    let now = SystemTime::now();
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(certificate.validity(now + day), Validity::Valid);
    assert_eq!(certificate.validity(now - day), Validity::NotYet);
    assert_eq!(certificate.validity(now + 31 * day), Validity::Expired);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    for name in ["", &"x".repeat(65)] {
        let result = Identity::generate(KeyAlgorithm::P256, name, 1);
        assert!(matches!(result.err(), Some(Error::NameLength { .. })));
    }
    let name = "schlüssel ".repeat(6);
    let identity = Identity::generate(KeyAlgorithm::P256, name.trim(), 1).unwrap();
    assert_eq!(
        identity.certificate().subject(),
        format!("CN={}", name.trim())
    );
}

/// A self-signed certificate made by OpenSSL's tool.
fn openssl_req(directory: &Path, key: &[&str], constraint: &str) -> Option<Vec<u8>> {
    let out = directory.join("certificate");
    let output = run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-subj",
            "/CN=t",
            "-keyout",
            "/dev/null",
            "-config",
        ])
        .arg("/dev/null")
        .args([
            "-addext",
            &format!("basicConstraints={constraint}"),
            "-newkey",
        ])
        .args(key)
        .arg("-out")
        .arg(&out))?;
    assert!(output.status.success(), "{output:?}");
    Some(fs::read(out).unwrap())
}
