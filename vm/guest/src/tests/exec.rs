//! At exec it is the content that runs which decides, whatever it is called and
//! however it is started (attacks 1, 3 and 6).

use crate::envelope;
use crate::fixture::{self, ACME, ANY_COMMAND, Events};
use crate::fixture::{expect_refused, expect_trusted, signed_probe};
use crate::guest::{Guest, text};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "exec",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_signed_loader_is_trusted_by_any_name),
        test!(an_unsigned_copy_has_no_signature),
        test!(a_signature_without_verity_counts_for_nothing),
        test!(one_changed_byte_is_another_file),
        test!(content_needs_its_own_signature),
        test!(what_is_signed_while_it_runs_stays_unsigned),
        test!(a_path_that_comes_to_lead_elsewhere_changes_nothing),
        test!(a_file_mounted_over_another_is_what_runs),
        test!(the_name_of_the_running_file_is_no_evidence),
        test!(a_memfd_is_unsigned),
        test!(an_unnamed_file_is_unsigned),
        test!(a_descriptor_is_executed_as_its_file),
        test!(proc_self_exe_is_the_file_behind_it),
        test!(the_dynamic_linker_does_not_lend_trust),
        test!(a_loader_takes_no_trust_into_another_program),
        test!(a_shell_started_by_a_loader_is_untrusted),
        test!(a_loader_that_executes_itself_is_decided_anew),
        test!(an_exec_that_fails_changes_nothing),
    ],
};

/// The probe, as nobody signed it.
pub const PROBE: &str = "/usr/bin/bpftrust-probe";

/// What has the probe call `bpf()`.
pub const CALL: &[&str] = &["bpf", ANY_COMMAND];

/// Runs a probe that ends, somewhere behind its own actions, in a call of
/// `bpf()`; requires what the call said, and an event with these fields.
pub fn expect(guest: &Guest, program: Program, said: &str, event: &[(&str, &str)]) -> Result<()> {
    let mark = Events::mark(guest)?;
    let output = program.run()?;
    let calls: Vec<_> = output
        .stdout
        .lines()
        .filter(|line| line.starts_with("bpf "))
        .collect();
    let wanted = format!("bpf {ANY_COMMAND}: {said}");
    ensure!(calls.last() == Some(&&*wanted), "not {said}: {output}");
    mark.expect(guest, &[&[("action", "bpf")], event].concat())?;
    Ok(())
}

/// [`expect`]: refused, for this reason.
pub fn expect_no(guest: &Guest, program: Program, reason: &str) -> Result<()> {
    let event = [("outcome", "denied"), ("reason", reason)];
    expect(guest, program, "EPERM", &event)
}

/// [`expect`]: allowed, to this executable.
pub fn expect_yes(guest: &Guest, program: Program, executable: &Path) -> Result<()> {
    let event = [("outcome", "allowed"), ("executable", text(executable)?)];
    expect(guest, program, "ok", &event)
}

/// `program ACTION TARGET bpf N`.
fn through(program: &Path, action: &str, target: &Path) -> Program {
    Program::new(program).arg(action).arg(target).args(CALL)
}

/// Starts the probe at `program`, lets `change` do its work, and then has the
/// probe call `bpf()`: what it said.
fn call_after(
    guest: &mut Guest,
    program: &Path,
    change: impl FnOnce(&Guest) -> Result<()>,
) -> Result<String> {
    let go = guest.path("go");
    if go.exists() {
        fs::remove_file(&go)?;
    }
    let waiting = Program::new(program)
        .args(["say", "started", "until"])
        .arg(&go)
        .args(CALL);
    let mut process = guest.start(waiting)?;
    guest.wait_until_says(&mut process, "started")?;
    change(guest)?;
    fs::write(&go, "")?;
    guest.wait_for("the end of the probe", Duration::from_secs(30), || {
        process.status()
    })?;
    let said = process.said();
    let call = said.lines().rfind(|line| line.starts_with("bpf "));
    let call = call.with_context(|| format!("no call: {said}"))?;
    Ok(call.to_owned())
}

