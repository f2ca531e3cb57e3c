//! Hostile and mistaken input: each its own error, never a panic, never a wait.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use common::{Place, Run};

/// What is not a regular file with content, and what is said of it.
fn odd_files(place: &Place) -> Vec<(&'static str, &'static str)> {
    fs::create_dir(place.path("directory")).unwrap();
    let made = Command::new("mkfifo")
        .arg(place.path("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    symlink("loop", place.path("loop")).unwrap();
    symlink("nowhere", place.path("dangling")).unwrap();
    std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    vec![
        ("directory", "a directory"),
        ("fifo", "a FIFO"),
        ("/dev/null", "a device"),
        ("socket", "a socket"),
        ("loop", "symbolic links"),
        ("dangling", "No such file"),
        ("missing", "No such file"),
    ]
}

#[test]
fn odd_files_to_sign_are_named_for_what_they_are() {
    let place = Place::new();
    for (name, said) in odd_files(&place) {
        if name == "directory" {
            continue; // a directory is signed as a tree
        }
        place.sign([name]).expect(2).complains(said).complains(name);
        place
            .sign(["--detached", "--out", "x.sig", name])
            .expect(2)
            .complains(said);
    }
    place
        .sign(["directory"])
        .expect(2)
        .complains("nothing there to sign as a loader");
    place.write("empty", b"");
    place
        .sign(["empty"])
        .expect(2)
        .complains("signing empty: it is empty");
    place.write("script", b"#!/bin/sh\n");
    place
        .sign(["script"])
        .expect(2)
        .complains("it is no ELF file")
        .complains("help: ");
}

#[test]
fn odd_files_anywhere_else_are_refused_at_once() {
    let place = Place::new();
    place.loader("tool");
    for (name, said) in odd_files(&place) {
        let certificate = ["--certificate", "keys/certificate.pem"];
        for arguments in [
            vec!["digest", name],
            vec!["inspect", name],
            vec!["verify", certificate[0], certificate[1], name],
            vec!["verify", "--certificate", name, "tool"],
            vec![
                "verify",
                certificate[0],
                certificate[1],
                "--signature",
                name,
                "tool",
            ],
            vec!["install", "--signature", name, "tool"],
            vec![
                "sign",
                "--key",
                "keys/key.pem",
                "--certificate",
                name,
                "tool",
            ],
        ] {
            place.run(&arguments).expect(2).complains(said);
        }
    }
}

#[test]
fn bad_signatures_are_refused_by_every_verb() {
    let place = Place::new();
    place.loader("tool");
    place.sign(["--detached", "tool"]).expect(0);
    let good = fs::read(place.path("tool.bpftrust-sig")).unwrap();
    let random: Vec<u8> = (0u32..700)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let mut damaged = good.clone();
    damaged[60] ^= 0xff;
    for (name, content, said) in [
        ("empty", Vec::new(), "it is empty"),
        ("truncated", good[..good.len() / 2].to_vec(), "cut short"),
        ("header", good[..10].to_vec(), "cut short"),
        (
            "trailing",
            [&good[..], b"x"].concat(),
            "1 bytes follow its end",
        ),
        ("large", vec![b'A'; 65536], "65536 bytes"),
        ("large-pkcs7", vec![0x30; 65536], "65536 bytes"),
        ("random", random, "does not begin with"),
        ("damaged", damaged, "PKCS#7"),
        ("text", b"hello\n".to_vec(), "does not begin with"),
        (
            "pem",
            fs::read(place.path("keys/certificate.pem")).unwrap(),
            "does not begin with",
        ),
        (
            "der",
            vec![0x30, 0x80, 0, 0],
            "PKCS#7 is broken at ContentInfo",
        ),
    ] {
        place.write(name, &content);
        let certificate = [
            "--certificate",
            "keys/certificate.pem",
            "--signature",
            name,
            "tool",
        ];
        let run = place
            .run(["verify"].into_iter().chain(certificate))
            .expect(1);
        run.says("no, bad-signature").says(said);
        place
            .run(["install"].into_iter().chain(certificate))
            .expect(2)
            .complains(said);
        place.run(["inspect", name]).expect(1);
    }
}

#[test]
fn bad_certificates_and_keys_are_refused_by_every_verb() {
    let place = Place::new();
    place.loader("tool");
    let good = fs::read(place.path("keys/certificate.pem")).unwrap();
    let key = fs::read(place.path("keys/key.pem")).unwrap();
    for (name, content) in [
        ("empty", Vec::new()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("large", vec![b'A'; 65536]),
        ("larger", vec![b'A'; 1 << 20]),
        ("der", vec![0x30; 65536]),
        ("random", (0u8..=255).rev().collect()),
        ("key", key.clone()),
    ] {
        place.write(name, &content);
        let said = |run: Run| run.expect(2).complains("error: ").complains(name);
        said(place.run(["verify", "--certificate", name, "tool"]));
        said(place.run(["install", "--certificate", name, "tool"]));
        let sign = [
            "sign",
            "--key",
            "keys/key.pem",
            "--certificate",
            name,
            "tool",
        ];
        said(place.run(sign));
        if name != "key" {
            let certificate = ["--certificate", "keys/certificate.pem", "tool"];
            said(place.run(["sign", "--key", name].into_iter().chain(certificate)));
        }
    }
    let two = place.write("two", &[&good[..], &good[..]].concat());
    assert!(two.exists());
    let sign = [
        "sign",
        "--key",
        "keys/key.pem",
        "--certificate",
        "two",
        "tool",
    ];
    place
        .run(sign)
        .expect(2)
        .complains("2 certificates where one was expected");
}

#[test]
fn a_certificate_of_another_key_is_refused_before_anything_is_signed() {
    let place = Place::new();
    place.keygen("others");
    place.loader("tool");
    let certificate = [
        "--certificate",
        "others/certificate.pem",
        "--detached",
        "tool",
    ];
    let run = place
        .run(
            ["sign", "--key", "keys/key.pem"]
                .into_iter()
                .chain(certificate),
        )
        .expect(2);
    run.complains("the certificate is not of this key");
    assert!(!place.path("tool.bpftrust-sig").exists());
}

#[test]
fn a_certificate_that_issues_others_is_taken_only_when_told() {
    let place = Place::new();
    place.loader("tool");
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=t", "-config",
        ])
        .args(["/dev/null", "-addext", "basicConstraints=CA:TRUE"])
        .args(["-keyout", "ca.key", "-out", "ca.pem"])
        .current_dir(place.path(""))
        .output();
    match made {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => return eprintln!("left out: openssl: {error}"),
    }
    let sign = [
        "sign",
        "--key",
        "ca.key",
        "--certificate",
        "ca.pem",
        "--detached",
        "tool",
    ];
    place
        .run(sign)
        .expect(2)
        .complains("CA:TRUE")
        .complains("help: --allow-issuer");
    place
        .run(sign.into_iter().chain(["--allow-issuer"]))
        .expect(0);
    let verify = [
        "verify",
        "--certificate",
        "ca.pem",
        "--signature",
        "tool.bpftrust-sig",
        "tool",
    ];
    place.run(verify).expect(2).complains("CA:TRUE");
    place
        .run(verify.into_iter().chain(["--allow-issuer"]))
        .expect(0);
}

#[test]
fn a_hostile_name_does_not_reach_the_terminal() {
    let place = Place::new();
    place.loader("a\x1b[2J\nb");
    let run = place
        .sign(["--detached", "a\x1b[2J\nb", "c\x1b[2Jd"])
        .expect(2);
    for text in [&run.out, &run.err] {
        assert!(!text.contains('\x1b'), "{text:?}");
    }
    run.says("a\\u{1b}[2J\\nb: signed")
        .complains("c\\u{1b}[2Jd");
    let run = place.run([
        "keygen",
        "--algorithm",
        "p256",
        "--out",
        "k",
        "--name",
        "x\x1b[2Jy",
    ]);
    assert!(!run.expect(0).out.contains('\x1b'));
}

#[test]
fn no_certificates_means_no_answer() {
    let place = Place::new();
    place.loader("tool");
    if std::path::Path::new("/etc/bpftrust/certificates").exists() {
        return eprintln!("left out: this machine has certificates");
    }
    place
        .run(["verify", "tool"])
        .expect(2)
        .complains("help: --certificate");
}

#[test]
fn a_full_disk_is_an_error_that_says_what_is_left() {
    let place = Place::empty();
    place.write("f", b"x");
    let script = format!("{} digest f > /dev/full", env!("CARGO_BIN_EXE_bpftrust"));
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", &script])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for part in [
        "error: writing to standard output: No space left on device",
        "help: make room, see 'df'",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let place = Place::empty();
    place.write("f", b"x");
    let files = ["f"; 5000].join(" ");
    let script = format!(
        "{} digest {files} | head -n 1",
        env!("CARGO_BIN_EXE_bpftrust")
    );
    let mut shell = Command::new("sh");
    let output = shell
        .args(["-c", &script])
        .current_dir(place.path(""))
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(
        output.stdout.iter().filter(|&&byte| byte == b'\n').count(),
        1
    );
}
