//! How what bpftrust costs grows with what there is of something: signed files, trusted
//! processes, refused digests, keys, CPUs. `cargo xtask scale` runs this where
//! instructions are counted.

use crate::asker;
use crate::cost::{Row, bench, held, in_place};
use crate::fixture::{ACME, CONFIGURATION, sign_as};
use crate::guest::{Guest, text};
use crate::policy::{acme, apply};
use crate::process::Program;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;

/// Counts what grows with `part`, up to `most` of it, and prints a line of JSON for each
/// number of them.
pub fn run(part: &str, most: u32) -> Result<ExitCode> {
    let mut guest = Guest::new("growth", part)?;
    if part == "cpus" {
        cpus(&mut guest)?;
        return Ok(ExitCode::SUCCESS);
    }
    held::prepare(&mut guest)?;
    let mut count = match part {
        "files" => 10,
        "processes" | "keys" => 1,
        "digests" => 0,
        other => bail!("nothing is called {other:?}"),
    };
    let mut had = 0;
    loop {
        let memory = match part {
            "files" => files(&guest, had, count)?,
            "processes" => processes(&mut guest, count)?,
            "digests" => digests(&guest, count)?,
            _ => keys(&guest, had, count)?,
        };
        println!(
            "{}",
            json!({"part": part, "count": count, "memory": memory})
        );
        if count >= most {
            return Ok(ExitCode::SUCCESS);
        }
        had = count;
        count = (count * 10).max(10).min(most);
    }
}

/// Counts what one exec takes now, as the rows of `bpftrust-bench` do.
fn count_execs(part: &str, count: u32) -> Result<()> {
    for name in ["exec", "exec-signed-warm", "exec-signed-cold"] {
        let row = Row {
            name: name.to_owned(),
            trusted: false,
        };
        let mut said: Value = serde_json::from_str(&bench(&row, "3", "2")?)?;
        said["part"] = part.into();
        said["count"] = count.into();
        println!("{said}");
    }
    Ok(())
}

/// Memory of the kernel's that it can't reclaim, in bytes (proc(5), `SUnreclaim`).
fn unreclaimable() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("SUnreclaim:"));
    let line = line.context("no SUnreclaim")?;
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>();
    Ok(kilobytes.context("no number")? * 1024)
}

/// Makes many files, or keys.
const MAKE: &str = "/usr/bin/bpftrust-make";

/// With fewer new files than these, what else goes on is more than their verdicts take.
const MANY: u32 = 1_000;

/// So many signed files whose verdicts are kept, of which `had` are there; returns what a
/// new one's verdict took, in bytes. All are the same, so one signature is that of each.
fn files(guest: &Guest, had: u32, count: u32) -> Result<Value> {
    let (first, directory) = (guest.path("library"), guest.path(&format!("to-{count}")));
    if !first.exists() {
        asker::write(&first, "")?;
        sign_as(guest, ACME, &first, &["--kind", "library"])?;
    }
    let new = count - had;
    let words = [MAKE, "files", text(&first)?, text(&directory)?];
    guest
        .run(&[&words[..], &[&new.to_string()]].concat())?
        .success()?;
    let start = unreclaimable()?;
    let words = ["map-all", text(&directory)?];
    let mapping = Program::new(in_place("bench-signed")).args(words);
    mapping.run()?.success()?;
    let taken = unreclaimable()?.saturating_sub(start);
    count_execs("files", count)?;
    if new < MANY {
        return Ok(Value::Null);
    }
    let left = unreclaimable()?.saturating_sub(start);
    ensure!(
        left * 10 > taken * 9 && taken > 0,
        "of {taken} bytes of verdicts {left} are left: some are not kept"
    );
    Ok(json!({"verdict": taken / u64::from(new)}))
}

/// So many trusted processes at once; returns the memory of the guard's tables.
fn processes(guest: &mut Guest, count: u32) -> Result<Value> {
    let words = ["stand".to_owned(), count.to_string()];
    let mut crowd = guest.start(Program::new(in_place("bench-signed")).args(words))?;
    guest.wait_until_says(&mut crowd, "are there")?;
    count_execs("processes", count)?;
    // And the one that forked them. As text: JSON has the rights of each.
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    let trusted = said
        .lines()
        .find_map(|line| line.strip_prefix("trusted processes: "));
    ensure!(
        trusted == Some(&(count + 1).to_string()),
        "{trusted:?} processes have trust, not {count} and one"
    );
    let tables = tables(guest)?;
    crowd.stop()?;
    Ok(tables)
}

/// What the kernel accounts to the tables of images and of tasks, in bytes, and how many
/// entries there may be.
fn tables(guest: &Guest) -> Result<Value> {
    let bpftool = in_place("bpftool");
    let said = guest.run(&[text(&bpftool)?, "--json", "map", "show"])?;
    let maps: Vec<Value> = serde_json::from_str(&said.success()?).context("bpftool's JSON")?;
    let mut tables = json!({});
    for map in maps {
        if let Some(name @ ("images" | "tasks")) = map["name"].as_str() {
            tables[name] = json!({"bytes": map["bytes_memlock"], "entries": map["max_entries"]});
        }
    }
    Ok(tables)
}

/// So many refused digests, that no file has.
fn digests(guest: &Guest, count: u32) -> Result<Value> {
    let mut list = String::new();
    for number in 0..count {
        writeln!(list, "sha256:{number:064x}")?;
    }
    guest.write("refused.txt", list)?;
    apply(guest, &acme("[refused]\ndigests-file = \"refused.txt\"\n"))?;
    count_execs("digests", count)?;
    Ok(Value::Null)
}

/// So many keys, each of a publisher of its own; certificates of `had` are there.
fn keys(guest: &Guest, had: u32, count: u32) -> Result<Value> {
    let directory = format!("{CONFIGURATION}/certificates");
    let first = had.max(1);
    let words = [MAKE, "keys", &directory];
    let numbers = [&*first.to_string(), &count.to_string()];
    guest.run(&[&words[..], &numbers].concat())?.success()?;
    let mut policy = acme("");
    for number in 1..count {
        let path = format!("{directory}/more-{number}.pem");
        writeln!(
            policy,
            "[publisher.more-{number}]\ncertificates = [{path:?}]"
        )?;
    }
    apply(guest, &policy)?;
    count_execs("keys", count)?;
    Ok(Value::Null)
}

/// Executes on all CPUs at once, and prints the instructions of an exec, before bpftrust
/// enforces and then.
fn cpus(guest: &mut Guest) -> Result<()> {
    const ROUNDS: u64 = 60;
    const LOOPS: usize = 10;
    let cpus = std::thread::available_parallelism()?.get();
    let count = |column: &str| -> Result<()> {
        for name in ["static", "static-signed"] {
            let path = in_place(name);
            let rounds = ROUNDS.to_string();
            let words = ["on-all-cpus", text(&path)?, &rounds];
            // The first is not counted.
            let mut loops = Vec::new();
            for _ in 0..LOOPS {
                let said = Program::new(super::cost::BENCH)
                    .args(words)
                    .run()?
                    .success()?;
                loops.push(said.trim().parse::<u64>().context("no number")?);
            }
            loops.remove(0);
            let row = format!("{column} {name}");
            let rounds = ROUNDS * cpus as u64;
            println!(
                "{}",
                json!({"part": "cpus", "count": cpus, "row": row, "rounds": rounds, "loops": loops})
            );
        }
        Ok(())
    };
    held::prepare(guest)?;
    count("enforce")?;
    crate::fixture::release(guest)?;
    count("nothing")
}
