//! What needs somebody, and what he is to type; and what was refused lately.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bpftrust_guard::{Event, History, Item, Mode, Status, version};

use crate::guard_advice::explain;
use crate::output::{counted, escape_bytes};
use crate::recorded::is_enforces_own;
use crate::rights::moment;

/// How far back refusals are counted one by one.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long before a grant's end it is said.
const TWO_WEEKS: u64 = 14 * 24 * 60 * 60;

/// How many names a line has at most.
const NAMES: usize = 3;

/// Refusals of the last hour, as far as the history goes back.
#[derive(Debug, Default)]
pub(super) struct LastHour {
    /// By reason.
    pub(super) refusals: BTreeMap<&'static str, u64>,
    /// Executables that were refused for want of a signature or a right, escaped.
    executables: BTreeSet<String>,
    /// The history begins later.
    pub(super) is_cut: bool,
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attention {
    /// What.
    pub(super) what: String,
    /// What to do about it.
    pub(super) help: String,
}

impl LastHour {
    pub(super) fn read(now: SystemTime) -> anyhow::Result<Self> {
        let items = explain(explain(History::after(0))?.read())?;
        Ok(Self::of(&items, now))
    }

    fn of(items: &[Item], now: SystemTime) -> Self {
        let mut last = Self::default();
        let is_recent = |event: &Event| now.duration_since(event.time).is_ok_and(|age| age < HOUR);
        for item in items {
            match item {
                Item::Event(event) if event.outcome != "allowed" && is_recent(event) => {
                    *last.refusals.entry(event.reason).or_default() += 1;
                    let mends = ["no-signature", "not-granted", "before", "no-verity"];
                    if mends.contains(&event.reason) && is_of_note(event) {
                        last.executables.insert(escape_bytes(&event.executable));
                    }
                }
                _ => {}
            }
        }
        let oldest = items.iter().find_map(|item| match item {
            Item::Event(event) => Some(event),
            Item::Lost(_) => None,
        });
        last.is_cut = matches!(items.first(), Some(Item::Lost(_)))
            && oldest.is_some_and(|event| is_recent(event));
        last
    }
}

/// Not what `enforce` asks to see that it is refused, nor a token that libbpf tries.
fn is_of_note(event: &Event) -> bool {
    let command = event.command.as_deref();
    let is_own = is_enforces_own(&event.executable, command);
    let is_tried = event.key.is_some() && command == Some("token-create");
    !event.executable.is_empty() && !is_own && !is_tried
}

/// All that needs somebody, the worst first.
pub(super) fn attention(status: &Status, last: &LastHour, now: SystemTime) -> Vec<Attention> {
    let mut all = Vec::new();
    let mut say = |what: String, help: &str| {
        all.push(Attention {
            what,
            help: help.to_owned(),
        });
    };
    if !status.missing_hooks.is_empty() {
        say(
            format!(
                "somebody took hooks away ({}): what they decided is open",
                status.missing_hooks.join(", ")
            ),
            "type 'bpftrust release' and 'bpftrust enforce'",
        );
    }
    if status.ftrace_off {
        say(
            "kernel.ftrace_enabled is 0, so no hook decides anything".into(),
            "type 'sysctl kernel.ftrace_enabled=1'",
        );
    }
    if status.is_of_another_version() {
        let help = match status.seal {
            Some(_) => "start the machine again to have it enforced by this one",
            None => {
                "type 'bpftrust release' and 'bpftrust enforce', or start the machine again, \
                 to have it enforced by this one"
            }
        };
        say(
            format!(
                "version {} of bpftrust started what is in the kernel, and this is {}",
                escape_bytes(status.version.as_bytes()),
                version()
            ),
            help,
        );
    }
    if status.images.iter().any(|image| image.adopted) {
        say(
            "adopted processes are trusted without evidence".into(),
            "restart them",
        );
    }
    if status.keys.iter().any(|key| key.lost) {
        say(
            "a keyring is gone, so nothing new is trusted".into(),
            "type 'bpftrust policy apply'",
        );
    }
    if status.starved > 0 {
        say(
            format!("there was no room for {} records", status.starved),
            "see docs/events.md, resources",
        );
    }
    let second = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut ends = BTreeSet::new();
    for grant in status
        .images
        .iter()
        .filter_map(|image| image.grant.as_ref())
    {
        if grant.not_after != 0 && grant.not_after < second + TWO_WEEKS {
            ends.insert((grant.not_after, grant.name.to_string()));
        }
    }
    for (end, name) in ends {
        say(
            format!("the grant of {name} ends at {}", moment(end)),
            "sign it again with a later not-after, and start it again",
        );
    }
    if !last.executables.is_empty() {
        let count = last.executables.len();
        let names: Vec<_> = last.executables.iter().take(NAMES).cloned().collect();
        let more = if count > NAMES { " …" } else { "" };
        let (what, help) = match status.mode {
            Mode::Enforce => (
                "were refused",
                "type 'bpftrust events' to see whether they should be",
            ),
            Mode::Audit => (
                "would have been refused",
                "type 'bpftrust propose --out DIR --key KEY.pem --certificate CERT.pem'",
            ),
        };
        say(
            format!(
                "in the last hour {} {what}: {}{more}",
                counted(count, "executable"),
                names.join(" ")
            ),
            help,
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use bpftrust_signature::Rights;

    use super::*;

    fn event(reason: &'static str, age: u64) -> Item {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        Item::Event(Box::new(Event {
            sequence: 1,
            time: now - Duration::from_secs(age),
            action: "bpf",
            outcome: if reason == "none" {
                "allowed"
            } else {
                "denied"
            },
            reason,
            command: None,
            object: None,
            target: None,
            file: None,
            pid: 1,
            tid: 1,
            uid: 0,
            comm: Vec::new(),
            executable: b"/usr/bin/a\x1b".to_vec(),
            digest: None,
            key: None,
            script: None,
            cgroup: Vec::new(),
            takes: Rights::NONE,
        }))
    }

    fn last(items: &[Item]) -> LastHour {
        LastHour::of(items, UNIX_EPOCH + Duration::from_secs(1_000_000))
    }

    #[test]
    fn what_is_older_than_an_hour_or_allowed_does_not_count() {
        let found = last(&[
            event("no-signature", 3_601),
            event("no-signature", 3_599),
            event("no-signature", 0),
            event("expired", 5),
            event("none", 5),
        ]);
        assert_eq!(found.refusals, [("no-signature", 2), ("expired", 1)].into());
        assert_eq!(found.executables, ["/usr/bin/a\\u{1b}".to_owned()].into());
        assert!(!found.is_cut);
    }

    #[test]
    fn a_history_that_begins_later_is_said_to() {
        assert!(last(&[Item::Lost(3), event("expired", 5)]).is_cut);
        assert!(!last(&[Item::Lost(3), event("expired", 4_000)]).is_cut);
        assert!(!last(&[]).is_cut);
    }
}
