//! Committed figures, to which a change is held: two of each row, on each kernel.
//!
//! - `docs/verifier.md`: what the kernel's verifier does for each program ([`VERIFIER`])
//! - `docs/cost-held.md`: what bpftrust's programs take in a few calls ([`COST`])

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How much more than the table says is taken, in percent.
const GROWTH_PERCENT: u64 = 10;

/// What a document's figures are.
#[derive(Debug)]
pub struct Kind {
    /// The document's path in the repository.
    pub document: &'static str,
    /// What is before its table.
    head: &'static str,
    /// What a row is.
    row: &'static str,
    /// What the two figures are.
    figures: [&'static str; 2],
    /// Whether there is a row for the sum of all.
    is_summed: bool,
}

/// What the verifier does.
pub const VERIFIER: Kind = Kind {
    document: "docs/verifier.md",
    head: "\
# What the verifier does

Instructions that the kernel's verifier processes to take each program of the kernel side,
and states that it keeps of them. It is most of what `bpftrust enforce` takes, and its limit
is 1,000,000 instructions for each program. Written by `cargo xtask verifier`; the guest
test `drift::the_verifier_has_no_more_to_do` fails where a figure has grown by more than a
tenth.
",
    row: "program",
    figures: ["instructions", "states"],
    is_summed: true,
};

/// What programs take.
pub const COST: Kind = Kind {
    document: "docs/cost-held.md",
    head: "\
# Costs that are held

Instructions that bpftrust's programs take in one round of a row of the benchmark, while it
enforces, and how many programs ran. [cost.md](cost.md) says what the rows are, and how
QEMU and the kernel count; what calling a program takes is not in these figures, so they
are less than what a row takes more. Each has about 100 for each program in it that the
counting takes; of each program the middle of five counts, for an interrupt may fall into
one. Written by `cargo xtask held`; `cargo xtask held --check`, which is a step of `cargo
xtask test`, counts them again, and fails where one has grown by more than a tenth.
",
    row: "row",
    figures: ["instructions", "runs"],
    is_summed: false,
};

/// The figures of a row.
pub type Pair = [u64; 2];

/// Figures by row.
pub type Pairs = BTreeMap<String, Pair>;

/// Figures by series of kernels, in the document's order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Table(pub Vec<(String, Pairs)>);

/// Reads what guests print: a row and its two figures on each line.
pub fn measured(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [row, first, second] = words[..] else {
            anyhow::bail!("not a row and two figures: {line}");
        };
        pairs.insert(row.to_owned(), [number(first)?, number(second)?]);
    }
    ensure!(!pairs.is_empty(), "no row");
    Ok(pairs)
}

fn number(text: &str) -> Result<u64> {
    let digits = text.replace(',', "");
    digits.parse().with_context(|| format!("{text}: no number"))
}

impl Table {
    /// Reads the document.
    pub fn parse(document: &str) -> Result<Self> {
        let mut lines = document.lines().filter_map(|line| line.strip_prefix("| "));
        let head = lines.next().context("no table")?;
        let mut table = Self(
            cells(head)
                .skip(1)
                .map(|series| (series.trim_start_matches("Linux ").to_owned(), Pairs::new()))
                .collect(),
        );
        for line in lines.filter(|line| line.starts_with('`')) {
            let mut cells = cells(line);
            let row = cells.next().context("no row")?.trim_matches('`');
            for (_, pairs) in &mut table.0 {
                let cell = cells.next().with_context(|| format!("{row}: too few"))?;
                let (first, second) = cell
                    .split_once(" / ")
                    .with_context(|| format!("{row}: {cell}"))?;
                pairs.insert(row.to_owned(), [number(first)?, number(second)?]);
            }
        }
        Ok(table)
    }

    /// The document.
    pub fn markdown(&self, kind: &Kind) -> Result<String> {
        let mut text = kind.head.to_owned();
        let (head, rule): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .map(|(series, _)| (format!(" Linux {series} |"), "---:|"))
            .unzip();
        writeln!(
            text,
            "\n| {} |{}\n|---|{}",
            kind.row,
            head.concat(),
            rule.concat()
        )?;
        let (_, first) = self.0.first().context("no kernel")?;
        for row in first.keys() {
            write!(text, "| `{row}` |")?;
            for (series, pairs) in &self.0 {
                let pair = pairs
                    .get(row)
                    .with_context(|| format!("Linux {series}: no {row}"))?;
                write!(text, " {} |", cell(*pair))?;
            }
            text.push('\n');
        }
        if kind.is_summed {
            write!(text, "| all |")?;
            for (_, pairs) in &self.0 {
                write!(text, " {} |", cell(sum(pairs)))?;
            }
            text.push('\n');
        }
        Ok(text)
    }

    /// What has grown on a kernel, by its release (`uname -r`), or is not in the table:
    /// a line each.
    pub fn grown(&self, kind: &Kind, release: &str, now: &Pairs) -> Result<Vec<String>> {
        let (_, committed) = self
            .0
            .iter()
            .find(|(series, _)| release.starts_with(&format!("{series}.")))
            .with_context(|| format!("Linux {release} is not in the table"))?;
        let mut grown = Vec::new();
        for (row, figures) in now {
            let Some(before) = committed.get(row) else {
                grown.push(format!("{row} is not in the table"));
                continue;
            };
            for ((what, now), before) in kind.figures.iter().zip(figures).zip(before) {
                if now * 100 > before * (100 + GROWTH_PERCENT) {
                    grown.push(format!("{row}: {before} {what} have become {now}"));
                }
            }
        }
        let gone = committed.keys().filter(|row| !now.contains_key(*row));
        grown.extend(gone.map(|row| format!("{row} is in the table alone")));
        Ok(grown)
    }
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split('|')
        .map(str::trim)
        .filter(|cell| !cell.is_empty())
}

fn sum(pairs: &Pairs) -> Pair {
    let of = |which: usize| pairs.values().map(|pair| pair[which]).sum();
    [of(0), of(1)]
}

fn cell([first, second]: Pair) -> String {
    format!("{} / {}", grouped(first), grouped(second))
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
        let pairs = measured("bt_bpf 12345 678\nbt_exit 53 4\n")?;
        Ok(Table(vec![
            ("6.12".to_owned(), pairs.clone()),
            ("7.3".to_owned(), pairs),
        ]))
    }

    #[test]
    fn what_is_written_is_read() -> Result<()> {
        let written = table()?.markdown(&VERIFIER)?;
        assert!(written.contains("| `bt_bpf` | 12,345 / 678 | 12,345 / 678 |\n"));
        assert!(written.ends_with("| all | 12,398 / 682 | 12,398 / 682 |\n"));
        assert_eq!(Table::parse(&written)?, table()?);
        let written = table()?.markdown(&COST)?;
        assert!(written.ends_with("| `bt_exit` | 53 / 4 | 53 / 4 |\n"));
        assert_eq!(Table::parse(&written)?, table()?);
        Ok(())
    }

    #[test]
    fn a_tenth_more_is_taken_and_no_more() -> Result<()> {
        let table = table()?;
        let grown = |text| table.grown(&VERIFIER, "7.3.4-cloud-amd64", &measured(text)?);
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
        let grown = table()?.grown(&VERIFIER, "6.12.94", &measured("bt_bpf 1 1\nbt_new 1 1\n")?)?;
        assert_eq!(
            grown,
            [
                "bt_new is not in the table",
                "bt_exit is in the table alone"
            ]
        );
        assert!(
            table()?
                .grown(&VERIFIER, "6.1.170", &measured("bt_bpf 1 1\n")?)
                .is_err()
        );
        Ok(())
    }
}
