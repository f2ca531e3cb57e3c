//! What guests said, read again and made comparable.

use super::columns::{COLUMNS, Column};
use super::run;
use crate::workspace;
use anyhow::{Context, Result};
use bpftrust_vm::kernels::{KERNELS, Kernel};
use bpftrust_vm::tool;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

/// What one row took in one guest, in instructions of a round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    /// The median of the loops.
    pub median: f64,
    /// The lowest and the highest.
    pub range: (f64, f64),
}

/// What one of bpftrust's programs took in a round.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// How often it ran.
    pub runs: f64,
    /// Instructions of all these runs, those of counting them included.
    pub instructions: f64,
}

/// What one guest said.
#[derive(Debug, Default)]
pub struct Guest {
    /// Its kernel's release.
    pub release: String,
    rows: BTreeMap<String, Counted>,
    /// By row: what a round took in each of several boots.
    boots: BTreeMap<String, Vec<f64>>,
    /// By row.
    pub programs: BTreeMap<String, Vec<Program>>,
    /// What it says of the maps' memory; null if nothing.
    pub maps: Value,
    /// What it says of the code of a hook; null if nothing.
    pub code: Value,
}

/// All that was found on one kernel, by column.
#[derive(Debug)]
pub struct Found {
    /// The kernel's series.
    pub series: &'static str,
    /// By the column's name.
    pub columns: BTreeMap<&'static str, Guest>,
}

/// A row, as its driver describes it.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What one round does.
    pub what: String,
}

impl Counted {
    /// Of the instructions of loops of so many rounds each; none without a loop.
    fn of(loops: &[u64], rounds: u64) -> Option<Self> {
        let mut rounds_cost: Vec<f64> = loops.iter().map(|l| *l as f64 / rounds as f64).collect();
        rounds_cost.sort_unstable_by(f64::total_cmp);
        Some(Self {
            median: *rounds_cost.get(rounds_cost.len() / 2)?,
            range: (*rounds_cost.first()?, *rounds_cost.last()?),
        })
    }

    /// As if its lowest loop were the only one.
    pub fn lowest(self) -> Self {
        Self {
            median: self.range.0,
            range: (self.range.0, self.range.0),
        }
    }

    /// From the lowest to the highest, in percent of the median.
    pub fn spread(self) -> f64 {
        (self.range.1 - self.range.0) / self.median * 100.0
    }

    /// What this takes more than `other`, in percent of it.
    pub fn percent_over(self, other: Self) -> f64 {
        (self.median - other.median) / other.median * 100.0
    }
}

impl Found {
    /// What a row took in a column.
    pub fn counted(&self, column: &str, row: &str) -> Option<Counted> {
        self.columns.get(column)?.rows.get(row).copied()
    }

    /// What a round of a row took in each boot of a column, if it ran in several.
    pub fn boots(&self, column: &str, row: &str) -> &[f64] {
        let guest = self.columns.get(column);
        let boots = guest.and_then(|guest| guest.boots.get(row));
        boots.map_or(&[], |boots| &boots[..])
    }

    /// The kernel's release, of any guest.
    pub fn release(&self) -> &str {
        let first = self.columns.values().next();
        first.map_or("", |guest| &guest.release)
    }
}

/// The rows in their order; builds the drivers and asks them.
pub fn rows() -> Result<Vec<Row>> {
    let bench = workspace::build(&["bpftrust-guest"])?.join("bpftrust-bench");
    let said = tool::text(Command::new(bench).arg("list")).context("cannot list the rows")?;
    said.lines().map(row).collect()
}

/// A line of `bpftrust-bench list`.
fn row(line: &str) -> Result<Row> {
    let mut words = line.splitn(3, ' ');
    let (name, _, what) = (words.next(), words.next(), words.next());
    Ok(Row {
        name: name.context("a row without a name")?.to_owned(),
        what: what.context("a row without a description")?.to_owned(),
    })
}

