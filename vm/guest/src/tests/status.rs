//! `bpftrust status` says who runs, as which version, with which rights, and what
//! he owns.

use crate::fixture::{self, ACME, GLOBEX, signed_probe, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{self, Running, acme, apply, image, key_of, loader, loader_entry, publisher};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "status",
    runs_on: RunsOn::Supported,
    setup: Some(policy::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_loader_is_told_with_version_key_rights_and_processes),
        test!(each_version_that_runs_has_its_line),
        test!(a_signature_without_a_grant_has_no_name),
        test!(objects_are_their_makers).within(120),
        test!(objects_go_with_who_holds_them),
        test!(an_object_that_outlives_its_maker_is_still_his),
        test!(a_refused_object_is_nobodys),
        test!(a_fork_is_a_process_of_its_own),
    ],
};

/// The lines about a loader, as a person sees them.
fn lines(guest: &Guest, title: &str) -> Result<Vec<String>> {
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    let mut lines = said.lines().skip_while(|line| *line != title);
    ensure!(lines.next().is_some(), "no {title:?} in {said}");
    Ok(lines
        .take_while(|line| line.starts_with("  "))
        .map(str::to_owned)
        .collect())
}

/// Kind, type and maker of what a loader owns.
fn objects(entry: &Value) -> Vec<String> {
    let all = entry["objects"].as_array().into_iter().flatten();
    let mut found: Vec<_> = all
        .map(|object| {
            let text = |name: &str| object[name].as_str().unwrap_or("?").to_owned();
            format!("{} {}", text("kind"), text("type"))
        })
        .collect();
    found.sort();
    found
}

/// Waits until a loader owns these: the kernel frees some time after the end.
fn expect_objects(guest: &Guest, publisher: &str, name: &str, wanted: &[&str]) -> Result<()> {
    let mut last = Value::Null;
    guest
        .wait_for("what it owns", Duration::from_secs(20), || {
            last = loader_entry(guest, publisher, Some(name))?.unwrap_or_default();
            Ok((objects(&last) == wanted).then_some(()))
        })
        .with_context(|| format!("not {wanted:?}: {last:#}"))
}

fn a_loader_is_told_with_version_key_rights_and_processes(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme("[ceiling]\nmaps = [\"hash\", \"array\"]\n"))?;
    let grant = Grant {
        commands: "map_create prog_get_next_id",
        programs: "",
        attaches: "",
        maps: "hash queue",
        abilities: "children",
    };
    let text = format!("not-after = 2099-01-01\n{}", grant.of("told", 7));
    let program = loader(guest, "told", ACME, &text)?;
    let running = Running::start(guest, &program, "bpf 11 keep-map hash")?;
    let (key, pid) = (key_of(&program)?, running.pid());

    let record = image(guest, pid)?;
    for (field, wanted) in [
        ("lost_trust", Value::Null),
        ("adopted", json!(false)),
        ("key", json!(key)),
        ("publisher", json!("acme")),
        ("digest", json!(policy::digest(guest, &program)?)),
    ] {
        ensure!(record[field] == wanted, "{field}: {record:#}");
    }
    let granted = &record["grant"];
    for (field, wanted) in [
        ("name", json!("told")),
        ("version", json!(7)),
        ("not_after", json!("2099-01-01T23:59:59Z")),
        ("maps", json!(["hash", "queue"])),
    ] {
        ensure!(granted[field] == wanted, "{field}: {record:#}");
    }
    // What is in effect, not what was granted.
    ensure!(record["rights"]["maps"] == json!(["hash"]), "{record:#}");
    let entry = loader_entry(guest, "acme", Some("told"))?.context("no such loader")?;
    ensure!(entry["processes"] == json!([pid]), "{entry:#}");
    ensure!(entry["objects"][0]["pid"] == pid, "{entry:#}");

    let lines = lines(guest, "loader told of acme:")?;
    let line = lines.first().context("no line")?;
    let start = format!("  version 7, key {key}, processes {pid}: ");
    ensure!(line.starts_with(&start), "{lines:#?}");
    let rights = &line[start.len()..];
    ensure!(
        rights.contains("hash") && rights.contains("children") && !rights.contains("queue"),
        "{rights}"
    );
    ensure!(
        lines.len() == 2 && lines[1].starts_with("  maps: ") && lines[1].ends_with(" (hash)"),
        "{lines:#?}"
    );
    Ok(())
}

fn each_version_that_runs_has_its_line(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let old = loader(guest, "old", ACME, &Grant::ALL.of("versions", 1))?;
    let new = loader(guest, "new", ACME, &Grant::ALL.of("versions", 2))?;
    let first = Running::start(guest, &old, "bpf 11")?;
    let second = Running::start(guest, &new, "bpf 11")?;
    apply(guest, &acme("[minimum-version]\nversions = 2\n"))?;
    let lines = lines(guest, "loader versions of acme:")?;
    let [of_old, of_new] = &lines[..] else {
        anyhow::bail!("{lines:#?}");
    };
    let start = |version, pid| {
        (
            format!("  version {version}, key "),
            format!("processes {pid}: "),
        )
    };
    let (begins, process) = start(1, first.pid());
    ensure!(
        of_old.starts_with(&begins)
            && of_old.contains(&process)
            && of_old.ends_with(": lost trust: too-old"),
        "{lines:#?}"
    );
    let (begins, process) = start(2, second.pid());
    ensure!(
        of_new.starts_with(&begins) && of_new.contains(&process) && !of_new.contains("lost"),
        "{lines:#?}"
    );
    apply(guest, &acme(""))
}

