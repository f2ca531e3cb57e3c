//! `bpftrust events`.

use std::fmt::Write as _;

use anyhow::Context;
use bpftrust_guard::{Error, History, Item};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::EventsArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, json_line, print};
use crate::recorded::{
    Entry, FORM, FromJournal, Line, Lost, Publishers, ToJournal, last_in_journal,
};

pub fn run(args: &EventsArgs) -> anyhow::Result<Outcome> {
    if args.source.journal {
        for entry in FromJournal::open(args.source.since.as_deref(), args.follow)? {
            print(&shown(&entry?, args.json));
        }
        return Ok(Outcome::Yes);
    }
    let mut history = explain(History::after(args.after))?;
    let journal = args.to_journal.then(ToJournal::open).transpose()?;
    if journal.is_some() {
        history = explain(History::after(last_in_journal(history.guard())?))?;
    }
    loop {
        let items = match history.read() {
            // Who keeps them outlasts a guard, and goes on with the next.
            Err(Error::NotEnforcing) if args.follow && journal.is_some() => Vec::new(),
            items => explain(items)?,
        };
        if !items.is_empty() {
            tell(items, history.guard(), journal.as_ref(), args.json)?;
        }
        if !args.follow || wait_or_hang_up(&history)? {
            return Ok(Outcome::Yes);
        }
    }
}

/// Tells what a look at the history brought.
fn tell(
    items: Vec<Item>,
    guard: u64,
    journal: Option<&ToJournal>,
    json: bool,
) -> anyhow::Result<()> {
    // Of now: a policy may have come meanwhile.
    let publishers = Publishers::read()?;
    // Printed at once, or they come faster than they are written.
    let mut lines = String::new();
    for item in items {
        let entry = match item {
            Item::Event(event) => Entry::Event(Box::new(Line::new(&event, publishers.of(&event)))),
            Item::Lost(lost) => Entry::Lost(lost),
        };
        match journal {
            Some(journal) => write(journal, guard, &entry)?,
            None => lines += &shown(&entry, json),
        }
    }
    print(&lines);
    Ok(())
}

/// Waits until it is worth while to look again. True if the reader of our
/// output is gone: nobody is left to wait for.
fn wait_or_hang_up(history: &History) -> anyhow::Result<bool> {
    let pause = Timespec::try_from(history.pause()).context("the pause is short")?;
    let stdout = std::io::stdout();
    let mut output = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut output, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno).context("waiting for events"),
    }
    let gone = PollFlags::ERR | PollFlags::NVAL;
    Ok(output[0].revents().intersects(gone))
}

fn shown(entry: &Entry, json: bool) -> String {
    match (entry, json) {
        (Entry::Event(line), true) => json_line(line),
        (Entry::Event(line), false) => format!("{} {}\n", time(line), text(line)),
        (Entry::Lost(lost), true) => json_line(&Lost {
            form: FORM,
            lost: *lost,
        }),
        (Entry::Lost(lost), false) => format!("--- {} ---\n", lost_text(*lost)),
    }
}

fn write(journal: &ToJournal, guard: u64, entry: &Entry) -> anyhow::Result<()> {
    match entry {
        Entry::Event(line) => journal.event(guard, line, &text(line)),
        Entry::Lost(lost) => journal.lost(guard, *lost, &lost_text(*lost)),
    }
}

fn lost_text(lost: u64) -> String {
    let end = if lost == 1 { "" } else { "s" };
    format!("{lost} event{end} lost: overwritten before anybody read them")
}

/// To the millisecond; a recording has more digits.
fn time(line: &Line) -> String {
    match humantime::parse_rfc3339(&line.time) {
        Ok(time) => humantime::format_rfc3339_millis(time).to_string(),
        Err(_) => line.time.clone(),
    }
}

/// One event in words: what was decided and why, who, and what for.
fn text(line: &Line) -> String {
    const TO_STRING: &str = "writing to a string";
    let reason = if line.reason == "none" {
        "-"
    } else {
        &line.reason
    };
    let mut text = format!("{:<10} {reason:<16} {}", line.outcome, line.action);
    let asked = line.object.iter().chain(&line.name);
    for word in line.command.iter().chain(asked) {
        write!(text, " {word}").expect(TO_STRING);
    }
    if let Some(target) = line.target {
        write!(text, " of {target}").expect(TO_STRING);
    }
    if let Some(file) = &line.file {
        write!(text, " by {file}").expect(TO_STRING);
    }
    write!(text, "  {}[{}] {}", line.comm, line.pid, line.executable).expect(TO_STRING);
    if let Some(digest) = &line.digest {
        write!(text, "  {}", prefix(digest)).expect(TO_STRING);
    }
    if let Some(publisher) = &line.publisher {
        write!(text, "  by {publisher}").expect(TO_STRING);
    }
    if let Some(digest) = &line.script_digest {
        let name = line.script.as_deref().unwrap_or("(no name)");
        write!(text, "  script {name} {}", prefix(digest)).expect(TO_STRING);
    }
    text
}

/// The algorithm and the first 12 digits of a digest: enough to tell files apart.
pub fn prefix(digest: &impl ToString) -> String {
    digest.to_string().chars().take(19).collect()
}
