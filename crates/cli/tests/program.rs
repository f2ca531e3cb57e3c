//! `bpftrust program sign` and `inspect`; guests try `load`.

mod common;

use std::fs;
use std::process::Command;

use common::{Place, Run};

/// An object as small as there are, of C without any header.
const SOURCE: &str = "
__attribute__((section(\"xdp\"), used)) int pass(void *ctx) { return 2; }
";
const LICENSE: &str = "char LICENSE[] __attribute__((section(\"license\"), used)) = \"GPL\";\n";

fn compile(place: &Place, name: &str, source: &str) {
    place.write("a.bpf.c", source.as_bytes());
    let made = Command::new("clang-19")
        .args(["-g", "-O2", "-target", "bpf", "-c"])
        .arg(place.path("a.bpf.c"))
        .arg("-o")
        .arg(place.path(name))
        .status()
        .unwrap();
    assert!(made.success());
}

fn sign(place: &Place, more: &[&str]) -> Run {
    let keys = [
        "--key",
        "keys/key.pem",
        "--certificate",
        "keys/certificate.pem",
    ];
    place.run([&["program", "sign"], &keys[..], more].concat())
}

fn inspect(place: &Place, file: &str) -> Run {
    place.run([
        "program",
        "inspect",
        "--certificate",
        "keys/certificate.pem",
        file,
    ])
}

#[test]
fn an_object_is_signed_for_the_kernels_that_were_asked_for() {
    let place = Place::new();
    compile(&place, "a.bpf.o", &format!("{SOURCE}{LICENSE}"));
    sign(&place, &["-o", "both", "a.bpf.o"])
        .expect(0)
        .says("1 programs and 0 maps");
    inspect(&place, "both")
        .expect(0)
        .says("Linux 6.18")
        .says("Linux 7.3")
        .says("not for    Linux 6.12\n")
        .says("verified");
    sign(&place, &["--for", "7.3", "-o", "new", "a.bpf.o"]).expect(0);
    inspect(&place, "new")
        .expect(0)
        .says("not for    Linux 6.12, 6.18\n");
}

#[test]
fn openssl_verifies_what_was_signed() {
    let place = Place::new();
    compile(&place, "a.bpf.o", &format!("{SOURCE}{LICENSE}"));
    sign(&place, &["-o", "out", "a.bpf.o"]).expect(0);
    let package = fs::read(place.path("out")).unwrap();
    let package = bpftrust_program::Package::parse(&package).unwrap();
    for generation in bpftrust_program::Generation::ALL {
        let form = package.form(generation).unwrap();
        let message = package.content.message(generation).unwrap();
        place.write("signature", form.signature);
        place.write("message", &message);
        let verified = Command::new("openssl")
            .args(["cms", "-verify", "-binary", "-inform", "DER", "-in"])
            .arg(place.path("signature"))
            .arg("-content")
            .arg(place.path("message"))
            .arg("-certfile")
            .arg(place.path("keys/certificate.pem"))
            .args(["-nointern", "-noverify", "-out", "/dev/null"])
            .output()
            .unwrap();
        assert!(verified.status.success(), "{generation}: {verified:?}");
    }
}

#[test]
fn what_cant_be_signed_leaves_no_file_and_what_was_there() {
    let place = Place::new();
    compile(&place, "without.bpf.o", SOURCE);
    place.write("kept", b"as it was");
    for (object, said) in [
        ("without.bpf.o", "section license"),
        ("/bin/true", "no BPF object"),
        ("keys/key.pem", "no BPF object"),
        ("missing", "No such file"),
        ("keys", "a directory"),
    ] {
        sign(&place, &["-o", "kept", object])
            .expect(2)
            .complains(said);
        sign(&place, &["-o", "new", object]).expect(2);
        assert!(!place.path("new").exists(), "{object}");
    }
    assert_eq!(fs::read(place.path("kept")).unwrap(), b"as it was");
}

#[test]
fn what_is_no_package_is_told_from_one_that_was_changed() {
    let place = Place::new();
    compile(&place, "a.bpf.o", &format!("{SOURCE}{LICENSE}"));
    sign(&place, &["-o", "out", "a.bpf.o"]).expect(0);
    let whole = fs::read(place.path("out")).unwrap();
    place.write("half", &whole[..whole.len() / 2]);
    for name in ["half", "a.bpf.o"] {
        inspect(&place, name)
            .expect(2)
            .complains("bpftrust program sign OBJECT -o OUT");
    }
    let mut package = bpftrust_program::Package::parse(&whole).unwrap();
    package.content.metadata[0] ^= 1;
    place.write("changed", &package.to_bytes().unwrap());
    // What the older kernel verifies is as it was: there the loader itself looks.
    inspect(&place, "changed")
        .expect(1)
        .says("NOT verified")
        .says(", verified");
    let bytes = fs::read(place.path("keys/key.pem")).unwrap();
    place.write("key-as-package", &bytes);
    inspect(&place, "key-as-package")
        .expect(2)
        .complains("no BPF object");
}