fn a_signed_loader_is_trusted_by_any_name(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    expect_trusted(guest, &signed, CALL)?;
    let (link, hard) = (guest.path("link"), guest.path("hard"));
    symlink(&signed, &link)?;
    fs::hard_link(&signed, &hard)?;
    expect_yes(guest, Program::new(&link).args(CALL), &signed)?;
    expect_trusted(guest, &hard, CALL)?;
    let moved = guest.path("moved");
    fs::rename(&signed, &moved)?;
    expect_trusted(guest, &moved, CALL)
}

fn an_unsigned_copy_has_no_signature(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let copy = guest.copy(&signed, "copy")?;
    expect_refused(guest, &copy, CALL, "no-signature")?;
    guest.run(&["fsverity", "enable", "copy"])?.success()?;
    expect_refused(guest, &copy, CALL, "no-signature")?;
    expect_trusted(guest, &signed, CALL)
}

fn a_signature_without_verity_counts_for_nothing(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    guest
        .run(&["cp", "--preserve=xattr,mode", "probe", "copy"])?
        .success()?;
    let copy = guest.path("copy");
    ensure!(
        envelope::read(&copy)? == envelope::read(&signed)?,
        "cp left the signature"
    );
    let mark = Events::mark(guest)?;
    expect_refused(guest, &copy, CALL, "no-verity")?;
    mark.expect(guest, &[("action", "exec"), ("reason", "no-verity")])?;
    // That was not kept: the same file, once its content is frozen.
    guest.run(&["fsverity", "enable", "copy"])?.success()?;
    expect_trusted(guest, &copy, CALL)?;
    expect_trusted(guest, &signed, CALL)
}

/// Where an ELF file has a byte that nothing looks at: the end of `e_ident`.
const ELF_PADDING: usize = 15;

fn one_changed_byte_is_another_file(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let mut content = fs::read(&signed)?;
    content[ELF_PADDING] ^= 1;
    let changed = guest.copy(&signed, "changed")?;
    fs::write(&changed, &content)?;
    guest.run(&["fsverity", "enable", "changed"])?.success()?;
    envelope::write(&changed, &envelope::read(&signed)?)?;
    expect_refused(guest, &changed, CALL, "bad-signature")?;
    expect_trusted(guest, &signed, CALL)
}

fn content_needs_its_own_signature(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let other = guest.copy("/usr/bin/true", "other")?;
    fixture::sign(guest, ACME, &other)?;
    let own = envelope::read(&signed)?;
    expect_trusted(guest, &signed, CALL)?;
    envelope::write(&signed, &envelope::read(&other)?)?;
    expect_refused(guest, &signed, CALL, "bad-signature")?;
    envelope::write(&signed, &own)?;
    expect_trusted(guest, &signed, CALL)
}

fn what_is_signed_while_it_runs_stays_unsigned(guest: &mut Guest) -> Result<()> {
    let probe = guest.copy(PROBE, "probe")?;
    let mark = Events::mark(guest)?;
    let path = probe.clone();
    let said = call_after(guest, &probe, move |guest| {
        fixture::sign(guest, ACME, &path)
    })?;
    ensure!(said == "bpf 11: EPERM", "{said}");
    mark.expect(guest, &[("action", "bpf"), ("reason", "no-signature")])?;
    expect_trusted(guest, &probe, CALL)
}

fn a_path_that_comes_to_lead_elsewhere_changes_nothing(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "signed")?;
    let ways: [fn(&Path, &Path) -> Result<()>; 3] = [
        |from, to| Ok(fs::rename(from, to)?),
        |from, to| {
            fs::remove_file(to)?;
            Ok(fs::hard_link(from, to)?)
        },
        |from, to| {
            fs::remove_file(to)?;
            Ok(symlink(from, to)?)
        },
    ];
    for (number, way) in ways.into_iter().enumerate() {
        // The unsigned one, while it runs, gets the name of a signed one.
        let victim = guest.copy(PROBE, &format!("unsigned-{number}"))?;
        let other = guest.path(&format!("other-{number}"));
        guest
            .run(&["cp", "--preserve=all", "signed", text(&other)?])?
            .success()?;
        guest
            .run(&["fsverity", "enable", text(&other)?])?
            .success()?;
        let mark = Events::mark(guest)?;
        let path = victim.clone();
        let said = call_after(guest, &victim, move |_| way(&other, &path))?;
        ensure!(said == "bpf 11: EPERM", "way {number}: {said}");
        mark.expect(guest, &[("action", "bpf"), ("reason", "no-signature")])?;
        expect_allowed_now(guest, &victim)?;

        // And the other way round: the signed one keeps what it has.
        let mark = Events::mark(guest)?;
        let unsigned = guest.copy(PROBE, &format!("late-{number}"))?;
        let path = victim.clone();
        let said = call_after(guest, &victim, move |_| way(&unsigned, &path))?;
        ensure!(said == "bpf 11: ok", "way {number}: {said}");
        mark.expect(guest, &[("action", "bpf"), ("outcome", "allowed")])?;
        expect_refused(guest, &victim, CALL, "no-signature")?;
    }
    expect_trusted(guest, &signed, CALL)
}

