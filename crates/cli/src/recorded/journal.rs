//! Events in the systemd journal, with a field for each field of a line.
//!
//! What reads them back is journalctl(1): it is wherever there is a journal, and
//! libsystemd, the other reader, is a C library.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow, ensure};
use log::{Level, Record};
use serde::Deserialize;
use serde_json::Value;
use systemd_journal_logger::JournalLog;

use super::{Entry, FORM, Line, Lost, parse_line};
use crate::advice::Advise;

/// Of all entries that are an event, or tell of lost ones: `MESSAGE_ID` of
/// systemd.journal-fields(7), by which journalctl finds them.
const MESSAGE_ID: &str = "b0f77f0a3f264bc58a4b2ad23ba0c1f5";

/// What has a whole line; that of others is read, not put together from their fields.
const EVENT: &str = "BPFTRUST_EVENT";
/// Which guard it was: [`History::guard`](bpftrust_guard::History::guard).
const GUARD: &str = "BPFTRUST_GUARD";

/// Writes events to the journal.
pub struct ToJournal(JournalLog);

impl ToJournal {
    /// Connects to journald.
    ///
    /// # Errors
    /// If none listens.
    pub fn open() -> anyhow::Result<Self> {
        let log = JournalLog::empty()
            .context("connecting to the systemd journal")
            .advise(|| {
                "start systemd-journald, or write to a file: bpftrust events --json".into()
            })?;
        let log = log
            .with_syslog_identifier("bpftrust".to_owned())
            .with_extra_fields([("MESSAGE_ID", MESSAGE_ID)]);
        Ok(Self(log))
    }

    /// Writes an event of a guard. `text` is what a person reads.
    ///
    /// # Errors
    /// If journald takes it not.
    pub fn event(&self, guard: u64, line: &Line, text: &str) -> anyhow::Result<()> {
        let level = if line.is_refusal() {
            Level::Warn
        } else {
            Level::Debug
        };
        let whole = serde_json::to_value(line).context("writing an event as JSON")?;
        let mut fields = fields(guard, &whole);
        // journald adds the unit and more of that process, and `journalctl -u` shows it.
        fields.push(("OBJECT_PID".to_owned(), line.pid.to_string()));
        self.send(level, &fields, text)
    }

    /// Writes that events are lost.
    ///
    /// # Errors
    /// If journald takes it not.
    pub fn lost(&self, guard: u64, lost: u64, text: &str) -> anyhow::Result<()> {
        let line = Lost { form: FORM, lost };
        let whole = serde_json::to_value(line).context("writing an event as JSON")?;
        self.send(Level::Warn, &fields(guard, &whole), text)
    }

    fn send(&self, level: Level, fields: &[(String, String)], text: &str) -> anyhow::Result<()> {
        self.0
            .journal_send(
                &Record::builder()
                    .level(level)
                    .target("bpftrust")
                    .key_values(&fields)
                    .args(format_args!("{text}"))
                    .build(),
            )
            .context("writing to the systemd journal")
    }
}

/// `BPFTRUST_REASON` and so on: what has one value and is not null, and all of it.
fn fields(guard: u64, line: &Value) -> Vec<(String, String)> {
    let mut fields: Vec<_> = line
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => return None,
            };
            Some((format!("BPFTRUST_{}", name.to_ascii_uppercase()), value))
        })
        .collect();
    fields.push((GUARD.to_owned(), guard.to_string()));
    fields.push((EVENT.to_owned(), line.to_string()));
    fields
}

/// Number of the last event of this guard that the journal has; 0 if it has none.
///
/// # Errors
/// If journalctl can't be run, or says what it never says.
pub fn last_in_journal(guard: u64) -> anyhow::Result<u64> {
    let ours = format!("{GUARD}={guard}");
    let mut last = 0;
    // More than one: what tells of lost events has no number.
    for entry in FromJournal::run(&["--boot", "--lines=16", &ours])? {
        if let Entry::Event(line) = entry? {
            last = line.sequence;
        }
    }
    Ok(last)
}

