//! `sign --script`: what is one, what it may be granted, and what the signature says.

mod common;

use common::Place;
use serde_json::{Value, json};

const SCRIPT: &[u8] = b"#!/usr/bin/env bpftrace\nBEGIN { exit(); }\n";
const GRANT: &[u8] = b"name = \"tool\"\ncommands = \"all\"\nparameters = true\nunsafe = true\n";

#[test]
fn a_script_is_signed_as_one_and_says_what_it_may_have() {
    let place = Place::new();
    place.write("tool.bt", SCRIPT);
    place.write("grant.toml", GRANT);
    let detached = ["--detached", "tool.bt"];
    place
        .sign(["--script"].into_iter().chain(detached))
        .expect(0)
        .says("tool.bt: signed as script in tool.bt.bpftrust-sig, sha256:");
    let grant = ["--kind", "script", "--grant", "grant.toml"];
    place
        .sign(grant.into_iter().chain(detached))
        .expect(0)
        .says("tool.bt: signed as script tool version 0");
    let run = place
        .run(["inspect", "--json", "tool.bt.bpftrust-sig"])
        .expect(0);
    let said: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(said["kind"], "script", "{said:#}");
    assert_eq!(
        said["grant"]["script"],
        json!(["parameters", "unsafe"]),
        "{said:#}"
    );
}

#[test]
fn a_loader_gets_none_of_what_scripts_have() {
    let place = Place::new();
    place.loader("tool");
    place.write("grant.toml", GRANT);
    place
        .sign(["--grant", "grant.toml", "--detached", "tool"])
        .expect(2)
        .complains("grants 'parameters', which only scripts have");
    assert!(!place.path("tool.bpftrust-sig").exists());
}

#[test]
fn what_is_no_script_is_refused_with_the_line() {
    let place = Place::new();
    let large = vec![b'\n'; 10 << 20];
    for (content, complaint) in [
        (&b""[..], "it is empty"),
        (
            b"#!/usr/bin/env bpftrace\nBEGIN\r\n",
            "line 2 has a carriage return",
        ),
        (b"BEGIN\n\n\0\n", "line 3 has a NUL"),
        (
            b"#!/usr/bin/bpftrace --unsafe\n",
            "gives the loader \"--unsafe\"",
        ),
        (b"#!\n", "names no loader"),
        (&large, "more than 1048576 bytes"),
        (
            b"BEGIN {}\n # include <a.h>\nimport \"b\"\n",
            "it brings in other files (line 2, 3)",
        ),
    ] {
        place.write("tool.bt", content);
        place
            .sign(["--script", "--detached", "tool.bt"])
            .expect(2)
            .complains(complaint);
        assert!(!place.path("tool.bt.bpftrust-sig").exists(), "{complaint}");
    }
    place.write("tool.bt", b"#include <a.h>\n");
    place
        .sign(["--script", "--allow-includes", "--detached", "tool.bt"])
        .expect(0);
}

#[test]
fn of_a_directory_the_scripts_are_signed() {
    let place = Place::new();
    let by_name = b"#!/usr/bin/env bpftrace\nEND { }\n";
    for (name, content) in [
        ("d/a.bt", SCRIPT),
        ("d/deep/b.bt", b"BEGIN { exit(); }\n"),
        ("d/named", by_name),
        ("d/by-launcher", b"#!/usr/bin/bpftrust-script\n"),
        ("d/shell", b"#!/bin/sh\nbpftrace -l\n"),
        ("d/text", b"bpftrace\n"),
    ] {
        place.write(name, content);
    }
    place.loader("d/tool");
    std::os::unix::fs::symlink("../grant.toml", place.path("d/link.bt")).unwrap();
    let run = place
        .sign(["--script", "--detached", "d"])
        .expect(0)
        .says("d/a.bt: signed as script in d/a.bt.bpftrust-sig, sha256:");
    let signed: Vec<_> = run
        .out
        .lines()
        .map(|line| line.split(':').next().unwrap())
        .collect();
    assert_eq!(
        signed,
        ["d/a.bt", "d/by-launcher", "d/deep/b.bt", "d/named"]
    );
    // What looks like one and is not fit is an error, and the others are signed.
    place.write("d/c.bt", b"BEGIN\r\n");
    place.write("d/e.bt", b"#include <a.h>\n");
    place.write("d/option", b"#!/usr/bin/bpftrace --unsafe\n");
    place
        .sign(["--script", "--detached", "d"])
        .expect(2)
        .says("d/a.bt: signed as script")
        .complains("d/c.bt: line 1 has a carriage return")
        .complains("d/e.bt: it brings in other files (line 1)")
        .complains("d/option: its first line gives the loader \"--unsafe\"");
    assert!(!place.path("d/c.bt.bpftrust-sig").exists());
    place.write("none/text", b"bpftrace\n");
    place
        .sign(["--script", "--detached", "none"])
        .expect(2)
        .complains("nothing there to sign as a script");
}

