//! How a signed loader is executed: where somebody else would act through it,
//! it gets no trust.

use crate::fixture::{
    self, Events, UNSIGNED, expect_refused, expect_trusted, probe, signed_probe, words,
};
use crate::guest::{Guest, Setting};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "launch",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(one_that_is_traced_gets_no_trust),
        test!(one_that_was_traced_is_trusted),
        test!(a_filter_that_can_answer_costs_trust),
        test!(filters_that_only_refuse_cost_nothing),
        test!(a_filter_is_found_below_others),
        test!(more_filters_than_are_looked_at_cost_trust),
        test!(a_core_pattern_gives_no_trust),
        test!(a_module_loader_gets_no_trust),
        test!(a_release_agent_gets_no_trust),
        test!(an_interpreter_lends_no_trust_to_a_script),
        test!(a_binfmt_misc_interpreter_lends_no_trust),
        test!(another_name_for_the_executable_changes_nothing),
        test!(trusted_loaders_are_executed_securely),
    ],
};

/// Requires that the signed probe at `program`, executed by the unsigned one
/// after `actions`, is refused for `reason`, and that the exec's event says so.
fn expect_no_trust(guest: &Guest, program: &Path, actions: &str, reason: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let actions = actions.replace("PROBE", &program.display().to_string());
    expect_refused(guest, Path::new(UNSIGNED), &words(&actions), reason)
        .with_context(|| actions.clone())?;
    expect_exec(guest, &mark, program, "denied", reason).context(actions)
}

/// Requires an exec of `program` since `mark`.
fn expect_exec(
    guest: &Guest,
    mark: &Events,
    program: &Path,
    outcome: &str,
    reason: &str,
) -> Result<()> {
    let name = program.to_str().context("a path of ASCII")?;
    let fields = [
        ("action", "exec"),
        ("outcome", outcome),
        ("reason", reason),
        ("executable", name),
    ];
    mark.expect(guest, &fields).map(drop)
}

/// Requires that it is trusted.
fn expect_trust(guest: &Guest, program: &Path, actions: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    let actions = actions.replace("PROBE", &program.display().to_string());
    let said = probe(Path::new(UNSIGNED), &words(&actions))?.success()?;
    ensure!(said.contains("bpf 11: ok\n"), "{actions}: {said}");
    expect_exec(guest, &mark, program, "allowed", "none").context(actions)
}

fn one_that_is_traced_gets_no_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for actions in [
        "fork [ traceme exec PROBE bpf 11 ]",
        "beside [ until go.1 exec PROBE bpf 11 ] seize child touch go.1 wait",
    ] {
        let mark = Events::mark(guest)?;
        let actions = actions.replace("PROBE", &program.display().to_string());
        let said = probe(Path::new(UNSIGNED), &words(&actions))?.success()?;
        ensure!(said.contains("bpf 11: EPERM\n"), "{actions}: {said}");
        mark.expect(
            guest,
            &[
                ("action", "bpf"),
                ("outcome", "denied"),
                ("reason", "traced"),
            ],
        )?;
        expect_exec(guest, &mark, &program, "denied", "traced").context(actions)?;
    }
    // A trusted tracer is one, too: it could be told to. It traces none who is trusted
    // already.
    let actions = format!(
        "fork [ exec {UNSIGNED} traceme exec {} bpf 11 ]",
        program.display()
    );
    expect_refused(guest, &program, &words(&actions), "traced")?;
    // The next exec, untraced, is decided anew.
    expect_trust(
        guest,
        &program,
        "fork [ traceme exec PROBE secure ] exec PROBE bpf 11",
    )
}

fn one_that_was_traced_is_trusted(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let actions = "beside [ until go exec PROBE bpf 11 ] attach child touch go wait";
    expect_trust(guest, &program, actions)
}

