//! `bpftrust report`: who uses BPF here, for what, signed or not, and what enforcing
//! would break; in the terminal or as a page.

mod page;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use bpftrust_guard::{POLICY, Vocabulary};
use bpftrust_signature::Rights;

use crate::cli::ReportArgs;
use crate::guard_advice::load_policy;
use crate::input::require_regular;
use crate::output::{Outcome, counted, escape_bytes, escaped, print};
use crate::recorded::{Found, Outlook, Prospect, Recording};
use crate::replace::replace;
use crate::rights::short;

pub fn run(args: &ReportArgs) -> anyhow::Result<Outcome> {
    if let Some(out) = &args.out
        && let Ok(metadata) = std::fs::metadata(out)
    {
        require_regular(&metadata).with_context(|| format!("--out {}", escaped(out)))?;
    }
    let recording = Recording::load(&args.source)?;
    let prospect = Prospect::new(load_policy(args.policy.as_deref())?)?;
    let policy = args.policy.as_deref().unwrap_or(Path::new(POLICY));
    let report = Report::new(&recording, &prospect, policy);
    match &args.out {
        Some(out) => {
            replace(out, report.page().as_bytes())?;
            print(&format!("{}: {}\n", escaped(out), report.summary()));
        }
        None => print(&report.text()),
    }
    Ok(Outcome::Yes)
}

/// All that a report says.
struct Report {
    host: String,
    policy: String,
    events: usize,
    lost: u64,
    /// The first and the last event, to the second.
    span: Option<(String, String)>,
    rows: Vec<Row>,
}

/// A loader.
struct Row {
    found: Found,
    outlook: Outlook,
}

impl Report {
    fn new(recording: &Recording, prospect: &Prospect, policy: &Path) -> Self {
        let time = |line: &crate::recorded::Line| {
            let (seconds, _) = line.time.split_once('.').unwrap_or((&line.time, ""));
            format!("{}Z", seconds.trim_end_matches('Z'))
        };
        let span = recording.lines.first().zip(recording.lines.last());
        let mut rows: Vec<_> = Found::all(recording.loaders())
            .into_iter()
            .map(|found| Row {
                outlook: prospect.of(&found),
                found,
            })
            .collect();
        // What needs attention comes first.
        rows.sort_by_key(|row| match row.outlook {
            Outlook::Refused { .. } => 0,
            Outlook::Unknown(_) => 1,
            Outlook::Works { .. } => 2,
        });
        Self {
            host: escape_bytes(rustix::system::uname().nodename().to_bytes()),
            policy: escaped(policy),
            events: recording.lines.len(),
            lost: recording.lost,
            span: span.map(|(first, last)| (time(first), time(last))),
            rows,
        }
    }

    fn count(&self, word: &str) -> usize {
        let is = |row: &&Row| row.outlook.word() == word;
        self.rows.iter().filter(is).count()
    }

    fn summary(&self) -> String {
        format!(
            "{} here: {} would work, {} would be refused, {} can't be told",
            counted(self.rows.len(), "loader"),
            self.count("works"),
            self.count("refused"),
            self.count("unknown")
        )
    }

    /// What the events are, in a sentence.
    fn basis(&self) -> String {
        let events = counted(self.events, "event");
        match &self.span {
            Some((first, last)) => format!("{events}, from {first} to {last}"),
            None => events,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "BPF on {}: {}\nif {} were enforced: {}\n",
            self.host,
            self.basis(),
            self.policy,
            self.summary()
        );
        if self.lost > 0 {
            text.push_str(&format!(
                "{} events were lost: there may be more\n",
                self.lost
            ));
        }
        for row in &self.rows {
            text.push_str(&format!(
                "\n{}\n  {}\n  for: {}\n",
                row.found.loader.executable,
                row.outlook,
                row.purpose()
            ));
            for (label, value) in row.facts() {
                text.push_str(&format!("  {label}: {value}\n"));
            }
            if let Some(help) = row.help() {
                text.push_str(&format!("  help: {help}\n"));
            }
        }
        text
    }
}

impl Row {
    /// What it does with BPF, by the types that it takes.
    fn purpose(&self) -> String {
        let takes = &self.found.loader.takes;
        let has = |kind: Vocabulary, words: &[&str]| {
            let names = kind.numbers(takes).into_iter();
            names
                .filter_map(|number| kind.name(number))
                .any(|name| words.iter().any(|word| name.starts_with(word)))
        };
        let programs = |words: &[&str]| has(Vocabulary::Programs, words);
        let mut purposes = Vec::new();
        for (is, purpose) in [
            (
                programs(&["kprobe", "tracepoint", "perf_event", "raw_trace", "tracing"]),
                "tracing",
            ),
            (
                programs(&[
                    "xdp",
                    "sched_cls",
                    "sched_act",
                    "lwt_",
                    "sk_",
                    "flow",
                    "netfilter",
                ]),
                "network traffic",
            ),
            (programs(&["cgroup_"]), "control of cgroups"),
            (programs(&["lsm"]), "security decisions"),
            (programs(&["struct_ops", "ext"]), "parts of the kernel"),
            (
                has(
                    Vocabulary::Commands,
                    &["prog-get-", "map-get-fd", "link-get-", "btf-get-next"],
                ),
                "looking at BPF objects",
            ),
        ] {
            if is {
                purposes.push(purpose);
            }
        }
        if purposes.is_empty() {
            return "nothing that a type of program tells".into();
        }
        purposes.join(", ")
    }

    /// Labels and values that are worth a line.
    fn facts(&self) -> Vec<(&'static str, String)> {
        let loader = &self.found.loader;
        let mut facts = Vec::new();
        let package = self.found.now.as_ref().ok();
        let package = package.and_then(|now| now.package.as_ref());
        if let Some(package) = package {
            facts.push(("package", format!("{} {}", package.name, package.version)));
        }
        let mut put = |label, values: Vec<String>| {
            if !values.is_empty() {
                facts.push((label, values.join(" ")));
            }
        };
        put("in", loader.cgroups.iter().cloned().collect());
        put("signed by", loader.publishers.iter().cloned().collect());
        let texts = |numbers: &BTreeSet<u32>| numbers.iter().map(u32::to_string).collect();
        put("users", texts(&loader.users));
        facts.push(("processes", loader.processes.len().to_string()));
        let refused: Vec<_> = loader
            .refusals
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        if !refused.is_empty() {
            facts.push(("recorded refusals", refused.join(", ")));
        }
        if loader.takes != Rights::NONE {
            facts.push(("takes", short(&loader.takes).replace(',', ", ")));
        }
        facts
    }

    /// What to type, if it would not work.
    fn help(&self) -> Option<&'static str> {
        match &self.outlook {
            Outlook::Works { .. } => None,
            Outlook::Unknown(_) => Some("use it again in audit mode, then ask again"),
            Outlook::Refused { reason, .. } => Some(match reason.as_str() {
                "no-signature" | "not-granted" | "no-verity" => {
                    "bpftrust propose --out DIR --key KEY.pem --certificate CERT.pem"
                }
                "unsigned-library" => "bpftrust sign --with-libraries",
                _ => "docs/events.md, Reasons, says what to do",
            }),
        }
    }
}
