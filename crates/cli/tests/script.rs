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
