//! `bpftrust sign`, `install`, `verify` and `inspect` on good input.
//!
//! What needs a kernel with fs-verity is tested in the guest; here signatures
//! are detached.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use common::Place;

#[test]
fn a_detached_signature_verifies_until_the_file_changes() {
    let place = Place::new();
    let tool = place.loader("tool");
    place
        .sign(["--detached", "tool"])
        .expect(0)
        .says("tool: signed as loader in tool.bpftrust-sig, sha256:");
    let verify = || {
        let options = [
            "--certificate",
            "keys/certificate.pem",
            "--signature",
            "tool.bpftrust-sig",
        ];
        place.run(["verify"].into_iter().chain(options).chain(["tool"]))
    };
    verify()
        .expect(0)
        .says("tool: yes, signed as loader by CN=bpftrust signing key");

    let mut content = fs::read(&tool).unwrap();
    content[5000] ^= 1;
    fs::write(&tool, content).unwrap();
    verify().expect(1).says("tool: no, bad-signature");
}

#[test]
fn the_key_of_another_is_unknown() {
    let place = Place::new();
    place.keygen("others");
    place.loader("tool");
    place.sign(["--detached", "tool"]).expect(0);
    let verify = [
        "verify",
        "--json",
        "--certificate",
        "others/certificate.pem",
    ];
    let run = place.run(
        verify
            .into_iter()
            .chain(["--signature", "tool.bpftrust-sig", "tool"]),
    );
    let run = run.expect(1);
    let answer: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(answer["reason"], "unknown-key");
    assert_eq!(answer["verified"], false);
}

#[test]
fn a_good_xattr_without_verity_is_no_trust() {
    let place = Place::new();
    let tool = place.loader("tool");
    let verify = || place.run(["verify", "--certificate", "keys/certificate.pem", "tool"]);
    verify().expect(1).says("tool: no, no-signature");
    place.sign(["--detached", "tool"]).expect(0);
    let value = fs::read(place.path("tool.bpftrust-sig")).unwrap();
    set_xattr(&tool, &value);
    verify()
        .expect(1)
        .says("tool: no, no-verity")
        .says("the signature itself is good");
    set_xattr(&tool, &value[..value.len() - 1]);
    verify()
        .expect(1)
        .says("tool: no, bad-signature")
        .says("it is cut short");
    place
        .run(["inspect", "tool"])
        .expect(1)
        .says("place      xattr")
        .says("problem ");
}

#[test]
fn a_file_system_without_verity_is_named_and_the_file_left_as_it_was() {
    let place = Place::new();
    let tool = place.loader("tool");
    if verity_is_possible(&tool) {
        return eprintln!("left out: this file system has fs-verity");
    }
    set_xattr(&tool, b"mine");
    place
        .sign(["tool"])
        .expect(2)
        .complains("the file system has no fs-verity")
        .complains("help: ");
    place.sign(["--detached", "tool"]).expect(0);
    place
        .run(["install", "tool"])
        .expect(2)
        .complains("the file system has no fs-verity");
    assert_eq!(xattr(&tool), b"mine");
}

