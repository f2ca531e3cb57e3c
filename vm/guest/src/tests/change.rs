//! Another policy takes effect while loaders run: at once, for all of them, and
//! wholly or not at all.

use crate::fixture::{
    self, ACME, ACME_NEXT, ANY_LIBRARIES, Events, GLOBEX, Key, expect_trusted, probe, words,
};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{
    self, CALL, Running, acme, apply, expect_exec_refused, image, key_of, loader, loader_entry,
    publisher, status, try_apply,
};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const GROUP: Group = Group {
    name: "change",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_refused_digest_ends_trust).within(180),
        test!(a_refused_key_ends_trust).within(180),
        test!(a_refused_name_ends_trust).within(180),
        test!(a_higher_minimum_ends_trust).within(180),
        test!(a_key_that_goes_ends_trust).within(180),
        test!(names_that_go_end_trust).within(180),
        test!(a_lower_ceiling_takes_the_right_alone).within(180),
        test!(own_code_that_was_used_and_is_taken_away_ends_trust).within(180),
        test!(a_fork_made_before_loses_trust_too).within(180),
        test!(a_publishers_new_name_leaves_trust).within(180),
        test!(keys_follow_each_other_without_a_refusal).within(240),
        test!(policies_at_once_are_whole).within(180),
        test!(every_change_is_an_event).within(180),
    ],
};

/// The two publishers, and this besides.
fn both(more: &str) -> String {
    acme(&format!("{}{more}", publisher("globex", &[GLOBEX])))
}

/// What a loader makes first, and keeps.
const MAKES: &str = "bpf 11 keep-map hash load kprobe";

/// Kinds and types of what `status` lists for a loader, for one process.
fn objects(entry: &Value, pid: u32) -> Vec<String> {
    let all = entry["objects"].as_array().into_iter().flatten();
    let of_it = all.filter(|object| object["pid"] == pid);
    let mut found: Vec<_> = of_it
        .map(|object| format!("{} {}", object["kind"], object["type"]).replace('"', ""))
        .collect();
    found.sort();
    found
}

/// Lets a policy take effect that refuses ACME's loader `probe` for `reason`:
/// it loses trust at once and for good, GLOBEX's goes on, and the policy that
/// was before gives trust to who is executed under it.
fn ends_trust(
    guest: &mut Guest,
    policy: impl FnOnce(&Path, &str) -> String,
    reason: &str,
) -> Result<()> {
    apply(guest, &both(""))?;
    let program = loader(guest, "program", ACME, &Grant::ALL.of("probe", 2))?;
    let other = loader(guest, "other", GLOBEX, &Grant::ALL.of("other", 2))?;
    let mut fallen = Running::start(guest, &program, MAKES)?;
    let mut stays = Running::start(guest, &other, MAKES)?;
    let digest = policy::digest(guest, &program)?;
    apply(guest, &policy(&program, &digest))?;

    // Before it calls again.
    let record = image(guest, fallen.pid())?;
    ensure!(record["lost_trust"] == reason, "{record:#}");
    let entry = loader_entry(guest, "acme", Some("probe"))?.context("no such loader")?;
    ensure!(
        objects(&entry, fallen.pid()) == ["map hash", "program kprobe"],
        "{entry:#}"
    );
    fallen.expect_refused(guest, reason)?;
    stays.expect_trusted(guest)?;
    ensure!(image(guest, stays.pid())?["lost_trust"].is_null());
    expect_exec_refused(guest, &program, reason)?;
    expect_trusted(guest, &other, CALL)?;

    apply(guest, &both(""))?;
    fallen.expect_refused(guest, reason)?;
    ensure!(image(guest, fallen.pid())?["lost_trust"] == reason);
    stays.expect_trusted(guest)?;
    expect_trusted(guest, &program, CALL)
}

fn a_refused_digest_ends_trust(guest: &mut Guest) -> Result<()> {
    let policy = |_: &Path, digest: &str| both(&format!("[refused]\ndigests = [{digest:?}]\n"));
    ends_trust(guest, policy, "revoked")
}

fn a_refused_key_ends_trust(guest: &mut Guest) -> Result<()> {
    let policy = |program: &Path, _: &str| {
        let key = key_of(program).unwrap_or_default();
        both(&format!("[refused]\nkeys = [{key:?}]\n"))
    };
    ends_trust(guest, policy, "revoked")
}

fn a_refused_name_ends_trust(guest: &mut Guest) -> Result<()> {
    let policy = |_: &Path, _: &str| both("[refused]\nnames = [\"probe\"]\n");
    ends_trust(guest, policy, "revoked")
}

fn a_higher_minimum_ends_trust(guest: &mut Guest) -> Result<()> {
    let policy = |_: &Path, _: &str| both("[minimum-version]\nprobe = 3\n");
    ends_trust(guest, policy, "too-old")
}

