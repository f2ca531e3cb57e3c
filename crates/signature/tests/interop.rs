//! Other tools take our signatures, and we take theirs.

mod common;

use std::fs;
use std::process::Command;

use bpftrust_signature::{
    Certificate, FileSignature, KeyAlgorithm, Kind, Reason, SignedData, Statement, import, sign,
    verify,
};
use bpftrust_verity::{Algorithm, Descriptor, Parameters};
use common::{digest_of, identity, run};

const ALL: [KeyAlgorithm; 5] = [
    KeyAlgorithm::Rsa2048,
    KeyAlgorithm::Rsa3072,
    KeyAlgorithm::Rsa4096,
    KeyAlgorithm::P256,
    KeyAlgorithm::P384,
];

#[test]
fn openssl_cms_accepts_signatures_of_every_kind_of_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for algorithm in ALL {
        let (identity, signer) = identity(algorithm);
        let digest = digest_of(b"content");
        let signature = sign(&signer, &digest, Some(Statement::new(Kind::Loader))).unwrap();
        fs::write(path("message"), signature.message(&digest)).unwrap();
        fs::write(path("pkcs7"), signature.pkcs7()).unwrap();
        fs::write(path("certificate"), identity.certificate_pem().unwrap()).unwrap();
        let mut command = Command::new("openssl");
        command.args([
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "der",
            "-out",
            "/dev/null",
        ]);
        // The kernel doesn't ask what a certificate is for, OpenSSL wants e-mail.
        command.args(["-purpose", "any"]);
        for (option, name) in [
            ("-in", "pkcs7"),
            ("-content", "message"),
            ("-certfile", "certificate"),
            ("-CAfile", "certificate"),
        ] {
            command.arg(option).arg(path(name));
        }
        let Some(output) = run(&mut command) else {
            return;
        };
        assert!(output.status.success(), "{algorithm}: {output:?}");
    }
}

#[test]
fn bare_rsa_signatures_are_those_of_fsverity_sign() {
    for (algorithm, hash) in [
        (KeyAlgorithm::Rsa2048, Algorithm::Sha256),
        (KeyAlgorithm::Rsa2048, Algorithm::Sha512),
        (KeyAlgorithm::Rsa4096, Algorithm::Sha256),
    ] {
        let (identity, signer) = identity(algorithm);
        let Some(theirs) = fsverity_sign(&identity, hash) else {
            return;
        };
        let parameters = Parameters::new(hash, 4096, &[]).unwrap();
        let digest = Descriptor::compute(CONTENT, &parameters).unwrap().digest();
        let ours = sign(&signer, &digest, None).unwrap();
        assert!(ours.pkcs7() == theirs, "{algorithm} {hash}");
    }
}

#[test]
fn signatures_of_fsverity_sign_are_imported() {
    for algorithm in [
        KeyAlgorithm::Rsa3072,
        KeyAlgorithm::P256,
        KeyAlgorithm::P384,
    ] {
        let (identity, _) = identity(algorithm);
        let (other, _) = common::identity(KeyAlgorithm::P256);
        let Some(theirs) = fsverity_sign(&identity, Algorithm::Sha256) else {
            return;
        };
        let certificates = [other.certificate().clone(), identity.certificate().clone()];
        let signature = import(theirs.clone(), &certificates).unwrap();
        let verified = verify(&signature, &digest_of(CONTENT), &certificates).unwrap();
        assert_eq!(
            verified.certificate.key_hint(),
            identity.certificate().key_hint()
        );
        assert_eq!(verified.kind, None);
        let refusal = import(theirs, &certificates[..1]).unwrap_err();
        assert_eq!(refusal.reason(), Reason::UnknownKey);
    }
}