#[test]
fn a_directory_is_signed_by_kind_and_links_are_not_followed() {
    let place = Place::new();
    place.loader("tree/bin/tool");
    place.loader("tree/bin/deep/er/tool");
    let plain = place.loader("tree/bin/not-executable");
    fs::set_permissions(plain, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    place.write("tree/readme", b"text");
    place.write("tree/empty", b"");
    place.copy(libc(), "tree/lib/libc.so.6");
    place.loader("outside/tool");
    symlink(place.path("outside"), place.path("tree/link")).unwrap();
    symlink(place.path("outside/tool"), place.path("tree/bin/link")).unwrap();
    symlink("loop", place.path("tree/loop")).unwrap();

    let run = place
        .sign(["--detached", "--out", "signatures", "tree"])
        .expect(0);
    assert_eq!(
        paths(&run.out),
        ["tree/bin/deep/er/tool", "tree/bin/tool"],
        "only executables, in order"
    );
    assert!(
        place
            .path("signatures/bin/deep/er/tool.bpftrust-sig")
            .exists()
    );
    let run = place
        .sign(["--detached", "--kind", "library", "tree"])
        .expect(0);
    assert_eq!(paths(&run.out), ["tree/lib/libc.so.6"]);
    let run = place.sign(["--detached", "--bare", "tree"]).expect(0);
    assert_eq!(paths(&run.out).len(), 3);
    place
        .sign(["--detached", "--kind", "library", "tree/bin/deep"])
        .expect(2);
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_signed() {
    let place = Place::new();
    place.loader("one");
    place.loader("two");
    place.write("empty", b"");
    let run = place
        .sign(["--detached", "one", "empty", "missing", "two"])
        .expect(2);
    assert_eq!(paths(&run.out), ["one", "two"]);
    run.complains("signing empty: it is empty")
        .complains("signing missing: opening missing");
}

#[test]
fn two_files_never_share_a_signature_file() {
    let place = Place::new();
    place.loader("a/tool");
    place.loader("b/tool");
    let run = place
        .sign(["--detached", "--out", "signatures", "a/tool", "b/tool"])
        .expect(2);
    run.complains("two of the files would have their signature in signatures/tool.bpftrust-sig");
    assert!(!place.path("signatures").exists());
}

#[test]
fn one_file_can_have_its_signature_anywhere() {
    let place = Place::new();
    place.loader("tool");
    place
        .sign(["--detached", "--out", "some.sig", "tool"])
        .expect(0);
    place
        .run(["inspect", "some.sig"])
        .expect(0)
        .says("kind       loader")
        .says("place      file");
    place
        .sign(["--detached", "--out", "made/", "tool"])
        .expect(0);
    assert!(place.path("made/tool.bpftrust-sig").exists());
}

#[test]
fn inspect_says_what_verify_judges() {
    let place = Place::new();
    place.loader("tool");
    place
        .sign(["--detached", "--kind", "library", "tool"])
        .expect(0);
    let run = place
        .run(["inspect", "--json", "tool.bpftrust-sig"])
        .expect(0);
    let found: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(found["kind"], "library");
    assert_eq!(found["form"], "statement");
    assert_eq!(found["digest_algorithm"], "sha256");
    assert_eq!(found["signature_algorithm"], "ecdsa");
    assert_eq!(found["issuer"], "CN=bpftrust signing key");
    assert_eq!(found["problems"], serde_json::json!([]));
    place
        .run(["inspect", "tool"])
        .expect(1)
        .says("no signature");
}

#[test]
fn a_bare_signature_needs_a_certificate_to_be_taken_in() {
    let place = Place::new();
    place.loader("tool");
    place
        .sign(["--detached", "--bare", "tool"])
        .expect(0)
        .says("signed as bare file");
    let signature = fs::read(place.path("tool.bpftrust-sig")).unwrap();
    assert_eq!(
        signature[0], 0x30,
        "PKCS#7 alone, as fsverity sign writes it"
    );
    place
        .run(["inspect", "tool.bpftrust-sig"])
        .expect(0)
        .says("form       pkcs7");
    let run = place.run(["install", "tool"]).expect(2);
    run.complains("does not say which key made it")
        .complains("help: --certificate");
    place.keygen("others");
    let run = place
        .run(["install", "--certificate", "others/certificate.pem", "tool"])
        .expect(2);
    run.complains("which is not there");
    let verify = [
        "verify",
        "--certificate",
        "keys/certificate.pem",
        "--signature",
    ];
    let run = place
        .run(verify.into_iter().chain(["tool.bpftrust-sig", "tool"]))
        .expect(0);
    run.says("tool: yes, signed as bare file");
}

#[test]
fn generic_loaders_are_signed_with_a_warning() {
    let place = Place::new();
    place.loader("bpftool");
    place.loader("execsnoop");
    let run = place.sign(["--detached", "bpftool", "execsnoop"]).expect(0);
    assert_eq!(
        run.err
            .matches("signs everything that it can be told to load")
            .count(),
        1
    );
    run.complains("warning: bpftool");
}

#[test]
fn digests_are_printed_as_fsverity_prints_them() {
    let place = Place::empty();
    place.write("a b", &b"bpftrust\n".repeat(1000)[..4097]);
    let digest = "sha256:e99299b1c16501c25370f8717b8679d875911ce3052151e38939dc34175f3d9b";
    let run = place.run(["digest", "a b"]).expect(0);
    assert_eq!(run.out, format!("{digest} a b\n"));
    let run = place.run(["digest", "--json", "a b"]).expect(0);
    let line: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        line,
        serde_json::json!({"path": "a b", "digest": digest, "size": 4097})
    );
    let salted = "sha256:042b703e2cf87e7c044bd2aeb3a99156cabc4538807792dd4ac86c08459e60cc a b\n";
    assert_eq!(
        place.run(["digest", "--salt", "abcd", "a b"]).expect(0).out,
        salted
    );
}

#[test]
fn man_pages_and_completions_cover_every_verb() {
    let place = Place::empty();
    place.run(["generate", "--out", "out"]).expect(0);
    for verb in [
        "keygen",
        "digest",
        "sign",
        "install",
        "verify",
        "inspect",
        "check",
        "explain",
        "policy",
        "policy-check",
        "policy-show",
        "enforce",
    ] {
        assert!(
            place.path(&format!("out/bpftrust-{verb}.1")).exists(),
            "{verb}"
        );
    }
    for shell in ["bpftrust.bash", "bpftrust.fish", "_bpftrust"] {
        assert!(place.path("out").join(shell).exists(), "{shell}");
    }
}

/// The paths at the start of the lines that say what was signed.
fn paths(out: &str) -> Vec<&str> {
    out.lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect()
}

fn libc() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut files = maps.lines().filter_map(|line| line.split(' ').next_back());
    files
        .find(|path| path.ends_with("/libc.so.6"))
        .expect("this test is linked to it")
        .into()
}

