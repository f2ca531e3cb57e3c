//! `docs/scale.md`, of what was found.

use super::found;
use crate::bench::table::{Table, number, percent, signed};
use crate::workspace;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;

/// The document's text; tables come where `{name}` stands.
const TEXT: &str = include_str!("scale.md");
const DOCUMENT: &str = "docs/scale.md";

/// What takes the place of a table that was not measured.
const NOTHING: &str = "(not measured)\n";

/// Writes it.
pub fn write() -> Result<()> {
    let mut text = TEXT.to_owned();
    let digest = found("digest")?;
    let tables = [
        digest_table(&digest),
        sign_table(&found("sign")?),
        cpus_table(&found("cpus")?),
        growth_table("files", &found("files")?),
        growth_table("processes", &found("processes")?),
        growth_table("digests", &found("digests")?),
        growth_table("keys", &found("keys")?),
        memory_table(&found("files")?, &found("processes")?),
    ];
    for table in &tables {
        let markdown = match table.rows.is_empty() {
            true => NOTHING.to_owned(),
            false => table.markdown(),
        };
        text = text.replace(&format!("{{{}}}\n", table.name), &markdown);
        println!("{}\n{}", table.name, table.text());
    }
    let words = |name: &str| digest[name].as_str().unwrap_or("?").to_owned();
    let figure = |name: &str| digest[name].as_u64().unwrap_or_default().to_string();
    text = text
        .replace("{processor}", &words("processor"))
        .replace("{load}", &words("load"))
        .replace("{megabytes}", &figure("megabytes"))
        .replace("{pairs}", &figure("pairs"));
    let path = workspace::root().join(DOCUMENT);
    fs::write(&path, text).with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("{DOCUMENT} is written");
    Ok(())
}

fn table(name: &str, head: &[&str], rows: Vec<Vec<String>>) -> Table {
    Table {
        name: name.to_owned(),
        head: head.iter().map(|cell| (*cell).to_owned()).collect(),
        rows,
    }
}

/// `3.4 x`
fn times(value: f64) -> String {
    format!("{value:.2} x")
}

fn digest_table(found: &Value) -> Table {
    let mut rows = Vec::new();
    let figure = |value: &Value| value.as_f64().unwrap_or_default();
    if found.is_object() {
        let cpus = figure(&found["cpus"]);
        let speed = |of: &str| {
            let seconds = figure(&found["cpu"][of]);
            number(figure(&found["megabytes"]) / seconds)
        };
        for (what, result, goal) in [
            (
                "one CPU, by time on the CPU",
                figure(&found["faster-by-cpu"]),
                1.5,
            ),
            (
                "one CPU, by the clock",
                figure(&found["faster-by-clock"]),
                1.5,
            ),
        ] {
            let speeds = format!("{} and {}", speed("fsverity"), speed("one"));
            let speeds = if what.ends_with("the CPU") {
                speeds
            } else {
                String::new()
            };
            rows.push(vec![
                what.to_owned(),
                times(result),
                verdict(result, goal),
                speeds,
            ]);
        }
        let all = figure(&found["all-by-clock"]);
        let what = format!("{cpus:.0} CPUs beside one, by the clock");
        rows.push(vec![
            what,
            times(all),
            verdict(all, 0.9 * cpus),
            String::new(),
        ]);
    }
    let head = [
        "what",
        "faster",
        "goal",
        "MiB each second on the CPU, fsverity and bpftrust",
    ];
    table("digest", &head, rows)
}

fn verdict(value: f64, goal: f64) -> String {
    let word = if value >= goal { "met" } else { "**missed**" };
    format!("{word}: {}", times(goal))
}

/// Lines of guests with this field.
fn lines<'a>(found: &'a Value, field: &'a str) -> impl Iterator<Item = &'a Value> {
    let lines = found["lines"].as_array().into_iter().flatten();
    lines.filter(move |line| !line[field].is_null())
}

