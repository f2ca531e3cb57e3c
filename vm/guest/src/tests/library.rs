//! Which files trusted processes may run code from, by the policy's `libraries`.

use crate::envelope;
use crate::fixture::{
    self, ACME, Events, GLOBEX, STRANGER, UNSIGNED, expect_refused, expect_trusted, probe, sign_as,
    signed_probe, words,
};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{self, Running, acme, apply, digest, image, loader};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

pub const GROUP: Group = Group {
    name: "library",
    runs_on: RunsOn::Supported,
    setup: Some(enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(signed_libraries_keep_trust),
        test!(code_of_a_file_that_is_no_signed_library_costs_trust).within(180),
        test!(a_library_in_the_place_of_another_costs_trust).within(120),
        test!(preloading_brings_nothing_in).within(120),
        test!(who_shares_the_memory_shares_the_loss).within(120),
        test!(the_untrusted_map_what_they_like),
        test!(a_refused_library_costs_trust).within(120),
        test!(the_own_executable_is_no_library_of_another),
        test!(signing_again_leaves_libraries_alone),
    ],
};

/// A library that the probe does not need.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libz.so.1";
/// One that it does.
const NEEDED: &str = "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1";
/// The dynamic linker.
const LINKER: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";

/// Keys, libraries that are signed, and the guard that asks for that.
pub fn enforce(guest: &mut Guest) -> Result<()> {
    GLOBEX.make(guest)?;
    policy::enforce(guest)?;
    let program = guest.copy(UNSIGNED, "probe")?;
    sign_as(guest, ACME, &program, &["--with-libraries"])?;
    under(guest, "signed", "")
}

/// The policy that trusts [`ACME`], asks this of libraries and says this besides.
pub fn under(guest: &Guest, libraries: &str, more: &str) -> Result<()> {
    apply(guest, &text(libraries, more))
}

pub fn text(libraries: &str, more: &str) -> String {
    acme(more).replacen("\"any\"", &format!("{libraries:?}"), 1)
}

/// A library of its own content, signed by nobody.
pub fn unsigned(guest: &Guest, name: &str) -> Result<PathBuf> {
    let path = guest.path(name);
    // Under fs-verity it can't be written.
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let mut content = fs::read(LIBRARY).context("cannot read a library")?;
    // What is behind its sections is not looked at.
    content.extend(path.to_string_lossy().as_bytes());
    guest.write(name, content)
}

pub fn signed(guest: &Guest, name: &str, key: fixture::Key) -> Result<PathBuf> {
    let path = unsigned(guest, name)?;
    sign_as(guest, key, &path, &["--kind", "library"])?;
    Ok(path)
}

/// Requires that these actions cost a signed probe its trust, for this reason and
/// by this file.
pub fn expect_loss(
    guest: &Guest,
    program: &Path,
    actions: &str,
    reason: &str,
    file: &str,
) -> Result<()> {
    let mark = Events::mark(guest)?;
    let line = format!("bpf 11 {actions} bpf 11");
    let said = probe(program, &words(&line))?.success()?;
    let lines: Vec<&str> = said.lines().collect();
    ensure!(lines.first() == Some(&"bpf 11: ok"), "{actions}: {said}");
    ensure!(lines.last() == Some(&"bpf 11: EPERM"), "{actions}: {said}");
    let name = program.to_str().context("a path of ASCII")?;
    let events = mark.since(guest)?;
    let own: Vec<_> = events
        .iter()
        .filter(|event| event["executable"] == name)
        .collect();
    let count = |action: &str, file: Option<&str>| {
        let fits = |event: &&&serde_json::Value| {
            event["action"] == action
                && event["outcome"] == "denied"
                && event["reason"] == reason
                && event["file"]
                    .as_str()
                    .map(|text| text.contains(file.unwrap_or_default()))
                    == file.map(|_| true)
        };
        own.iter().filter(fits).count()
    };
    ensure!(
        count("taint", Some(file)) == 1 && count("bpf", None) == 1,
        "{actions}: not one loss for {reason} by {file}: {own:#?}"
    );
    Ok(())
}

/// Requires that these actions cost nothing.
pub fn expect_kept(guest: &Guest, program: &Path, actions: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let line = format!("{actions} bpf 11");
    expect_trusted(guest, program, &words(&line)).with_context(|| line.clone())?;
    mark.expect_none(guest, &[("action", "taint")])
}

pub fn name(path: &Path) -> Result<&str> {
    path.to_str().context("a path of ASCII")
}

