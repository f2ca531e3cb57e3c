//! `propose`, `replay` and `report` on recorded events: what they refuse to work on,
//! and that what one writes the other reads.

mod common;

use std::fs;

use common::{Place, Run};
use serde_json::{Value, json};

impl Events<'_> {
    fn add(&mut self, executable: &str, fields: Value) {
        self.count += 1;
        let mut line = json!({
            "form": 1, "sequence": self.count, "time": self.time, "action": "bpf",
            "outcome": "would-deny", "reason": "no-signature", "command": "prog-load",
            "object": null, "name": null, "takes": {"programs": ["kprobe"]}, "pid": 1_999_999_999,
            "tid": 7, "uid": 0, "target": null, "file": null, "comm": "tool",
            "cgroup": "tool.service", "executable": executable, "digest": null, "key": null,
            "publisher": null, "script": null, "script_digest": null,
        });
        let own = line.as_object_mut().unwrap();
        own.extend(fields.as_object().unwrap().clone());
        self.text.push_str(&format!("{line}\n"));
        self.place.write("events.json", self.text.as_bytes());
    }
}

/// A recording, as `bpftrust events --json` writes it.
struct Events<'a> {
    place: &'a Place,
    count: u64,
    text: String,
    time: &'static str,
}

impl<'a> Events<'a> {
    /// Of a time that is still to come: files of the test are older.
    fn new(place: &'a Place) -> Self {
        Self {
            place,
            count: 0,
            text: String::new(),
            time: "2099-01-01T00:00:00.000000Z",
        }
    }
}

fn tool(place: &Place, name: &str) -> String {
    place.loader(name).to_str().unwrap().to_owned()
}

fn propose(place: &Place) -> Run {
    place.run([
        "propose",
        "--events",
        "events.json",
        "--out",
        "proposal",
        "--key",
        "keys/key.pem",
        "--certificate",
        "keys/certificate.pem",
        "--publisher",
        "acme",
    ])
}

fn replay(place: &Place) -> Run {
    place.run([
        "replay",
        "--json",
        "--events",
        "events.json",
        "--policy",
        "proposal/policy.toml",
    ])
}

#[test]
fn a_proposal_is_read_by_what_it_is_for() {
    let place = Place::new();
    let mut events = Events::new(&place);
    let (one, two) = (tool(&place, "tool one"), tool(&place, "b/tool-one"));
    events.add(&one, json!({}));
    events.add(
        &one,
        json!({"command": "map-create", "takes": {"maps": ["hash"]}}),
    );
    events.add(&two, json!({"takes": {"programs": ["xdp"]}}));
    propose(&place).expect(0).says("sign.sh: signs 2 loaders");
    let grant = fs::read_to_string(place.path("proposal/grants/tool-one.2.toml")).unwrap();
    for part in [
        &format!("# Proposed by bpftrust for {one}\n"),
        "name = \"tool-one.2\"\nversion = 1\n",
        "commands = [\"map-create\", \"prog-load\"]\nprograms = [\"kprobe\"]\nmaps = [\"hash\"]\n",
    ] {
        assert!(grant.contains(part), "no {part:?} in {grant}");
    }
    for grant in ["tool-one", "tool-one.2"] {
        let grant = format!("proposal/grants/{grant}.toml");
        place
            .sign([
                "--detached",
                "--out",
                "x.sig",
                "--grant",
                &grant,
                "tool one",
            ])
            .expect(0);
    }
    place
        .run(["policy", "check", "proposal/policy.toml"])
        .expect(0);
    let shown = place
        .run(["policy", "show", "--policy", "proposal/policy.toml"])
        .expect(0);
    for part in ["acme", "kprobe", "xdp", "tool-one.2"] {
        assert!(shown.out.contains(part), "no {part} in {shown:?}");
    }
    let script = fs::read_to_string(place.path("proposal/sign.sh")).unwrap();
    assert!(script.contains(&format!("--grant grants/tool-one.2.toml '{one}'\n")));
    let syntax = std::process::Command::new("sh")
        .arg("-n")
        .arg(place.path("proposal/sign.sh"))
        .status()
        .unwrap();
    assert!(syntax.success());
    // Before it is signed.
    let answer: Value = serde_json::from_str(&replay(&place).expect(1).out).unwrap();
    assert_eq!(answer["refused"], 2, "{answer:#}");
    assert_eq!(answer["loaders"][0]["reason"], "no-signature");
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    Events::new(&place).add(&tool(&place, "tool"), json!({}));
    place.write("proposal/mine", b"x");
    propose(&place)
        .expect(2)
        .complains("--out proposal: it is not empty, and nothing is overwritten");
    fs::remove_file(place.path("proposal/mine")).unwrap();
    propose(&place).expect(0);
    propose(&place).expect(2).complains("it is not empty");
    fs::remove_dir_all(place.path("proposal")).unwrap();
    place.write("proposal", b"x");
    propose(&place).expect(2).complains("it is no directory");
}

