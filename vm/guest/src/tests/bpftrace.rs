//! Debian's own bpftrace with some of the scripts that come with it, signed, as are the
//! libraries that it and the launcher map.

use crate::envelope;
use crate::fixture::{self, ACME, Events, sign_as};
use crate::guest::{Guest, text};
use crate::policy::{self, acme, digest, image};
use crate::process::{Background, Program};
use crate::registry::{Group, RunsOn};
use crate::script::{LAUNCHES, UNSIGNED_LAUNCHER};
use crate::test;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "bpftrace",
    runs_on: RunsOn::Bpftrace,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(debians_scripts_show_what_happens).within(400),
        test!(without_a_signed_script_bpftrace_has_no_trust).within(300),
        test!(a_script_that_is_not_as_signed_starts_nothing).within(300),
        test!(what_a_script_is_given_is_never_an_option).within(300),
    ],
};

const BPFTRACE: &str = "/usr/bin/bpftrace";
/// Signed where it is: nobody else here needs it as it was.
const LAUNCHER: &str = UNSIGNED_LAUNCHER;

/// As docs/scripts.md has it.
const GRANT: &str = "name = \"bpftrace\"\nversion = 1\ncommands = \"all\"\nprograms = \"script\"\n\
    attaches = \"all\"\nmaps = \"all\"\nabilities = [\"children\"]\n";

/// Takes the compiler some seconds where the machine is emulated.
const STARTS: Duration = Duration::from_secs(120);

/// What a script of ours does, and prints only if it runs.
const ANSWER: &str = "BEGIN { printf(\"ran %d\\n\", 6 * 7); exit(); }\n";
const RAN: &str = "ran 42\n";

fn setup(guest: &mut Guest) -> Result<()> {
    policy::enforce(guest)?;
    for (file, name, grant) in [
        (BPFTRACE, "bpftrace.toml", GRANT),
        (LAUNCHER, "launcher.toml", LAUNCHES),
    ] {
        let grant = guest.write(name, grant)?;
        let options = ["--with-libraries", "--grant", text(&grant)?];
        sign_as(guest, ACME, Path::new(file), &options)?;
    }
    let signed = acme("").replacen("\"any\"", "\"signed\"", 1);
    policy::apply(guest, &signed)
}

/// Starts a signed script, has it see something until it says so, and interrupts it as a
/// user does.
fn watch(
    guest: &mut Guest,
    file: &Path,
    provoke: fn(&Guest) -> Result<()>,
    shown: fn(&str) -> bool,
) -> Result<()> {
    let mark = Events::mark(guest)?;
    // Nothing of the caller's environment reaches bpftrace.
    let program = Program::new(LAUNCHER)
        .arg(file)
        .env("BPFTRACE_MAX_PROBES", "0");
    let mut running = guest.start(program)?;
    let name = text(file)?;
    guest.wait_for(&format!("what {name} is about"), STARTS, || {
        let ended = running.status()?;
        ensure!(ended.is_none(), "{name} ended: {}", running.said());
        provoke(guest)?;
        let said = running.said();
        // The last line may still be written to.
        let (whole, _) = said.rsplit_once('\n').unwrap_or_default();
        Ok(whole.lines().any(shown).then_some(()))
    })?;
    let digest = digest(guest, file)?;
    let record = image(guest, running.pid())?;
    ensure!(record["script"]["digest"] == digest.as_str(), "{record:#}");
    let fields = [
        ("action", "exec"),
        ("outcome", "allowed"),
        ("executable", BPFTRACE),
        ("script_digest", &digest),
    ];
    mark.expect(guest, &fields)?;
    let status = interrupt(guest, &mut running)?;
    ensure!(status == 0, "{name}: {status}: {}", running.said());
    Ok(())
}

fn interrupt(guest: &Guest, running: &mut Background) -> Result<i32> {
    let pid = i32::try_from(running.pid()).context("a process")?;
    let pid = Pid::from_raw(pid).context("a process")?;
    kill_process(pid, Signal::INT).context("cannot interrupt it")?;
    guest.wait_for("its end", STARTS, || running.status())
}