#[test]
fn signatures_of_openssl_cms_are_read_if_they_have_the_shape() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let (identity, _) = identity(KeyAlgorithm::Rsa2048);
    fs::write(path("certificate"), identity.certificate_pem().unwrap()).unwrap();
    fs::write(path("key"), identity.key_pem(None).unwrap()).unwrap();
    fs::write(path("message"), digest_of(CONTENT).formatted()).unwrap();
    for (options, expected) in [
        (&["-nocerts", "-noattr", "-md", "sha384"][..], None),
        (&["-nocerts", "-noattr", "-md", "sha512"], None),
        (
            &["-nocerts", "-noattr", "-md", "sha1"],
            Some("another digest algorithm"),
        ),
        (
            &["-nocerts", "-noattr", "-nodetach"],
            Some("includes the content"),
        ),
        (
            &["-nocerts", "-noattr", "-keyid"],
            Some("version 1 of SignedData"),
        ),
        (&["-noattr"], Some("carries certificates")),
        (&["-nocerts"], Some("signed attributes")),
    ] {
        let mut command = Command::new("openssl");
        command
            .args(["cms", "-sign", "-binary", "-outform", "der"])
            .args(options);
        for (option, name) in [
            ("-in", "message"),
            ("-signer", "certificate"),
            ("-inkey", "key"),
            ("-out", "pkcs7"),
        ] {
            command.arg(option).arg(path(name));
        }
        let Some(output) = run(&mut command) else {
            return;
        };
        assert!(output.status.success(), "{options:?}: {output:?}");
        let pkcs7 = fs::read(path("pkcs7")).unwrap();
        match (SignedData::parse(&pkcs7), expected) {
            (Ok(_), None) => {
                let certificates = [identity.certificate().clone()];
                let signature = import(pkcs7, &certificates).unwrap();
                verify(&signature, &digest_of(CONTENT), &certificates).unwrap();
            }
            (Err(error), Some(text)) => {
                assert!(error.to_string().contains(text), "{options:?}: {error}");
            }
            (result, _) => panic!("{options:?}: {result:?}"),
        }
    }
}

#[test]
fn certificates_have_what_the_kernel_looks_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("certificate");
    let (identity, _) = identity(KeyAlgorithm::P384);
    fs::write(&path, identity.certificate_pem().unwrap()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-text", "-in"]).arg(path);
    let Some(output) = run(&mut command) else {
        return;
    };
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "Version: 3",
        "Signature Algorithm: ecdsa-with-SHA384",
        "Subject: CN = test key",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Subject Key Identifier",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn the_key_hint_is_the_hash_of_the_public_key_info() {
    let directory = tempfile::tempdir().unwrap();
    let (identity, _) = identity(KeyAlgorithm::Rsa2048);
    let path = directory.path().join("certificate");
    fs::write(&path, identity.certificate_pem().unwrap()).unwrap();
    let script = "openssl x509 -pubkey -noout -in \"$1\" | openssl pkey -pubin -outform der \
                  | openssl dgst -sha256 -r | head -c 16";
    let Some(output) = run(Command::new("sh").args(["-c", script, "sh"]).arg(path)) else {
        return;
    };
    let hint = identity.certificate().key_hint();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), hint.to_string());
}

#[test]
fn detached_bytes_round_trip() {
    let (identity, signer) = identity(KeyAlgorithm::P256);
    let digest = digest_of(CONTENT);
    for statement in [None, Some(Statement::new(Kind::Library))] {
        let signature = sign(&signer, &digest, statement).unwrap();
        assert_eq!(
            FileSignature::parse(&signature.to_bytes()),
            Ok(signature.clone())
        );
        assert!(FileSignature::is_begun_by(&signature.to_bytes()));
        assert_eq!(signature.key(), identity.certificate().key_hint());
    }
}

const CONTENT: &[u8] = b"what is signed";

/// What `fsverity sign` writes for [`CONTENT`].
fn fsverity_sign(identity: &bpftrust_signature::Identity, hash: Algorithm) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("file"), CONTENT).unwrap();
    fs::write(path("key"), identity.key_pem(None).unwrap()).unwrap();
    fs::write(path("certificate"), identity.certificate_pem().unwrap()).unwrap();
    assert!(Certificate::parse(&fs::read(path("certificate")).unwrap()).is_ok());
    let output = run(Command::new("fsverity")
        .arg("sign")
        .args([path("file"), path("signature")])
        .arg(format!("--key={}", path("key").display()))
        .arg(format!("--cert={}", path("certificate").display()))
        .arg(format!("--hash-alg={hash}")))?;
    assert!(output.status.success(), "{output:?}");
    Some(fs::read(path("signature")).unwrap())
}
