//! The moment before enforcement: what runs already has no trust, whatever it
//! was executed from, until it executes a signed file (attack 29).

use crate::fixture::{self, ANY_COMMAND, Events};
use crate::fixture::{ACME, sign, signed_probe};
use crate::guest::Guest;
use crate::policy;
use crate::process::{Background, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "before",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::configure),
    teardown: Some(stop),
    tests: &[
        test!(a_loader_from_before_is_refused_until_it_executes_again),
        test!(threads_from_before_and_after_are_refused),
        test!(what_forks_while_enforcement_starts_is_refused),
        test!(who_uses_bpf_is_named_with_what_to_restart),
        test!(an_adopted_process_is_trusted_and_shown),
        test!(one_that_is_traced_is_not_adopted),
        test!(adopting_nobody_is_an_error_and_enforces_nothing),
    ],
};

fn stop(guest: &mut Guest) -> Result<()> {
    if Path::new("/sys/fs/bpf/bpftrust").exists() {
        fixture::release(guest)?;
    }
    Ok(())
}

/// Starts a probe that says "ready" and then waits for the file `go`.
fn start(guest: &mut Guest, program: &Path, actions: &[&str]) -> Result<Background> {
    let mut probe = guest.start(Program::new(program).args(actions))?;
    guest.wait_until_says(&mut probe, "ready")?;
    Ok(probe)
}

fn go(guest: &Guest) -> Result<()> {
    guest.write("go", "")?;
    Ok(())
}

/// What a probe said of `bpf()`, once it has ended.
fn answers(guest: &Guest, mut probe: Background) -> Result<Vec<String>> {
    guest.wait_for("the end of a probe", Duration::from_secs(30), || {
        probe.status()
    })?;
    let said = probe.said();
    Ok(said
        .lines()
        .filter(|line| line.starts_with("bpf "))
        .map(str::to_owned)
        .collect())
}

const NO: &str = "bpf 11: EPERM";
const YES: &str = "bpf 11: ok";

fn expect_before(guest: &Guest, mark: &Events, pid: u32) -> Result<Value> {
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("reason", "before"),
            ("command", "prog-get-next-id"),
            ("pid", &pid.to_string()),
        ],
    )
}

/// Nobody has looked at what it was executed from, signed or not.
fn a_loader_from_before_is_refused_until_it_executes_again(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let signed = signed_probe(guest, "signed")?;
    let path = signed.to_str().context("a path of ASCII")?;
    let call = ["bpf", ANY_COMMAND];
    let mut actions = vec!["bpf", ANY_COMMAND, "say", "ready", "until", "go"];
    actions.extend(call);
    actions.extend(["fork", "[", "bpf", ANY_COMMAND, "]"]);
    actions.extend(["share", "[", "bpf", ANY_COMMAND, "]"]);
    actions.extend(["exec", path, "bpf", ANY_COMMAND]);
    let probe = start(guest, &signed, &actions)?;
    let pid = probe.pid();
    fixture::enforce(guest)?;
    let mark = Events::mark(guest)?;
    go(guest)?;
    let said = answers(guest, probe)?;
    ensure!(said == [YES, NO, NO, NO, YES], "{said:?}");
    let event = expect_before(guest, &mark, pid)?;
    ensure!(event["executable"] == path, "{event}");
    mark.expect(
        guest,
        &[
            ("action", "exec"),
            ("outcome", "allowed"),
            ("pid", &pid.to_string()),
        ],
    )?;
    stop(guest)
}

fn threads_from_before_and_after_are_refused(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let signed = signed_probe(guest, "signed")?;
    let thread = ["thread", "[", "bpf", ANY_COMMAND, "]"];
    let mut actions = vec![
        "thread",
        "[",
        "say",
        "ready",
        "until",
        "go",
        "bpf",
        ANY_COMMAND,
    ];
    actions.extend(thread);
    actions.push("]");
    actions.extend(thread);
    let probe = start(guest, &signed, &actions)?;
    let pid = probe.pid();
    fixture::enforce(guest)?;
    let mark = Events::mark(guest)?;
    go(guest)?;
    let said = answers(guest, probe)?;
    ensure!(said == [NO, NO, NO], "{said:?}");
    expect_before(guest, &mark, pid)?;
    stop(guest)
}