fn debians_scripts_show_what_happens(guest: &mut Guest) -> Result<()> {
    type Case = (&'static str, fn(&Guest) -> Result<()>, fn(&str) -> bool);
    let cases: [Case; 3] = [
        (
            "opensnoop.bt",
            |_| {
                fs::read("/etc/hostname").context("cannot read a file")?;
                Ok(())
            },
            |line| {
                let pid = std::process::id().to_string();
                line.split_whitespace().next() == Some(&pid) && line.ends_with(" /etc/hostname")
            },
        ),
        (
            "killsnoop.bt",
            |_| kill_process(rustix::process::getpid(), Signal::CONT).context("cannot signal"),
            |line| {
                let pid = std::process::id().to_string();
                let words: Vec<&str> = line.split_whitespace().collect();
                words.len() == 6 && words[1] == pid && words[3..] == ["18", &pid, "0"]
            },
        ),
        (
            "execsnoop.bt",
            |guest| guest.run(&["/usr/bin/uptime", "--pretty"]).map(drop),
            |line| line.ends_with(" /usr/bin/uptime --pretty"),
        ),
    ];
    for (name, provoke, shown) in cases {
        let file = Path::new("/usr/sbin").join(name);
        // One has #include, which is not read where there is BTF.
        sign_as(guest, ACME, &file, &["--script", "--allow-includes"])?;
        watch(guest, &file, provoke, shown).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// A script of this text, signed with these options of `sign`.
fn signed(guest: &Guest, name: &str, content: &str, options: &[&str]) -> Result<PathBuf> {
    let path = guest.script(name, content)?;
    sign_as(guest, ACME, &path, &[&["--script"], options].concat())?;
    Ok(path)
}

fn answer() -> String {
    format!("#!/usr/bin/env bpftrace\n{ANSWER}")
}

fn expect_runs(file: &Path) -> Result<()> {
    let said = Program::new(LAUNCHER).arg(file).run()?.success()?;
    ensure!(said.contains(RAN), "{said}");
    Ok(())
}

fn without_a_signed_script_bpftrace_has_no_trust(guest: &mut Guest) -> Result<()> {
    let file = signed(guest, "answer.bt", &answer(), &[])?;
    let direct = || Program::new(BPFTRACE);
    for (what, program) in [
        ("-e", direct().args(["-e", ANSWER])),
        ("a file", direct().arg(&file)),
        ("standard input", direct().args(["--", "-"]).input(answer())),
        ("its first line", Program::new(&file)),
    ] {
        let mark = Events::mark(guest)?;
        let output = program.run()?;
        ensure!(
            output.status != 0 && !output.stdout.contains(RAN),
            "{what}: {output}"
        );
        let fields = [
            ("action", "exec"),
            ("outcome", "denied"),
            ("reason", "unsigned-script"),
            ("executable", BPFTRACE),
        ];
        mark.expect(guest, &fields).context(what)?;
        let allowed = [("outcome", "allowed"), ("executable", BPFTRACE)];
        mark.expect_none(guest, &allowed).context(what)?;
    }
    expect_runs(&file)
}

fn a_script_that_is_not_as_signed_starts_nothing(guest: &mut Guest) -> Result<()> {
    let good = signed(guest, "answer.bt", &answer(), &[])?;
    let unsigned = guest.script("unsigned.bt", &answer())?;
    let edited = guest.script("edited.bt", &answer().replace("6 * 7", "7 * 6"))?;
    envelope::write(&edited, &envelope::read(&good)?)?;
    guest
        .run(&["fsverity", "enable", text(&edited)?])?
        .success()?;
    for (file, reason) in [(&unsigned, "unsigned-script"), (&edited, "bad-signature")] {
        let mark = Events::mark(guest)?;
        let output = Program::new(LAUNCHER).arg(file).run()?;
        ensure!(
            output.status == 2 && output.stdout.is_empty(),
            "{reason}: {output}"
        );
        let fields = [
            ("action", "script"),
            ("outcome", "denied"),
            ("reason", reason),
            ("file", text(file)?),
            ("executable", LAUNCHER),
        ];
        mark.expect(guest, &fields)?;
        mark.expect_none(guest, &[("executable", BPFTRACE)])?;
    }
    // The launcher has no options, and a script without the right to them no words.
    for words in [
        vec!["-e", ANSWER],
        vec![text(&good)?, "-e"],
        vec![text(&good)?, "--unsafe"],
    ] {
        let mark = Events::mark(guest)?;
        let output = Program::new(LAUNCHER).args(&words).run()?;
        ensure!(output.status == 2 && output.stdout.is_empty(), "{output}");
        mark.expect_none(guest, &[("executable", BPFTRACE)])?;
    }
    expect_runs(&good)
}

/// That bpftrace itself takes the fixed words so is what the launcher relies on.
fn what_a_script_is_given_is_never_an_option(guest: &mut Guest) -> Result<()> {
    let all = crate::grant::Grant::ALL;
    let parameters = format!("{}parameters = true\n", all.of("parameters", 1));
    let parameters = guest.write("parameters.toml", parameters)?;
    let says = "BEGIN { printf(\"given %s\\n\", str($1)); exit(); }\n";
    let options = ["--grant", text(&parameters)?];
    let file = signed(guest, "parameters.bt", says, &options)?;
    for word in ["--version", "--unsafe"] {
        let said = Program::new(LAUNCHER)
            .arg(&file)
            .arg(word)
            .run()?
            .success()?;
        ensure!(said.contains(&format!("given {word}\n")), "{said}");
    }
    // What bpftrace calls unsafe takes the right to it.
    let calls = "BEGIN { system(\"echo $((6 * 7)) times\"); exit(); }\n";
    let plain = signed(guest, "plain.bt", calls, &[])?;
    let output = Program::new(LAUNCHER).arg(&plain).run()?;
    ensure!(
        output.status != 0 && output.stderr.contains("unsafe"),
        "{output}"
    );
    let grant = guest.write(
        "unsafe.toml",
        format!("{}unsafe = true\n", all.of("unsafe", 1)),
    )?;
    let calls = format!("{calls}// granted\n");
    let granted = signed(guest, "unsafe.bt", &calls, &["--grant", text(&grant)?])?;
    let said = Program::new(LAUNCHER).arg(&granted).run()?.success()?;
    ensure!(said.contains("42 times\n"), "{said}");
    Ok(())
}
