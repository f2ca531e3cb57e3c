//! Loaders that run signed scripts alone (attack 23): who starts them, on what, with
//! which words.

use crate::envelope::{self, Envelope, statement};
use crate::fixture::{self, ACME, Events, STRANGER, UNSIGNED, sign_as, words};
use crate::guest::{Guest, text};
use crate::policy::own_probe;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::script::{
    INTERPRETER, UNSIGNED_LAUNCHER, expect_exec, expect_no_trust, expect_not_taken, expect_runs,
    granted, launch, launcher, script, setup, signed_by, told, unsigned,
};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "script",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_signed_script_runs_and_is_named),
        test!(without_a_script_the_loader_does_nothing).within(120),
        test!(a_script_that_nobody_signed_is_not_taken).within(120),
        test!(a_kind_never_passes_for_another),
        test!(only_a_trusted_launcher_starts_one),
        test!(what_the_launcher_opened_is_what_runs),
        test!(parameters_are_granted).within(120),
        test!(one_launcher_starts_one_script),
        test!(a_loader_passes_its_script_on_to_none),
        test!(closed_descriptors_change_nothing),
    ],
};

/// What most scripts here do.
const MAP: &str = "map hash";

fn a_signed_script_runs_and_is_named(guest: &mut Guest) -> Result<()> {
    let grant = crate::grant::Grant::ALL.of("maps", 3);
    let file = granted(guest, "file", MAP, &grant)?;
    let launcher = launcher(guest)?;
    let by_path = unsigned(guest, "by-path", MAP)?;
    let first = format!("#!{}\n", launcher.display());
    let content = fs::read_to_string(&by_path)?.replacen("#!/usr/bin/env bpftrace\n", &first, 1);
    fs::write(&by_path, content)?;
    let grant = guest.write("by-path.toml", &grant)?;
    sign_as(
        guest,
        ACME,
        &by_path,
        &["--script", "--grant", text(&grant)?],
    )?;
    for (program, file) in [
        (Program::new(&launcher).arg(&file), &file),
        (Program::new(&by_path), &by_path),
        (
            Program::new("bpftrust").args(["script", "run"]).arg(&file),
            &file,
        ),
    ] {
        // The command starts the launcher that is beside it, which nobody signed.
        let is_trusted = !format!("{program:?}").contains("\"run\"");
        let mark = Events::mark(guest)?;
        let said = program.run()?.success()?;
        if !is_trusted {
            ensure!(said == "map hash: EPERM\n", "{said}");
            continue;
        }
        ensure!(said == "map hash: ok\n", "{said}");
        let digest = crate::policy::digest(guest, file)?;
        let named = [("script", "maps"), ("script_digest", &digest)];
        for fields in [
            [
                ("action", "script"),
                ("outcome", "allowed"),
                ("file", text(file)?),
            ],
            [
                ("action", "exec"),
                ("outcome", "allowed"),
                ("executable", INTERPRETER),
            ],
            [
                ("action", "bpf"),
                ("outcome", "allowed"),
                ("command", "map-create"),
            ],
        ] {
            mark.expect(guest, &[&fields[..], &named].concat())?;
        }
    }
    Ok(())
}

fn without_a_script_the_loader_does_nothing(guest: &mut Guest) -> Result<()> {
    let file = script(guest, "file", MAP)?;
    let direct = || Program::new(INTERPRETER);
    let on_script = |program: Program| -> Result<Program> {
        Ok(program.args(["--", "-"]).input(fs::read(&file)?))
    };
    for program in [
        // What the loader takes as program text, an option or a file is its own affair.
        direct().args(words(MAP)),
        direct().arg(&file).args(words(MAP)),
        on_script(direct())?,
        on_script(direct().env("BPFTRACE_MAX_MAP_KEYS", "1"))?,
        on_script(direct().arg("--unsafe"))?,
        Program::new(UNSIGNED)
            .args(["exec", INTERPRETER])
            .args(words(MAP)),
        // The script is its interpreter's by "#!", and that the kernel starts.
        Program::new(UNSIGNED_LAUNCHER).arg(&file),
    ] {
        expect_no_trust(guest, program, "unsigned-script")?;
    }
    expect_runs(guest, &file)
}

