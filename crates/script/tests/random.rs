//! The launcher's pure part on whatever bytes: no panic, and nothing that looks like an
//! option, a path or another environment comes out. Deterministic.

mod common;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bpftrust_script::{Granted, brought_in, check, command_line, environment, loader_of};
use common::Random;

impl Random {
    /// Pieces that mean something in a first line, and bytes that don't.
    fn text(&mut self) -> Vec<u8> {
        const PIECES: &[&[u8]] = &[
            b"#!",
            b"/usr/bin/",
            b"env",
            b" -S ",
            b"bpftrace",
            b"bpftrust-script",
            b"\n",
            b" ",
            b"\t",
            b"..",
            b"/",
            b"-e",
            b"--",
            b"#include",
            b"import \"",
            b"\r",
            b"\0",
        ];
        let mut text = Vec::new();
        for _ in 0..self.below(12) {
            if self.below(4) == 0 {
                text.push(self.next() as u8);
            } else {
                text.extend(PIECES[self.below(PIECES.len())]);
            }
        }
        text
    }
}

#[test]
fn a_loaders_name_is_never_a_path_or_an_option() {
    let mut random = Random(1);
    let mut named = 0;
    for _ in 0..200_000 {
        let text = random.text();
        let _ = brought_in(&text);
        let checked = check(&text);
        let Ok(name) = loader_of(&text) else {
            assert!(checked.is_err(), "{text:?}");
            continue;
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!(
            (1..=31).contains(&name.len()) && name.bytes().all(plain),
            "{text:?}"
        );
        assert!(!name.starts_with(['-', '.']), "{text:?}");
        named += 1;
    }
    assert!(named > 10_000, "{named}");
}

#[test]
fn whatever_parameters_come_they_come_last() {
    let mut random = Random(2);
    for _ in 0..50_000 {
        let parameters: Vec<_> = (0..random.below(4))
            .map(|_| OsString::from_vec(random.text()))
            .collect();
        let granted = Granted::read(&random.xattr());
        let allowed = granted.parameters || parameters.is_empty();
        let words = command_line("x", granted, parameters.clone());
        assert_eq!(words.is_ok(), allowed);
        let Ok(words) = words else { continue };
        let mut fixed = vec![OsStr::new("x"), OsStr::new("--"), OsStr::new("-")];
        if granted.r#unsafe {
            fixed.insert(1, OsStr::new("--unsafe"));
        }
        assert_eq!(words[..fixed.len()], fixed);
        assert_eq!(words[fixed.len()..], parameters);
    }
}

impl Random {
    /// The head of an xattr, with some of its bytes changed.
    fn xattr(&mut self) -> Vec<u8> {
        let mut bytes = b"BPFT\x01\0\x70\0".to_vec();
        bytes.resize(24, 0);
        bytes.extend([3, 0, 104, 0, 0, 0, 0, 0, 104, 0, 0, 0]);
        bytes.extend([self.below(4) as u8, 0]);
        for _ in 0..self.below(3) {
            let at = self.below(bytes.len());
            bytes[at] = self.next() as u8;
        }
        bytes.truncate(self.below(bytes.len() + 20));
        bytes
    }
}

#[test]
fn the_environment_has_three_names_at_most() {
    let mut random = Random(3);
    for _ in 0..10_000 {
        let token = OsString::from_vec(random.text());
        let names: Vec<_> = environment(Some(token.clone())).into_iter().collect();
        assert_eq!(names.len(), 3);
        assert_eq!(
            names[2],
            (OsStr::from_bytes(b"LIBBPF_BPF_TOKEN_PATH"), token)
        );
    }
}
