//! What the benchmark of `cargo xtask bench` does in a guest: makes the files that its
//! drivers use, lets bpftrust enforce if asked to, runs the drivers (`src/bench`), and
//! hands on what they say, a line of JSON each.

mod code;
mod compared;
pub mod held;

use self::compared::Appraisal;
use crate::fixture::{ACME, CONFIGURATION, Key, sign_as};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::process::Program;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the files are; `dynamic` finds its libraries there and nowhere else.
const PLACE: &str = "/work/cost";
/// The drivers.
pub const BENCH: &str = "/usr/bin/bpftrust-bench";
const KEY: Key = ACME;
/// The function whose code shows how the kernel calls hooks: read, write and eventfd pass
/// it.
const HOOK: &str = "security_file_permission";

/// Runs rows in one column: `nothing`, `audit` or `enforce` with signed files, those that
/// [`compared`] sets up, or `bare` without any of that. The rows are those whose name is among `names`, all if there are
/// none. With `programs_too`, what each of bpftrust's programs took is counted after that.
pub fn run(
    column: &str,
    (loops, share): (&str, &str),
    programs_too: bool,
    names: &[&str],
) -> Result<ExitCode> {
    let mut guest = Guest::new("cost", "files")?;
    let mut held = None;
    let rows = rows(&guest, names)?;
    fs::copy("/usr/bin/busybox", in_place("static")).context("cannot copy busybox")?;
    if column != "bare" {
        make_key(&guest)?;
    }
    if ["nothing", "audit", "enforce"].contains(&column) {
        prepare(&guest)?;
    }
    match column {
        "nothing" | "bare" => {}
        "ima-hash" => compared::ima(&guest, Appraisal::Hash)?,
        "ima-signature" => compared::ima(&guest, Appraisal::Signature)?,
        "ipe" => compared::ipe(&guest)?,
        "systemd" => held = Some(compared::systemd(&mut guest)?),
        "audit" => drop(guest.run(&["bpftrust", "enforce", "--audit"])?.success()?),
        "enforce" => drop(guest.run(&["bpftrust", "enforce"])?.success()?),
        other => bail!("no column is called {other:?}"),
    }
    // What is written later would be among what is counted.
    rustix::fs::sync();
    let mut about = json!({"machine": machine()?, "column": column});
    if column == "bare" {
        about["code"] = code::of(HOOK)?;
    }
    println!("{about}");
    for row in &rows {
        if !(column == "bare" && (row.trusted || row.name.contains("signed"))) {
            print!("{}", bench(row, loops, share)?);
        }
    }
    if column == "enforce" && programs_too {
        println!("{}", json!({"maps": maps(&guest)?}));
        for row in &rows {
            let programs: serde_json::Map<_, _> = programs(&guest, row)?
                .into_iter()
                .map(|(name, of)| {
                    (
                        name,
                        json!({"runs": of.runs, "instructions": of.instructions}),
                    )
                })
                .collect();
            println!("{}", json!({"row": row.name, "programs": programs}));
        }
    }
    // What it attached lasts as long as it does.
    drop(held);
    Ok(ExitCode::SUCCESS)
}

/// A file of the drivers'.
pub fn in_place(name: &str) -> PathBuf {
    Path::new(PLACE).join(name)
}

/// A row of the drivers'.
pub struct Row {
    /// Its name.
    pub name: String,
    /// Whether a trusted process must do it.
    pub trusted: bool,
}

fn rows(guest: &Guest, names: &[&str]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for line in guest.run(&[BENCH, "list"])?.success()?.lines() {
        let mut words = line.split(' ');
        let name = words.next().context("a row without a name")?.to_owned();
        let trusted = words.next() == Some("trusted");
        if names.is_empty() || names.contains(&name.as_str()) {
            rows.push(Row { name, trusted });
        }
    }
    ensure!(!rows.is_empty(), "no row is called {names:?}");
    Ok(rows)
}

/// A key of the usual kind.
fn make_key(guest: &Guest) -> Result<()> {
    let out = format!("{CONFIGURATION}/acme");
    guest
        .run(&["bpftrust", "keygen", "--name", "acme", "--out", &out])?
        .success()
        .map(drop)
}

/// A policy that trusts the key, and the signed files.
fn prepare(guest: &Guest) -> Result<()> {
    let certificates = format!("{CONFIGURATION}/certificates");
    fs::create_dir_all(&certificates).context("cannot make the directory of certificates")?;
    fs::copy(KEY.certificate(), format!("{certificates}/acme.pem"))
        .context("cannot copy the certificate")?;
    let policy = "[publisher.acme]\ncertificates = [\"acme.pem\"]\n";
    fs::write(format!("{CONFIGURATION}/policy.toml"), policy).context("cannot write the policy")?;
    for (from, to) in [
        (Path::new("/usr/bin/busybox"), "static-signed"),
        (&in_place("dynamic-of-signed"), "dynamic-signed"),
        (Path::new(BENCH), "bench-signed"),
        (Path::new("/usr/sbin/bpftool"), "bpftool"),
    ] {
        let to = in_place(to);
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        let name = to.file_name().context("a file")?.to_string_lossy();
        let grant = guest.write("grant.toml", Grant::ALL.of(&name, 1))?;
        let options = ["--with-libraries", "--grant", text(&grant)?];
        sign_as(guest, KEY, &to, &options)?;
    }
    Ok(())
}