fn a_key_that_goes_ends_trust(guest: &mut Guest) -> Result<()> {
    let policy = |_: &Path, _: &str| {
        let [next, globex] = [
            publisher("acme", &[ACME_NEXT]),
            publisher("globex", &[GLOBEX]),
        ];
        next + &globex
    };
    ends_trust(guest, policy, "unknown-key")
}

fn names_that_go_end_trust(guest: &mut Guest) -> Result<()> {
    let policy = |_: &Path, _: &str| {
        let globex = publisher("globex", &[GLOBEX]);
        format!("{}loaders = [\"other\"]\n{globex}", acme(""))
    };
    ends_trust(guest, policy, "not-granted")
}

fn a_lower_ceiling_takes_the_right_alone(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = loader(guest, "program", ACME, &Grant::ALL.to_toml())?;
    let mut hashes = Running::start_with(guest, &program, "map hash", "map hash")?;
    let second = loader(guest, "second", ACME, &Grant::ALL.to_toml())?;
    let mut arrays = Running::start_with(guest, &second, "map hash", "map array")?;
    hashes.expect_trusted(guest)?;
    for table in ["ceiling", "publisher.acme.ceiling"] {
        apply(guest, &acme(&format!("[{table}]\nmaps = [\"array\"]\n")))?;
        let event = hashes.expect_refused(guest, "not-granted")?;
        ensure!(
            event["object"] == "map" && event["name"] == "hash",
            "{event:#}"
        );
        arrays.expect_trusted(guest)?;
        let record = image(guest, hashes.pid())?;
        ensure!(
            record["lost_trust"].is_null() && record["rights"]["maps"] == json!(["array"]),
            "{record:#}"
        );
        apply(guest, &acme(""))?;
        // A right is no trust: it is there while the policy has it.
        hashes.expect_trusted(guest)?;
        arrays.expect_trusted(guest)?;
    }
    Ok(())
}

fn own_code_that_was_used_and_is_taken_away_ends_trust(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = loader(guest, "program", ACME, &Grant::ALL.to_toml())?;
    let idle = loader(guest, "idle", ACME, &Grant::ALL.to_toml())?;
    let mut used = Running::start(guest, &program, "anonymous-code bpf 11")?;
    let mut unused = Running::start(guest, &idle, "bpf 11")?;
    used.expect_trusted(guest)?;
    apply(guest, &acme("[ceiling]\nabilities = [\"children\"]\n"))?;
    let record = image(guest, used.pid())?;
    ensure!(record["lost_trust"] == "writable-code", "{record:#}");
    used.expect_refused(guest, "writable-code")?;
    unused.expect_trusted(guest)?;
    apply(guest, &acme(""))?;
    used.expect_refused(guest, "writable-code")?;
    expect_trusted(guest, &program, &words("anonymous-code bpf 11"))
}

/// As does one that shares the memory. A fork of one that has lost it has none.
fn a_fork_made_before_loses_trust_too(guest: &mut Guest) -> Result<()> {
    for line in [
        "fork [ say ready until go bpf 11 ]",
        "share [ say ready until go bpf 11 ]",
        "thread [ say ready until go bpf 11 ]",
        "say ready until go fork [ bpf 11 ]",
    ] {
        apply(guest, &acme(""))?;
        let program = loader(guest, "program", ACME, &Grant::ALL.of("probe", 2))?;
        let _ = std::fs::remove_file("go");
        let actions = words(line);
        let mut running = guest.start(
            crate::process::Program::new(&program)
                .args(["bpf", "11"])
                .args(actions),
        )?;
        guest.wait_until_says(&mut running, "ready")?;
        apply(guest, &acme("[refused]\nnames = [\"probe\"]\n"))?;
        let mark = Events::mark(guest)?;
        guest.write("go", "")?;
        guest
            .wait_until_says(&mut running, "bpf 11: EPERM")
            .context(line)?;
        mark.expect(guest, &[("action", "bpf"), ("reason", "revoked")])?;
    }
    apply(guest, &acme(""))
}

/// An owner keeps the name by which he made something.
fn a_publishers_new_name_leaves_trust(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = loader(guest, "program", ACME, &Grant::ALL.of("probe", 2))?;
    let mut running = Running::start(guest, &program, MAKES)?;
    apply(guest, &publisher("renamed", &[ACME]))?;
    running.expect_trusted(guest)?;
    let entry = loader_entry(guest, "acme", Some("probe"))?.context("no such loader")?;
    ensure!(objects(&entry, running.pid()).len() == 2, "{entry:#}");
    apply(guest, &acme(""))?;
    running.expect_trusted(guest)
}

