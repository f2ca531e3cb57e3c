//! The launcher itself on whatever script, signature, words and environment: it says what
//! is wrong, or becomes the loader with the script as its input, the fixed words and the
//! fixed environment. `cat` is the loader here: given `--` and `-` it prints its input, and
//! files that are named behind. Nobody judges the signatures; that takes a guard.

mod common;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bpftrust_script::{
    DIRECTORIES, Granted, TOKEN_VARIABLE, XATTR, command_line, environment, loader_of,
};
use common::Random;
use rustix::fs::{XattrFlags, fsetxattr};

/// What shows a `cat` its own words and environment.
const SHOWN: [&str; 2] = ["/proc/self/cmdline", "/proc/self/environ"];

impl Random {
    /// Bytes, without these.
    fn bytes(&mut self, without: &[u8]) -> Vec<u8> {
        let bytes: Vec<_> = (0..self.below(9)).map(|_| self.next() as u8).collect();
        let fits = |byte: &u8| !without.contains(byte);
        bytes.into_iter().filter(fits).collect()
    }

    /// A script: half of them are for `cat`, the rest for whatever comes, but for none
    /// that a machine is likely to have.
    fn script(&mut self) -> Vec<u8> {
        const PIECES: &[&[u8]] = &[
            b"/usr/bin/",
            b"env ",
            b"-S ",
            b"cat",
            b" ",
            b"\t",
            b"\n",
            b"..",
            b"no-such-loader",
            b"--",
            b"-n",
            b"\r",
            b"\0",
            b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ];
        let mut script = b"#!".to_vec();
        if self.below(2) == 0 {
            script.extend(b"/usr/bin/env cat\n");
        }
        for _ in 0..self.below(8) {
            match self.below(4) {
                0 => script.extend(self.bytes(b"")),
                _ => script.extend(PIECES[self.below(PIECES.len())]),
            }
        }
        script.push(b'\n');
        script
    }

    /// Names that mean something to somebody, and others; what a variable can hold.
    fn variables(&mut self) -> Vec<(OsString, OsString)> {
        const NAMES: &[&str] = &[
            TOKEN_VARIABLE,
            "PATH",
            "LC_ALL",
            "BPFTRACE_MAX_MAP_KEYS",
            "BPFTRACE_VMLINUX",
            "LIBBPF_STRICT_MODE",
            "HOME",
        ];
        (0..self.below(5))
            .map(|_| {
                let mut name = OsString::from(NAMES[self.below(NAMES.len())]);
                if self.below(4) == 0 {
                    name.push(OsString::from_vec(self.bytes(b"=\0")));
                }
                (name, OsString::from_vec(self.bytes(b"\0")))
            })
            .collect()
    }
}

/// The head of an xattr with a grant that has these bits (`granted.rs`).
fn xattr(bits: u8) -> Vec<u8> {
    let mut bytes = b"BPFT\x01\0\x70\0".to_vec();
    bytes.resize(24, 0);
    bytes.extend([3, 0, 104, 0, 0, 0, 0, 0, 104, 0, 0, 0, bits, 0]);
    bytes.resize(24 + 8 + 104, 0);
    bytes
}

/// What a loader was shown to have, NUL behind each.
fn strings(bytes: &[u8]) -> BTreeSet<&[u8]> {
    let all = bytes.split(|&byte| byte == 0);
    all.filter(|one| !one.is_empty()).collect()
}

#[test]
fn whatever_it_is_given_it_says_so_or_starts_the_loader_as_it_should() {
    // Beside the build and not in /tmp, which may be without user xattrs.
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut random = Random(5);
    let (mut started, mut shown) = (0, 0);
    for number in 0..1000 {
        let path = place.path().join(format!("{number}"));
        let script = random.script();
        let loader = loader_of(&script[..script.len().min(256)]);
        // What else this machine has by that name is not for this to start.
        let there = |name: &str| {
            DIRECTORIES
                .iter()
                .any(|dir| Path::new(dir).join(name).exists())
        };
        if loader
            .as_ref()
            .is_ok_and(|name| *name != "cat" && there(name))
        {
            continue;
        }
        fs::write(&path, &script).unwrap();
        let value = match random.below(4) {
            0 => random.bytes(b""),
            _ => xattr(random.below(2) as u8),
        };
        fsetxattr(
            File::open(&path).unwrap(),
            XATTR,
            &value,
            XattrFlags::empty(),
        )
        .unwrap();
        let mut parameters: Vec<OsString> = Vec::new();
        if random.below(2) == 0 {
            parameters.extend(SHOWN.map(OsString::from));
            parameters
                .extend((0..random.below(3)).map(|_| OsString::from_vec(random.bytes(b"\0"))));
        }
        let variables = random.variables();
        let output = Command::new(env!("CARGO_BIN_EXE_bpftrust-script"))
            .arg(&path)
            .args(&parameters)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();

        let words = command_line("cat", Granted::read(&value), parameters.iter().cloned());
        let (Ok("cat"), Ok(words)) = (loader, words) else {
            expect_complaint(&output, &script);
            continue;
        };
        started += 1;
        if parameters.is_empty() {
            assert!(output.status.success(), "{output:?}");
            assert_eq!(output.stdout, script);
            continue;
        }
        shown += 1;
        let line: Vec<u8> = words
            .iter()
            .flat_map(|word| [word.as_bytes(), b"\0"].concat())
            .collect();
        let rest = output.stdout.strip_prefix(&script[..]).unwrap();
        let rest = rest.strip_prefix(&line[..]).unwrap();
        let given = |name: &str| {
            let last = variables.iter().rev().find(|(key, _)| key == name);
            last.map(|(_, value)| value.clone())
        };
        let expected: Vec<Vec<u8>> = environment(given(TOKEN_VARIABLE))
            .into_iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect();
        let expected: BTreeSet<&[u8]> = expected.iter().map(Vec::as_slice).collect();
        assert_eq!(strings(rest), expected);
    }
    assert!(started > 200 && shown > 50, "{started} {shown}");
}

fn expect_complaint(output: &Output, script: &[u8]) {
    assert_eq!(output.status.code(), Some(2), "{script:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{script:?}: {output:?}");
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        said.starts_with("bpftrust-script: ") && said.lines().count() == 1,
        "{script:?}: {said}"
    );
}

#[test]
fn what_is_no_regular_file_is_told_so() {
    for (words, complaint) in [
        (&[][..], "usage: bpftrust-script FILE"),
        (&[""], "usage: bpftrust-script FILE"),
        (&["/dev/null"], "/dev/null: it is no regular file"),
        (&["/proc"], "/proc: it is no regular file"),
        (&["-e", "BEGIN { }"], "-e: No such file"),
        (&["--"], "--: No such file"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bpftrust-script"))
            .args(words)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(complaint), "{words:?}: {said}");
        assert_eq!(output.status.code(), Some(2));
    }
    // A name that is no text is shown as it can be.
    let name = OsStr::from_bytes(b"/no\xff\nwhere");
    let output = Command::new(env!("CARGO_BIN_EXE_bpftrust-script"))
        .arg(name)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.starts_with("bpftrust-script: /no\u{fffd}\\nwhere: No such file"),
        "{said}"
    );
}