/// Hooks are attached one after the other and running tasks are marked one by
/// one: whoever is born meanwhile must not fall between them.
fn what_forks_while_enforcement_starts_is_refused(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let signed = signed_probe(guest, "signed")?;
    let born = [
        "orphan",
        "[",
        "until",
        "go",
        "bpf",
        ANY_COMMAND,
        "]",
        "sleep",
        "60",
    ];
    let mut actions = vec!["say", "ready", "repeat", "40", "["];
    actions.extend(born);
    actions.push("]");
    let mut parent = start(guest, &signed, &actions)?;
    let before = parent.status()?;
    ensure!(before.is_none(), "it ended too early");
    fixture::enforce(guest)?;
    let mark = Events::mark(guest)?;
    go(guest)?;
    guest.wait_for("the end of the parent", Duration::from_secs(40), || {
        parent.status()
    })?;
    let said = guest.wait_for("all answers", Duration::from_secs(20), || {
        let said = parent.said();
        Ok((said.matches("bpf 11: ").count() == 40).then_some(said))
    })?;
    let trusted = said.matches(YES).count();
    ensure!(trusted == 0, "{trusted} are trusted");
    // Each inherited its parent's mark: no other reason will do.
    let path = signed.to_str().context("a path of ASCII")?;
    mark.expect(guest, &[("reason", "before"), ("executable", path)])?;
    mark.expect_none(guest, &[("reason", "no-signature"), ("executable", path)])?;
    stop(guest)
}

fn who_uses_bpf_is_named_with_what_to_restart(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let unit = Path::new("/sys/fs/cgroup/agent.service");
    fs::create_dir_all(unit)?;
    let trace = || Program::new("stdbuf").args(["-oL", "execsnoop-libbpf"]);
    let mut tracer = guest.start(trace())?;
    guest.wait_until_says(&mut tracer, "PCOMM")?;
    fs::write(unit.join("cgroup.procs"), tracer.pid().to_string())?;
    let idle = start(
        guest,
        Path::new("/usr/bin/bpftrust-probe"),
        &["say", "ready", "until", "go"],
    )?;
    let said = guest.run(&["bpftrust", "enforce"])?.success()?;
    ensure!(said.contains("running since before"), "{said}");
    let line = said
        .lines()
        .find(|line| line.contains(&format!("[{}]", tracer.pid())))
        .with_context(|| format!("the tracer is not listed: {said}"))?;
    ensure!(line.contains("execsnoop-libbp"), "{line}");
    ensure!(
        line.ends_with(": systemctl restart agent.service"),
        "{line}"
    );
    // Who holds nothing of BPF is not its user.
    ensure!(!said.contains(&format!("[{}]", idle.pid())), "{said}");
    tracer.stop()?;
    fs::remove_dir(unit)?;

    // Restarted, it is judged; signed, it is back.
    let mark = Events::mark(guest)?;
    trace().may_be_rejected().run()?.failure()?;
    mark.expect(
        guest,
        &[("reason", "no-signature"), ("comm", "execsnoop-libbp")],
    )?;
    let signed = guest.copy("/usr/sbin/execsnoop-libbpf", "execsnoop-libbpf")?;
    sign(guest, ACME, &signed)?;
    let mut tracer = guest.start(Program::new(&signed))?;
    guest.wait_for("an attached tracer", Duration::from_secs(30), || {
        let allowed = [("comm", "execsnoop-libbp"), ("command", "link-create")];
        let is_up = mark.expect(guest, &allowed).is_ok();
        let ended = tracer.status()?;
        ensure!(ended.is_none(), "it ended: {}", tracer.said());
        Ok(is_up.then_some(()))
    })?;
    mark.expect_none(guest, &[("reason", "before"), ("comm", "execsnoop-libbp")])?;
    stop(guest)
}

