//! Claims about keyrings that only a kernel can prove. The rings hang on the
//! test's own process keyring, so nothing of them outlives the test. Where the
//! kernel has no keyrings for us (a container's seccomp filter) they say so.

use std::process::Command;

use bpftrust_host::Error;
use bpftrust_host::keyring::{Anchor, Keyring, SEALED, Support, describe, support};

/// A ring of this test alone; `None` where this kernel gives us none.
fn ring(name: &str) -> Option<Keyring> {
    if support() != Support::Certificates {
        eprintln!("left out: {:?}", support());
        return None;
    }
    Some(Keyring::create(name, Anchor::Process).expect("a keyring"))
}

/// A self-signed certificate, made by another program than ours.
fn certificate(algorithm: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl")
        .args([
            "req", "-x509", "-nodes", "-subj", "/CN=test", "-outform", "DER",
        ])
        .args(["-keyout", "/dev/null", "-newkey"])
        .args(algorithm)
        .output()
        .expect("openssl");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn certificate_is_listed_and_stripped_of_rights() {
    let Some(ring) = ring("test-add") else { return };
    let key = ring
        .add_certificate("a key", &certificate(&["rsa:2048"]))
        .unwrap();
    assert_eq!(ring.keys().unwrap(), [key]);
    let description = describe(key).unwrap();
    assert_eq!(description.kind, "asymmetric");
    assert_eq!(description.name, "a key");
    assert!(description.is_sealed());
}

#[test]
fn sealed_ring_takes_no_more_keys_and_stays_sealed() {
    let Some(ring) = ring("test-seal") else {
        return;
    };
    let der = certificate(&["rsa:2048"]);
    ring.add_certificate("first", &der).unwrap();
    assert!(!ring.describe().unwrap().is_sealed());
    ring.seal().unwrap();
    assert_eq!(ring.describe().unwrap().permissions, SEALED);
    assert!(ring.add_certificate("second", &der).is_err());
    assert!(Keyring::create("inner", Anchor::Ring(&ring)).is_err());
    assert!(ring.seal().is_err());
    assert_eq!(ring.keys().unwrap().len(), 1);
}

#[test]
fn unusable_certificates_are_refused_with_their_reason() {
    let Some(ring) = ring("test-refuse") else {
        return;
    };
    let good = certificate(&["rsa:2048"]);
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    for (what, der, reason) in [
        ("empty", &[][..], "empty"),
        ("random bytes", b"not a certificate", "not an X.509"),
        ("truncated", &good[..good.len() - 1], "not an X.509"),
        ("wrong self-signature", &forged, "does not verify"),
    ] {
        let error = ring.add_certificate(what, der).unwrap_err();
        assert!(
            matches!(error, Error::Certificate { .. }),
            "{what}: {error:?}"
        );
        assert!(error.to_string().contains(reason), "{what}: {error}");
    }
    assert_eq!(ring.keys().unwrap(), []);
}

#[test]
fn rings_nest_and_are_found() {
    let Some(outer) = ring("test-outer") else {
        return;
    };
    let inner = Keyring::create("test-inner", Anchor::Ring(&outer)).unwrap();
    inner.seal().unwrap();
    outer.seal().unwrap();
    assert_eq!(
        Keyring::all_in(Anchor::Ring(&outer)).unwrap(),
        std::slice::from_ref(&inner)
    );
    let all = Keyring::all_in(Anchor::Process).unwrap();
    assert!(all.contains(&outer) && !all.contains(&inner), "{all:?}");
}

#[test]
fn unlinked_ring_is_gone() {
    let Some(ring) = ring("test-unlink") else {
        return;
    };
    ring.seal().unwrap();
    ring.unlink_from(Anchor::Process).unwrap();
    ring.unlink_from(Anchor::Process).unwrap();
    let all = Keyring::all_in(Anchor::Process).unwrap();
    assert!(!all.contains(&ring), "{all:?}");
}

#[test]
fn invalidated_ring_is_gone() {
    let Some(ring) = ring("test-invalidate") else {
        return;
    };
    ring.seal().unwrap();
    ring.invalidate().unwrap();
    assert!(ring.describe().is_err());
}

#[test]
fn kernel_reserved_and_impossible_names_are_refused() {
    let long = "x".repeat(4096);
    for name in ["", ".builtin_trusted_keys", "a\0b", &long] {
        let error = Keyring::create(name, Anchor::Process).unwrap_err();
        assert!(
            matches!(error, Error::KeyName { .. }),
            "{name:?}: {error:?}"
        );
    }
}
