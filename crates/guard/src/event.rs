//! The history of decisions, as the kernel side keeps it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use bpftrust_signature::{KeyHint, Name, Rights};
use bpftrust_verity::Digest;

use crate::Result;
use crate::abi::{self, EVENTS, bt_event, bt_state, values_of};
use crate::clock::Boot;
use crate::pins::{Pins, View};

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// 1 for the first since enforcement began.
    pub sequence: u64,
    /// When it was made.
    pub time: SystemTime,
    /// `exec`, `bpf`, `taint`, `trace`, `attach`, `policy`, `permit` or `script`.
    pub action: &'static str,
    /// `allowed`, `denied` or `would-deny`.
    pub outcome: &'static str,
    /// Why, out of the closed list; `none` where it was allowed.
    pub reason: &'static str,
    /// The `bpf()` command, by name or, if the policy doesn't know it, number.
    pub command: Option<String>,
    /// What was not granted, where that is the reason.
    pub object: Option<Asked>,
    /// The process that somebody reached for.
    pub target: Option<u32>,
    /// The file whose code cost a process its trust, or the script that a launcher was
    /// given: a path, or its last part.
    pub file: Option<Vec<u8>>,
    /// Process, as the initial PID namespace numbers it.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Real user.
    pub uid: u32,
    /// The thread's name: chosen by itself, any bytes.
    pub comm: Vec<u8>,
    /// Path of what the process executes, seen from its root directory.
    pub executable: Vec<u8>,
    /// fs-verity digest of it.
    pub digest: Option<Digest>,
    /// The key that signed it, or that its signature names.
    pub key: Option<KeyHint>,
    /// The signed script that the process runs, or starts a loader on.
    pub script: Option<ScriptRun>,
    /// The last part of its cgroup's path, such as `agent.service`: any bytes, at most
    /// 63 of them, none for the root.
    pub cgroup: Vec<u8>,
    /// All rights besides the command that were asked for at this point, had or not: what
    /// the call takes. Nothing where it was allowed.
    pub takes: Rights,
}

/// A signed script, as events name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptRun {
    /// Its fs-verity digest.
    pub digest: Digest,
    /// What its grant calls it; `None` if it has none.
    pub name: Option<Name>,
}

impl Event {
    /// Nothing if the slot is empty, or was written to while it was read.
    fn parse(raw: &bt_event, boot: Boot) -> Option<Self> {
        if raw.sequence == 0 || raw.sequence != raw.closing {
            return None;
        }
        let action = abi::action(raw.action);
        Some(Self {
            sequence: raw.sequence,
            time: boot.at(raw.time),
            action,
            outcome: abi::outcome(raw.outcome),
            reason: abi::reason(raw.reason),
            command: (action == "bpf").then(|| {
                abi::command(raw.command).map_or_else(|| raw.command.to_string(), str::to_owned)
            }),
            object: Asked::parse(raw.object, raw.number),
            target: matches!(action, "trace" | "anchor" | "object").then_some(raw.target),
            file: (raw.file[0] != 0).then(|| abi::text_of(&raw.file).to_vec()),
            pid: raw.pid,
            tid: raw.tid,
            uid: raw.uid,
            comm: abi::text_of(&raw.comm).to_vec(),
            executable: abi::text_of(&raw.path).to_vec(),
            digest: abi::digest(&raw.digest),
            key: abi::key_hint(raw.key),
            script: abi::digest(&raw.script_digest).map(|digest| ScriptRun {
                digest,
                name: Name::from_bytes(&raw.script),
            }),
            cgroup: abi::text_of(&raw.cgroup).to_vec(),
            takes: abi::rights(&raw.takes),
        })
    }
}

/// A right that was asked for, or an object that somebody reached for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `command`, `program`, `map`, `attach` or `ability`; `link`, `btf` or `token`.
    pub kind: &'static str,
    /// Which: its name, or its number if this version has no name for it.
    pub name: String,
}

impl Asked {
    fn parse(object: u8, number: u32) -> Option<Self> {
        let (kind, name) = abi::object(object, number)?;
        Some(Self { kind, name })
    }
}

/// What a reader gets: events in order, and how many he can't have any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Box<Event>),
    /// This many were overwritten, or found their slot busy, before they were read.
    Lost(u64),
}

/// How often a number that is missing in the middle is looked for again: its
/// writer may have been preempted.
const PATIENCE: u32 = 3;

/// Reads the history from the start, or on from where it was. Any number of
/// readers may: none takes anything from another.
#[derive(Debug)]
pub struct History {
    pins: Pins,
    /// When its guard was armed, in nanoseconds since boot; 0 before.
    guard: u64,
    next: u64,
    waited: u32,
    /// How many events the last read brought.
    brought: u64,
}

impl History {
    /// The history of the guard that runs, from the first event after the one
    /// with this number on; 0 for all of it.
    ///
    /// # Errors
    /// [`Error::NotEnforcing`](crate::Error::NotEnforcing).
    pub fn after(sequence: u64) -> Result<Self> {
        let pins = Pins::standard();
        let state = pins.state()?;
        Ok(Self {
            pins,
            guard: state.started,
            next: sequence.saturating_add(1),
            waited: 0,
            brought: 0,
        })
    }

    /// What tells this guard from others of the same boot: when it was armed, in
    /// nanoseconds since then (`CLOCK_BOOTTIME`).
    pub fn guard(&self) -> u64 {
        self.guard
    }