fn a_script_that_nobody_signed_is_not_taken(guest: &mut Guest) -> Result<()> {
    let good = script(guest, "good", MAP)?;
    let none = unsigned(guest, "none", MAP)?;
    expect_not_taken(guest, &none, "unsigned-script")?;
    guest
        .run(&["fsverity", "enable", text(&none)?])?
        .success()?;
    expect_not_taken(guest, &none, "unsigned-script")?;
    // One byte is another, with the signature, without fs-verity and with it.
    let edited = unsigned(guest, "edited", MAP)?;
    let content = fs::read_to_string(&good)?.replace("map hash", "map Hash");
    fs::write(&edited, content)?;
    let signature = envelope::read(&good)?;
    envelope::write(&edited, &signature)?;
    expect_not_taken(guest, &edited, "no-verity")?;
    guest
        .run(&["fsverity", "enable", text(&edited)?])?
        .success()?;
    expect_not_taken(guest, &edited, "bad-signature")?;
    let other = signed_by(guest, STRANGER, "other", MAP, None)?;
    expect_not_taken(guest, &other, "unknown-key")?;
    // A name for another file: that is what is judged.
    symlink(&none, guest.path("link"))?;
    let mark = Events::mark(guest)?;
    launch(&launcher(guest)?, &guest.path("link"), &[])?;
    mark.expect(guest, &[("action", "script"), ("file", text(&none)?)])?;
    expect_runs(guest, &good)
}

fn a_kind_never_passes_for_another(guest: &mut Guest) -> Result<()> {
    const LIBRARY: u16 = 2;
    const SCRIPT: u16 = 3;
    let good = script(guest, "good", MAP)?;
    let own = Envelope::of(&good)?;
    for kind in [envelope::LOADER, LIBRARY, 4, 5] {
        let lie = own.restate(guest, &good, ACME, statement(kind, &[], 0))?;
        envelope::write(&good, &lie.bytes())?;
        expect_not_taken(guest, &good, "wrong-kind").with_context(|| format!("{kind}"))?;
    }
    envelope::write(&good, &own.bytes())?;
    expect_runs(guest, &good)?;
    // And a loader that was signed as a script is none.
    let program = own_probe(guest, "program")?;
    fixture::sign(guest, ACME, &program)?;
    let own = Envelope::of(&program)?;
    let lie = own.restate(guest, &program, ACME, statement(SCRIPT, &[], 0))?;
    envelope::write(&program, &lie.bytes())?;
    crate::policy::expect_exec_refused(guest, &program, "wrong-kind")
}

fn only_a_trusted_launcher_starts_one(guest: &mut Guest) -> Result<()> {
    let file = script(guest, "file", MAP)?;
    let launcher = launcher(guest)?;
    let told = told(guest)?;
    let line = |program: &Path| {
        let file = file.display();
        let program = program.display();
        format!("{program} script {file} input {file} exec {INTERPRETER} -- -")
    };
    let by = |before: &str, line: &str| {
        Program::new(UNSIGNED)
            .args(words(before))
            .arg("exec")
            .args(words(line))
    };
    let traced = |line: &str| {
        let inner = format!("traceme exec {line}");
        Program::new(UNSIGNED).args(words(&format!("fork [ {inner} ]")))
    };
    // Of those that the guard trusts, one is signed as launcher.
    let other = crate::policy::loader(
        guest,
        "other",
        ACME,
        &crate::grant::Grant {
            abilities: "children",
            ..crate::grant::Grant::ALL
        }
        .of("other", 1),
    )?;
    let honest = format!("{} {}", launcher.display(), file.display());
    for (program, reason) in [
        (by("", &line(&other)), "unsigned-script"),
        (by("", &line(Path::new(UNSIGNED))), "unsigned-script"),
        // Its tracer is gone when the loader is executed; a filter stays.
        (traced(&line(&told)), "unsigned-script"),
        (traced(&honest), "unsigned-script"),
        (by("filter notifier", &line(&told)), "filtered"),
        (by("filter errno-0", &line(&told)), "filtered"),
        (by("filter notifier", &honest), "filtered"),
    ] {
        expect_no_trust(guest, program, reason)?;
    }
    // What any other loader maps is no script.
    let mark = Events::mark(guest)?;
    expect_no_trust(guest, by("", &line(&other)), "unsigned-script")?;
    mark.expect_none(guest, &[("action", "script")])?;
    // Nor does one start it that lost its trust meanwhile, before or after.
    for lost in ["anonymous-code script FILE", "script FILE anonymous-code"] {
        let script = format!("script {}", file.display());
        let lost = lost.replace("script FILE", &script);
        let lost = line(&told).replacen(&script, &lost, 1);
        expect_no_trust(guest, by("", &lost), "unsigned-script").context(lost)?;
    }
    let said = by("", &line(&told)).run()?.success()?;
    ensure!(said.ends_with("map hash: ok\n"), "{said}");
    expect_runs(guest, &file)
}

fn what_the_launcher_opened_is_what_runs(guest: &mut Guest) -> Result<()> {
    let file = script(guest, "file", MAP)?;
    let other = script(guest, "other", MAP)?;
    let none = unsigned(guest, "none", MAP)?;
    let told = told(guest)?;
    let (file, other, none) = (text(&file)?, text(&other)?, text(&none)?);
    for actions in [
        format!("script {file} input {other} exec {INTERPRETER} -- -"),
        format!("script {file} input {none} exec {INTERPRETER} -- -"),
        // Not a loader's command line on a script.
        format!("script {file} input {file} exec {INTERPRETER} map hash"),
        format!("script {file} input {file} exec {INTERPRETER} say -- map hash"),
        format!("script {file} input {file} exec {INTERPRETER} say - map hash"),
    ] {
        let program = Program::new(&told).args(words(&actions));
        expect_no_trust(guest, program, "unsigned-script").context(actions)?;
    }
    Ok(())
}