/// Events as the journal has them, oldest first.
pub struct FromJournal {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl FromJournal {
    /// All events since a time, in journalctl's words, or all; waits for more if told to.
    ///
    /// # Errors
    /// If journalctl can't be run.
    pub fn open(since: Option<&str>, follow: bool) -> anyhow::Result<Self> {
        let since = since.map(|since| format!("--since={since}"));
        let mut arguments: Vec<_> = since.as_deref().into_iter().collect();
        if follow {
            arguments.extend(["--follow", "--no-tail"]);
        }
        Self::run(&arguments)
    }

    fn run(arguments: &[&str]) -> anyhow::Result<Self> {
        let fields = format!("--output-fields={EVENT}");
        let message = format!("MESSAGE_ID={MESSAGE_ID}");
        let mut child = Command::new("journalctl")
            .args(["--output=json", "--all", "--quiet", "--no-pager", &fields])
            .args(arguments)
            // Anybody may write our fields; who wrote them journald says itself.
            .args([&*message, "_UID=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("running journalctl")
            .advise(|| "read the history of the guard that runs: bpftrust events".into())?;
        let lines = child.stdout.take().context("journalctl has no output")?;
        Ok(Self {
            child,
            lines: BufReader::new(lines),
        })
    }

    fn read(&mut self) -> anyhow::Result<Option<Entry>> {
        let mut line = Vec::new();
        self.lines
            .read_until(b'\n', &mut line)
            .context("reading what journalctl says")?;
        if line.is_empty() {
            let status = self.child.wait().context("waiting for journalctl")?;
            ensure!(status.success(), "journalctl failed ({status})");
            return Ok(None);
        }
        parse_entry(&line).map(Some)
    }
}

impl Iterator for FromJournal {
    type Item = anyhow::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

impl Drop for FromJournal {
    fn drop(&mut self) {
        // It may have ended, or wait for entries that nobody will read.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An entry as `journalctl --output=json` prints it (systemd.journal-fields(7)).
#[derive(Deserialize)]
struct JournalEntry {
    #[serde(rename = "BPFTRUST_EVENT")]
    event: Option<String>,
    #[serde(rename = "__CURSOR")]
    cursor: Option<String>,
}

fn parse_entry(line: &[u8]) -> anyhow::Result<Entry> {
    let entry: JournalEntry =
        serde_json::from_slice(line).context("reading what journalctl says")?;
    let place = || {
        let cursor = entry.cursor.as_deref().unwrap_or("unknown");
        format!("the journal's entry at cursor {}", cursor.escape_default())
    };
    let event = entry.event.as_ref();
    let event = event
        .ok_or_else(|| anyhow!("no {EVENT}: not an entry of bpftrust"))
        .with_context(place)?;
    parse_line(event.as_bytes()).with_context(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_with_one_value_is_a_field_of_the_journal() {
        let line = json!({"sequence": 7, "reason": "too-old", "target": null, "takes": {}});
        let fields = fields(12, &line);
        let names: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            names,
            [
                "BPFTRUST_REASON=too-old",
                "BPFTRUST_SEQUENCE=7",
                "BPFTRUST_GUARD=12",
                &format!("BPFTRUST_EVENT={line}"),
            ]
        );
    }

    #[test]
    fn what_journalctl_says_is_read_back_or_named() {
        let lost = json!({"__CURSOR": "s=1", "BPFTRUST_EVENT": r#"{"form":1,"lost":4}"#});
        let entry = parse_entry(lost.to_string().as_bytes());
        assert!(matches!(entry, Ok(Entry::Lost(4))));
        for (entry, wanted) in [
            (
                json!({"__CURSOR": "s=1"}),
                "at cursor s=1: no BPFTRUST_EVENT",
            ),
            (
                json!({"__CURSOR": "s=\u{1b}", "BPFTRUST_EVENT": "{}"}),
                "at cursor s=\\u{1b}: an event without `form`",
            ),
            (json!([1]), "reading what journalctl says"),
        ] {
            let Err(error) = parse_entry(entry.to_string().as_bytes()) else {
                panic!("{entry} was taken");
            };
            let error = format!("{error:#}");
            assert!(error.contains(wanted), "{error}");
        }
    }
}