fn a_signature_without_a_grant_has_no_name(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = signed_probe(guest, "plain")?;
    let running = Running::start(guest, &program, "bpf 11 keep-map array")?;
    let entry = loader_entry(guest, "acme", None)?.context("no such loader")?;
    ensure!(entry["processes"] == json!([running.pid()]), "{entry:#}");
    ensure!(objects(&entry) == ["map array"], "{entry:#}");
    ensure!(image(guest, running.pid())?["grant"].is_null());
    let lines = lines(guest, "loader (no name) of acme:")?;
    ensure!(
        lines[0].starts_with("  without a grant, key "),
        "{lines:#?}"
    );
    Ok(())
}

fn objects_are_their_makers(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(&publisher("globex", &[GLOBEX])))?;
    let ours = loader(guest, "ours", ACME, &Grant::ALL.of("maker", 1))?;
    let theirs = loader(guest, "theirs", GLOBEX, &Grant::ALL.of("maker", 1))?;
    let first = Running::start(guest, &ours, "keep-map hash keep-map ringbuf load kprobe")?;
    let second = Running::start(guest, &theirs, "keep-map array load xdp")?;
    for (publisher, pid, wanted) in [
        (
            "acme",
            first.pid(),
            &["map hash", "map ringbuf", "program kprobe"][..],
        ),
        ("globex", second.pid(), &["map array", "program xdp"]),
    ] {
        let entry = loader_entry(guest, publisher, Some("maker"))?.context("no such loader")?;
        ensure!(objects(&entry) == wanted, "{entry:#}");
        let all = entry["objects"].as_array().context("no objects")?;
        ensure!(
            all.iter()
                .all(|object| object["pid"] == pid && object["id"].is_u64()),
            "{entry:#}"
        );
    }
    Ok(())
}

fn objects_go_with_who_holds_them(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = loader(guest, "holder", ACME, &Grant::ALL.of("holder", 1))?;
    let running = Running::start(guest, &program, "keep-map hash map array load kprobe")?;
    expect_objects(guest, "acme", "holder", &["map hash", "program kprobe"])?;
    drop(running);
    guest.wait_for("an end of the loader", Duration::from_secs(20), || {
        Ok(loader_entry(guest, "acme", Some("holder"))?
            .is_none()
            .then_some(()))
    })
}

fn an_object_that_outlives_its_maker_is_still_his(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = loader(guest, "leaver", ACME, &Grant::ALL.of("leaver", 1))?;
    let go = guest.path("go");
    // A child that executes something else keeps the descriptors that it inherits
    // only if they stay open at exec; a fork without trust keeps them anyhow.
    let line = format!(
        "keep-map hash beside [ anonymous-code until {} ]",
        go.display()
    );
    fixture::probe(&program, &[])?;
    let mut running = guest.start(Program::new(&program).args(words(&line)))?;
    let parent = running.pid();
    guest.wait_for("an end of the parent", Duration::from_secs(20), || {
        running.status()
    })?;
    expect_objects(guest, "acme", "leaver", &["map hash"])?;
    let entry = loader_entry(guest, "acme", Some("leaver"))?.context("no such loader")?;
    ensure!(entry["objects"][0]["pid"] == parent, "{entry:#}");
    guest.write("go", "")?;
    guest.wait_for("an end of the loader", Duration::from_secs(20), || {
        Ok(loader_entry(guest, "acme", Some("leaver"))?
            .is_none()
            .then_some(()))
    })
}

/// Nor is what was refused counted.
fn a_refused_object_is_nobodys(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let grant = Grant {
        maps: "array",
        programs: "xdp",
        ..Grant::ALL
    };
    let program = loader(guest, "refused", ACME, &grant.of("refused", 1))?;
    let running = Running::start(
        guest,
        &program,
        "keep-map hash keep-map array load kprobe load xdp",
    )?;
    expect_objects(guest, "acme", "refused", &["map array", "program xdp"])?;
    drop(running);
    Ok(())
}

fn a_fork_is_a_process_of_its_own(guest: &mut Guest) -> Result<()> {
    apply(guest, &acme(""))?;
    let program = loader(guest, "forks", ACME, &Grant::ALL.of("forks", 1))?;
    let go = guest.path("go");
    let line = format!(
        "bpf 11 fork [ pid keep-map hash bpf 11 say ready until {} ]",
        go.display()
    );
    let mut running = guest.start(Program::new(&program).args(words(&line)))?;
    guest.wait_until_says(&mut running, "ready")?;
    let said = running.said();
    let child = said
        .lines()
        .find_map(|line| line.strip_prefix("pid: "))
        .context("no pid")?;
    let child: u32 = child.parse()?;
    let entry = loader_entry(guest, "acme", Some("forks"))?.context("no such loader")?;
    ensure!(entry["objects"][0]["pid"] == child, "{entry:#}");
    let mut processes = vec![running.pid(), child];
    processes.sort_unstable();
    let mut told: Vec<u64> = entry["processes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    told.sort_unstable();
    ensure!(
        told == processes
            .iter()
            .map(|pid| u64::from(*pid))
            .collect::<Vec<_>>(),
        "not {processes:?}: {entry:#}"
    );
    guest.write("go", "")?;
    Ok(())
}