fn machine() -> Result<Value> {
    let uname = rustix::system::uname();
    let read = |path: &str| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        anyhow::Ok(text.trim().to_owned())
    };
    Ok(json!({
        "kernel": uname.release().to_string_lossy(),
        "lsm": read("/sys/kernel/security/lsm")?,
        "clocksource": read("/sys/devices/system/clocksource/clocksource0/current_clocksource")?,
    }))
}

/// Runs a row, and returns what it says.
pub fn bench(row: &Row, loops: &str, share: &str) -> Result<String> {
    let program = match row.trusted {
        true => in_place("bench-signed"),
        false => PathBuf::from(BENCH),
    };
    Program::new(program)
        .args(["run", PLACE, loops, share, &row.name])
        .run()?
        .success()
}

/// Of each of bpftrust's programs that ran: how often, and nanoseconds.
type Counters = BTreeMap<String, (u64, u64)>;

/// What bpftool shows of this kind.
fn shown(guest: &Guest, kind: &str) -> Result<Vec<Value>> {
    let bpftool = in_place("bpftool");
    let words = [text(&bpftool)?, "--json", kind, "show"];
    serde_json::from_str(&guest.run(&words)?.success()?).context("bpftool's JSON")
}

fn counters(guest: &Guest) -> Result<Counters> {
    let mut counters = Counters::new();
    for program in shown(guest, "prog")? {
        let (Some(name), Some(runs)) = (program["name"].as_str(), program["run_cnt"].as_u64())
        else {
            continue;
        };
        let entry = counters.entry(name.to_owned()).or_default();
        entry.0 += runs;
        entry.1 += program["run_time_ns"].as_u64().unwrap_or_default();
    }
    Ok(counters)
}

/// A tenth of the rounds: programs do not wait or take turns, as the whole does.
const PROGRAMS_SHARE: &str = "10";

/// Memory of each map of bpftrust's that holds more than a page, in bytes, as the kernel
/// accounts it, and how many entries there may be.
fn maps(guest: &Guest) -> Result<Value> {
    let mut maps = serde_json::Map::new();
    for map in shown(guest, "map")? {
        if let (Some(name), Some(4097..)) = (map["name"].as_str(), map["bytes_memlock"].as_u64()) {
            let about = json!({"bytes": map["bytes_memlock"], "entries": map["max_entries"],
                               "value": map["bytes_value"]});
            maps.insert(name.to_owned(), about);
        }
    }
    Ok(maps.into())
}

/// What a program takes in a round.
struct Taken {
    runs: f64,
    instructions: f64,
}

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What each program took in a round of a row, as the kernel counts it
/// (`kernel.bpf_stats_enabled`; kernel/bpf/trampoline.c, `__bpf_prog_enter` and `_exit`):
/// by name, runs and nanoseconds, of a loop divided by its rounds. The start of the
/// driver itself, and what its first rounds took, was counted before.
fn programs(guest: &Guest, row: &Row) -> Result<BTreeMap<String, Taken>> {
    let of = |loops: &str| -> Result<(Counters, u64)> {
        let before = counters(guest)?;
        fs::write(STATS, "1").context("cannot have the kernel count")?;
        let said = bench(row, loops, PROGRAMS_SHARE)?;
        fs::write(STATS, "0").context("cannot have the kernel stop to count")?;
        let said: Value = serde_json::from_str(&said).context("the driver's JSON")?;
        let rounds = said["rounds"].as_u64().context("the driver's rounds")?;
        let mut after = counters(guest)?;
        for (name, (runs, time)) in before {
            let entry = after.entry(name).or_default();
            *entry = (entry.0.saturating_sub(runs), entry.1.saturating_sub(time));
        }
        Ok((after, rounds))
    };
    let (start, _) = of("0")?;
    let (whole, rounds) = of("1")?;
    let mut programs = BTreeMap::new();
    for (name, (runs, time)) in whole {
        let (before, spent) = start.get(&name).copied().unwrap_or_default();
        let runs = runs.saturating_sub(before);
        // An interrupt, or another task, counts as the program's that it came in: if that
        // was at the start, there may be less than nothing left.
        let time = time as f64 - spent as f64;
        if runs * 10 >= rounds {
            let of_one = Taken {
                runs: runs as f64 / rounds as f64,
                instructions: time / rounds as f64,
            };
            programs.insert(name, of_one);
        }
    }
    Ok(programs)
}
