//! What a signed script may do: its loader's rights, its own grant's and those of who
//! signed it, under the policy in force.

use crate::fixture::{self, ACME, Events, GLOBEX, Key, STRANGER};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::policy::{self, Running, acme, apply, digest, image, key_of, own_probe, publisher};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::script::{
    INTERPRETER, LAUNCHES, UNSIGNED_LAUNCHER, expect_exec, expect_no_trust, expect_not_taken,
    expect_runs, granted, interpreter, launch, launcher, launcher_of, script, setup, signed_by,
    told,
};
use crate::test;
use crate::tests::library;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const GROUP: Group = Group {
    name: "script-rule",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_script_has_no_more_than_both_grants).within(120),
        test!(who_signed_it_limits_it).within(120),
        test!(who_signed_the_launcher_limits_it).within(120),
        test!(a_policy_reaches_scripts).within(240),
        test!(a_policy_reaches_launchers).within(120),
        test!(a_script_ends_when_it_says).within(180),
        test!(of_two_statements_the_higher_version_counts),
        test!(a_policy_may_require_scripts).within(120),
        test!(code_of_launcher_and_loader_must_be_signed).within(180),
        test!(explain_says_what_a_script_may).within(120),
        test!(status_names_the_script),
        test!(what_is_no_script_is_told_so).within(120),
    ],
};

const MAP: &str = "map hash";

/// A script that runs, and makes a map when it is told to.
fn running(guest: &mut Guest, key: Key, name: &str, grant: &str) -> Result<(Running, PathBuf)> {
    let steps = text(&guest.path(&format!("{name}.step")))?.to_owned();
    let actions = Running::actions(&steps, "say begins", MAP)?;
    let file = signed_by(guest, key, name, &actions, Some(grant))?;
    let program = Program::new(launcher(guest)?).arg(&file);
    Ok((Running::started(guest, program, steps)?, file))
}

/// Launches a script, and requires that executing its loader is refused for `reason`.
fn expect_refused(guest: &Guest, file: &Path, reason: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let said = launch(&launcher(guest)?, file, &[])?.stdout;
    ensure!(said.ends_with("map hash: EPERM\n"), "{said}");
    expect_exec(guest, &mark, "denied", reason).map(drop)
}

fn a_script_has_no_more_than_both_grants(guest: &mut Guest) -> Result<()> {
    let narrow = Grant {
        maps: "array ringbuf",
        ..Grant::ALL
    };
    let actions = "map array map hash";
    let file = granted(guest, "narrow", actions, &narrow.of("narrow", 1))?;
    let mark = Events::mark(guest)?;
    let said = launch(&launcher(guest)?, &file, &[])?.success()?;
    ensure!(said == "map array: ok\nmap hash: EPERM\n", "{said}");
    let fields = [
        ("reason", "not-granted"),
        ("object", "map"),
        ("name", "hash"),
        ("script", "narrow"),
    ];
    mark.expect(guest, &fields)?;
    // Nor does a wide one widen its loader.
    let few = Grant {
        maps: "hash",
        ..Grant::ALL
    };
    let few = few
        .of("few", 1)
        .replace("programs = \"all\"", "programs = \"script\"");
    policy::loader(guest, INTERPRETER, ACME, &few)?;
    let wide = granted(guest, "wide", actions, &Grant::ALL.of("wide", 1))?;
    let said = launch(&launcher(guest)?, &wide, &[])?.success()?;
    ensure!(said == "map array: EPERM\nmap hash: ok\n", "{said}");
    interpreter(guest, ACME).map(drop)
}

