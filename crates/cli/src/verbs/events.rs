//! `bpftrust events`.

use std::fmt::Write as _;

use anyhow::Context;
use bpftrust_guard::{Event, History, Item};
use bpftrust_signature::Name;
use bpftrust_verity::Digest;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cli::EventsArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, escape_bytes, print, print_json};
use crate::recorded::{FORM, Line, Lost, Publishers};

pub fn run(args: &EventsArgs) -> anyhow::Result<Outcome> {
    let mut history = explain(History::after(args.after))?;
    let publishers = Publishers::read()?;
    loop {
        for item in explain(history.read())? {
            show(&item, &publishers, args.json);
        }
        if !args.follow {
            return Ok(Outcome::Yes);
        }
        if wait_or_hang_up()? {
            return Ok(Outcome::Yes);
        }
    }
}

/// Waits until it is worth while to look again. True if the reader of our
/// output is gone: nobody is left to wait for.
fn wait_or_hang_up() -> anyhow::Result<bool> {
    let pause = Timespec::try_from(History::PAUSE).context("the pause is short")?;
    let stdout = std::io::stdout();
    let mut output = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut output, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno).context("waiting for events"),
    }
    let gone = PollFlags::ERR | PollFlags::NVAL;
    Ok(output[0].revents().intersects(gone))
}

fn show(item: &Item, publishers: &Publishers, json: bool) {
    match (item, json) {
        (Item::Event(event), true) => print_json(&Line::new(event, publishers.of(event))),
        (Item::Event(event), false) => print(&text(event, publishers)),
        (Item::Lost(lost), true) => print_json(&Lost {
            form: FORM,
            lost: *lost,
        }),
        (Item::Lost(lost), false) => print(&format!(
            "--- {lost} event{} lost: overwritten before anybody read them ---\n",
            if *lost == 1 { "" } else { "s" }
        )),
    }
}

/// One event as a line: when, what was decided and why, who, and what for.
fn text(event: &Event, publishers: &Publishers) -> String {
    let mut line = format!(
        "{} {:<10} {:<16} {}",
        humantime::format_rfc3339_millis(event.time),
        event.outcome,
        if event.reason == "none" {
            "-"
        } else {
            event.reason
        },
        event.action,
    );
    if let Some(command) = &event.command {
        write!(line, " {command}").expect("writing to a string");
    }
    if let Some(asked) = &event.object {
        write!(line, " {} {}", asked.kind, asked.name).expect("writing to a string");
    }
    if let Some(target) = event.target {
        write!(line, " of {target}").expect("writing to a string");
    }
    if let Some(file) = &event.file {
        write!(line, " by {}", escape_bytes(file)).expect("writing to a string");
    }
    write!(
        line,
        "  {}[{}] {}",
        escape_bytes(&event.comm),
        event.pid,
        escape_bytes(&event.executable)
    )
    .expect("writing to a string");
    if let Some(digest) = &event.digest {
        write!(line, "  {}", prefix(digest)).expect("writing to a string");
    }
    if let Some(publisher) = publishers.of(event) {
        write!(line, "  by {publisher}").expect("writing to a string");
    }
    if let Some(script) = &event.script {
        let name = script.name.as_ref().map_or("(no name)", Name::as_str);
        write!(line, "  script {name} {}", prefix(&script.digest)).expect("writing to a string");
    }
    line.push('\n');
    line
}

/// The algorithm and the first 12 digits: enough to tell files apart.
pub fn prefix(digest: &Digest) -> String {
    digest.to_string().chars().take(19).collect()
}
