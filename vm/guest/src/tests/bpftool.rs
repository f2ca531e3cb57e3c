//! Debian sid's `bpftool` as a second implementation: what it signs and what it
//! generates, before the kernel and under a policy, and what it reads of ours.

use crate::envelope::{GOOD_SHAPE, pkcs7};
use crate::fixture::{self, ACME, Events, Key, STRANGER};
use crate::guest::{Guest, text};
use crate::owner::{INSPECTOR, expect_answer, expect_denied};
use crate::process::Output;
use crate::registry::{Group, RunsOn};
use crate::signing::{REQUIRE, ring, setup, tied, with_signature};
use crate::test;
use crate::tests::skeleton::{self, OBJECT};
use anyhow::{Context, Result, ensure};
use bpftrust_program::{Content, Generation, Package};
use bpftrust_signature::KeyHint;
use std::fs;
use std::path::PathBuf;

/// Of kernels that verify signatures of programs.
const VERIFIED: &[&str] = &["program-signature"];

pub const GROUP: Group = Group {
    name: "bpftool",
    runs_on: RunsOn::Systemd,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(what_it_signs_is_verified_and_counts).needs(VERIFIED),
        test!(what_it_generates_is_loaded_once_signed).needs(VERIFIED),
        test!(by_its_own_keyring_it_loads_nothing).needs(VERIFIED),
        test!(it_shows_what_was_signed_here).needs(VERIFIED),
    ],
};

/// Its own program.
const BPFTOOL: &str = "/usr/sbin/bpftool";

/// The parts of a light skeleton that it generates.
struct Skeleton {
    loader: Vec<u8>,
    metadata: Vec<u8>,
    signature: Option<Vec<u8>>,
}

/// What `bpftool gen skeleton -L` makes of the object, signed by `key` with `-S`.
fn generated(guest: &Guest, key: Option<Key>) -> Result<Skeleton> {
    let object = guest.write("sample.bpf.o", OBJECT)?;
    let mut words = vec![BPFTOOL.to_owned(), "-L".to_owned()];
    if let Some(key) = key {
        let options = ["-S", "-k", &key.private(), "-i", &key.certificate()];
        words.extend(options.map(str::to_owned));
    }
    let more = ["gen", "skeleton", text(&object)?];
    words.extend(more.map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let header = guest.run(&words)?.success()?;
    Ok(Skeleton {
        loader: array(&header, "opts_insn")?,
        metadata: array(&header, "opts_data")?,
        signature: key.map(|_| array(&header, "opts_sig")).transpose()?,
    })
}

/// The bytes of a C array that is written `NAME[] … = "\xHH\0…";`, in lines that end
/// in a backslash.
fn array(header: &str, name: &str) -> Result<Vec<u8>> {
    let (_, rest) = header
        .split_once(&format!(" {name}[]"))
        .with_context(|| format!("no {name} in {header}"))?;
    let (_, rest) = rest.split_once('"').context("no string")?;
    let (string, _) = rest.split_once('"').context("an endless string")?;
    string
        .replace("\\\n", "")
        .split('\\')
        .skip(1)
        .map(|escape| {
            let hex = escape.strip_prefix('x').unwrap_or(escape);
            u8::from_str_radix(hex, 16).with_context(|| format!("{escape:?} in {name}"))
        })
        .collect()
}

/// The certificate is named by an identifier here, not by issuer and number as ours is.
fn what_it_signs_is_verified_and_counts(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let skeleton = generated(guest, Some(ACME))?;
    let signature = skeleton.signature.context("no signature")?;
    let loader = guest.write("loader", &skeleton.loader)?;
    guest.write("metadata", &skeleton.metadata)?;
    let file = guest.write("signature", &signature)?;
    // Openssl's opinion.
    let certificate = ACME.certificate();
    let words = ["openssl", "cms", "-verify", "-binary", "-inform", "DER"];
    let more = ["-in", text(&file)?, "-content", text(&loader)?];
    let rest = [
        "-certfile",
        &certificate,
        "-nointern",
        "-noverify",
        "-out",
        "out",
    ];
    guest.run(&[&words[..], &more, &rest].concat())?.success()?;

    let said = guest.run(&["sha256sum", text(&loader)?])?.success()?;
    let hash = said.split_whitespace().next().context("no hash")?;
    let dir = text(&guest.path(""))?.trim_end_matches('/').to_owned();
    let action = |ring, file: &PathBuf| {
        let run = format!("run-loader {dir}:3:2");
        format!("exclusive-maps {hash} {}", with_signature(ring, file, &run))
    };
    let good = ring(guest, ACME)?;
    let mark = Events::mark(guest)?;
    // Gate, signature and policy let it pass, then these kernels' verifier does not: on
    // 6.18 for what libbpf 1.8 has it read of its map, on 7.3 for a map that is not named
    // to be signed (docs/programs.md).
    expect_answer(&tied, &action(good, &file), "EACCES")?;
    mark.expect_none(guest, &[("outcome", "denied")])?;
    // By another's ring, and changed.
    let globex = ring(guest, fixture::GLOBEX)?;
    expect_answer(&tied, &action(globex, &file), "ENOKEY")?;
    let mut bytes = signature;
    *bytes.last_mut().context("a signature")? ^= 1;
    let changed = guest.write("changed", bytes)?;
    expect_answer(&tied, &action(good, &changed), "EKEYREJECTED")?;
    // Somebody else's, by his own keyring.
    let stranger = generated(guest, Some(STRANGER))?;
    let file = guest.write("stranger", stranger.signature.context("no signature")?)?;
    let der = crate::signing::der(guest, STRANGER, "stranger.der")?;
    let own = format!("add-key -3:{} {}", der.display(), action(-3, &file));
    let about = [("command", "prog-load"), ("name", "syscall")];
    expect_denied(guest, &tied, &own, "unsigned-program", &about)
}

/// By openssl, as a package of ours. Without `-S` it generates nothing that compares.
fn what_it_generates_is_loaded_once_signed(guest: &mut Guest) -> Result<()> {
    let skeleton = generated(guest, None)?;
    let content = Content {
        loaders: Generation::ALL
            .map(|generation| (generation, skeleton.loader.clone()))
            .to_vec(),
        metadata: skeleton.metadata,
        maps: ["seen", "rodata", "bss"].map(str::to_owned).to_vec(),
        programs: ["on_test", "pass"].map(str::to_owned).to_vec(),
    };
    let signatures = Generation::ALL.map(|generation| {
        let message = content.message(generation).context("no loader")?;
        pkcs7(guest, ACME, &message, GOOD_SHAPE)
    });
    let mut hint = KeyHint([0; 8]);
    let hex = crate::signing::hint(guest, ACME)?;
    for (byte, digits) in hint.0.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits)?, 16)?;
    }
    let package = Package {
        content,
        signatures: signatures.into_iter().collect::<Result<_>>()?,
        signer: hint,
    };
    let file = guest.write("package", package.to_bytes()?)?;
    let said = skeleton::load(guest, &file, &[])?.success()?;
    ensure!(said.contains("2 programs and 3 maps loaded"), "{said}");
    // Its caller could choose what is in its maps: ours alone ends that.
    let certificate = ACME.certificate();
    let words = ["bpftrust", "program", "inspect", "--certificate"];
    let output = guest.run(&[&words[..], &[&certificate, text(&file)?]].concat())?;
    ensure!(
        output.status == 1 && output.stdout.contains("its caller may choose"),
        "{output}"
    );
    Ok(())
}