/// What `explain` says of `tool.bt` under this policy.
fn explain(place: &Place, policy: &str, options: &[&str]) -> common::Run {
    let policy = format!("[publisher.acme]\ncertificates = [\"acme.pem\"]\n{policy}");
    place.write("p.toml", policy.as_bytes());
    place.copy(place.path("keys/certificate.pem"), "certificates/acme.pem");
    let words = [
        "explain",
        "--policy",
        "p.toml",
        "--signature",
        "tool.bt.bpftrust-sig",
    ];
    place.run(words.iter().chain(options).chain(&["tool.bt"]))
}

#[test]
fn what_a_script_may_do_is_explained() {
    let place = Place::new();
    place.write("tool.bt", b"#include <a.h>\nBEGIN { exit(); }\n");
    place.write(
        "grant.toml",
        b"name = \"tool\"\nversion = 3\ncommands = \"all\"\nmaps = [\"hash\", \"array\"]\n\
          programs = [\"kprobe\"]\nparameters = true\n",
    );
    let options = ["--script", "--allow-includes", "--detached", "tool.bt"];
    let grant = ["--grant", "grant.toml"];
    place.sign(grant.into_iter().chain(options)).expect(0);
    // A publisher of some loaders alone signs scripts for these.
    let policy = "loaders = [\"other\"]\n[ceiling]\nmaps = [\"hash\", \"ringbuf\"]\n";
    explain(&place, policy, &[])
        .expect(0)
        .says("tool.bt: yes, as script, tool version 3, signed by acme (key ")
        .says("  maps       hash  (grant; the policy's ceiling takes array)\n")
        .says("  programs   kprobe  (grant)\n")
        .says("  parameters yes\n")
        .says("  unsafe     no\n")
        .says("  takes      bpftrust-script, signed as loader with the ability launch-scripts, and bpftrace, ")
        .says("  brings in  what nobody signs (line 1)\n");
    let run = explain(&place, policy, &["--json"]).expect(0);
    let said: Value = serde_json::from_str(&run.out).unwrap();
    for (field, expected) in [
        ("trusted", json!(true)),
        ("kind", json!("script")),
        ("loader", json!("bpftrace")),
        ("basis", json!("grant")),
        ("script", json!(["parameters"])),
        ("brings_in", json!([1])),
    ] {
        assert_eq!(said[field], expected, "{said:#}");
    }
    assert_eq!(said["rights"]["maps"], json!(["hash"]), "{said:#}");
    assert_eq!(said["cut_by_policy"]["maps"], json!(["array"]), "{said:#}");
    explain(&place, "[minimum-version]\ntool = 4\n", &[])
        .expect(1)
        .says("tool.bt: no, too-old, tool version 3, ");
    // Without a grant it may what its loader may.
    place.sign(options).expect(0);
    explain(&place, "[ceiling]\nmaps = [\"hash\"]\n", &[])
        .expect(0)
        .says("tool.bt: yes, as script, without a grant, signed by acme (key ")
        .says("  maps       hash  (loader; the policy's ceiling takes ")
        .says("  commands   unlimited  (loader)\n")
        .says("  parameters no\n");
}
