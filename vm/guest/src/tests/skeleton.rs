//! Objects that `program sign` made light skeletons of, and loaders that load them.

use crate::fixture::{self, ACME, Events, GLOBEX, Key};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::owner::{WORKER, expect_answer, expect_denied, objects};
use crate::policy::apply;
use crate::process::Output;
use crate::registry::{Group, RunsOn};
use crate::signing::{
    REQUIRE, can, hint, is_verified_here, policy, ring, setup, tied, with_signature,
};
use crate::test;
use anyhow::{Context, Result, ensure};
use bpftrust_program::{Generation, Package};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Of kernels that verify signatures of programs.
const VERIFIED: &[&str] = &["program-signature"];

pub const GROUP: Group = Group {
    name: "skeleton",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(what_was_signed_is_loaded_and_pinned),
        test!(the_form_of_another_kernel_does_not_verify).needs(VERIFIED),
        test!(what_was_changed_does_not_load).needs(VERIFIED),
        test!(its_caller_chooses_no_content).needs(VERIFIED),
        test!(a_ceiling_reaches_what_is_inside).needs(VERIFIED),
        test!(without_privileges_it_is_loaded_by_a_token).needs(VERIFIED),
        test!(nobody_loads_it_by_a_key_outside_the_policy).needs(VERIFIED),
        test!(inspect_says_who_takes_it_and_who_signed_it),
        test!(explain_and_check_say_whether_programs_are_verified),
    ],
};

/// The object that is signed (`bpf/sample.bpf.c`).
pub const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sample.bpf.o"));

/// That object, signed by `key`.
pub fn signed(guest: &Guest, key: Key, options: &[&str]) -> Result<PathBuf> {
    let object = guest.write("sample.bpf.o", OBJECT)?;
    let out = guest.path(&format!("{}.signed", key.name()));
    let (private, certificate) = (key.private(), key.certificate());
    let words = ["bpftrust", "program", "sign", "--key", &private];
    let more = [
        "--certificate",
        &certificate,
        "-o",
        text(&out)?,
        text(&object)?,
    ];
    guest
        .run(&[&words[..], &more, options].concat())?
        .success()?;
    Ok(out)
}

/// bpftrust itself, as a loader that may load signed programs alone.
fn loader(guest: &Guest) -> Result<PathBuf> {
    let path = guest.path("loader");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let copy = guest.copy("/usr/bin/bpftrust", "loader")?;
    let grant = WORKER.of("agent", 2) + REQUIRE;
    fixture::sign_with_grant(guest, ACME, &copy, &grant)?;
    Ok(copy)
}

pub fn load(guest: &Guest, file: &Path, options: &[&str]) -> Result<Output> {
    let loader = loader(guest)?;
    let words = [text(&loader)?, "program", "load", text(file)?];
    guest.run(&[&words[..], options].concat())
}

/// Requires that it is not loaded, and that the error says this.
fn expect_failure(guest: &Guest, file: &Path, wanted: &str) -> Result<()> {
    let output = load(guest, file, &[])?;
    ensure!(
        output.status == 2 && output.stderr.contains(wanted),
        "{wanted}: {output}"
    );
    Ok(())
}

fn what_was_signed_is_loaded_and_pinned(guest: &mut Guest) -> Result<()> {
    let file = signed(guest, ACME, &[])?;
    if !is_verified_here()? {
        return expect_failure(guest, &file, "verifies no signatures of programs");
    }
    let pins = Path::new("/sys/fs/bpf/sample");
    let options = ["--pin", text(pins)?];
    let said = load(guest, &file, &options)?.success()?;
    ensure!(said.contains("2 programs and 3 maps loaded"), "{said}");
    let mut names: Vec<_> = fs::read_dir(pins)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    let wanted = [
        "map_seen",
        "map_signed_bss",
        "map_signed_rodata",
        "on_test",
        "pass",
    ];
    ensure!(names == wanted, "{names:?}");
    let key = hint(guest, ACME)?;
    let all = objects(guest)?;
    let pass = all.iter().find(|object| object["name"] == "pass");
    ensure!(
        pass.is_some_and(|object| {
            object["owner"]["loader"] == "agent" && object["signed_by"] == key.as_str()
        }),
        "{all:#?}"
    );
    // Who may use signed programs alone uses these: they count as signed.
    let tied = tied(guest, "tied")?;
    let pin = |name: &str| pins.join(name).display().to_string();
    expect_answer(&tied, &format!("obj-get {} test-run", pin("pass")), "ok")?;
    let again = load(guest, &file, &options)?;
    ensure!(
        again.status == 2 && again.stderr.contains("File exists"),
        "{again}"
    );
    for name in wanted {
        expect_answer(&tied, &format!("unpin {}", pin(name)), "ok")?;
    }
    Ok(())
}

