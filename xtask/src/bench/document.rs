//! Writes tables and plots to `target/bench`, and `docs/cost.md`.

use super::found::{Counted, Found, Row, read, rows};
use super::goals;
use super::plot::Plot;
use super::table::{Table, number, percent, signed};
use super::{boots, code, compared};
use crate::workspace;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The document's text; tables come where `{name}` stands.
const TEXT: &str = include_str!("cost.md");
const DOCUMENT: &str = "docs/cost.md";

/// The rows whose programs are listed.
const WITH_PROGRAMS: &[&str] = &[
    "exec",
    "exec-signed-warm",
    "exec-signed-cold",
    "exec-dynamic",
    "exec-dynamic-signed",
    "fork-exit",
    "fork-exit-trusted",
    "mmap-code-trusted",
    "open",
    "bpf-map-create",
    "bpf-prog-load",
    "bpf-map-update",
];

/// So many lines of a hook's code have the calls of Debian's usual modules. What follows
/// is the same again for slots that nobody uses.
const CODE_LINES: usize = 26;

/// Makes all of it from what was found.
pub fn write() -> Result<()> {
    let (found, rows) = (read()?, rows()?);
    ensure!(
        !found.is_empty(),
        "nothing was found yet; leave --write, or name a kernel with --kernel"
    );
    let full: Vec<&Found> = found
        .iter()
        .filter(|f| f.columns.contains_key("enforce"))
        .collect();
    let empty: Vec<&Found> = found
        .iter()
        .filter(|f| f.columns.contains_key("with-bpf"))
        .collect();
    let goals = goals::table(&full);
    let mut tables = vec![goals];
    let directory = workspace::target()?.join("bench");
    let mut text = TEXT.replace("{kernels}", &releases(&found));
    let mut costs = String::new();
    for found in &full {
        let table = costs_table(found, &rows);
        costs += &format!("### Linux {}\n\n{}\n", found.series, table.markdown());
        tables.push(table);
        plot(
            found,
            &rows,
            &directory.join(format!("cost-{}.svg", found.series)),
        )?;
    }
    text = text.replace("{costs}\n", &costs);
    let mut comparisons = String::new();
    for found in &full {
        if let Some(table) = compared::table(found, &rows) {
            comparisons += &format!("Linux {}:\n\n{}\n", found.series, table.markdown());
            tables.push(table);
        }
    }
    text = text.replace("{comparisons}\n\n", &comparisons);
    tables.push(boots::table(&full, goals::rows()));
    let mut codes = String::new();
    for found in &empty {
        let code = found.columns.get("with-bpf").map(|guest| &guest.code);
        let Some(code) = code.filter(|code| code.is_object()) else {
            continue;
        };
        let code = code::text(code)?;
        write_file(&directory.join(format!("hook-{}.txt", found.series)), &code)?;
        let code: String = code.split_inclusive('\n').take(CODE_LINES).collect();
        codes += &format!("Linux {}:\n\n```text\n{code}```\n\n", found.series);
    }
    text = text.replace("{codes}\n\n", &codes);
    tables.push(programs_table(&full));
    tables.push(maps_table(&full));
    tables.push(empty_table(&empty, &rows));
    plot_empty(&empty, &rows, &directory.join("empty.svg"))?;
    tables.push(rows_table(&rows));
    for table in &tables {
        write_file(
            &directory.join(format!("{}.txt", table.name)),
            &table.text(),
        )?;
        text = text.replace(&format!("{{{}}}\n", table.name), &table.markdown());
        println!("{}", table.text());
    }
    write_file(
        &directory.join("cost.json"),
        &format!("{:#}\n", json(&found, &rows)),
    )?;
    write_file(&workspace::root().join(DOCUMENT), &text)?;
    println!("{DOCUMENT} and {} are written", directory.display());
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn releases(found: &[Found]) -> String {
    let releases = found.iter().map(Found::release);
    releases.collect::<Vec<_>>().join(", ")
}

fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).into()
}

/// What a column adds, as words.
pub fn added(with: Option<Counted>, without: Counted) -> String {
    with.map_or_else(String::new, |with| {
        let more = signed(with.median - without.median);
        format!("{more} ({})", percent(with.percent_over(without)))
    })
}

fn costs_table(found: &Found, rows: &[Row]) -> Table {
    let mut lines = Vec::new();
    for row in rows {
        let Some(nothing) = found.counted("nothing", &row.name) else {
            continue;
        };
        let column = |name| found.counted(name, &row.name);
        let all = ["nothing", "audit", "enforce"]
            .into_iter()
            .filter_map(column);
        let spread = all.map(Counted::spread).fold(0.0, f64::max);
        lines.push(vec![
            format!("`{}`", row.name),
            number(nothing.median),
            added(column("audit"), nothing),
            added(column("enforce"), nothing),
            format!("{spread:.2} %"),
        ]);
    }
    Table {
        name: format!("cost-{}", found.series),
        head: cells(["row", "nothing", "audit", "enforce", "spread"]),
        rows: lines,
    }
}