/// Executes a file over and over while its key is in the policy; every one of
/// these may call.
fn execute_while(program: &Path, phase: &AtomicUsize, until: usize) -> Result<usize> {
    let mut times = 0;
    loop {
        let said = probe(program, CALL)?.success()?;
        // Read after the call: a later phase may refuse it.
        ensure!(
            said == "bpf 11: ok\n",
            "refused in phase {}: {said}",
            phase.load(Ordering::SeqCst)
        );
        times += 1;
        if phase.load(Ordering::SeqCst) >= until {
            return Ok(times);
        }
    }
}

fn keys_follow_each_other_without_a_refusal(guest: &mut Guest) -> Result<()> {
    let old = publisher("acme", &[ACME]);
    let overlap = publisher("acme", &[ACME, ACME_NEXT]);
    let new = publisher("acme", &[ACME_NEXT]);
    apply(guest, &old)?;
    let by_old = loader(guest, "by-old", ACME, &Grant::ALL.of("probe", 1))?;
    let by_new = loader(guest, "by-new", ACME_NEXT, &Grant::ALL.of("probe", 1))?;
    expect_exec_refused(guest, &by_new, "unknown-key")?;
    let mut stays = Running::start(guest, &by_old, "bpf 11")?;
    let phase = AtomicUsize::new(0);
    let again = |policy: &str| -> Result<()> {
        for _ in 0..6 {
            apply(guest, policy)?;
        }
        Ok(())
    };
    // The main thread must not leave before the phases end, whatever fails.
    let (of_old, of_new) = std::thread::scope(|scope| -> Result<(usize, usize)> {
        let first = scope.spawn(|| execute_while(&by_old, &phase, 1));
        let changed = again(&old).and_then(|()| again(&overlap));
        phase.store(1, Ordering::SeqCst);
        let of_old = join(first)?;
        changed?;
        let second = scope.spawn(|| execute_while(&by_new, &phase, 2));
        let changed = again(&overlap).and_then(|()| again(&new));
        phase.store(2, Ordering::SeqCst);
        let of_new = join(second)?;
        changed?;
        Ok((of_old, of_new))
    })?;
    ensure!(of_old > 3 && of_new > 3, "only {of_old} and {of_new} execs");
    stays.expect_refused(guest, "unknown-key")?;
    expect_exec_refused(guest, &by_old, "unknown-key")?;
    expect_trusted(guest, &by_new, CALL)
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    match thread.join() {
        Ok(result) => result,
        Err(_) => bail!("a thread panicked"),
    }
}

/// Of two that are brought at once, one may be told to try again; what is then
/// in force is all of one, and its keys are there.
fn policies_at_once_are_whole(guest: &mut Guest) -> Result<()> {
    let files: [(Key, &str); 2] = [(ACME, "one"), (GLOBEX, "two")];
    let mut programs = Vec::new();
    for (key, name) in files {
        programs.push(loader(guest, name, key, &Grant::ALL.of(name, 0))?);
        let policy = format!("{ANY_LIBRARIES}{}", publisher(name, &[key]));
        guest.write(&format!("{name}.toml"), policy)?;
    }
    let mut number = policy_number(guest)?;
    for round in 0..10 {
        let outputs = std::thread::scope(|scope| -> Result<Vec<_>> {
            let guest = &*guest;
            let threads = files.map(|(_, name)| {
                scope.spawn(move || {
                    let path = format!("{name}.toml");
                    guest.run(&["bpftrust", "policy", "apply", &path])
                })
            });
            threads.into_iter().map(join).collect()
        })?;
        let done = outputs.iter().filter(|output| output.status == 0).count();
        ensure!(done > 0, "round {round}: {outputs:#?}");
        for output in outputs.iter().filter(|output| output.status != 0) {
            ensure!(output.status == 2, "{output}");
        }
        let status = status(guest)?;
        number += u64::try_from(done)?;
        ensure!(status["policy"] == number, "round {round}: {status:#}");
        let keys = status["keys"].as_array().context("no keys")?;
        ensure!(keys.len() == 1, "round {round}: {keys:#?}");
        let first = keys[0]["publisher"] == "one";
        for (program, is_trusted) in [(&programs[0], first), (&programs[1], !first)] {
            if is_trusted {
                expect_trusted(guest, program, CALL)?;
            } else {
                expect_exec_refused(guest, program, "unknown-key")?;
            }
        }
    }
    apply(guest, &acme(""))
}

fn policy_number(guest: &Guest) -> Result<u64> {
    status(guest)?["policy"].as_u64().context("no number")
}

fn every_change_is_an_event(guest: &mut Guest) -> Result<()> {
    let mark = Events::mark(guest)?;
    let number = policy_number(guest)?;
    apply(guest, &acme(""))?;
    mark.expect(guest, &[("action", "policy"), ("outcome", "allowed")])?;
    ensure!(policy_number(guest)? == number + 1);
    let mark = Events::mark(guest)?;
    ensure!(try_apply(guest, "no policy")?.status == 2);
    mark.expect_none(guest, &[("action", "policy")])?;
    ensure!(policy_number(guest)? == number + 1);
    Ok(())
}