fn who_signed_it_limits_it(guest: &mut Guest) -> Result<()> {
    let file = signed_by(guest, GLOBEX, "globex", MAP, None)?;
    expect_not_taken(guest, &file, "unknown-key")?;
    let globex = publisher("globex", &[GLOBEX]);
    apply(guest, &acme(&globex))?;
    expect_runs(guest, &file)?;
    let ceiling = "[publisher.globex.ceiling]\nmaps = [\"array\"]\n";
    apply(guest, &acme(&format!("{globex}{ceiling}")))?;
    let mark = Events::mark(guest)?;
    let said = launch(&launcher(guest)?, &file, &[])?.success()?;
    ensure!(said == "map hash: EPERM\n", "{said}");
    mark.expect(guest, &[("reason", "not-granted"), ("name", "hash")])?;
    // Who may sign loaders of some names alone signs scripts for his own.
    let names = "loaders = [\"globex\"]\n";
    apply(guest, &acme(&format!("{globex}{names}")))?;
    expect_refused(guest, &file, "not-granted")?;
    apply(guest, &acme(""))
}

fn who_signed_the_launcher_limits_it(guest: &mut Guest) -> Result<()> {
    let file = script(guest, "acmes", MAP)?;
    let others = launcher_of(guest, GLOBEX, "others-launcher")?;
    let start = || launch(&others, &file, &[]);
    let globex = publisher("globex", &[GLOBEX]);
    apply(guest, &acme(&globex))?;
    let said = start()?.success()?;
    ensure!(said == "map hash: ok\n", "{said}");
    let ceiling = "[publisher.globex.ceiling]\nmaps = [\"array\"]\n";
    apply(guest, &acme(&format!("{globex}{ceiling}")))?;
    let mark = Events::mark(guest)?;
    let said = start()?.success()?;
    ensure!(said == "map hash: EPERM\n", "{said}");
    mark.expect(guest, &[("reason", "not-granted"), ("name", "hash")])?;
    // Who may sign loaders of some names alone signs launchers for his own.
    let names = "loaders = [\"launcher\"]\n";
    apply(guest, &acme(&format!("{globex}{names}")))?;
    let mark = Events::mark(guest)?;
    let said = start()?.stdout;
    ensure!(said == "map hash: EPERM\n", "{said}");
    expect_exec(guest, &mark, "denied", "not-granted")?;
    apply(guest, &acme(""))
}

fn a_policy_reaches_scripts(guest: &mut Guest) -> Result<()> {
    let globex = publisher("globex", &[GLOBEX]);
    let trusted = acme(&globex);
    apply(guest, &trusted)?;
    let grant = Grant::ALL.of("maps", 1);
    let (mut stays, _) = running(guest, ACME, "stays", &Grant::ALL.of("stays", 1))?;
    type Refusal = fn(&Guest, &Path) -> Result<String>;
    let cases: [(&str, Refusal, bool); 4] = [
        (
            "revoked",
            |guest, file| {
                Ok(format!(
                    "[refused]\ndigests = [{:?}]\n",
                    digest(guest, file)?
                ))
            },
            true,
        ),
        (
            "revoked",
            |_, file| Ok(format!("[refused]\nkeys = [{:?}]\n", key_of(file)?)),
            true,
        ),
        (
            "revoked",
            |_, _| Ok("[refused]\nnames = [\"maps\"]\n".into()),
            false,
        ),
        (
            "too-old",
            |_, _| Ok("[minimum-version]\nmaps = 2\n".into()),
            false,
        ),
    ];
    for (number, (reason, refusal, at_once)) in cases.into_iter().enumerate() {
        let (mut falls, file) = running(guest, GLOBEX, &format!("falls-{number}"), &grant)?;
        falls.expect_trusted(guest)?;
        let rule = refusal(guest, &file)?;
        apply(guest, &format!("{trusted}{rule}"))?;
        let event = falls.expect_refused(guest, reason).context(rule)?;
        ensure!(event["script"] == "maps", "{event:#}");
        if at_once {
            expect_not_taken(guest, &file, reason)?;
        } else {
            let mark = Events::mark(guest)?;
            let mut ended = guest.start(Program::new(launcher(guest)?).arg(&file))?;
            guest.wait_until_says(&mut ended, "ready")?;
            ended.stop()?;
            expect_exec(guest, &mark, "denied", reason)?;
        }
        stays.expect_trusted(guest)?;
        falls.stop()?;
        apply(guest, &trusted)?;
    }
    // A key that goes.
    let (mut falls, _) = running(guest, GLOBEX, "falls", &grant)?;
    falls.expect_trusted(guest)?;
    apply(guest, &acme(""))?;
    falls.expect_refused(guest, "unknown-key")?;
    stays.expect_trusted(guest)
}