/// What is signed differs, so neither passes for the other.
fn the_form_of_another_kernel_does_not_verify(guest: &mut Guest) -> Result<()> {
    let (here, other) = match can("signed-maps")? {
        true => (Generation::Linux73, Generation::Linux618),
        false => (Generation::Linux618, Generation::Linux73),
    };
    let alone = signed(guest, ACME, &["--for", other.name()])?;
    expect_failure(guest, &alone, "has no form for this kernel")?;
    // Called what it is not.
    let mut package = Package::parse(&fs::read(&alone)?)?;
    package.content.loaders[0].0 = here;
    let renamed = guest.write("renamed", package.to_bytes()?)?;
    expect_failure(guest, &renamed, "loading the loader: Key was rejected")
}

fn what_was_changed_does_not_load(guest: &mut Guest) -> Result<()> {
    let bytes = fs::read(signed(guest, ACME, &[])?)?;
    let untouched = Package::parse(&bytes)?;
    let mut package = untouched.clone();
    // The last instruction of a program that is in it: its end stays an end.
    let last = package.content.metadata.len() - 1;
    package.content.metadata[last] ^= 1;
    let changed = guest.write("metadata", package.to_bytes()?)?;
    // Before 7.3 it is the loader that finds out.
    let wanted = match can("signed-maps")? {
        true => "loading the loader: Key was rejected",
        false => "running the loader: Invalid argument",
    };
    expect_failure(guest, &changed, wanted)?;
    let mut package = untouched;
    for (_, loader) in &mut package.content.loaders {
        // r6 = r1 becomes r7 = r1.
        loader[1] ^= 1;
    }
    let changed = guest.write("loader-changed", package.to_bytes()?)?;
    expect_failure(guest, &changed, "loading the loader: Key was rejected")
}

/// It asks its caller for nothing that was signed, whatever he offers.
fn its_caller_chooses_no_content(guest: &mut Guest) -> Result<()> {
    let package = Package::parse(&fs::read(signed(guest, ACME, &[])?)?)?;
    let (generation, bind) = match can("signed-maps")? {
        true => (Generation::Linux73, "bind-maps"),
        false => (Generation::Linux618, "exclusive-maps"),
    };
    let form = package
        .form(generation)
        .context("no form for this kernel")?;
    let loader = guest.write("loader", form.loader)?;
    guest.write("metadata", &package.content.metadata)?;
    let signature = guest.write("signature", form.signature)?;
    let said = guest.run(&["sha256sum", text(&loader)?])?.success()?;
    let hash = said.split_whitespace().next().context("no hash")?;
    let tied = tied(guest, "tied")?;
    let parts = format!("{}:3:2", text(&guest.path(""))?.trim_end_matches('/'));
    let action = with_signature(
        ring(guest, ACME)?,
        &signature,
        &format!("run-loader {parts}"),
    );
    let line = format!("{bind} {hash} {action}");
    let said = fixture::probe(&tied, &fixture::words(&line))?.success()?;
    // `limit` of the object is 7, and `.rodata` has one entry.
    ensure!(said.ends_with("run-loader: 7 in 1\n"), "{said}");
    Ok(())
}

fn a_ceiling_reaches_what_is_inside(guest: &mut Guest) -> Result<()> {
    let file = signed(guest, GLOBEX, &[])?;
    load(guest, &file, &[])?.success()?;
    let ceiling = "[publisher.globex.ceiling]\nprograms = [\"syscall\", \"tracing\"]\n";
    apply(guest, &policy(ceiling))?;
    let mark = Events::mark(guest)?;
    let result = expect_failure(guest, &file, "running the loader: Operation not permitted");
    apply(guest, &policy(""))?;
    result?;
    let about = [
        ("reason", "not-granted"),
        ("object", "program"),
        ("name", "xdp"),
    ];
    mark.expect(guest, &about).map(drop)
}

