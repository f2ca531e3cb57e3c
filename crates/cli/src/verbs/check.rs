//! `bpftrust check`.

use std::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::path::Path;

use bpftrust_guard::{POLICY, Policy};
use bpftrust_host::{Answer, Colour, Facts, Group, Root, Row, State, Unknown, evaluate};

use crate::cli::CheckArgs;
use crate::output::{self, Outcome, escape_bytes};

pub fn run(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let facts = Facts::probe(&Root::host(), &args.paths, &has_verity);
    let mut rows = evaluate(&facts);
    rows.extend(libraries());
    if args.json {
        output::print_json(&rows);
    } else {
        output::print(&table(&rows));
        output::print(&conclusion(&rows));
    }
    Ok(match Answer::of(&rows) {
        Answer::Yes => Outcome::Yes,
        Answer::No => Outcome::No,
        Answer::Unknown => Outcome::Unknown,
    })
}

/// What this host's policy file asks of libraries, if there is one.
fn libraries() -> Option<Row> {
    let path = Path::new(POLICY);
    let (fact, gives_up) = match Policy::load(path) {
        Ok(Policy { libraries, .. }) => (
            Ok(format!("{libraries}: {}", libraries.rule())),
            libraries.gives_up(),
        ),
        Err(_) if path.try_exists().is_ok_and(|exists| !exists) => return None,
        Err(error) => (Err(Unknown(error.to_string())), None),
    };
    Some(Row::posture("libraries", fact, gives_up))
}

/// Asks for the digest of a file: a file system with fs-verity answers, if only
/// that this file has none.
pub fn has_verity(file: BorrowedFd<'_>) -> Result<bool, Unknown> {
    match bpftrust_verity::measure(file) {
        Ok(_) | Err(bpftrust_verity::Error::UnknownDigest { .. }) => Ok(true),
        Err(bpftrust_verity::Error::Unsupported { .. }) => Ok(false),
        Err(error) => Err(Unknown(error.to_string())),
    }
}

/// Widths in characters of the columns: state, what, evidence, cost.
const WIDTHS: [usize; 4] = [6, 32, 40, 40];

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    add_line(&mut text, ["", "what", "evidence", "without it"]);
    for group in rows.chunk_by(|a, b| a.group == b.group) {
        let _ = writeln!(text, "{}", title(group[0].group));
        for row in group {
            add_row(&mut text, row);
        }
    }
    text
}

fn title(group: Group) -> &'static str {
    match group {
        Group::Kernel => "kernel",
        Group::Kfuncs => "functions that the policy calls",
        Group::Hooks => "hooks that the policy attaches to",
        Group::FileSystems => "where signed files can be",
        Group::BpfUsers => "who uses BPF now",
        Group::Posture => "what the promise rests on",
        _ => "other",
    }
}

fn add_row(text: &mut String, row: &Row) {
    let cells = [&row.id, &row.detail, &row.cost].map(|cell| escape_bytes(cell.as_bytes()));
    let [what, evidence, cost] = [0, 1, 2].map(|i| wrapped(&cells[i], WIDTHS[i + 1]));
    for i in 0..what.len().max(evidence.len()).max(cost.len()) {
        let line = |cell: &[String]| cell.get(i).cloned().unwrap_or_default();
        let state = if i == 0 { mark(row) } else { "" };
        add_line(text, [state, &line(&what), &line(&evidence), &line(&cost)]);
    }
}

fn mark(row: &Row) -> &'static str {
    match (row.posture, row.state) {
        (Some(Colour::Green), _) => "green",
        (Some(Colour::Yellow), _) => "yellow",
        (Some(Colour::Red), _) => "red",
        (None, State::Present) => "yes",
        (None, State::Absent) if row.required => "NO",
        (None, State::Absent) => "no",
        (None, State::Unknown) => "?",
    }
}

fn add_line(text: &mut String, cells: [&str; 4]) {
    let mut line = String::new();
    for (cell, width) in cells.into_iter().zip(WIDTHS) {
        let _ = write!(line, "  {cell:width$}");
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// `text` in lines of at most `width` characters, broken at spaces where it can be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > width {
            let rest = word.split_off(width);
            lines.last_mut().expect("never empty").extend(word);
            lines.push(String::new());
            word = rest;
        }
        let line = lines.last_mut().expect("never empty");
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        used += word.len();
        line.extend(word);
    }
    lines
}

fn conclusion(rows: &[Row]) -> String {
    let names = |state| {
        let of_state = rows.iter().filter(|row| row.required && row.state == state);
        let names: Vec<_> = of_state
            .map(|row| escape_bytes(row.id.as_bytes()))
            .collect();
        names.join(", ")
    };
    let mut text = match Answer::of(rows) {
        Answer::Yes => "\nThis host can enforce.\n".to_owned(),
        Answer::No => {
            let absent = names(State::Absent);
            format!("\nThis host can't enforce. Absent and required: {absent}.\n")
        }
        Answer::Unknown => {
            let unknown = names(State::Unknown);
            format!("\nCould not tell whether this host can enforce, for want of: {unknown}.\n")
        }
    };
    if let Some(colour) = Colour::of(rows) {
        let word = match colour {
            Colour::Green => {
                "green: none of the doors into the kernel that are looked at is open to uid 0"
            }
            Colour::Yellow => "yellow: see the rows above",
            Colour::Red => "red: uid 0 has other doors into the kernel, see the rows above",
        };
        let _ = writeln!(text, "Posture is {word}.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_at_spaces_and_words_too_long_are_cut() {
        for (text, expected) in [
            ("", &[""][..]),
            ("one two", &["one two"]),
            ("one two three", &["one two", "three"]),
            ("/very/long/path x", &["/very/lo", "ng/path", "x"]),
            ("a /very/long", &["a", "/very/lo", "ng"]),
        ] {
            assert_eq!(wrapped(text, 8), expected, "{text:?}");
        }
    }
}