fn plot(found: &Found, rows: &[Row], path: &Path) -> Result<()> {
    let series: Vec<&str> = ["audit", "enforce"]
        .into_iter()
        .filter(|column| {
            // One that ran a few rows only would leave the others without bars.
            let ran = |column| {
                rows.iter()
                    .filter(move |row| found.counted(column, &row.name).is_some())
            };
            ran(column).count() == ran("nothing").count()
        })
        .collect();
    let percent = |row: &Row| {
        let nothing = found.counted("nothing", &row.name)?;
        let over = |column: &&str| Some(found.counted(column, &row.name)?.percent_over(nothing));
        let values: Option<Vec<f64>> = series.iter().map(over).collect();
        Some((row.name.clone(), values?))
    };
    let plot = Plot {
        title: format!("What bpftrust adds on Linux {}", found.series),
        than: "with nothing",
        series: &series,
        rows: rows.iter().filter_map(percent).collect(),
    };
    plot.write(path)
}

/// Which programs rows spend it in, on the kernels where that was counted.
fn programs_table(found: &[&Found]) -> Table {
    let mut lines = Vec::new();
    for found in found {
        let programs = found.columns.get("enforce").map(|guest| &guest.programs);
        for row in WITH_PROGRAMS {
            let Some(list) = programs.and_then(|programs| programs.get(*row)) else {
                continue;
            };
            let words = list.iter().map(|program| {
                let Some(runs) = (program.runs >= 1.5).then(|| number(program.runs)) else {
                    return format!("{} {}", program.name, number(program.instructions));
                };
                format!("{runs} x {} {}", program.name, number(program.instructions))
            });
            let sum: f64 = list.iter().map(|program| program.instructions).sum();
            lines.push(vec![
                format!("`{row}`"),
                found.series.to_owned(),
                number(sum),
                words.collect::<Vec<_>>().join(", "),
            ]);
        }
    }
    Table {
        name: "programs".to_owned(),
        head: cells(["row", "kernel", "all", "by program"]),
        rows: lines,
    }
}

/// The memory of the guard's maps.
fn maps_table(found: &[&Found]) -> Table {
    let mut lines = Vec::new();
    for found in found {
        let maps = found
            .columns
            .get("enforce")
            .and_then(|guest| guest.maps.as_object());
        for (name, map) in maps.into_iter().flatten() {
            let figure = |field: &str| map[field].as_f64().map(number).unwrap_or_default();
            lines.push(vec![
                format!("`{name}`"),
                found.series.to_owned(),
                figure("bytes"),
                figure("entries"),
                figure("value"),
            ]);
        }
    }
    Table {
        name: "maps".to_owned(),
        head: cells([
            "map",
            "kernel",
            "bytes",
            "entries at most",
            "bytes of a value",
        ]),
        rows: lines,
    }
}

/// What `bpf` in `lsm=` costs with nothing attached.
fn empty_table(found: &[&Found], rows: &[Row]) -> Table {
    let mut head = vec!["row".to_owned()];
    head.extend(found.iter().map(|found| found.series.to_owned()));
    let mut lines = Vec::new();
    for row in rows {
        let mut line = vec![format!("`{}`", row.name)];
        for found in found {
            let column = |name| found.counted(name, &row.name).map(Counted::lowest);
            line.push(match column("without-bpf") {
                Some(without) => {
                    let more = added(column("with-bpf"), without);
                    format!("{}, {more}", number(without.median))
                }
                None => String::new(),
            });
        }
        if line[1..].iter().any(|cell| !cell.is_empty()) {
            lines.push(line);
        }
    }
    Table {
        name: "empty".to_owned(),
        head,
        rows: lines,
    }
}

fn plot_empty(found: &[&Found], rows: &[Row], path: &Path) -> Result<()> {
    let series: Vec<&str> = found.iter().map(|found| found.series).collect();
    let percent = |row: &Row| {
        let over = |found: &&Found| {
            let column = |name| found.counted(name, &row.name).map(Counted::lowest);
            Some(column("with-bpf")?.percent_over(column("without-bpf")?))
        };
        let values: Option<Vec<f64>> = found.iter().map(over).collect();
        Some((row.name.clone(), values?))
    };
    let plot = Plot {
        title: "What bpf in lsm= adds, nothing attached".to_owned(),
        than: "without",
        series: &series,
        rows: rows.iter().filter_map(percent).collect(),
    };
    plot.write(path)
}

fn rows_table(rows: &[Row]) -> Table {
    let line = |row: &Row| vec![format!("`{}`", row.name), row.what.clone()];
    Table {
        name: "rows".to_owned(),
        head: cells(["row", "one round"]),
        rows: rows.iter().map(line).collect(),
    }
}

/// All figures, for programs: kernel, column, row.
fn json(found: &[Found], rows: &[Row]) -> Value {
    let mut all = json!({});
    for found in found {
        for (column, guest) in &found.columns {
            for row in rows {
                if let Some(counted) = found.counted(column, &row.name) {
                    all[found.series][*column][&row.name] = json!({
                        "median": counted.median,
                        "lowest": counted.range.0,
                        "highest": counted.range.1,
                    });
                }
            }
            all[found.series][*column]["release"] = json!(guest.release);
        }
    }
    all
}