fn set_xattr(path: &std::path::Path, value: &[u8]) {
    use rustix::fs::{XattrFlags, setxattr};
    setxattr(path, "user.bpftrust", value, XattrFlags::empty()).unwrap();
}

fn xattr(path: &std::path::Path) -> Vec<u8> {
    let mut value = vec![0; 4096];
    let size = rustix::fs::getxattr(path, "user.bpftrust", &mut value[..]).unwrap();
    value.truncate(size);
    value
}

fn verity_is_possible(path: &std::path::Path) -> bool {
    let file = fs::File::open(path).unwrap();
    bpftrust_verity::measure(&file).is_ok()
}

#[test]
fn other_tools_can_check_our_detached_bare_signature() {
    let place = Place::new();
    let tool = place.loader("tool");
    place.sign(["--detached", "--bare", "tool"]).expect(0);
    let file = fs::File::open(tool).unwrap();
    let parameters = bpftrust_verity::Parameters::default();
    let digest = bpftrust_verity::Descriptor::compute(file, &parameters)
        .unwrap()
        .digest();
    place.write("message", &digest.formatted());
    let output = Command::new("openssl")
        .args([
            "cms", "-verify", "-binary", "-inform", "der", "-purpose", "any", "-out",
        ])
        .args([
            "/dev/null",
            "-in",
            "tool.bpftrust-sig",
            "-content",
            "message",
        ])
        .args([
            "-certfile",
            "keys/certificate.pem",
            "-CAfile",
            "keys/certificate.pem",
        ])
        .current_dir(place.path(""))
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => eprintln!("left out: openssl: {error}"),
    }
}