/// By whatever name the kernel knows the file behind `path`.
fn expect_allowed_now(guest: &Guest, path: &Path) -> Result<()> {
    let real = fs::canonicalize(path)?;
    expect_yes(guest, Program::new(path).args(CALL), &real)
}

fn a_file_mounted_over_another_is_what_runs(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "signed")?;
    let unsigned = guest.copy(PROBE, "unsigned")?;
    let mark = Events::mark(guest)?;
    let said = call_after(guest, &unsigned, |guest| {
        guest
            .run(&["mount", "--bind", "signed", "unsigned"])?
            .success()?;
        Ok(())
    })?;
    ensure!(said == "bpf 11: EPERM", "{said}");
    mark.expect(guest, &[("action", "bpf"), ("reason", "no-signature")])?;
    expect_trusted(guest, &unsigned, CALL)?;
    guest.run(&["umount", "unsigned"])?.success()?;
    expect_refused(guest, &unsigned, CALL, "no-signature")?;
    guest
        .run(&["mount", "--bind", "unsigned", "signed"])?
        .success()?;
    expect_refused(guest, &signed, CALL, "no-signature")?;
    guest.run(&["umount", "signed"])?.success()?;
    expect_trusted(guest, &signed, CALL)
}

/// `PR_SET_MM_EXE_FILE`: the event then names what the process claims to be.
fn the_name_of_the_running_file_is_no_evidence(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let claim = |from: &Path| through(from, "exe-file", &signed);
    let output = claim(Path::new(PROBE)).run()?;
    let claimed = format!("exe-file {}: ok", signed.display());
    ensure!(output.stdout.starts_with(&claimed), "{output}");
    let denied = [
        ("outcome", "denied"),
        ("reason", "no-signature"),
        ("executable", text(&signed)?),
    ];
    expect(guest, claim(Path::new(PROBE)), "EPERM", &denied)?;
    // The way there is code that nobody signed: a signed one loses its trust.
    expect_no(guest, claim(&signed), "writable-code")?;
    expect_trusted(guest, &signed, CALL)
}

fn a_memfd_is_unsigned(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    for from in [&signed, Path::new(PROBE)] {
        expect_no(guest, through(from, "memfd-exec", &signed), "no-signature")?;
    }
    expect_trusted(guest, &signed, CALL)
}

fn an_unnamed_file_is_unsigned(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    for from in [&signed, Path::new(PROBE)] {
        expect_no(
            guest,
            through(from, "tmpfile-exec", &signed),
            "no-signature",
        )?;
    }
    expect_trusted(guest, &signed, CALL)
}

fn a_descriptor_is_executed_as_its_file(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let unsigned = Path::new(PROBE);
    expect_yes(guest, through(unsigned, "fexec", &signed), &signed)?;
    expect_no(guest, through(&signed, "fexec", unsigned), "no-signature")
}

fn proc_self_exe_is_the_file_behind_it(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let own = Path::new("/proc/self/exe");
    expect_yes(guest, through(&signed, "exec", own), &signed)?;
    expect_no(
        guest,
        through(Path::new(PROBE), "exec", own),
        "no-signature",
    )
}