fn sign_table(found: &Value) -> Table {
    // What a file took, each time: instructions where they are counted, else nanoseconds.
    let each = |by: &'static str, algorithm: &Value, counted: bool| -> Vec<f64> {
        let those = lines(found, "by").filter(|line| {
            line["by"] == by && line["algorithm"] == *algorithm && line["counted"] == counted
        });
        let taken = if counted { "busy" } else { "clock" };
        let of = |line: &Value| Some(line[taken].as_f64()? / line["files"].as_f64()?);
        those.filter_map(of).collect()
    };
    let mut rows = Vec::new();
    for line in lines(found, "by").filter(|line| line["by"] == "sign" && line["counted"] == true) {
        let algorithm = &line["algorithm"];
        let faster = |counted| {
            let (ours, theirs) = (
                each("sign", algorithm, counted),
                each("shell", algorithm, counted),
            );
            median(theirs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours))
        };
        let first = |by| {
            each(by, algorithm, true)
                .first()
                .copied()
                .unwrap_or_default()
        };
        rows.push(vec![
            algorithm.as_str().unwrap_or_default().to_owned(),
            number(line["files"].as_f64().unwrap_or_default()),
            number(first("sign")),
            number(first("shell")),
            against_goal(faster(true)),
            against_goal(faster(false)),
        ]);
    }
    let head = [
        "key",
        "files",
        "instructions for a file",
        "by the shell",
        "fewer (goal: 10 x)",
        "faster by the clock",
    ];
    table("sign", &head, rows)
}

fn against_goal(value: f64) -> String {
    let word = if value >= 10.0 { "met" } else { "**missed**" };
    format!("{}, {word}", times(value))
}

/// The middle one; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Instructions of a round: the median of the loops.
fn round(line: &Value) -> f64 {
    let loops = line["loops"].as_array().into_iter().flatten();
    median(loops.filter_map(Value::as_f64)) / line["rounds"].as_f64().unwrap_or(1.0)
}

/// A figure, and what it is more than the first of its row.
fn beside(first: f64, value: f64) -> String {
    let more = (value - first) / first * 100.0;
    format!("{} ({})", number(value), percent(more))
}

/// Rows of the benchmark that are counted as there is more of something.
const ROWS: [&str; 3] = ["exec", "exec-signed-warm", "exec-signed-cold"];

fn growth_table(name: &str, found: &Value) -> Table {
    let of = |row: &'static str| lines(found, "loops").filter(move |line| line["row"] == row);
    let mut rows = Vec::new();
    for (place, first) in of(ROWS[0]).enumerate() {
        let mut cells = vec![number(first["count"].as_f64().unwrap_or_default())];
        for row in ROWS {
            let figure = |place| of(row).nth(place).map(round).unwrap_or_default();
            cells.push(beside(figure(0), figure(place)));
        }
        rows.push(cells);
    }
    let head = ROWS.map(|row| format!("`{row}`"));
    let mut head: Vec<&str> = head.iter().map(String::as_str).collect();
    head.insert(0, name);
    table(name, &head, rows)
}

fn cpus_table(found: &Value) -> Table {
    let mut rows = Vec::new();
    for enforce in lines(found, "loops") {
        let row = enforce["row"].as_str().unwrap_or_default();
        let Some(program) = row.strip_prefix("enforce ") else {
            continue;
        };
        let nothing = lines(found, "loops").find(|line| {
            line["count"] == enforce["count"] && line["row"] == format!("nothing {program}")
        });
        let Some(nothing) = nothing.map(round) else {
            continue;
        };
        let name = match program {
            "static" => "unsigned",
            _ => "signed",
        };
        let more = round(enforce) - nothing;
        rows.push(vec![
            name.to_owned(),
            number(enforce["count"].as_f64().unwrap_or_default()),
            number(nothing),
            format!("{} ({})", signed(more), percent(more / nothing * 100.0)),
        ]);
    }
    rows.sort();
    table("cpus", &["program", "CPUs", "nothing", "enforce"], rows)
}

fn memory_table(files: &Value, processes: &Value) -> Table {
    let mut rows = Vec::new();
    for line in lines(files, "memory") {
        rows.push(vec![
            "a signed file's verdict".to_owned(),
            format!(
                "{} files",
                number(line["count"].as_f64().unwrap_or_default())
            ),
            number(line["memory"]["verdict"].as_f64().unwrap_or_default()),
        ]);
    }
    // The same with any number of them.
    if let Some(line) = lines(processes, "memory").last() {
        let each: f64 = ["images", "tasks"]
            .iter()
            .filter_map(|name| {
                let map = &line["memory"][*name];
                Some(map["bytes"].as_f64()? / map["entries"].as_f64()?)
            })
            .sum();
        let all: f64 = ["images", "tasks"]
            .iter()
            .filter_map(|name| line["memory"][*name]["bytes"].as_f64())
            .sum();
        rows.push(vec![
            format!("a place for a trusted process ({} in all)", number(all)),
            format!(
                "{} processes",
                number(line["count"].as_f64().unwrap_or_default())
            ),
            number(each),
        ]);
    }
    table("memory", &["what", "with", "bytes of each"], rows)
}
