//! Prints: the only place here that does.

use crate::attack::Attack;
use crate::verdict::{Finding, Verdict};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Prints which attacks there are.
pub fn list(attacks: &[&'static Attack], json: bool) {
    #[derive(Serialize)]
    struct Row {
        number: &'static str,
        tried: &'static str,
    }
    let rows: Vec<Row> = attacks
        .iter()
        .map(|attack| Row {
            number: attack.number,
            tried: attack.tried,
        })
        .collect();
    if json {
        return print_json(&rows);
    }
    let mut text = String::new();
    for row in rows {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{:<22} {}", row.number, row.tried);
    }
    print(&text);
}

/// Prints what was seen.
pub fn findings(findings: &[Finding], json: bool) {
    match json {
        true => print_json(&findings),
        false => print(&table(findings)),
    }
}

fn table(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        add(&mut text, finding);
    }
    let count = |verdict| {
        let fits = findings.iter().filter(|finding| finding.verdict == verdict);
        fits.count()
    };
    let _ = write!(text, "\n{} held", count(Verdict::Held));
    for verdict in [
        Verdict::Open,
        Verdict::CannotBeHeld,
        Verdict::BaselineFailed,
        Verdict::Unclear,
        Verdict::Untested,
    ] {
        let count = count(verdict);
        if count > 0 {
            let _ = write!(text, ", {count} {}", verdict.text());
        }
    }
    text.push('\n');
    text
}

fn add(text: &mut String, finding: &Finding) {
    let number = finding.number;
    let verdict = finding.verdict.text();
    let _ = writeln!(text, "{verdict:<15} {number:<22} {}", finding.tried);
    let mut line = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "{:<15}   {name}: {}", "", escaped(value));
        }
    };
    if finding.verdict != Verdict::Untested {
        line("off", &finding.off);
        line("on", &finding.on);
    }
    line("reason", &finding.reason);
    line("rightful", &finding.rightful);
    line("why", &finding.why);
}

/// What programs said may hold what others chose.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn print_json(value: &impl Serialize) {
    // Numbers, names and text: nothing that JSON can't say.
    let text = serde_json::to_string(value).unwrap_or_default();
    print(&format!("{text}\n"));
}

/// A reader that goes early is no failure.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_what_was_seen_and_counts() {
        let finding = Finding {
            number: "3.memfd",
            tried: "a copy in memory",
            off: Some("bpf 11: ok".to_owned()),
            on: Some("bpf 11: EPERM\u{1b}[2J".to_owned()),
            reason: Some("no-signature".to_owned()),
            rightful: Some("bpf 11: ok".to_owned()),
            verdict: Verdict::Held,
            why: None,
        };
        let text = table(&[finding]);
        assert!(text.starts_with("held            3.memfd"), "{text}");
        assert!(text.contains("reason: no-signature\n"), "{text}");
        assert!(text.contains("EPERM\\u{1b}[2J\n"), "{text}");
        assert!(text.ends_with("\n1 held\n"), "{text}");
    }
}