fn the_dynamic_linker_does_not_lend_trust(guest: &mut Guest) -> Result<()> {
    const LINKER: &str = "/lib64/ld-linux-x86-64.so.2";
    let signed = signed_probe(guest, "probe")?;
    let linked = |linker: &Path| Program::new(linker).arg(&signed).args(CALL);
    expect_no(guest, linked(Path::new(LINKER)), "no-signature")?;
    // As it is where libraries are signed: that makes no loader of it.
    let linker = guest.copy(LINKER, "linker")?;
    fs::set_permissions(&linker, fs::Permissions::from_mode(0o755))?;
    fixture::sign_as(guest, ACME, &linker, &["--kind", "library"])?;
    expect_no(guest, linked(&linker), "wrong-kind")?;
    expect_trusted(guest, &signed, CALL)
}

fn a_loader_takes_no_trust_into_another_program(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let first = Program::new(&signed)
        .args(CALL)
        .args(["exec", PROBE])
        .args(CALL);
    let mark = Events::mark(guest)?;
    expect_no(guest, first, "no-signature")?;
    mark.expect(guest, &[("action", "bpf"), ("outcome", "allowed")])?;
    // Nor does it depend on who executes: an unsigned one may start a loader.
    expect_yes(guest, through(Path::new(PROBE), "exec", &signed), &signed)
}

fn a_shell_started_by_a_loader_is_untrusted(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let shell = |line: &str| {
        Program::new(&signed)
            .args(CALL)
            .args(["exec", "/bin/sh", "-c", line])
    };
    let mark = Events::mark(guest)?;
    expect_no(
        guest,
        shell("/usr/bin/bpftrust-probe bpf 11"),
        "no-signature",
    )?;
    let output = shell("bpftool prog list").run()?;
    ensure!(
        output.stdout.trim() == "bpf 11: ok" && output.stderr.contains("not permitted"),
        "{output}"
    );
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("comm", "bpftool"),
            ("reason", "no-signature"),
        ],
    )?;
    expect_yes(guest, shell("./probe bpf 11; exit"), &signed)
}

fn a_loader_that_executes_itself_is_decided_anew(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let again = || {
        Program::new(&signed)
            .args(CALL)
            .arg("exec")
            .arg(&signed)
            .args(CALL)
    };
    let mark = Events::mark(guest)?;
    expect_yes(guest, again(), &signed)?;
    let allowed = mark.since(guest)?;
    let verdicts = |action: &str| {
        let fits =
            |event: &&serde_json::Value| event["action"] == action && event["outcome"] == "allowed";
        allowed.iter().filter(fits).count()
    };
    ensure!(verdicts("exec") == 2, "{allowed:#?}");
    ensure!(verdicts("bpf") == 2, "{allowed:#?}");

    // Between the two its signature goes.
    let go = guest.path("go");
    let waiting = Program::new(&signed)
        .args(CALL)
        .arg("until")
        .arg(&go)
        .arg("exec")
        .arg(&signed)
        .args(CALL);
    let mark = Events::mark(guest)?;
    let mut process = guest.start(waiting)?;
    guest.wait_until_says(&mut process, "bpf 11: ok")?;
    envelope::remove(&signed)?;
    fs::write(&go, "")?;
    guest.wait_until_says(&mut process, "bpf 11: EPERM")?;
    let denied = [("action", "bpf"), ("outcome", "denied")];
    mark.expect(
        guest,
        &[&denied[..], &[("reason", "no-signature")]].concat(),
    )?;
    Ok(())
}

fn an_exec_that_fails_changes_nothing(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let nothing = guest.path("nothing");
    // This one fails in the middle of exec, behind the first hooks of it.
    let broken = guest.script("broken", "no format that the kernel knows\n")?;
    for target in [&nothing, &broken] {
        let attempt = |from: &Path| {
            Program::new(from)
                .args(["repeat", "1", "[", "exec"])
                .arg(target)
                .arg("]")
                .args(CALL)
        };
        expect_yes(guest, attempt(&signed), &signed)?;
        expect_no(guest, attempt(Path::new(PROBE)), "no-signature")?;
    }
    // A signed one that can't be executed leaves nothing to the one that tried.
    fs::set_permissions(&signed, fs::Permissions::from_mode(0o644))?;
    let attempt = Program::new(PROBE)
        .args(["repeat", "1", "[", "exec"])
        .arg(&signed)
        .arg("]")
        .args(CALL);
    expect_no(guest, attempt, "no-signature")
}