/// By a user who has nothing but that, and a loader that must use it.
fn without_privileges_it_is_loaded_by_a_token(guest: &mut Guest) -> Result<()> {
    let file = signed(guest, ACME, &[])?;
    let loader = guest.copy("/usr/bin/bpftrust", "token-loader")?;
    let grant = Grant::ALL.of("agent", 2) + "require = [\"signed-programs\", \"token\"]\n";
    fixture::sign_with_grant(guest, ACME, &loader, &grant)?;
    let ring = ring(guest, ACME)?.to_string();
    let load = [text(&loader)?, "program", "load", "--keyring", &ring];
    let run = [&["bpftrust", "run", "--user", "nobody", "--"][..], &load].concat();
    let mark = Events::mark(guest)?;
    let said = guest
        .run(&[&run[..], &[text(&file)?]].concat())?
        .success()?;
    ensure!(said.contains("2 programs and 3 maps loaded"), "{said}");
    for command in ["map-create", "prog-load", "btf-load"] {
        let about = [("outcome", "allowed"), ("command", command)];
        mark.expect(guest, &about).context(command)?;
    }
    mark.expect_none(guest, &[("outcome", "denied")])?;
    // Root has every capability, and no token.
    let output = guest.run(&[&load[..], &[text(&file)?]].concat())?;
    ensure!(output.status == 2, "{output}");
    mark.expect(guest, &[("reason", "no-token"), ("command", "map-create")])?;
    // The policy is not to be seen from there.
    let unnamed = [&run[..run.len() - 2], &[text(&file)?]].concat();
    let output = guest.run(&unnamed)?;
    ensure!(
        output.status == 2 && output.stderr.contains("--keyring SERIAL"),
        "{output}"
    );
    // As the generator alone makes it.
    let mut package = Package::parse(&fs::read(&file)?)?;
    for (_, loader) in &mut package.content.loaders {
        for instruction in loader.chunks_exact_mut(8) {
            if instruction[..4] == [0x61, 0x64, 4, 0] {
                instruction.copy_from_slice(&[0xb7, 4, 0, 0, 0, 0, 0, 0]);
            }
        }
    }
    let old = guest.write("old", package.to_bytes()?)?;
    let output = guest.run(&[&run[..], &[text(&old)?]].concat())?;
    ensure!(
        output.status == 2 && output.stderr.contains("names no token"),
        "{output}"
    );
    Ok(())
}

fn nobody_loads_it_by_a_key_outside_the_policy(guest: &mut Guest) -> Result<()> {
    let file = signed(guest, fixture::STRANGER, &[])?;
    expect_failure(guest, &file, "is none of the policy's")?;
    // Its own keyring, which the kernel would take.
    let loader = loader(guest)?;
    let der = crate::signing::der(guest, fixture::STRANGER, "stranger.der")?;
    let line = format!(
        "add-key -3:{} exec {} program load --keyring -3 {}",
        der.display(),
        loader.display(),
        file.display()
    );
    let mark = Events::mark(guest)?;
    let output = fixture::probe(Path::new(fixture::UNSIGNED), &fixture::words(&line))?;
    ensure!(output.status == 2, "{output}");
    let about = [("reason", "unsigned-program"), ("command", "prog-load")];
    mark.expect(guest, &about).map(drop)
}

fn inspect_says_who_takes_it_and_who_signed_it(guest: &mut Guest) -> Result<()> {
    let file = signed(guest, ACME, &[])?;
    let ask = |key: Key| -> Result<(i32, Value)> {
        let certificate = key.certificate();
        let words = ["bpftrust", "program", "inspect", "--json", "--certificate"];
        let output = guest.run(&[&words[..], &[&certificate, text(&file)?]].concat())?;
        Ok((output.status, serde_json::from_str(&output.stdout)?))
    };
    let (status, found) = ask(ACME)?;
    ensure!(status == 0, "{found:#}");
    for (form, kernel) in ["6.18", "7.3"].iter().enumerate() {
        let form = &found["forms"][form];
        ensure!(
            form["kernel"] == *kernel && form["verified"] == true && form["overrides"] == 0,
            "{found:#}"
        );
    }
    let (status, found) = ask(GLOBEX)?;
    ensure!(
        status == 1 && found["forms"][0]["verified"] == false,
        "{found:#}"
    );
    Ok(())
}

fn explain_and_check_say_whether_programs_are_verified(guest: &mut Guest) -> Result<()> {
    let verified = is_verified_here()?;
    let tied = tied(guest, "tied")?;
    let said = guest
        .run(&["bpftrust", "explain", text(&tied)?])?
        .success()?;
    ensure!(said.contains("no programs at all") != verified, "{said}");
    let said = guest.run(&["bpftrust", "check", "--json"])?.stdout;
    let said: Value = serde_json::from_str(&said)?;
    let rows = said.as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["id"] == "program-signatures");
    let state = if verified { "present" } else { "absent" };
    ensure!(row.is_some_and(|row| row["state"] == state), "{said:#}");
    expect_denied(guest, &tied, "load xdp", "unsigned-program", &[])
}