/// As a loader that may load signed programs alone, and inspect.
fn trusted(guest: &Guest) -> Result<PathBuf> {
    let copy = guest.copy(BPFTOOL, "bpftool")?;
    let grant = INSPECTOR.of("agent", 2) + REQUIRE;
    fixture::sign_with_grant(guest, ACME, &copy, &grant)?;
    Ok(copy)
}

/// It has the kernel verify by its session keyring, in which anybody puts anything.
fn by_its_own_keyring_it_loads_nothing(guest: &mut Guest) -> Result<()> {
    let object = guest.write("sample.bpf.o", OBJECT)?;
    let bpftool = trusted(guest)?;
    let (private, certificate) = (ACME.private(), ACME.certificate());
    let words = [
        text(&bpftool)?,
        "-L",
        "-S",
        "-k",
        &private,
        "-i",
        &certificate,
    ];
    let more = ["prog", "load", text(&object)?, "/sys/fs/bpf/theirs"];
    let mark = Events::mark(guest)?;
    let output = guest.run(&[&words[..], &more].concat())?;
    ensure!(output.status != 0, "{output}");
    let about = [
        ("reason", "unsigned-program"),
        ("command", "prog-load"),
        ("name", "syscall"),
    ];
    mark.expect(guest, &about).map(drop)
}

fn it_shows_what_was_signed_here(guest: &mut Guest) -> Result<()> {
    let file = skeleton::signed(guest, ACME, &[])?;
    skeleton::load(guest, &file, &["--pin", "/sys/fs/bpf/ours"])?.success()?;
    let bpftool = trusted(guest)?;
    let show =
        |words: &[&str]| -> Result<Output> { guest.run(&[&[text(&bpftool)?][..], words].concat()) };
    let program = show(&["prog", "show", "pinned", "/sys/fs/bpf/ours/pass"])?.success()?;
    ensure!(program.contains("xdp  name pass"), "{program}");
    let pin = "/sys/fs/bpf/ours/map_signed_rodata";
    let map = show(&["map", "dump", "pinned", pin])?.success()?;
    ensure!(map.contains("\"limit\": 7"), "{map}");
    for pin in fs::read_dir("/sys/fs/bpf/ours")? {
        let unpin = format!("unpin {}", pin?.path().display());
        expect_answer(&tied(guest, "tied")?, &unpin, "ok")?;
    }
    Ok(())
}