/// All that was kept.
pub fn read() -> Result<Vec<Found>> {
    let mut all = Vec::new();
    for kernel in KERNELS {
        let mut columns = BTreeMap::new();
        for column in COLUMNS {
            if let Some(guest) = read_one(kernel, column)? {
                columns.insert(column.name, guest);
            }
        }
        if !columns.is_empty() {
            all.push(Found {
                series: kernel.series,
                columns,
            });
        }
    }
    Ok(all)
}

fn read_one(kernel: &Kernel, column: &Column) -> Result<Option<Guest>> {
    let path = run::kept(kernel, column)?;
    let Some(value) = workspace::kept(&path)? else {
        return Ok(None);
    };
    guest(&value)
        .map(Some)
        .with_context(|| format!("{} is not what this wrote", path.display()))
}

/// What a driver's line says of a row.
pub fn counted(line: &Value) -> Result<Counted> {
    let rounds = line["rounds"].as_u64().context("no rounds")?;
    let loops = line["loops"].as_array().context("no loops")?;
    let loops: Option<Vec<u64>> = loops.iter().map(Value::as_u64).collect();
    Counted::of(&loops.context("a loop without a number")?, rounds).context("no loop")
}

fn guest(value: &Value) -> Result<Guest> {
    let release = value["machine"]["kernel"].as_str();
    let mut guest = Guest {
        release: release.context("no kernel")?.to_owned(),
        maps: value["maps"].clone(),
        code: value["code"].clone(),
        ..Guest::default()
    };
    for (name, row) in value["rows"].as_object().context("no rows")? {
        guest.rows.insert(name.clone(), counted(row)?);
    }
    for (name, boots) in value["boots"].as_object().into_iter().flatten() {
        let boots = boots.as_array().context("no boots")?.iter();
        let boots: Option<Vec<f64>> = boots.map(Value::as_f64).collect();
        let boots = boots.context("a boot without a number")?;
        guest.boots.insert(name.clone(), boots);
    }
    for (name, programs) in value["programs"].as_object().context("no programs")? {
        let mut list = Vec::new();
        for (program, counters) in programs.as_object().context("no counters")? {
            list.push(Program {
                name: program.clone(),
                runs: counters["runs"].as_f64().context("no runs")?,
                instructions: counters["instructions"]
                    .as_f64()
                    .context("no instructions")?,
            });
        }
        list.sort_unstable_by(|a, b| b.instructions.total_cmp(&a.instructions));
        guest.programs.insert(name.clone(), list);
    }
    Ok(guest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_round_costs_the_median_of_the_loops() {
        let counted = Counted::of(&[1_030, 1_000, 1_010], 10).unwrap();
        assert_eq!(counted.median, 101.0);
        assert_eq!(counted.range, (100.0, 103.0));
        assert!((counted.spread() - 300.0 / 101.0).abs() < 1e-9);
        assert_eq!(Counted::of(&[], 10), None);
    }

    #[test]
    fn what_a_guest_said_is_read() {
        let said = json!({
            "machine": {"kernel": "6.18.15"},
            "rows": {"read": {"rounds": 2, "loops": [20, 22, 24]}},
            "programs": {"read": {"few": {"runs": 1.0, "instructions": 5.0},
                                  "many": {"runs": 2.0, "instructions": 9.0}}},
        });
        let guest = guest(&said).unwrap();
        assert_eq!(guest.rows["read"].median, 11.0);
        let names: Vec<_> = guest.programs["read"].iter().map(|p| &p.name).collect();
        assert_eq!(names, ["many", "few"]);
    }

    #[test]
    fn what_lacks_a_number_is_an_error() {
        let said = json!({
            "machine": {"kernel": "6.18.15"},
            "rows": {"read": {"rounds": 2, "loops": ["x"]}},
            "programs": {},
        });
        assert!(guest(&said).is_err());
    }

    #[test]
    fn a_line_of_the_list_is_a_row() {
        let row = row("fork-exit anybody fork, the child ends").unwrap();
        assert_eq!(
            (&*row.name, &*row.what),
            ("fork-exit", "fork, the child ends")
        );
        assert!(super::row("fork-exit anybody").is_err());
    }
}
