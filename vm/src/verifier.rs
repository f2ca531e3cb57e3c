//! `docs/verifier.md`: what the kernel's verifier does for each program of the kernel
//! side, as committed; a guest test holds the running kernel against it.

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How much more than the table says is taken, in percent.
const GROWTH_PERCENT: u64 = 10;

const HEAD: &str = "\
# What the verifier does

Instructions that the kernel's verifier processes to take each program of the kernel side,
and states that it keeps of them. It is most of what `bpftrust enforce` takes, and its limit
is 1,000,000 instructions for each program. Written by `cargo xtask verifier`; the guest
test `drift::the_verifier_has_no_more_to_do` fails where a figure has grown by more than a
tenth.
";

/// What one program takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Instructions processed.
    pub instructions: u64,
    /// States kept.
    pub states: u64,
}

/// Work by program.
pub type Works = BTreeMap<String, Work>;

/// Work by series of kernels, in the document's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table(pub Vec<(String, Works)>);

/// Reads what `bpftrust-drift verifier` prints: a program, its instructions and its
/// states on each line.
pub fn measured(text: &str) -> Result<Works> {
    let mut works = Works::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [program, instructions, states] = words[..] else {
            anyhow::bail!("not a program and two figures: {line}");
        };
        works.insert(program.to_owned(), work(instructions, states)?);
    }
    ensure!(!works.is_empty(), "no program");
    Ok(works)
}

fn work(instructions: &str, states: &str) -> Result<Work> {
    let number = |text: &str| {
        let digits = text.replace(',', "");
        digits.parse().with_context(|| format!("{text}: no number"))
    };
    Ok(Work {
        instructions: number(instructions)?,
        states: number(states)?,
    })
}

impl Table {
    /// Reads the document.
    pub fn parse(document: &str) -> Result<Self> {
        let mut lines = document.lines().filter_map(|line| line.strip_prefix("| "));
        let head = lines.next().context("no table")?;
        let mut table = Self(
            cells(head)
                .skip(1)
                .map(|series| (series.trim_start_matches("Linux ").to_owned(), Works::new()))
                .collect(),
        );
        for line in lines.filter(|line| line.starts_with('`')) {
            let mut cells = cells(line);
            let program = cells.next().context("no program")?.trim_matches('`');
            for (_, works) in &mut table.0 {
                let cell = cells
                    .next()
                    .with_context(|| format!("{program}: too few"))?;
                let (instructions, states) = cell
                    .split_once(" / ")
                    .with_context(|| format!("{program}: {cell}"))?;
                works.insert(program.to_owned(), work(instructions, states)?);
            }
        }
        Ok(table)
    }

    /// The document.
    pub fn markdown(&self) -> Result<String> {
        let mut text = HEAD.to_owned();
        let (head, rule): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .map(|(series, _)| (format!(" Linux {series} |"), "---:|"))
            .unzip();
        writeln!(
            text,
            "\n| program |{}\n|---|{}",
            head.concat(),
            rule.concat()
        )?;
        let (_, first) = self.0.first().context("no kernel")?;
        for program in first.keys() {
            write!(text, "| `{program}` |")?;
            for (series, works) in &self.0 {
                let work = works
                    .get(program)
                    .with_context(|| format!("Linux {series}: no {program}"))?;
                write!(text, " {} |", cell(*work))?;
            }
            text.push('\n');
        }
        write!(text, "| all |")?;
        for (_, works) in &self.0 {
            write!(text, " {} |", cell(sum(works)))?;
        }
        text.push('\n');
        Ok(text)
    }

    /// What has grown on a kernel, by its release (`uname -r`), or is not in the table:
    /// a line each.
    pub fn grown(&self, release: &str, now: &Works) -> Result<Vec<String>> {
        let (_, committed) = self
            .0
            .iter()
            .find(|(series, _)| release.starts_with(&format!("{series}.")))
            .with_context(|| format!("Linux {release} is not in the table"))?;
        let mut grown = Vec::new();
        for (program, work) in now {
            let Some(before) = committed.get(program) else {
                grown.push(format!("{program} is not in the table"));
                continue;
            };
            for (what, now, before) in [
                ("instructions", work.instructions, before.instructions),
                ("states", work.states, before.states),
            ] {
                if now * 100 > before * (100 + GROWTH_PERCENT) {
                    grown.push(format!("{program}: {before} {what} have become {now}"));
                }
            }
        }
        let gone = committed.keys().filter(|name| !now.contains_key(*name));
        grown.extend(gone.map(|name| format!("{name} is in the table alone")));
        Ok(grown)
    }
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split('|')
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
}

fn sum(works: &Works) -> Work {
    Work {
        instructions: works.values().map(|work| work.instructions).sum(),
        states: works.values().map(|work| work.states).sum(),
    }
}

fn cell(work: Work) -> String {
    format!("{} / {}", grouped(work.instructions), grouped(work.states))
}

/// `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Result<Table> {
        let works = measured("bt_bpf 12345 678\nbt_exit 53 4\n")?;
        Ok(Table(vec![
            ("6.12".to_owned(), works.clone()),
            ("7.3".to_owned(), works),
        ]))
    }

    #[test]
    fn what_is_written_is_read() -> Result<()> {
        let written = table()?.markdown()?;
        assert!(written.contains("| `bt_bpf` | 12,345 / 678 | 12,345 / 678 |\n"));
        assert!(written.ends_with("| all | 12,398 / 682 | 12,398 / 682 |\n"));
        assert_eq!(Table::parse(&written)?, table()?);
        Ok(())
    }

    #[test]
    fn a_tenth_more_is_taken_and_no_more() -> Result<()> {
        let table = table()?;
        let grown = |text| table.grown("7.3.4-cloud-amd64", &measured(text)?);
        assert!(grown("bt_bpf 13579 745\nbt_exit 53 4\n")?.is_empty());
        assert_eq!(
            grown("bt_bpf 13580 746\nbt_exit 53 4\n")?,
            [
                "bt_bpf: 12345 instructions have become 13580",
                "bt_bpf: 678 states have become 746"
            ]
        );
        Ok(())
    }

    #[test]
    fn programs_that_come_or_go_are_named() -> Result<()> {
        let grown = table()?.grown("6.12.94", &measured("bt_bpf 1 1\nbt_new 1 1\n")?)?;
        assert_eq!(
            grown,
            [
                "bt_new is not in the table",
                "bt_exit is in the table alone"
            ]
        );
        assert!(
            table()?
                .grown("6.1.170", &measured("bt_bpf 1 1\n")?)
                .is_err()
        );
        Ok(())
    }
}
