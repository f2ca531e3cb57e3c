//! `bpftrust policy compile`, `policy sign` and `permit make`: what is done where
//! the policy key is.

mod common;

use std::fs;

use common::Place;
use serde_json::Value;

const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const KEY: [&str; 4] = [
    "--key",
    "governor/key.pem",
    "--certificate",
    "governor/certificate.pem",
];

/// A publisher's key, a policy key, and a policy with this serial.
fn place(serial: &str) -> Place {
    let place = Place::new();
    place.keygen("governor");
    place.copy(place.path("keys/certificate.pem"), "certificates/acme.pem");
    place.write(
        "p.toml",
        format!(
            "{serial}\n[policy-keys]\ncertificates = [\"../governor/certificate.pem\"]\n\
             [publisher.acme]\ncertificates = [\"acme.pem\"]\nloaders = [\"agent\"]\n\
             [minimum-version]\nagent = 3\n"
        )
        .as_bytes(),
    );
    place
}

fn shown(place: &Place, file: &str) -> Value {
    let run = place.run(["policy", "show", "--policy", file, "--json"]);
    serde_json::from_str(&run.expect(0).out).unwrap()
}

#[test]
fn a_compiled_policy_says_the_same_and_is_always_the_same() {
    let place = place("serial = 7");
    for out in ["one", "other"] {
        place
            .run(["policy", "compile", "p.toml", "--out", out])
            .expect(0)
            .says(&format!("{out}: compiled, 1 publisher, 1 key, 2 rules\n"));
    }
    let bytes = fs::read(place.path("one")).unwrap();
    assert_eq!(bytes, fs::read(place.path("other")).unwrap());
    let text = shown(&place, "p.toml");
    assert_eq!(shown(&place, "one"), text);
    assert_eq!(text["serial"], 7);
    assert_eq!(text["policy_keys"][0]["subject"], "CN=bpftrust signing key");
    place
        .run(["policy", "check", "one"])
        .expect(0)
        .says("one: good, 1 publisher, 1 key, 2 rules\n");
    place
        .run(["policy", "show", "--policy", "one"])
        .expect(0)
        .says("serial       7\npolicy key   ");
}

#[test]
fn a_policy_is_signed_in_either_form_and_again() {
    let place = place("serial = 7");
    place
        .run(
            ["policy", "sign", "p.toml", "--out", "signed"]
                .iter()
                .chain(&KEY),
        )
        .expect(0)
        .says(", serial 7, signed by key ");
    place
        .run(["policy", "compile", "p.toml", "--out", "compiled"])
        .expect(0);
    for _ in 0..2 {
        place
            .run(["policy", "sign", "compiled"].iter().chain(&KEY))
            .expect(0);
        place
            .run(["policy", "check", "compiled"])
            .expect(0)
            .says(", serial 7, signed by key ");
    }
    // But for what makes each signature of ECDSA another.
    let (one, other) = ("signed", "compiled");
    assert_eq!(shown(&place, one), shown(&place, other));
    place
        .run(["policy", "sign", "p.toml"].iter().chain(&KEY))
        .expect(2)
        .complains("error: p.toml is not compiled")
        .complains("help: --out OUT ");
}

#[test]
fn what_no_sealed_guard_would_take_is_not_signed() {
    let place = place("");
    place
        .run(
            ["policy", "sign", "p.toml", "--out", "o"]
                .iter()
                .chain(&KEY),
        )
        .expect(2)
        .complains("error: p.toml: its serial is 0\nhelp: say `serial = N`");
    assert!(!place.path("o").exists());
    for serial in ["-1", "9223372036854775808"] {
        place.write(
            "wrong.toml",
            format!("serial = {serial}\n[publisher.a]\n").as_bytes(),
        );
        place
            .run(["policy", "check", "wrong.toml"])
            .expect(1)
            .complains("wrong.toml:1:10: a serial is 0 to 9223372036854775807, not ");
    }
    place.write(
        "both.toml",
        b"[policy-keys]\ncertificates = [\"acme.pem\"]\n\
          [publisher.acme]\ncertificates = [\"acme.pem\"]\n",
    );
    place
        .run(["policy", "check", "both.toml"])
        .expect(1)
        .complains("both.toml:2:17: publisher \"acme\" has the key ")
        .complains(" already: it would prove neither");
}

#[test]
fn a_broken_compiled_policy_is_no() {
    let place = place("serial = 7");
    place
        .run(
            ["policy", "sign", "p.toml", "--out", "good"]
                .iter()
                .chain(&KEY),
        )
        .expect(0);
    let good = fs::read(place.path("good")).unwrap();
    let mut other = good.clone();
    other[4] = 9;
    let end = good.len();
    for (bytes, said) in [
        (&good[..100], "it is cut short"),
        (&good[..end - 1], "its signature is malformed"),
        (&other, "it has form 9, and only form "),
    ] {
        place.write("broken", bytes);
        place
            .run(["policy", "check", "broken"])
            .expect(1)
            .complains("error: broken: not a compiled policy of this version: ")
            .complains(said);
    }
}

#[test]
fn a_permit_is_made_for_one_nonce() {
    let place = place("serial = 7");
    let make = |nonce, minutes| {
        let words = ["permit", "make", "--out", "permit", "--boot-time", "100"];
        let more = ["--nonce", nonce, "--minutes", minutes];
        place.run(words.iter().chain(&more).chain(&KEY))
    };
    make(NONCE, "10")
        .expect(0)
        .says("permit: permit by key ")
        .says(", good until 10 minutes after second 100 of that machine\n");
    let bytes = fs::read(place.path("permit")).unwrap();
    assert_eq!(bytes[40..48], 700_u64.to_le_bytes());
    for (nonce, minutes) in [("0011", "10"), (NONCE, "0"), (NONCE, "1441")] {
        make(nonce, minutes).expect(2);
    }
}