#[test]
fn what_changed_meanwhile_is_named_and_left_out() {
    let place = Place::new();
    let mut events = Events::new(&place);
    let (same, other) = (tool(&place, "same"), tool(&place, "other"));
    events.add(&same, json!({}));
    events.add(
        &other,
        json!({"digest": format!("sha256:{}", "0".repeat(64))}),
    );
    events.time = "2001-01-01T00:00:00.000000Z";
    events.add(&tool(&place, "newer"), json!({}));
    events.add("/nowhere/tool", json!({}));
    events.add("/usr/bin/e\\u{1b}", json!({}));
    let run = propose(&place).expect(1);
    for said in [
        format!("{other} is left out: it changed meanwhile: it was sha256:0000"),
        "newer is left out: it changed after 2001-01-01T00:00:00".into(),
        "/nowhere/tool is left out: opening /nowhere/tool: No such file".into(),
        "its path was not recorded whole".into(),
    ] {
        assert!(run.err.contains(&said), "no {said:?} in {run:?}");
    }
    let grants = fs::read_dir(place.path("proposal/grants")).unwrap();
    assert_eq!(grants.count(), 1, "{run:?}");
    let answer: Value = serde_json::from_str(&replay(&place).expect(1).out).unwrap();
    assert_eq!(
        (&answer["refused"], &answer["unknown"]),
        (&json!(1), &json!(4))
    );
}

#[test]
fn lost_events_are_said_everywhere() {
    let place = Place::new();
    let mut events = Events::new(&place);
    events.count = 12;
    events.add(&tool(&place, "tool"), json!({}));
    propose(&place).expect(1).complains("12 events were lost");
    let grant = fs::read_to_string(place.path("proposal/grants/tool.toml")).unwrap();
    assert!(grant.contains("# 12 events were lost: it may take more than this\n"));
    place
        .run([
            "report",
            "--events",
            "events.json",
            "--policy",
            "proposal/policy.toml",
        ])
        .expect(0)
        .says("12 events were lost");
}

#[test]
fn a_bad_recording_is_refused_by_each() {
    let place = Place::new();
    Events::new(&place).add(&tool(&place, "tool"), json!({}));
    propose(&place).expect(0);
    let good = fs::read_to_string(place.path("events.json")).unwrap();
    for (text, said) in [
        (
            &good[..good.len() - 9],
            "it is cut off in the middle of an event",
        ),
        (
            &good.replace("\"form\":1", "\"form\":9"),
            "an event of form 9, and this version reads form 1",
        ),
        ("", "events.json has no event"),
    ] {
        place.write("events.json", text.as_bytes());
        for verb in ["replay", "report"] {
            let policy = ["--policy", "proposal/policy.toml"];
            place
                .run([&[verb, "--events", "events.json"][..], &policy].concat())
                .expect(2)
                .complains(said)
                .complains("help: ");
        }
    }
}

#[test]
fn a_page_escapes_what_others_chose_and_needs_nothing_else() {
    let place = Place::new();
    let mut events = Events::new(&place);
    events.add(
        &tool(&place, "<script>alert(1)</script>"),
        json!({"cgroup": "\"><b>x"}),
    );
    propose(&place).expect(0);
    place
        .run([
            "report",
            "--events",
            "events.json",
            "--policy",
            "proposal/policy.toml",
            "--out",
            "r.html",
        ])
        .expect(0)
        .says("r.html: 1 loader here: 0 would work, 1 would be refused");
    let page = fs::read_to_string(place.path("r.html")).unwrap();
    assert!(
        page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    for part in ["<script", "<b>", "http:", "https:", "src=", "url("] {
        assert!(!page.contains(part), "{part} in {page}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}
