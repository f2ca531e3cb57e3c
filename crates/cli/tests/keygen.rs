//! `bpftrust keygen`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Place;

#[test]
fn a_new_key_is_private_and_its_certificate_is_not() {
    let place = Place::empty();
    place
        .run([
            "keygen",
            "--out",
            "a/b",
            "--algorithm",
            "p384",
            "--name",
            "Build 7",
        ])
        .expect(0);
    let mode = |name| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("a/b/key.pem"), 0o600);
    assert_eq!(mode("a/b/certificate.pem") & 0o600, 0o600);
    assert_eq!(mode("a/b"), 0o700);
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    let before = fs::read(place.path("keys/key.pem")).unwrap();
    let run = place
        .run(["keygen", "--algorithm", "p256", "--out", "keys"])
        .expect(2);
    run.complains("keys/key.pem exists already")
        .complains("help: ");
    assert_eq!(fs::read(place.path("keys/key.pem")).unwrap(), before);

    let place = Place::empty();
    place.write("half/certificate.pem", b"mine");
    place
        .run(["keygen", "--algorithm", "p256", "--out", "half"])
        .expect(2);
    assert_eq!(
        fs::read(place.path("half/certificate.pem")).unwrap(),
        b"mine"
    );
    assert!(!place.path("half/key.pem").exists());
}

#[test]
fn an_encrypted_key_signs_with_its_passphrase_only() {
    let place = Place::empty();
    place.write("right", b"open sesame\nignored\n");
    place.write("wrong", b"open\n");
    place.write("blank", b"\n");
    let keygen = [
        "keygen",
        "--algorithm",
        "p256",
        "--out",
        "keys",
        "--encrypt",
    ];
    place
        .run(keygen.into_iter().chain(["--passphrase-file", "right"]))
        .expect(0);
    let key = fs::read_to_string(place.path("keys/key.pem")).unwrap();
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    place.loader("tool");
    let sign = |passphrase| place.sign(["--detached", "--passphrase-file", passphrase, "tool"]);
    sign("right").expect(0);
    sign("wrong")
        .expect(2)
        .complains("the passphrase does not open the key");
    sign("blank").expect(2).complains("its first line is empty");
    sign("none")
        .expect(2)
        .complains("reading passphrase file none");
}

#[test]
fn impossible_wishes_are_refused() {
    let place = Place::empty();
    for (option, value) in [
        ("--days", "0"),
        ("--days", "40000"),
        ("--algorithm", "rsa-1024"),
        ("--algorithm", "ed25519"),
        ("--name", ""),
        ("--name", &"x".repeat(65)),
    ] {
        let run = place
            .run(["keygen", "--out", "keys", option, value])
            .expect(2);
        run.complains("error: ");
        assert!(!place.path("keys/key.pem").exists());
    }
    place.write("file", b"");
    place
        .run(["keygen", "--algorithm", "p256", "--out", "file/keys"])
        .expect(2);
}
