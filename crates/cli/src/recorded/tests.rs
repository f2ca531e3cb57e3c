//! What is read back, and what follows from it.

use std::path::Path;

use bpftrust_guard::Vocabulary;
use bpftrust_signature::Rights;
use serde_json::{Value, json};

use super::{Loader, Recording};

/// A line with these fields, and others that don't matter.
fn line(fields: Value) -> String {
    let mut line = json!({
        "form": 1, "sequence": 1, "time": "2026-11-26T10:00:00.000000Z", "action": "bpf",
        "outcome": "would-deny", "reason": "no-signature", "command": null, "object": null,
        "name": null, "takes": {}, "pid": 7, "tid": 7, "uid": 0, "target": null, "file": null,
        "comm": "tool", "cgroup": "tool.service", "executable": "/usr/sbin/tool",
        "digest": null, "key": null, "publisher": null, "script": null, "script_digest": null,
    });
    let own = line.as_object_mut().unwrap();
    own.extend(fields.as_object().unwrap().clone());
    format!("{line}\n")
}

fn parse(text: &str) -> anyhow::Result<Recording> {
    Recording::parse(text.as_bytes(), Path::new("e.json"))
}

fn one(lines: &[Value]) -> Loader {
    let text: String = lines.iter().cloned().map(line).collect();
    let mut loaders = parse(&text).unwrap().loaders();
    assert_eq!(loaders.len(), 1, "{loaders:?}");
    loaders.remove(0)
}

fn words(kind: Vocabulary, rights: &Rights) -> Vec<&'static str> {
    let numbers = kind.numbers(rights).into_iter();
    numbers.filter_map(|number| kind.name(number)).collect()
}

