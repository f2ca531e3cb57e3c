//! `bpftrust policy` and `bpftrust explain`.
//!
//! What needs a kernel with fs-verity is tested in the guest; here signatures
//! are detached.

mod common;

use std::fs;

use common::{Place, Run};
use serde_json::{Value, json};

const ACME: &str = "[publisher.acme]\ncertificates = [\"acme.pem\"]\n";

/// A place with a key, a policy that trusts it, and what `more` says.
fn place(more: &str) -> Place {
    let place = Place::new();
    place.copy(place.path("keys/certificate.pem"), "certificates/acme.pem");
    place.loader("tool");
    policy(&place, more);
    place
}

fn policy(place: &Place, more: &str) {
    place.write("p.toml", format!("{ACME}{more}").as_bytes());
}

fn key(place: &Place) -> String {
    let run = place.run(["policy", "show", "--policy", "p.toml", "--json"]);
    let shown: Value = serde_json::from_str(&run.expect(0).out).unwrap();
    shown["publishers"][0]["keys"][0]["key"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn sign(place: &Place, grant: &str) {
    place.write("grant.toml", grant.as_bytes());
    place
        .sign(["--grant", "grant.toml", "--detached", "tool"])
        .expect(0);
}

fn explain(place: &Place, options: &[&str]) -> Run {
    let words = [
        "explain",
        "--policy",
        "p.toml",
        "--signature",
        "tool.bpftrust-sig",
    ];
    place.run(words.iter().chain(options).chain(&["tool"]))
}

#[test]
fn a_good_policy_is_counted_and_a_bad_one_is_no() {
    let place = place("[minimum-version]\nx = 1\n");
    place
        .run(["policy", "check", "p.toml"])
        .expect(0)
        .says("p.toml: good, 1 publisher, 1 key, 1 rule\n");
    for (more, said) in [
        ("mode = 1\n", "p.toml:3:1: unknown field `mode`"),
        (
            "bare = \"all\"\n",
            "p.toml:3:8: unknown variant `all`, expected `loader` or `library`",
        ),
        ("certificates = []\n", "p.toml:3:1: duplicate key"),
        (
            "keyring = \"builtin\"\n",
            "p.toml:3:11: publisher \"acme\" has certificates and a keyring",
        ),
        (
            "[publisher.\"\\u001b[2J\"]\n",
            "p.toml:3:12: \"\\u{1b}[2J\": a name has",
        ),
        (
            "[publisher.b]\ncertificates = [\"acme.pem\"]\n",
            "p.toml:4:17: publisher \"acme\" has the key ",
        ),
        (
            "[publisher.b]\ncertificates = [\"b.pem\"]\n",
            "p.toml:4:17: certificate certificates/b.pem of publisher \"b\": No such file",
        ),
        (
            "[default]\nprograms = [\"tracng\"]\n",
            "p.toml:4:13: unknown program type \"tracng\": did you mean \"tracing\"?",
        ),
        (
            "[default]\nabilities = [\"delegate\"]\n[ceiling]\nabilities = []\n",
            "p.toml:4:14: the policy's ceiling excludes ability \"delegate\"",
        ),
        (
            "[minimum-version]\nx = 9223372036854775808\n",
            "p.toml:4:5: a version is 0 to",
        ),
        (
            "[refused]\ndigests = [\"sha256:00\"]\n",
            "p.toml:4:12: \"sha256:00\": not an fs-verity digest",
        ),
        (
            "[refused]\ndigests-file = \"none\"\n",
            "p.toml:4:16: refused digests: can't read none: No such file",
        ),
        (
            "[refused]\nkeys = [\"0\"]\n",
            "p.toml:4:9: \"0\": not a key",
        ),
        ("[[refused]]\n", "p.toml:3:"),
        ("[", "p.toml:3:"),
    ] {
        policy(&place, more);
        let run = place.run(["policy", "check", "p.toml"]).expect(1);
        let run = run.complains(&format!("error: {said}"));
        assert!(
            !run.err.contains('\x1b') && !run.err.contains("panicked"),
            "{run:?}"
        );
        place
            .run(["policy", "show", "--policy", "p.toml"])
            .expect(2)
            .complains(said);
    }
    for odd in ["missing", "certificates", "/dev/null"] {
        place
            .run(["policy", "check", odd])
            .expect(2)
            .complains(&format!("error: can't read {odd}: "));
    }
}

#[test]
fn a_policy_is_shown_with_what_it_leaves_unsaid() {
    let place = place(
        "loaders = [\"x\"]\n[publisher.acme.ceiling]\nprograms = [\"tracing\", 60]\n\
         [publisher.kernel]\nkeyring = \"secondary\"\nrequire = \"token\"\n[minimum-version]\nx = 3\n\
         [refused]\nnames = [\"evil\", \"worse\"]\n",
    );
    let show = ["policy", "show", "--policy", "p.toml"];
    place
        .run(show)
        .expect(0)
        .says(
            "mode         enforce\nlibraries    signed: trusted processes run only code that was \
             signed\nrequire      nothing\nceiling      limits nothing\ndefault, ",
        )
        .says("  abilities  children\npublisher acme:\n  key        ")
        .says(
            "  loaders    x\n  bare       nothing\n  require    nothing\n  ceiling    programs \
             tracing,60\n",
        )
        .says("publisher kernel:\n  keyring    secondary\n  loaders    any\n")
        .says("  require    token: each bpf() call takes the loader's own BPF token\n")
        .says("minimum versions:\n  x          3\nrefused      0 digests, 0 keys, 2 names\n");
    let run = place.run(show.into_iter().chain(["--json"])).expect(0);
    let shown: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(shown["mode"], "enforce");
    assert_eq!(shown["libraries"], "signed");
    assert_eq!(shown["ceiling"]["programs"], "unlimited");
    assert_eq!(shown["default"]["abilities"], json!(["children"]));
    let [acme, kernel] = &shown["publishers"].as_array().unwrap()[..] else {
        panic!("{shown}");
    };
    assert_eq!(acme["loaders"], json!(["x"]));
    assert_eq!(acme["ceiling"]["programs"], json!(["tracing", 60]));
    assert_eq!(acme["keys"][0]["subject"], "CN=bpftrust signing key");
    assert_eq!(kernel["keyring"], "secondary");
    assert_eq!(kernel["loaders"], Value::Null);
    assert_eq!(shown["minimum_versions"], json!({ "x": 3 }));
    assert_eq!(
        shown["refused"],
        json!({ "digests": 0, "keys": 0, "names": 2 })
    );
}

#[test]
fn weaker_rules_for_libraries_say_what_they_give_up() {
    let place = place("");
    sign(&place, "name = \"x\"\nversion = 2\ncommands = \"all\"\n");
    for (libraries, said) in [
        (
            "verity",
            "verity: trusted processes run code of any file that has fs-verity; who can ",
        ),
        (
            "any",
            "any: trusted processes run code of any file; who can replace or write ",
        ),
    ] {
        let text = format!("libraries = \"{libraries}\"\n{ACME}");
        place.write("p.toml", text.as_bytes());
        place
            .run(["policy", "show", "--policy", "p.toml"])
            .expect(0)
            .says(&format!("libraries    {said}"));
        explain(&place, &[])
            .expect(0)
            .says(&format!("  libraries  {said}"));
    }
}

#[test]
fn a_right_is_explained_by_the_rule_that_decides() {
    let place = place(
        "[publisher.acme.ceiling]\nprograms = [\"tracing\", \"xdp\"]\n\
         [ceiling]\nprograms = [\"tracing\", \"kprobe\", \"xdp\"]\nmaps = \"all\"\n",
    );
    sign(
        &place,
        "name = \"x\"\nversion = 2\ncommands = \"all\"\nmaps = [\"hash\", 60]\n\
         programs = [\"tracing\", \"kprobe\", \"lsm\"]\nnot-after = 2100-01-01T00:00:00Z\n",
    );
    let key = key(&place);
    explain(&place, &[])
        .expect(0)
        .says(&format!(
            "tool: yes, x version 2, signed by acme (key {key}), until 2100-01-01T00:00:00Z\n"
        ))
        .says(
            "  programs   tracing  (grant; the publisher's ceiling takes kprobe,lsm; \
             the policy's ceiling takes lsm)\n",
        )
        .says("  attaches   none  (grant)\n")
        .says("  maps       hash  (grant; the policy's ceiling takes 60)\n")
        .says("  commands   all  (grant)\n");
    let run = explain(&place, &["--json"]).expect(0);
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(answer["trusted"], true);
    assert_eq!(answer["publisher"], "acme");
    assert_eq!(answer["basis"], "grant");
    assert_eq!(answer["rights"]["programs"], json!(["tracing"]));
    assert_eq!(
        answer["cut_by_publisher"]["programs"],
        json!(["kprobe", "lsm"])
    );
    assert_eq!(answer["cut_by_policy"]["maps"], json!([60]));
    assert_eq!(answer["not_after"], "2100-01-01T00:00:00Z");
}

#[test]
fn without_a_grant_the_default_is_explained() {
    let place = place("bare = \"loader\"\n[default]\ncommands = [\"prog_load\"]\n");
    for options in [
        &["--detached", "tool"][..],
        &["--bare", "--detached", "tool"],
    ] {
        place.sign(options.iter().copied()).expect(0);
        explain(&place, &[])
            .expect(0)
            .says("tool: yes, without a grant, signed by acme (key ")
            .says("  programs   none  (default)\n")
            .says("  commands   prog-load  (default)\n");
    }
}

#[test]
fn every_refusal_has_its_reason() {
    let place = place("");
    let key = key(&place);
    let digest = place.run(["digest", "tool"]).expect(0).out;
    let digest = digest.split(' ').next().unwrap();
    sign(&place, "name = \"x\"\nversion = 2\ncommands = \"all\"\n");
    for (more, reason, said) in [
        (
            format!("[refused]\nkeys = [\"{key}\"]\n"),
            "revoked",
            "the policy refuses the key ",
        ),
        (
            format!("[refused]\ndigests = [\"{digest}\"]\n"),
            "revoked",
            "the policy refuses the digest sha256:",
        ),
        (
            "[refused]\nnames = [\"x\"]\n".into(),
            "revoked",
            "the policy refuses the name x",
        ),
        (
            "[minimum-version]\nx = 3\n".into(),
            "too-old",
            "it is version 2 of x, and the policy wants 3 or later",
        ),
        (
            "loaders = [\"y\"]\n".into(),
            "not-granted",
            "publisher acme may not sign x",
        ),
    ] {
        policy(&place, &more);
        explain(&place, &[]).expect(1).says(&format!(
            "tool: no, {reason}, x version 2, signed by acme (key {key}): {said}"
        ));
        let run = explain(&place, &["--json"]).expect(1);
        let answer: Value = serde_json::from_str(&run.out).unwrap();
        assert_eq!(
            (&answer["trusted"], &answer["reason"]),
            (&json!(false), &json!(reason))
        );
    }
    policy(&place, "loaders = [\"y\"]\n");
    place.sign(["--detached", "tool"]).expect(0);
    explain(&place, &[])
        .expect(1)
        .says("tool: no, not-granted, without a grant, ")
        .says("may only sign certain names, and the signature has none");
    policy(&place, "");
    place
        .sign(["--detached", "--kind", "library", "tool"])
        .expect(0);
    explain(&place, &[])
        .expect(1)
        .says("no, wrong-kind")
        .says("it is signed as library");
    place.sign(["--detached", "--bare", "tool"]).expect(0);
    explain(&place, &[])
        .expect(1)
        .says("no, wrong-kind")
        .says("means nothing");
    policy(&place, "bare = \"library\"\n");
    explain(&place, &[])
        .expect(1)
        .says("no, wrong-kind")
        .says("means library");
}

#[test]
fn what_is_not_verified_is_no_or_can_not_be_told() {
    let place = place("");
    let explain_file = || place.run(["explain", "--policy", "p.toml", "tool"]);
    explain_file().expect(1).says("tool: no, no-signature\n");
    place.keygen("others");
    let others = [
        "sign",
        "--key",
        "others/key.pem",
        "--certificate",
        "others/certificate.pem",
    ];
    let sign_by_others = |more: &[&str]| {
        place
            .run(others.iter().chain(more).chain(&["--detached", "tool"]))
            .expect(0)
    };
    sign_by_others(&[]);
    explain(&place, &[])
        .expect(1)
        .says("tool: no, unknown-key: ");
    sign_by_others(&["--bare"]);
    explain(&place, &[])
        .expect(1)
        .says("tool: no, unknown-key: ");
    policy(&place, "[publisher.kernel]\nkeyring = \"builtin\"\n");
    explain(&place, &[])
        .expect(2)
        .complains("only the kernel can ask the builtin keyring of publisher kernel")
        .complains("help: ");
    sign_by_others(&[]);
    explain(&place, &[])
        .expect(2)
        .complains("only the kernel can ask");

    place.sign(["--detached", "tool"]).expect(0);
    explain(&place, &[]).expect(0);
    let value = fs::read(place.path("tool.bpftrust-sig")).unwrap();
    use rustix::fs::{XattrFlags, setxattr};
    let set = |value: &[u8]| {
        setxattr(
            place.path("tool"),
            "user.bpftrust",
            value,
            XattrFlags::empty(),
        )
        .unwrap();
    };
    set(&value);
    explain_file().expect(1).says("tool: no, no-verity: ");
    set(&value[..value.len() - 1]);
    explain_file()
        .expect(1)
        .says("tool: no, bad-signature: ")
        .says("cut short");
    set(&[0x30, 0x80]);
    explain_file()
        .expect(1)
        .says("tool: no, bad-signature: ")
        .says("BPFT");

    let mut content = fs::read(place.path("tool")).unwrap();
    content[5000] ^= 1;
    fs::write(place.path("tool"), content).unwrap();
    explain(&place, &[])
        .expect(1)
        .says("tool: no, bad-signature: ");
    for odd in ["missing", "keys", "/dev/null"] {
        place
            .run(["explain", "--policy", "p.toml", odd])
            .expect(2)
            .complains(&format!("error: explaining {odd}: "));
    }
    place
        .run(["explain", "--policy", "missing", "tool"])
        .expect(2)
        .complains("can't read missing")
        .complains("help: a policy names who may sign");
}