fn signed_libraries_keep_trust(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    let library = signed(guest, "lib.so", ACME)?;
    let library = library.display();
    expect_kept(guest, &program, "")?;
    expect_kept(
        guest,
        &program,
        &format!("dlopen {library} file-code {library}"),
    )?;
    expect_kept(
        guest,
        &program,
        &format!("fork [ ] thread [ dlopen {library} ]"),
    )?;
    let mut running = Running::start(guest, &program, &format!("dlopen {library}"))?;
    running.expect_trusted(guest)?;
    let image = image(guest, running.pid())?;
    ensure!(image["libraries"] == "signed", "{image:#}");
    ensure!(
        image["library_keys"]
            .as_array()
            .is_some_and(|keys| keys.len() == 1),
        "{image:#}"
    );
    Ok(())
}

fn code_of_a_file_that_is_no_signed_library_costs_trust(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    let good = signed(guest, "good.so", ACME)?;
    let signature = envelope::read(&good)?;

    unsigned(guest, "unsigned.so")?;
    let frozen = unsigned(guest, "frozen.so")?;
    guest
        .run(&["fsverity", "enable", name(&frozen)?])?
        .success()?;
    signed(guest, "stranger.so", STRANGER)?;
    let as_loader = unsigned(guest, "loader.so")?;
    fixture::sign(guest, ACME, &as_loader)?;
    let bare = unsigned(guest, "bare.so")?;
    sign_as(guest, ACME, &bare, &["--bare"])?;
    let mut content = fs::read(&good)?;
    envelope::write(&guest.write("copy.so", &content)?, &signature)?;
    *content.last_mut().context("a library is not empty")? ^= 1;
    let edited = guest.write("edited.so", &content)?;
    envelope::write(&edited, &signature)?;
    guest
        .run(&["fsverity", "enable", name(&edited)?])?
        .success()?;

    for file in [
        "unsigned.so",
        "frozen.so",
        "stranger.so",
        "loader.so",
        "bare.so",
        "copy.so",
        "edited.so",
    ] {
        for way in ["dlopen", "file-code"] {
            let path = guest.path(file);
            let actions = format!("{way} {}", path.display());
            expect_loss(guest, &program, &actions, "unsigned-library", name(&path)?)?;
        }
    }
    expect_loss(
        guest,
        &program,
        "memfd-code",
        "unsigned-library",
        "memfd:code",
    )?;
    // Writable as well, and that is asked first.
    let mark = Events::mark(guest)?;
    expect_refused(
        guest,
        &program,
        &words("shared-code bpf 11"),
        "writable-code",
    )?;
    mark.expect(guest, &[("action", "taint"), ("reason", "writable-code")])?;
    let granted = Grant {
        abilities: "own-code",
        ..Grant::ALL
    };
    let jit = loader(guest, "jit", ACME, &granted.of("jit", 0))?;
    expect_kept(guest, &jit, "anonymous-code")?;
    expect_loss(guest, &jit, "shared-code", "unsigned-library", "SYSV")?;
    expect_kept(guest, &program, &format!("dlopen {}", good.display()))
}

/// Runs the probe where `mounts`, pairs of file and place, hide what was there.
fn with_mounts(guest: &Guest, program: &Path, mounts: &[(&Path, &str)]) -> Result<String> {
    let mut line = String::new();
    for (file, place) in mounts {
        line += &format!("mount --bind {} {place} && ", file.display());
    }
    line += &format!("exec {} bpf 11", program.display());
    guest
        .run(&["unshare", "--mount", "/bin/sh", "-c", &line])?
        .success()
}

fn a_library_in_the_place_of_another_costs_trust(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    for place in [NEEDED, LINKER] {
        let copy = guest.copy(place, "copy")?;
        let mark = Events::mark(guest)?;
        let said = with_mounts(guest, &program, &[(&copy, place)])?;
        ensure!(said.trim() == "bpf 11: EPERM", "{place}: {said}");
        for action in ["taint", "bpf"] {
            let fields = [
                ("action", action),
                ("outcome", "denied"),
                ("reason", "unsigned-library"),
            ];
            mark.expect(guest, &fields)?;
        }
        let taint = mark.expect(guest, &[("action", "taint")])?;
        ensure!(taint["file"] == place, "{taint:#}");
        sign_as(guest, ACME, &copy, &["--kind", "library"])?;
        let said = with_mounts(guest, &program, &[(&copy, place)])?;
        ensure!(said.trim() == "bpf 11: ok", "{place}: {said}");
        fs::remove_file(copy)?;
    }
    Ok(())
}

