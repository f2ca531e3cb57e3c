//! Grants: from a file into a signature, and back out of it.

mod common;

use std::fs;

use common::Place;
use serde_json::{Value, json};

const GRANT: &[u8] = b"\
name = \"execsnoop\"
version = 3
not-after = 2100-01-01
commands = [\"map_create\", \"prog-load\", 63]
programs = [\"tracing\"]
attaches = [\"trace_fentry\"]
maps = \"all\"
";

#[test]
fn what_a_file_grants_is_what_the_signature_says() {
    let place = Place::new();
    place.loader("tool");
    place.write("grant.toml", GRANT);
    place
        .sign(["--grant", "grant.toml", "--detached", "tool"])
        .expect(0)
        .says("tool: signed as loader execsnoop version 3 in tool.bpftrust-sig, sha256:");
    let run = place
        .run(["inspect", "--json", "tool.bpftrust-sig"])
        .expect(0);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    let grant = &found["grant"];
    assert_eq!(grant["name"], "execsnoop");
    assert_eq!(grant["version"], 3);
    assert_eq!(grant["not_after"], "2100-01-01T23:59:59Z");
    assert_eq!(grant["commands"], json!(["map-create", "prog-load", 63]));
    assert_eq!(grant["programs"], json!(["tracing"]));
    assert_eq!(grant["attaches"], json!(["trace_fentry"]));
    assert!(grant["maps"].as_array().unwrap().contains(&json!("hash")));
    assert_eq!(grant["abilities"], json!([]));
    place
        .run(["inspect", "tool.bpftrust-sig"])
        .expect(0)
        .says("grant      execsnoop\n  version    3\n  not after  2100-01-01T23:59:59Z\n")
        .says("programs   tracing\n")
        .says("commands   map-create,prog-load,63\n")
        .says("abilities  none\n");
    place
        .run([
            "verify",
            "--certificate",
            "keys/certificate.pem",
            "--signature",
            "tool.bpftrust-sig",
            "tool",
        ])
        .expect(0)
        .says("tool: yes, signed as loader");
}

#[test]
fn without_a_grant_there_is_none() {
    let place = Place::new();
    place.loader("tool");
    place.sign(["--detached", "tool"]).expect(0);
    let run = place
        .run(["inspect", "--json", "tool.bpftrust-sig"])
        .expect(0);
    let found: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(found.get("grant"), None);
    place
        .run(["inspect", "tool.bpftrust-sig"])
        .expect(0)
        .says("grant      none\n");
}

#[test]
fn a_newer_version_is_not_replaced_by_an_older_one() {
    let place = Place::new();
    let tool = place.loader("tool");
    let sign = |version: u32, name: &str| {
        let text = format!("name = \"{name}\"\nversion = {version}\ncommands = \"all\"\n");
        place.write("grant.toml", text.as_bytes());
        place.sign(["--grant", "grant.toml", "--detached", "tool"])
    };
    sign(5, "tool").expect(0);
    let value = fs::read(place.path("tool.bpftrust-sig")).unwrap();
    use rustix::fs::{XattrFlags, setxattr};
    setxattr(&tool, "user.bpftrust", &value, XattrFlags::empty()).unwrap();
    sign(4, "tool")
        .expect(2)
        .complains("it is signed as tool version 5 already, and the grant has version 4")
        .complains("help: raise `version` in the grant: version = 6");
    sign(5, "tool").expect(0);
    sign(6, "tool").expect(0);
    sign(4, "other").expect(0);
}

#[test]
fn only_a_loader_or_script_can_have_a_grant() {
    let place = Place::new();
    place.loader("tool");
    place.write("grant.toml", GRANT);
    let grant = ["--grant", "grant.toml", "--detached", "tool"];
    place
        .sign(["--bare"].into_iter().chain(grant))
        .expect(2)
        .complains("cannot be used with");
    place
        .sign(["--kind", "library"].into_iter().chain(grant))
        .expect(2)
        .complains("--grant says what a loader or script may do");
    assert!(!place.path("tool.bpftrust-sig").exists());
}

#[test]
fn a_file_that_is_no_grant_is_refused_with_line_and_column() {
    let place = Place::new();
    place.loader("tool");
    let good = "name = \"a\"\ncommands = \"all\"\n";
    let large = "#".repeat(70_000);
    for (line, said) in [
        ("", "g.toml:1:1: missing field `name`"),
        ("name = \"a\"", "g.toml:1:1: an empty grant"),
        ("name = \"a/b\"", "g.toml:1:8: \"a/b\": a name has 1 to 31"),
        ("name = \"\"", "g.toml:1:8: \"\": a name has 1 to 31"),
        ("name = 5", "g.toml:1:8: invalid type: integer `5`"),
        ("name =", "g.toml:1:7: "),
        ("+version = -1", "g.toml:3:12: a version is 0 to"),
        (
            "+version = 9223372036854775808",
            "g.toml:3:12: a version is 0 to",
        ),
        (
            "+version = \"3\"",
            "g.toml:3:12: invalid type: string \"3\"",
        ),
        (
            "+not-after = 2001-01-01",
            "g.toml:3:14: not-after has passed",
        ),
        ("+not-after = 2101-13-01", "g.toml:3:"),
        ("+not-after = \"2101-01-01\"", "g.toml:3:14: invalid type"),
        (
            "+not-after = 2101-01-01T00:00:00",
            "g.toml:3:14: a time without an offset",
        ),
        (
            "+programs = [\"tracng\"]",
            "g.toml:3:14: unknown program type \"tracng\": did you mean \"tracing\"?",
        ),
        (
            "+programs = [64]",
            "g.toml:3:14: program type 64: numbers are 0 to 63",
        ),
        (
            "+maps = \"hash\"",
            "g.toml:3:9: invalid value: string \"hash\", expected \"all\" or a list",
        ),
        ("+ability = []", "g.toml:3:2: unknown field `ability`"),
        ("+name = \"b\"", "g.toml:3:2: duplicate key"),
        (&large, "g.toml has more than 65536 bytes"),
    ] {
        let text = match line.strip_prefix('+') {
            Some(more) => format!("{good} {more}\n"),
            None => line.to_owned(),
        };
        place.write("g.toml", text.as_bytes());
        let run = place
            .sign(["--grant", "g.toml", "--detached", "tool"])
            .expect(2);
        let run = run.complains(&format!("error: {said}"));
        assert!(!run.err.contains("panicked"), "{run:?}");
    }
    place.write("g.toml", b"name = \"\xff\"");
    place
        .sign(["--grant", "g.toml", "--detached", "tool"])
        .expect(2)
        .complains("error: g.toml:1:9: not UTF-8");
    for odd in ["missing", "/dev/null", "keys"] {
        place
            .sign(["--grant", odd, "--detached", "tool"])
            .expect(2)
            .complains(&format!("error: can't read {odd}: "));
    }
    assert!(!place.path("tool.bpftrust-sig").exists());
}