fn a_filter_that_can_answer_costs_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for kind in [
        "notifier",
        "notifier-unheard",
        "errno-0",
        "trace",
        "accumulator",
    ] {
        let actions = format!("filter {kind} exec PROBE bpf 11");
        expect_no_trust(guest, &program, &actions, "filtered")?;
        // Inherited, and held by its parent.
        let actions = format!("filter {kind} fork [ exec PROBE bpf 11 ]");
        expect_no_trust(guest, &program, &actions, "filtered")?;
    }
    // A listener that somebody holds, though the filter never asks it.
    let actions = "filter listener-unasked fork [ exec PROBE bpf 11 ]";
    expect_no_trust(guest, &program, actions, "filtered")?;
    // One that a trusted loader installs for another run of itself.
    let actions = format!("filter errno-0 exec {} bpf 11", program.display());
    expect_refused(guest, &program, &words(&actions), "filtered")
}

/// What systemd and container runtimes install.
const PLAIN: &[&str] = &[
    "allow",
    "log",
    "errno-eperm",
    "errno-enosys",
    "kill-unused",
    "kill-thread-unused",
    "trap-unused",
];

fn filters_that_only_refuse_cost_nothing(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for kind in PLAIN {
        expect_trust(guest, &program, &format!("filter {kind} exec PROBE bpf 11"))?;
    }
    let all: String = PLAIN.iter().map(|kind| format!("filter {kind} ")).collect();
    expect_trust(
        guest,
        &program,
        &format!("repeat 5 [ {all}] exec PROBE bpf 11"),
    )
}

fn a_filter_is_found_below_others(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    for actions in [
        "filter errno-0 repeat 40 [ filter allow ] exec PROBE bpf 11",
        "repeat 20 [ filter allow ] filter trace repeat 20 [ filter allow ] exec PROBE bpf 11",
        "repeat 40 [ filter allow ] filter accumulator exec PROBE bpf 11",
    ] {
        expect_no_trust(guest, &program, actions, "filtered")?;
    }
    Ok(())
}

fn more_filters_than_are_looked_at_cost_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let filters = |count| format!("repeat {count} [ filter allow ] exec PROBE bpf 11");
    expect_trust(guest, &program, &filters(64))?;
    expect_no_trust(guest, &program, &filters(65), "filtered")
}

/// Waits for the event of an exec by the kernel, and of the bpf() after it.
fn expect_kernel_started(guest: &Guest, mark: &Events, program: &Path, calls: bool) -> Result<()> {
    let name = program.to_str().context("a path of ASCII")?;
    let actions: &[&str] = if calls { &["exec", "bpf"] } else { &["exec"] };
    for action in actions {
        guest.wait_for(
            "an event of what the kernel started",
            Duration::from_secs(20),
            || {
                let fields = [
                    ("action", *action),
                    ("outcome", "denied"),
                    ("reason", "kernel-started"),
                    ("executable", name),
                ];
                Ok(mark.expect(guest, &fields).ok())
            },
        )?;
    }
    mark.expect_none(guest, &[("outcome", "allowed"), ("executable", name)])?;
    expect_trusted(guest, program, &["bpf", "11"])
}

fn a_core_pattern_gives_no_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let pattern = format!("|{} bpf 11", program.display());
    let _setting = Setting::set("/proc/sys/kernel/core_pattern", &pattern)?;
    let mark = Events::mark(guest)?;
    probe(Path::new(UNSIGNED), &["fork", "[", "abort", "]"])?.success()?;
    expect_kernel_started(guest, &mark, &program, true)
}

fn a_module_loader_gets_no_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let name = program.display().to_string();
    let mark = Events::mark(guest)?;
    {
        let _setting = Setting::set("/proc/sys/kernel/modprobe", &name)?;
        // Asks for the module of a file system that is none; mount(8) would not.
        guest
            .run(&["busybox", "mount", "-t", "nosuchfs", "none", "."])?
            .failure()?;
    }
    expect_kernel_started(guest, &mark, &program, false)
}

fn a_release_agent_gets_no_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    guest
        .shell(&format!(
            "mkdir v1 && mount -t cgroup -o none,name=probe cgroup v1 && \
             echo {} >v1/release_agent && echo 1 >v1/notify_on_release && mkdir v1/one && \
             sh -c 'echo $$ >v1/one/cgroup.procs'",
            program.display()
        ))?
        .success()?;
    let result = expect_kernel_started(guest, &mark, &program, false);
    guest.shell("rmdir v1/one; umount v1")?.success()?;
    result
}