    /// The number of the newest event; 0 if there is none. For programs that link
    /// nothing else of this crate, so without its errors.
    ///
    /// # Errors
    /// `NotFound` if no guard runs; `InvalidData` if it is of another version.
    pub fn newest() -> io::Result<u64> {
        let bytes = fs::read(Pins::standard().view(View::State))?;
        let state = values_of::<bt_state>(&bytes).pop();
        Ok(state.ok_or(io::ErrorKind::InvalidData)?.events)
    }

    /// What is new since the last call; all of it, where another guard took the place
    /// of the one that was read.
    ///
    /// # Errors
    /// [`Error::NotEnforcing`](crate::Error::NotEnforcing) once the guard is gone.
    pub fn read(&mut self) -> Result<Vec<Item>> {
        self.brought = 0;
        let state = self.pins.state()?;
        if state.started != self.guard {
            (self.guard, self.next, self.waited) = (state.started, 1, 0);
        }
        let newest = state.events;
        self.brought = (newest + 1).saturating_sub(self.next);
        if newest < self.next {
            return Ok(Vec::new());
        }
        let boot = Boot::since_epoch(state.booted);
        let events = self.pins.events(slots_to_read(self.next, newest))?;
        let oldest = newest.saturating_sub(EVENTS) + 1;
        let found = events
            .iter()
            .filter(|raw| raw.sequence >= self.next)
            .filter_map(|raw| Event::parse(raw, boot))
            .map(|event| (event.sequence, event))
            .collect();
        Ok(self.advance(found, oldest, newest))
    }

    fn advance(&mut self, mut found: BTreeMap<u64, Event>, oldest: u64, newest: u64) -> Vec<Item> {
        let mut items = Vec::new();
        let mut lost = 0;
        while self.next <= newest {
            if let Some(event) = found.remove(&self.next) {
                if lost > 0 {
                    items.push(Item::Lost(lost));
                    lost = 0;
                }
                items.push(Item::Event(Box::new(event)));
            } else if self.next < oldest || self.waited >= PATIENCE {
                lost += 1;
            } else {
                self.waited += 1;
                break;
            }
            self.waited = 0;
            self.next += 1;
        }
        if lost > 0 {
            items.push(Item::Lost(lost));
        }
        items
    }

    /// How long to wait before the next [`read`](Self::read) is worth while: not at all
    /// if events come so fast that they may be overwritten meanwhile.
    pub fn pause(&self) -> Duration {
        if self.brought > EVENTS / 8 {
            Duration::ZERO
        } else {
            Duration::from_millis(200)
        }
    }
}

/// How many slots, from the first on, hold all events from `next` to `newest`:
/// event N is in slot (N - 1) modulo their number.
fn slots_to_read(next: u64, newest: u64) -> usize {
    let last = (newest - 1) % EVENTS;
    let count = if (next - 1) / EVENTS == (newest - 1) / EVENTS {
        last + 1
    } else {
        EVENTS
    };
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(sequence: u64) -> (u64, Event) {
        let raw = bt_event {
            sequence,
            closing: sequence,
            ..bt_event::default()
        };
        (sequence, Event::parse(&raw, Boot::now()).unwrap())
    }

    fn history() -> History {
        History {
            pins: Pins::standard(),
            guard: 1,
            next: 1,
            waited: 0,
            brought: 0,
        }
    }

    fn shape(items: &[Item]) -> Vec<i64> {
        items
            .iter()
            .map(|item| match item {
                Item::Event(event) => event.sequence.cast_signed(),
                Item::Lost(count) => -count.cast_signed(),
            })
            .collect()
    }

    #[test]
    fn overwritten_events_are_counted() {
        let mut history = history();
        let found = [event(6), event(7)].into();
        assert_eq!(shape(&history.advance(found, 6, 7)), [-5, 6, 7]);
    }

    #[test]
    fn an_event_that_is_being_written_is_waited_for_and_then_lost() {
        let mut history = history();
        assert_eq!(
            shape(&history.advance([event(1), event(3)].into(), 1, 3)),
            [1]
        );
        assert_eq!(
            shape(&history.advance([event(2), event(3)].into(), 1, 3)),
            [2, 3]
        );
        for _ in 0..PATIENCE {
            assert_eq!(shape(&history.advance([event(5)].into(), 1, 5)), [0_i64; 0]);
        }
        assert_eq!(shape(&history.advance([event(5)].into(), 1, 5)), [-1, 5]);
    }

    #[test]
    fn only_slots_that_may_hold_what_is_new_are_read() {
        for (next, newest, slots) in [
            (1, 1, 1),
            (1, 4096, 4096),
            (7, 9, 9),
            (4096, 4096, 4096),
            // Round the end: the older ones are behind.
            (4096, 4097, 4096),
            (4097, 4097, 1),
            (1, 9000, 4096),
            (8193, 8200, 8),
        ] {
            assert_eq!(slots_to_read(next, newest), slots, "{next} to {newest}");
        }
    }

    #[test]
    fn a_slot_that_changed_while_it_was_read_is_no_event() {
        let raw = bt_event {
            sequence: 9,
            closing: 5,
            ..bt_event::default()
        };
        assert_eq!(Event::parse(&raw, Boot::now()), None);
        assert_eq!(Event::parse(&bt_event::default(), Boot::now()), None);
    }
}