fn preloading_brings_nothing_in(guest: &mut Guest) -> Result<()> {
    const PRELOAD: &str = "/etc/ld.so.preload";
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    let library = unsigned(guest, "lib.so")?;
    let library = name(&library)?.to_owned();
    let mark = Events::mark(guest)?;
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        let program = Program::new(&program).env(variable, &library);
        let said = program.args(["bpf", "11"]).run()?.success()?;
        ensure!(said == "bpf 11: ok\n", "{variable}: {said}");
    }
    mark.expect_none(guest, &[("action", "taint")])?;

    let list = guest.write("preload", &library)?;
    fs::write(PRELOAD, "")?;
    let tried = with_mounts(guest, &program, &[(&list, PRELOAD)]).and_then(|said| {
        ensure!(said.trim() == "bpf 11: EPERM", "{said}");
        let taint = mark.expect(
            guest,
            &[("action", "taint"), ("reason", "unsigned-library")],
        )?;
        ensure!(taint["file"] == library, "{taint:#}");
        sign_as(guest, ACME, Path::new(&library), &["--kind", "library"])?;
        let said = with_mounts(guest, &program, &[(&list, PRELOAD)])?;
        ensure!(said.trim() == "bpf 11: ok", "{said}");
        Ok(())
    });
    fs::remove_file(PRELOAD)?;
    tried
}

fn who_shares_the_memory_shares_the_loss(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    let library = unsigned(guest, "lib.so")?;
    let library = name(&library)?;
    let open = format!("dlopen {library}");
    for sharing in ["thread", "share", "vfork"] {
        let actions = format!("{sharing} [ file-code {library} ]");
        expect_loss(guest, &program, &actions, "unsigned-library", library)?;
    }
    for way in ["thread", "fork"] {
        let line = format!("{open} {way} [ bpf 11 ]");
        expect_refused(guest, &program, &words(&line), "unsigned-library")?;
    }
    // A child has its own memory, and loses its own trust.
    expect_trusted(guest, &program, &words(&format!("fork [ {open} ] bpf 11")))
}

fn the_untrusted_map_what_they_like(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let library = unsigned(guest, "lib.so")?;
    let mark = Events::mark(guest)?;
    let line = format!("dlopen {} memfd-code bpf 11", library.display());
    let said = probe(Path::new(UNSIGNED), &words(&line))?.success()?;
    ensure!(
        said.lines().filter(|line| line.ends_with(": ok")).count() == 2,
        "{said}"
    );
    mark.expect(guest, &[("action", "bpf"), ("reason", "no-signature")])?;
    mark.expect_none(guest, &[("action", "taint")])
}

fn a_refused_library_costs_trust(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    let library = signed(guest, "lib.so", ACME)?;
    let open = format!("dlopen {}", library.display());
    expect_kept(guest, &program, &open)?;
    let refused = format!("[refused]\ndigests = [{:?}]\n", digest(guest, &library)?);
    for libraries in ["signed", "verity"] {
        under(guest, libraries, &refused)?;
        expect_loss(guest, &program, &open, "revoked", name(&library)?)?;
        expect_kept(guest, &program, "")?;
    }
    // Nor does one whose verdict is kept under that policy, from its own exec.
    let library = policy::own_probe(guest, "executed")?;
    sign_as(guest, ACME, &library, &["--kind", "library"])?;
    let refused = format!("[refused]\ndigests = [{:?}]\n", digest(guest, &library)?);
    under(guest, "signed", &refused)?;
    probe(&library, &words("say executed"))?.success()?;
    let map = format!("file-code {}", library.display());
    expect_loss(guest, &program, &map, "revoked", name(&library)?)
}

fn the_own_executable_is_no_library_of_another(guest: &mut Guest) -> Result<()> {
    under(guest, "signed", "")?;
    let program = signed_probe(guest, "probe")?;
    let other = policy::own_probe(guest, "other")?;
    fixture::sign(guest, ACME, &other)?;
    expect_kept(guest, &program, &format!("file-code {}", program.display()))?;
    expect_kept(guest, &other, &format!("file-code {}", other.display()))?;
    let actions = format!("file-code {}", other.display());
    expect_loss(guest, &program, &actions, "unsigned-library", name(&other)?)
}

fn signing_again_leaves_libraries_alone(guest: &mut Guest) -> Result<()> {
    let program = guest.copy(UNSIGNED, "probe")?;
    let (private, certificate) = (ACME.private(), ACME.certificate());
    let words = ["bpftrust", "sign", "--with-libraries", "--key", &private];
    let said = guest
        .run(
            &[
                &words[..],
                &["--certificate", &certificate, name(&program)?],
            ]
            .concat(),
        )?
        .success()?;
    for place in [NEEDED, LINKER, "/usr/lib/x86_64-linux-gnu/libc.so.6"] {
        ensure!(
            said.contains(&format!("{place}: signed as library already, ")),
            "{said}"
        );
    }
    ensure!(said.contains("probe: signed as loader"), "{said}");
    let verify = ["bpftrust", "verify", "--certificate", &certificate, NEEDED];
    let said = guest.run(&verify)?.success()?;
    ensure!(said.contains("signed as library"), "{said}");
    Ok(())
}
