//! What becomes of objects that a compiler made, good and bad ones.

use std::fs;

use bpftrust_program::{
    Content, Error, Generation, Package, generate, takes_overrides, takes_token,
};
use bpftrust_signature::{KeyHint, sha256};
use libbpf_cargo::SkeletonBuilder;

const HEAD: &str = "
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
#include <bpf/bpf_helpers.h>
";
const LICENSE: &str = "char LICENSE[] SEC(\"license\") = \"GPL\";\n";
const PASS: &str = "SEC(\"xdp\") int pass(void *ctx) { return 2; }\n";
/// Content that the generator lets the caller replace.
const GLOBALS: &str = "
const volatile int limit = 7;
int hits;
SEC(\"xdp\") int count(void *ctx) { return ++hits > limit ? 1 : 2; }
";

fn compiled(source: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (
        directory.path().join("a.bpf.c"),
        directory.path().join("a.bpf.o"),
    );
    fs::write(&from, format!("{HEAD}{source}")).unwrap();
    SkeletonBuilder::new()
        .source(&from)
        .obj(&to)
        .clang("clang-19")
        .clang_args(["-mcpu=v3"])
        .build()
        .unwrap();
    fs::read(to).unwrap()
}

fn generated(source: &str) -> Result<Content, Error> {
    generate(&compiled(source), &Generation::ALL)
}

/// Requires that it is refused, and that the error says all of this.
fn refused(source: &str, words: &[&str]) {
    let error = generated(source).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn both_loaders_share_their_metadata_and_take_nothing_from_their_caller() {
    let content = generated(&format!("{GLOBALS}{PASS}{LICENSE}")).unwrap();
    assert_eq!(content.programs, ["count", "pass"]);
    assert_eq!(content.maps, ["signed_rodata", "signed_bss"]);
    let [(_, older), (_, newer)] = &content.loaders[..] else {
        panic!("not two loaders");
    };
    assert!(older.len() > newer.len(), "the older one compares a hash");
    assert_eq!(takes_overrides(older) + takes_overrides(newer), 0);
    let message = content.message(Generation::Linux73).unwrap();
    assert_eq!(message, [&newer[..], &content.metadata].concat());
    assert_eq!(content.message(Generation::Linux618).unwrap(), *older);
}

/// The number of instructions that begin so.
fn count(loader: &[u8], begin: [u8; 4]) -> usize {
    let instructions = loader.chunks_exact(8);
    instructions.filter(|one| one[..4] == begin).count()
}

#[test]
fn a_token_is_named_in_each_call_that_takes_one() {
    let content = generated(&format!("{GLOBALS}{PASS}{LICENSE}")).unwrap();
    let hash = sha256(&content.metadata);
    for (generation, loader) in &content.loaders {
        assert!(takes_token(loader));
        // r4 = *(u32 *)(r6 + 4), once for the BTF, the two maps, the two programs.
        assert_eq!(count(loader, [0x61, 0x64, 4, 0]), 5, "{generation}");
        // r3 = the next 8 bytes of the hash, which the older one compares.
        let parts = hash.chunks_exact(8).map(|part| {
            let (low, high) = part.split_at(4);
            [&[0x18, 3, 0, 0], low, &[0; 4], high].concat()
        });
        for part in parts {
            let found = loader.windows(16).any(|window| window == part);
            assert_eq!(found, *generation == Generation::Linux618);
        }
    }
    assert!(!takes_token(&[0; 16]));
}

#[test]
fn the_same_object_becomes_the_same_bytes() {
    let object = compiled(&format!("{GLOBALS}{LICENSE}"));
    let once = generate(&object, &Generation::ALL).unwrap();
    assert_eq!(once, generate(&object, &Generation::ALL).unwrap());
}

#[test]
fn what_cant_be_signed_is_named() {
    refused(PASS, &["section license"]);
    refused(
        &format!("{PASS}char LICENSE[] SEC(\"license\") = \"\";\n"),
        &["section license"],
    );
    refused(
        &format!(
            "extern int LINUX_KERNEL_VERSION __kconfig;
             SEC(\"xdp\") int pass(void *ctx) {{ return LINUX_KERNEL_VERSION > 7 ? 1 : 2; }}
             {LICENSE}"
        ),
        &["kconfig", "this machine"],
    );
    refused(
        &format!(
            "struct {{ __uint(type, 2); __uint(max_entries, 1); __type(key, int);
             __type(value, int); __uint(pinning, LIBBPF_PIN_BY_NAME); }} kept SEC(\".maps\");
             {PASS}{LICENSE}"
        ),
        &["map kept", "pinned"],
    );
    refused(
        &format!(
            "struct {{ __uint(type, 33); __uint(map_flags, 1 << 10); __uint(max_entries, 1); }}
             pages SEC(\".maps\");
             {PASS}{LICENSE}"
        ),
        &["map pages", "arena"],
    );
    refused(
        &format!(
            "extern int elsewhere(int) ;
             SEC(\"xdp\") int pass(void *ctx) {{ return elsewhere(1); }}
             {LICENSE}"
        ),
        &["elsewhere"],
    );
    refused(
        &format!(
            "struct ops {{ int (*first)(void); }};
             SEC(\"struct_ops/first\") int first(void *ctx) {{ return 0; }}
             SEC(\".struct_ops\") struct ops table = {{ .first = (void *)first }};
             {LICENSE}"
        ),
        &["map table", "struct_ops"],
    );
    refused(
        &format!(
            "SEC(\"aside\") int value = 3;
             SEC(\"xdp\") int pass(void *ctx) {{ return value; }}
             {LICENSE}"
        ),
        &["value", "aside"],
    );
    refused(
        &format!(
            "struct {{ int type; }} old SEC(\"maps\");
             {PASS}{LICENSE}"
        ),
        &["'maps' section"],
    );
    let maps: String = (0..65)
        .map(|number| {
            format!(
                "struct {{ __uint(type, 2); __uint(max_entries, 1); __type(key, int);
                 __type(value, int); }} map{number} SEC(\".maps\");\n"
            )
        })
        .collect();
    refused(&format!("{maps}{PASS}{LICENSE}"), &["maps exceeds 64"]);
    assert!(matches!(
        generate(b"\x7fELF, but not really", &Generation::ALL),
        Err(Error::NoObject(_))
    ));
}

fn package() -> Package {
    Package {
        content: Content {
            loaders: vec![
                (Generation::Linux618, vec![1; 16]),
                (Generation::Linux73, vec![2; 8]),
            ],
            metadata: vec![3; 40],
            maps: vec!["a".into(), "b_c".into()],
            programs: vec!["d".into()],
        },
        signatures: vec![vec![4; 5], vec![6; 7]],
        signer: KeyHint(*b"12345678"),
    }
}

#[test]
fn a_package_is_read_as_it_was_written() {
    let package = package();
    assert_eq!(
        Package::parse(&package.to_bytes().unwrap()).unwrap(),
        package
    );
}

#[test]
fn a_package_that_is_cut_off_anywhere_is_an_error() {
    let bytes = package().to_bytes().unwrap();
    for size in 0..bytes.len() {
        // What is cut off behind the last section that counts may be padding.
        if let Ok(read) = Package::parse(&bytes[..size]) {
            assert_eq!(read, package(), "cut off at {size}");
        }
    }
    assert!(Package::parse(&bytes[..bytes.len() / 2]).is_err());
}

#[test]
fn a_package_with_any_byte_changed_is_read_or_refused() {
    let bytes = package().to_bytes().unwrap();
    let (mut read, mut refused) = (0, 0);
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            match Package::parse(&changed) {
                Ok(_) => read += 1,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
}

#[test]
fn names_lead_out_of_no_directory() {
    for name in ["", "..", "a/b", "a.b", "\u{e9}"] {
        let mut package = package();
        package.content.programs = vec![name.into()];
        let read = Package::parse(&package.to_bytes().unwrap());
        assert!(read.is_err(), "{name:?}");
    }
}