fn parameters_are_granted(guest: &mut Guest) -> Result<()> {
    let launcher = launcher(guest)?;
    let told = told(guest)?;
    let all = crate::grant::Grant::ALL.of("maps", 1);
    let plain = script(guest, "plain", "map array")?;
    let denied = granted(guest, "denied", "map array", &all)?;
    let few = granted(
        guest,
        "few",
        "map array",
        &format!("{all}parameters = true\n"),
    )?;
    let loose = granted(
        guest,
        "loose",
        "map array",
        &format!("{all}unsafe = true\n"),
    )?;
    // The launcher says so itself.
    for file in [&plain, &denied, &loose] {
        let output = launch(&launcher, file, &["map", "hash"])?;
        ensure!(
            output.status == 2 && output.stderr.contains("grants it no parameters"),
            "{output:?}"
        );
    }
    let said = launch(&launcher, &few, &["map", "hash"])?.success()?;
    ensure!(said == "map array: ok\nmap hash: ok\n", "{said}");
    // No parameter is an option.
    let output = launch(&launcher, &few, &["--unsafe", "x"])?;
    ensure!(!output.stdout.contains("unsafe\n"), "{output:?}");
    let said = launch(&launcher, &loose, &[])?.success()?;
    ensure!(said == "unsafe\nmap array: ok\n", "{said}");
    // And whatever a launcher says, the kernel side holds it against the grant.
    for (file, words_given, reason) in [
        (&plain, "-- - map hash", "not-granted"),
        (&denied, "-- - map hash", "not-granted"),
        (&loose, "-- - map hash", "not-granted"),
        (&loose, "--unsafe -- - map hash", "not-granted"),
        (&plain, "--unsafe -- -", "not-granted"),
        (&few, "--unsafe -- - map hash", "not-granted"),
        (&few, "-- - map hash", "none"),
        (&loose, "--unsafe -- -", "none"),
    ] {
        let file = file.display();
        let line = format!("script {file} input {file} exec {INTERPRETER} {words_given}");
        let mark = Events::mark(guest)?;
        Program::new(&told).args(words(&line)).run()?.success()?;
        let outcome = if reason == "none" {
            "allowed"
        } else {
            "denied"
        };
        expect_exec(guest, &mark, outcome, reason).with_context(|| line.clone())?;
    }
    Ok(())
}

fn one_launcher_starts_one_script(guest: &mut Guest) -> Result<()> {
    let file = script(guest, "file", MAP)?;
    let other = script(guest, "other", MAP)?;
    let none = unsigned(guest, "none", MAP)?;
    let told = told(guest)?;
    let (file, other, none) = (text(&file)?, text(&other)?, text(&none)?);
    for (first, second) in [(file, other), (file, file), (none, file), (file, none)] {
        let line = format!("script {first} script {second} input {file} exec {INTERPRETER} -- -");
        let mark = Events::mark(guest)?;
        let program = Program::new(&told).args(words(&line));
        expect_no_trust(guest, program, "unsigned-script").with_context(|| line.clone())?;
        let fields = [
            ("action", "script"),
            ("outcome", "denied"),
            ("reason", "unsigned-script"),
            ("file", second),
        ];
        mark.expect(guest, &fields).context(line)?;
    }
    Ok(())
}

fn a_loader_passes_its_script_on_to_none(guest: &mut Guest) -> Result<()> {
    for actions in [
        format!("exec {INTERPRETER} map hash"),
        format!("exec {INTERPRETER} -- - map hash"),
        format!("fork [ exec {INTERPRETER} map hash ]"),
    ] {
        let file = script(guest, "file", &format!("map array {actions}"))?;
        let program = Program::new(launcher(guest)?).arg(&file);
        let mark = Events::mark(guest)?;
        expect_no_trust(guest, program, "unsigned-script").context(actions)?;
        expect_exec(guest, &mark, "allowed", "none")?;
    }
    Ok(())
}

fn closed_descriptors_change_nothing(guest: &mut Guest) -> Result<()> {
    let into = guest.path("said");
    let file = script(guest, "file", &format!("into {} {MAP}", into.display()))?;
    let launcher = launcher(guest)?;
    for closed in ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-", "3</etc/passwd"] {
        let _ = fs::remove_file(&into);
        let (launcher, file) = (launcher.display(), file.display());
        guest
            .shell(&format!("{launcher} {file} {closed}"))?
            .success()?;
        let said = fs::read_to_string(&into)?;
        ensure!(said.ends_with("\nmap hash: ok\n"), "{closed}: {said}");
    }
    Ok(())
}
