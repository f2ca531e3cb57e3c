//! What was recorded: events of the guard that runs, or of a file, and what they say
//! of each loader.

mod journal;
mod line;
mod loader;
mod now;
mod outlook;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use bpftrust_guard::{Event, History, Item, Key};
use bpftrust_signature::KeyHint;
use serde::Deserialize;

use crate::advice::{advised, quoted};
use crate::cli::EventsSource;
use crate::guard_advice::explain;
use crate::input::open_regular;
use crate::output::escaped;

pub use journal::{FromJournal, ToJournal, last_in_journal};
pub use line::{FORM, Line, Lost};
pub use loader::{Loader, is_enforces_own};
pub use now::{Found, Now};
pub use outlook::{Outlook, Prospect};

/// No line is longer, in bytes: an event has at most some 6,000, all of its names
/// escaped.
const MAX_LINE: u64 = 64 * 1024;

/// The policy's names for keys.
pub struct Publishers(HashMap<KeyHint, String>);

impl Publishers {
    /// Those of the policy in force.
    ///
    /// # Errors
    /// If no guard runs.
    pub fn read() -> anyhow::Result<Self> {
        let keys = explain(Key::read_all())?.into_iter();
        Ok(Self(keys.map(|key| (key.hint, key.publisher)).collect()))
    }

    /// Whose key an event names.
    pub fn of(&self, event: &Event) -> Option<&str> {
        self.0.get(event.key.as_ref()?).map(String::as_str)
    }
}

/// Events in order, and what is missing among them.
#[derive(Debug, Default)]
pub struct Recording {
    /// The events.
    pub lines: Vec<Line>,
    /// How many there were besides; whose they were can't be told.
    pub lost: u64,
}

impl Recording {
    /// Reads what the source names: a file of `bpftrust events --json`, the journal, or
    /// the history of the guard that runs.
    ///
    /// # Errors
    /// What is no such file, or was cut off, and where; or that no guard runs.
    pub fn load(source: &EventsSource) -> anyhow::Result<Self> {
        match &source.events {
            Some(path) => Self::parse(open_regular(path)?, path),
            None if source.journal.journal => Self::journal(source.journal.since.as_deref()),
            None => Self::running(),
        }
    }

    fn journal(since: Option<&str>) -> anyhow::Result<Self> {
        let mut recording = Self::default();
        let mut gaps = Gaps::default();
        for entry in FromJournal::open(since, false)? {
            recording.add(entry?, &mut gaps);
        }
        recording.lost += gaps.told;
        ensure_some(
            &recording,
            "the journal has no event",
            "bpftrust events --to-journal",
        )?;
        Ok(recording)
    }

    fn running() -> anyhow::Result<Self> {
        let mut history = explain(History::after(0))?;
        let publishers = Publishers::read()?;
        let mut recording = Self::default();
        for item in explain(history.read())? {
            match item {
                Item::Event(event) => {
                    let line = Line::new(&event, publishers.of(&event));
                    recording.lines.push(line);
                }
                Item::Lost(lost) => recording.lost += lost,
            }
        }
        Ok(recording)
    }

    fn parse(file: impl Read, path: &Path) -> anyhow::Result<Self> {
        let mut recording = Self::default();
        let mut reader = BufReader::new(file);
        let mut gaps = Gaps::default();
        for number in 1.. {
            let mut text = Vec::new();
            (&mut reader)
                .take(MAX_LINE)
                .read_until(b'\n', &mut text)
                .with_context(|| format!("reading {}", escaped(path)))?;
            if text.is_empty() {
                break;
            }
            let is_whole = text.last() == Some(&b'\n');
            match parse_line(&text) {
                Ok(entry) => recording.add(entry, &mut gaps),
                Err(error) => {
                    let place = format!("{}:{number}", escaped(path));
                    return Err(if is_whole || text.len() as u64 == MAX_LINE {
                        error.context(place)
                    } else {
                        cut_off(path, number)
                    });
                }
            }
        }
        recording.lost += gaps.told;
        let record = format!("bpftrust events --json > {}", quoted(path));
        ensure_some(
            &recording,
            &format!("{} has no event", escaped(path)),
            &record,
        )?;
        Ok(recording)
    }

    /// Adds what comes next in a recording.
    fn add(&mut self, entry: Entry, gaps: &mut Gaps) {
        match entry {
            Entry::Event(line) => {
                let before = if line.sequence > gaps.last {
                    gaps.last
                } else {
                    0
                };
                self.lost += line.sequence.saturating_sub(before + 1);
                *gaps = Gaps {
                    last: line.sequence,
                    told: 0,
                };
                self.lines.push(*line);
            }
            Entry::Lost(lost) => gaps.told += lost,
        }
    }

    /// What the events say of each loader, by executable and digest.
    pub fn loaders(&self) -> Vec<Loader> {
        Loader::all(&self.lines)
    }
}

fn cut_off(path: &Path, number: u32) -> anyhow::Error {
    let what = anyhow!(
        "{}:{number}: it is cut off in the middle of an event",
        escaped(path)
    );
    advised(
        what,
        format!(
            "record it again, or take the last line away: sed -i '$d' {}",
            quoted(path)
        ),
    )
}

fn ensure_some(recording: &Recording, what: &str, record: &str) -> anyhow::Result<()> {
    if recording.lines.is_empty() {
        let help = format!("record it with: {record}");
        return Err(advised(anyhow!("{what}"), help));
    }
    Ok(())
}

/// What a recording says of the events that are not in it.
#[derive(Default)]
struct Gaps {
    /// Number of the event before; a lower one begins another recording.
    last: u64,
    /// Told lost, and no event behind it that shows it by its number.
    told: u64,
}

/// What a line of a recording says.
pub enum Entry {
    /// An event.
    Event(Box<Line>),
    /// So many that nobody has.
    Lost(u64),
}

/// What every line has, of whatever form.
#[derive(Deserialize)]
struct Head {
    form: Option<u32>,
    lost: Option<u64>,
}

fn parse_line(text: &[u8]) -> anyhow::Result<Entry> {
    let head: Head = serde_json::from_slice(text).context("no event")?;
    match head.form {
        Some(FORM) => {}
        Some(form) => {
            return Err(advised(
                anyhow!("an event of form {form}, and this version reads form {FORM}"),
                "read it with the version of bpftrust that recorded it",
            ));
        }
        None => {
            return Err(advised(
                anyhow!("an event without `form`: of a version before form {FORM}, or none"),
                "record it again with this version: bpftrust events --json",
            ));
        }
    }
    if let Some(lost) = head.lost {
        return Ok(Entry::Lost(lost));
    }
    let line: Line = serde_json::from_slice(text).context("no event")?;
    ensure!(
        line.is_escaped(),
        "no event that bpftrust wrote: a name in it is not escaped"
    );
    Ok(Entry::Event(Box::new(line)))
}