fn an_interpreter_lends_no_trust_to_a_script(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let first = guest.script("first", &format!("#!{} say\n", program.display()))?;
    let second = guest.script("second", &format!("#!{}\n", first.display()))?;
    for script in [&first, &second] {
        let mark = Events::mark(guest)?;
        expect_refused(guest, script, &["bpf", "11"], "unsigned-script")?;
        expect_exec(guest, &mark, &program, "denied", "unsigned-script")?;
    }
    // Started by hand, a script is an argument like any other.
    let first = first.to_str().context("a path of ASCII")?;
    expect_trusted(guest, &program, &["say", first, "bpf", "11"])
}

/// Where binfmt_misc is, mounted.
fn binfmt_misc(guest: &Guest) -> Result<PathBuf> {
    guest
        .shell(
            "modprobe binfmt_misc; mkdir -p /run/binfmt && \
             mount -t binfmt_misc binfmt_misc /run/binfmt",
        )?
        .success()?;
    Ok(PathBuf::from("/run/binfmt"))
}

fn a_binfmt_misc_interpreter_lends_no_trust(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let place = binfmt_misc(guest)?;
    let data = guest.script("data.probe", "nothing that the kernel knows")?;
    let mut result = Ok(());
    // C: with the credentials of the file; F: the interpreter opened beforehand.
    for flags in ["", "O", "OC", "F"] {
        let entry = format!(":probe:E::probe::{}:{flags}", program.display());
        fs::write(place.join("register"), entry).context("cannot register")?;
        let mark = Events::mark(guest)?;
        result = expect_refused(guest, &data, &["bpf", "11"], "unsigned-script")
            .and_then(|()| expect_exec(guest, &mark, &program, "denied", "unsigned-script"))
            .with_context(|| format!("flags {flags:?}"));
        fs::write(place.join("probe"), "-1").context("cannot unregister")?;
        if result.is_err() {
            break;
        }
    }
    guest.run(&["umount", "/run/binfmt"])?.success()?;
    result
}

/// PR_SET_MM_EXE_FILE: /proc/PID/exe is what the process says.
fn another_name_for_the_executable_changes_nothing(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let actions = format!("exe-file {} bpf 11", program.display());
    let said = probe(Path::new(UNSIGNED), &words(&actions))?.success()?;
    ensure!(
        said.starts_with("exe-file") && said.contains(": ok\n"),
        "{said}"
    );
    expect_refused(guest, Path::new(UNSIGNED), &words(&actions), "no-signature")?;
    // Nor in a child, or in one that shares the memory.
    for way in ["fork", "share", "thread"] {
        let actions = format!("exe-file {} {way} [ bpf 11 ]", program.display());
        expect_refused(guest, Path::new(UNSIGNED), &words(&actions), "no-signature")?;
    }
    // To give the name away takes code in memory that nobody signed.
    let actions = format!("exe-file {UNSIGNED} bpf 11");
    expect_refused(guest, &program, &words(&actions), "writable-code")
}

fn trusted_loaders_are_executed_securely(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let complaints = |program: &Path, variable: &str| {
        let run = Program::new(program)
            .env(variable, "/nonexistent.so")
            .arg("secure")
            .run()?;
        ensure!(run.status == 0, "{run}");
        Ok((run.stdout, run.stderr))
    };
    for variable in ["LD_PRELOAD", "LD_AUDIT"] {
        // The dynamic linker says that it can't find it where it looks for it.
        let (said, complaint) = complaints(Path::new(UNSIGNED), variable)?;
        ensure!(
            said == "secure: 0\n" && complaint.contains("/nonexistent.so"),
            "{complaint}"
        );
        let (said, complaint) = complaints(&program, variable)?;
        ensure!(
            said == "secure: 1\n" && complaint.is_empty(),
            "{said}{complaint}"
        );
    }
    Ok(())
}