/// One that has a script and may no longer start a loader on it.
fn a_policy_reaches_launchers(guest: &mut Guest) -> Result<()> {
    let file = script(guest, "file", MAP)?;
    let step = guest.path("step");
    let line = format!(
        "script {0} input {0} say ready until {1} exec {INTERPRETER} -- -",
        file.display(),
        step.display()
    );
    let program = Program::new(told(guest)?).args(fixture::words(&line));
    let mut running = guest.start(program)?;
    guest.wait_until_says(&mut running, "ready")?;
    apply(guest, &acme("[ceiling]\nabilities = [\"children\"]\n"))?;
    let mark = Events::mark(guest)?;
    fs::write(step, "")?;
    guest.wait_until_says(&mut running, "map hash: EPERM")?;
    expect_exec(guest, &mark, "denied", "unsigned-script")?;
    apply(guest, &acme(""))
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

fn a_script_ends_when_it_says(guest: &mut Guest) -> Result<()> {
    /// Enough for a slow machine to sign and to start.
    const SOON: u64 = 15;
    let end = now()? + SOON;
    let at = guest.shell(&format!("date -u -d @{end} +%Y-%m-%dT%H:%M:%SZ"))?;
    let at = at.success()?;
    let grant = format!("not-after = {}\n{}", at.trim(), Grant::ALL.of("ends", 1));
    let short = granted(guest, "short", MAP, &grant)?;
    let (mut ends, _) = running(guest, ACME, "ends", &grant)?;
    ensure!(ends.call(guest)? == "ok" || now()? >= end);
    while now()? <= end + 1 {
        std::thread::sleep(Duration::from_millis(200));
    }
    ends.expect_refused(guest, "expired")?;
    expect_refused(guest, &short, "expired")?;
    expect_runs(guest, &script(guest, "other", MAP)?)
}

/// Of the same content, by the same publisher.
fn of_two_statements_the_higher_version_counts(guest: &mut Guest) -> Result<()> {
    let old = granted(guest, "old", MAP, &Grant::ALL.of("maps", 1))?;
    expect_runs(guest, &old)?;
    let new = guest.copy(&old, "new")?;
    let grant = guest.write("new.toml", Grant::ALL.of("maps", 2))?;
    let options = ["--script", "--grant", text(&grant)?];
    fixture::sign_as(guest, ACME, &new, &options)?;
    expect_runs(guest, &new)?;
    expect_refused(guest, &old, "too-old")?;
    expect_runs(guest, &new)
}

fn a_policy_may_require_scripts(guest: &mut Guest) -> Result<()> {
    let (mut with, file) = running(guest, ACME, "with", &Grant::ALL.of("with", 1))?;
    let program = policy::loader(guest, "free", ACME, &Grant::ALL.of("free", 1))?;
    let mut without = Running::start(guest, &program, "bpf 11")?;
    without.expect_trusted(guest)?;
    apply(guest, &format!("require = \"script\"\n{}", acme("")))?;
    without.expect_refused(guest, "unsigned-script")?;
    with.expect_trusted(guest)?;
    policy::expect_exec_refused(guest, &program, "unsigned-script")?;
    // The launcher calls nothing, so it needs none itself.
    expect_runs(guest, &script(guest, "other", MAP)?)?;
    ensure!(file.exists());
    apply(guest, &acme(""))
}

/// Where the policy asks for signed libraries.
fn code_of_launcher_and_loader_must_be_signed(guest: &mut Guest) -> Result<()> {
    // Both map the same; what is signed stays so, and nobody here needs it otherwise.
    let launcher = own_probe(guest, "launcher-with-libraries")?;
    fs::copy(UNSIGNED_LAUNCHER, &launcher)?;
    let grant = guest.write("launcher.toml", LAUNCHES)?;
    let options = ["--with-libraries", "--grant", text(&grant)?];
    fixture::sign_as(guest, ACME, &launcher, &options)?;
    let told = told(guest)?;
    let library = library::unsigned(guest, "library")?;
    let file = script(guest, "file", MAP)?;
    let maps = script(
        guest,
        "maps",
        &format!("file-code {} {MAP}", library.display()),
    )?;
    library::under(guest, "signed", "")?;
    let said = launch(&launcher, &file, &[])?.success()?;
    ensure!(said == "map hash: ok\n", "{said}");
    // A loader that maps what nobody signed loses its trust, script or not.
    let mark = Events::mark(guest)?;
    let said = launch(&launcher, &maps, &[])?.stdout;
    ensure!(said.ends_with("map hash: EPERM\n"), "{said}");
    let loss = [("action", "taint"), ("reason", "unsigned-library")];
    let event = mark.expect(guest, &[&loss[..], &[("executable", INTERPRETER)]].concat())?;
    ensure!(
        event["script_digest"] == digest(guest, &maps)?.as_str(),
        "{event:#}"
    );
    // So does a launcher, and then launches nothing.
    let line = format!(
        "file-code {} script {1} input {1} exec {INTERPRETER} -- -",
        library.display(),
        file.display()
    );
    let mark = Events::mark(guest)?;
    let program = Program::new(&told).args(fixture::words(&line));
    expect_no_trust(guest, program, "unsigned-script")?;
    mark.expect(
        guest,
        &[&loss[..], &[("executable", text(&told)?)]].concat(),
    )?;
    mark.expect_none(guest, &[("action", "script")])?;
    // A script is code of no process.
    let line = format!("file-code {} {MAP}", file.display());
    let program = policy::loader(guest, "maps-script", ACME, &Grant::ALL.of("free", 1))?;
    let mark = Events::mark(guest)?;
    let said = Program::new(&program).args(fixture::words(&line)).run()?;
    ensure!(said.stdout.ends_with("map hash: EPERM\n"), "{said}");
    mark.expect(guest, &[&loss[..], &[("file", text(&file)?)]].concat())?;
    apply(guest, &acme(""))
}

/// The same as the kernel side makes of it, for a loader that may do everything.
fn explain_says_what_a_script_may(guest: &mut Guest) -> Result<()> {
    let narrow = Grant {
        maps: "array hash queue",
        programs: "kprobe xdp",
        ..Grant::ALL
    };
    let (running, file) = running(guest, ACME, "explained", &narrow.of("narrow", 2))?;
    apply(guest, &acme("[ceiling]\nmaps = [\"hash\", \"ringbuf\"]\n"))?;
    let path = text(&file)?.to_owned();
    let words = [
        "bpftrust",
        "explain",
        "--json",
        "--policy",
        "policy.toml",
        &path,
    ];
    let said = guest.run(&words)?.success()?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let record = image(guest, running.pid())?;
    ensure!(
        said["kind"] == "script" && said["name"] == "narrow" && said["rights"] == record["rights"],
        "{said:#} but {record:#}"
    );
    ensure!(
        said["rights"]["maps"] == serde_json::json!(["hash"]),
        "{said:#}"
    );
    // One byte is another.
    let edited = guest.script("edited", "#!/usr/bin/env bpftrace\nsay edited\n")?;
    crate::envelope::write(&edited, &crate::envelope::read(&file)?)?;
    guest
        .run(&["fsverity", "enable", text(&edited)?])?
        .success()?;
    let output = guest.run(&["bpftrust", "explain", text(&edited)?])?;
    ensure!(
        output.status == 1 && output.stdout.contains("no, bad-signature"),
        "{output}"
    );
    apply(guest, &acme(""))
}

fn status_names_the_script(guest: &mut Guest) -> Result<()> {
    let (running, file) = running(guest, ACME, "named", &Grant::ALL.of("maps", 7))?;
    let digest = digest(guest, &file)?;
    let script = image(guest, running.pid())?["script"].clone();
    ensure!(
        script["name"] == "maps"
            && script["digest"] == digest.as_str()
            && script["publisher"] == "acme"
            && script["grant"]["version"] == 7,
        "{script:#}"
    );
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    let wanted = format!("  script maps {}", &digest[..19]);
    ensure!(said.contains(&wanted), "{said}");
    let said = guest.run(&["bpftrust", "events"])?.success()?;
    ensure!(said.contains(&wanted), "{said}");
    Ok(())
}

/// By `sign` and, where it is signed nevertheless, by the launcher.
fn what_is_no_script_is_told_so(guest: &mut Guest) -> Result<()> {
    let launcher = launcher(guest)?;
    let sign = |file: &Path, options: &[&str]| {
        let (private, certificate) = (STRANGER.private(), STRANGER.certificate());
        let words = [
            "sign",
            "--script",
            "--key",
            &private,
            "--certificate",
            &certificate,
        ];
        Program::new("bpftrust")
            .args(words)
            .args(options)
            .arg(file)
            .run()
    };
    let large = "\n".repeat(10 << 20);
    for (name, content, wanted) in [
        (
            "crlf",
            "#!/usr/bin/bpftrace\r\nBEGIN\r\n",
            "carriage return",
        ),
        ("nul", "#!/usr/bin/bpf\0trace\n", "a NUL"),
        ("large", &large, "more than 1048576 bytes"),
        ("empty", "", "it is empty"),
        (
            "option",
            "#!/usr/bin/bpftrace -e\n",
            "gives the loader \"-e\"",
        ),
    ] {
        let file = guest.script(name, content)?;
        for output in [sign(&file, &[])?, launch(&launcher, &file, &[])?] {
            ensure!(
                output.status == 2 && output.stderr.contains(wanted),
                "{name}: {output:?}"
            );
        }
    }
    let include = guest.script("include", "#!/bin/bpftrace\n#include <linux/fs.h>\n")?;
    let output = sign(&include, &[])?;
    ensure!(
        output.status == 2
            && output.stderr.contains("(line 2)")
            && output.stderr.contains("--allow-includes"),
        "{output:?}"
    );
    sign(&include, &["--allow-includes"])?.success()?;
    // One script is the loader of the other, and that is its own.
    guest.script("/usr/local/bin/loop", "#!/usr/local/bin/loop\n")?;
    std::os::unix::fs::symlink("round", guest.path("round"))?;
    for (file, wanted) in [
        ("/usr/local/bin/loop", "is no ELF file"),
        ("round", "Too many levels of symbolic links"),
        ("/work", "no regular file"),
        ("/dev/null", "no regular file"),
        ("nowhere", "No such file"),
    ] {
        let output = launch(&launcher, Path::new(file), &[])?;
        ensure!(
            output.status == 2 && output.stderr.contains(wanted),
            "{file}: {output:?}"
        );
    }
    let missing = guest.script("missing", "#!/usr/bin/env not-there\n")?;
    let output = launch(&launcher, &missing, &[])?;
    ensure!(output.stderr.contains("not-there is not in"), "{output:?}");
    // What is the loader of another is started on itself, with that as parameter.
    let inner = guest.script("inner", &format!("#!{}\n{MAP}\n", launcher.display()))?;
    fixture::sign_as(guest, ACME, &inner, &["--script"])?;
    let outer = guest.script("outer", &format!("#!{}\n", inner.display()))?;
    let output = Program::new(&outer).run()?;
    ensure!(
        output
            .stderr
            .contains("inner: its signature grants it no parameters"),
        "{output:?}"
    );
    // A name that is no text is as good as any.
    let name = std::os::unix::ffi::OsStringExt::from_vec(b"n\xff\n".to_vec());
    let odd: PathBuf = guest.path(".").join::<std::ffi::OsString>(name);
    fs::copy(script(guest, "plain", MAP)?, &odd)?;
    fixture::configure(guest)?;
    let (private, certificate) = (ACME.private(), ACME.certificate());
    Program::new("bpftrust")
        .args([
            "sign",
            "--script",
            "--key",
            &private,
            "--certificate",
            &certificate,
        ])
        .arg(&odd)
        .run()?
        .success()?;
    expect_runs(guest, &odd)
}