fn an_adopted_process_is_trusted_and_shown(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let adoptee = guest.copy("/usr/bin/bpftrust-probe", "adoptee")?;
    let other = guest.copy("/usr/bin/bpftrust-probe", "other")?;
    let path = adoptee.to_str().context("a path of ASCII")?;
    let mut actions = vec!["say", "ready", "until", "go", "bpf", ANY_COMMAND];
    actions.extend(["thread", "[", "bpf", ANY_COMMAND, "]"]);
    actions.extend(["fork", "[", "bpf", ANY_COMMAND, "]"]);
    actions.extend(["exec", path, "bpf", ANY_COMMAND]);
    let adopted = start(guest, &adoptee, &actions)?;
    let not_adopted = start(guest, &other, &actions)?;
    let output = guest.run(&["bpftrust", "enforce", "--adopt", "adoptee"])?;
    ensure!(output.status == 0, "{output}");
    ensure!(
        output
            .stderr
            .contains("warning: adopted processes are trusted"),
        "{output}"
    );

    let status = policy::status(guest)?;
    let images = status["images"].as_array().context("images")?;
    ensure!(images.len() == 1, "{status}");
    ensure!(
        images[0]["adopted"] == true && images[0]["pid"] == adopted.pid(),
        "{status}"
    );
    ensure!(
        images[0]["comm"] == "adoptee" && images[0]["key"].is_null(),
        "{status}"
    );
    let text = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(
        text.contains("adopted\n") || text.contains("  adopted  "),
        "{text}"
    );
    ensure!(text.contains("attention: adopted processes"), "{text}");

    let mark = Events::mark(guest)?;
    go(guest)?;
    let pid = not_adopted.pid();
    let said = answers(guest, adopted)?;
    // Adopted is the process, not the file.
    ensure!(said == [YES, YES, YES, NO], "{said:?}");
    let said = answers(guest, not_adopted)?;
    ensure!(said == [NO, NO, NO, NO], "{said:?}");
    expect_before(guest, &mark, pid)?;
    mark.expect(
        guest,
        &[("outcome", "allowed"), ("comm", "adoptee"), ("key", "null")],
    )?;
    stop(guest)
}

fn one_that_is_traced_is_not_adopted(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let adoptee = guest.copy("/usr/bin/bpftrust-probe", "adoptee")?;
    let child = [
        "traceme",
        "touch",
        "traced",
        "until",
        "go",
        "bpf",
        ANY_COMMAND,
    ];
    let mut actions = vec!["beside", "["];
    actions.extend(child);
    actions.extend([
        "]", "until", "traced", "say", "ready", "until", "go", "wait",
    ]);
    actions.extend(["bpf", ANY_COMMAND]);
    let both = start(guest, &adoptee, &actions)?;
    guest
        .run(&["bpftrust", "enforce", "--adopt", "adoptee"])?
        .success()?;
    let mark = Events::mark(guest)?;
    go(guest)?;
    // The child first: its parent waits for it.
    let said = answers(guest, both)?;
    ensure!(said == [NO, YES], "{said:?}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("reason", "traced"),
            ("comm", "adoptee"),
        ],
    )?;
    stop(guest)
}

fn adopting_nobody_is_an_error_and_enforces_nothing(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let output = guest.run(&["bpftrust", "enforce", "--adopt", "no-such-name"])?;
    ensure!(output.status == 2, "{output}");
    ensure!(
        output
            .stderr
            .contains("no running process is called \"no-such-name\""),
        "{output}"
    );
    let status = guest.run(&["bpftrust", "status"])?;
    ensure!(status.status == 1, "{status}");
    let said = fixture::probe(Path::new("/usr/bin/bpftrust-probe"), &["bpf", ANY_COMMAND])?;
    ensure!(said.stdout == "bpf 11: ok\n", "{said}");
    Ok(())
}