#[test]
fn what_is_no_recording_says_where_and_why() {
    let good = line(json!({}));
    for (text, said) in [
        (String::new(), "e.json has no event"),
        (
            format!("{good}{}", &good[..good.len() / 2]),
            "e.json:2: it is cut off",
        ),
        (
            good.replace("\"form\":1", "\"form\":2"),
            "e.json:1: an event of form 2",
        ),
        (
            good.replace("\"form\":1,", ""),
            "e.json:1: an event without `form`",
        ),
        ("{\"form\":1,\"lost\":3}\n".into(), "e.json has no event"),
        ("hello\n".into(), "e.json:1: no event"),
        (good.replace("\"pid\":7,", ""), "missing field `pid`"),
        (
            line(json!({"takes": {"programs": ["tracng"]}})),
            "\"tracng\" is not among programs",
        ),
        (
            line(json!({"takes": {"maps": [64]}})),
            "64 is not among maps",
        ),
        (
            line(json!({"takes": {"colours": []}})),
            "\"colours\" is no kind of right",
        ),
        (
            line(json!({"cgroup": "a\nname = \"b\""})),
            "a name in it is not escaped",
        ),
        (
            line(json!({"executable": "/a\u{202e}b"})),
            "a name in it is not escaped",
        ),
        ("x".repeat(70_000), "e.json:1: no event"),
    ] {
        let error = format!("{:#}", parse(&text).unwrap_err());
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[test]
fn what_is_missing_among_the_numbers_is_counted_once() {
    let at = |sequence: u64| line(json!({ "sequence": sequence }));
    for (text, lost) in [
        (at(1) + &at(2), 0),
        (at(4) + &at(5), 3),
        (at(1) + "{\"form\":1,\"lost\":2}\n" + &at(4), 2),
        (at(1) + "{\"form\":1,\"lost\":2}\n", 2),
        // Another recording follows.
        (at(1) + &at(2) + &at(1) + &at(3), 1),
    ] {
        assert_eq!(parse(&text).unwrap().lost, lost, "{text}");
    }
}

#[test]
fn a_loader_takes_what_all_its_calls_took() {
    let loader = one(&[
        json!({"command": "map-create"}),
        json!({"command": "map-create", "takes": {"maps": ["hash", 40]}}),
        json!({"command": "prog-load", "takes": {"programs": ["kprobe"], "abilities": ["send-signal"]}}),
        json!({"action": "attach", "takes": {"attaches": ["perf_event"]}}),
        json!({"command": "63"}),
        json!({"outcome": "allowed", "reason": "none", "command": "map-freeze"}),
        json!({"action": "taint", "reason": "writable-code"}),
        json!({"action": "trace", "takes": {"maps": ["array"]}}),
    ]);
    let takes = &loader.takes;
    assert_eq!(Vocabulary::Maps.numbers(takes), [1, 40]);
    assert_eq!(words(Vocabulary::Programs, takes), ["kprobe"]);
    assert_eq!(words(Vocabulary::Attaches, takes), ["perf_event"]);
    assert_eq!(
        words(Vocabulary::Abilities, takes),
        ["send-signal", "own-code"]
    );
    assert_eq!(Vocabulary::Commands.numbers(takes), [0, 5, 22, 63]);
    assert_eq!(loader.refused(), 6, "who is reached for is not the loader");
    assert!(!loader.was_denied && loader.was_trusted);
}

#[test]
fn a_token_that_is_only_tried_is_no_need() {
    let gate = json!({"command": "token-create", "takes": {"abilities": ["delegate"]}});
    let load = json!({"command": "prog-load", "takes": {"programs": ["xdp"]}});
    let tries = one(&[gate.clone(), load.clone()]);
    assert_eq!(words(Vocabulary::Commands, &tries.tried), ["token-create"]);
    assert_eq!(words(Vocabulary::Commands, &tries.takes), ["prog-load"]);
    assert!(words(Vocabulary::Abilities, &tries.takes).is_empty());
    // The hook behind the gate: one was about to be made.
    let made = one(&[gate, json!({"command": "token-create"}), load]);
    assert_eq!(made.tried, Rights::NONE);
    assert_eq!(
        words(Vocabulary::Commands, &made.takes),
        ["prog-load", "token-create"]
    );
    assert_eq!(words(Vocabulary::Abilities, &made.takes), ["delegate"]);
}

#[test]
fn who_looks_at_all_objects_inspects() {
    let command = |name: &str| json!({ "command": name });
    for (commands, inspects) in [
        (&["prog-get-next-id", "prog-get-fd-by-id"][..], true),
        (&["btf-get-fd-by-id"], true),
        (&["prog-get-fd-by-id", "map-get-next-id"], false),
        (&["prog-get-next-id"], false),
    ] {
        let events: Vec<_> = commands.iter().map(|name| command(name)).collect();
        let abilities = words(Vocabulary::Abilities, &one(&events).takes);
        assert_eq!(abilities.contains(&"inspect"), inspects, "{commands:?}");
    }
}

#[test]
fn a_link_of_freplace_asks_for_no_attach_type() {
    let link = json!({"command": "link-create", "takes": {"attaches": ["cgroup_inet_ingress"]}});
    let load = |kind: &str| json!({"command": "prog-load", "takes": {"programs": [kind]}});
    let attaches = |events: &[Value]| words(Vocabulary::Attaches, &one(events).takes);
    assert!(attaches(&[load("ext"), link.clone()]).is_empty());
    assert_eq!(
        attaches(&[load("ext"), load("cgroup_skb"), link]),
        ["cgroup_inet_ingress"]
    );
}

#[test]
fn each_digest_is_a_loader_of_its_own() {
    let text = line(json!({"digest": "sha256:aa"}))
        + &line(json!({"digest": "sha256:bb"}))
        + &line(json!({"executable": ""}))
        + &line(json!({"executable": "/usr/bin/bpftrust", "command": "prog-get-next-id"}));
    let loaders = parse(&text).unwrap().loaders();
    let digests: Vec<_> = loaders
        .iter()
        .map(|loader| loader.digest.as_deref())
        .collect();
    assert_eq!(digests, [Some("sha256:aa"), Some("sha256:bb")]);
}
