//! `bpftrust metrics`: the guard in numbers, in the text form of Prometheus or that of
//! OpenMetrics.

mod serve;

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use bpftrust_guard::{Error, Status};
use bpftrust_signature::Name;
use prometheus_client::encoding::{EncodeLabelSet, prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cli::MetricsArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, print};
use crate::replace::replace;
use serve::serve;

pub fn run(args: &MetricsArgs) -> anyhow::Result<Outcome> {
    if let Some(socket) = &args.listen {
        serve(socket, || {
            let mut text = String::new();
            text::encode(&mut text, &read()?).context("writing the numbers")?;
            Ok(text)
        })?;
    }
    let mut text = String::new();
    prometheus_text::encode(&mut text, &read()?).context("writing the numbers")?;
    match &args.textfile {
        Some(file) => replace(file, text.as_bytes())?,
        None => print(&text),
    }
    Ok(Outcome::Yes)
}

/// All numbers of now.
fn read() -> anyhow::Result<Registry> {
    Ok(match Status::read() {
        Err(Error::NotEnforcing) => registry(None),
        status => registry(Some(&explain(status)?)),
    })
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Mode {
    mode: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Owned {
    publisher: String,
    loader: String,
    kind: String,
}

/// All numbers; without a guard that it is off, and nothing else.
fn registry(status: Option<&Status>) -> Registry {
    let mut registry = Registry::with_prefix("bpftrust");
    let mode = Family::<Mode, Gauge>::default();
    for name in ["off", "audit", "enforce"] {
        let now = status.map_or("off", |status| status.mode.name());
        let labels = Mode { mode: name.into() };
        mode.get_or_create(&labels).set(i64::from(name == now));
    }
    registry.register("mode", "1 for the mode that the guard is in", mode);
    let Some(status) = status else {
        return registry;
    };
    let started = status.started.duration_since(UNIX_EPOCH);
    let refusals = Family::<Reason, Counter>::default();
    for &(reason, count) in &status.refusals {
        let reason = reason.into();
        refusals.get_or_create(&Reason { reason }).inc_by(count);
    }
    registry.register(
        "refusals",
        "Refusals since the guard started, in audit mode those that it would make",
        refusals,
    );
    let fallen = Family::<Reason, Gauge>::default();
    for reason in status.images.iter().filter_map(|image| image.lost_trust) {
        let reason = reason.into();
        fallen.get_or_create(&Reason { reason }).inc();
    }
    registry.register("fallen_processes", "Processes that lost trust", fallen);
    registry.register("objects", "BPF objects of trusted loaders", objects(status));
    for (name, help, count) in [
        ("events", "Events since the guard started", status.events),
        (
            "lost_events",
            "Events that were not recorded",
            status.lost_events,
        ),
        (
            "starved",
            "Records for which there was no room",
            status.starved,
        ),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(count);
        registry.register(name, help, counter);
    }
    let trusted = status.images.iter().filter(|one| one.lost_trust.is_none());
    let lost_keys = status.keys.iter().filter(|key| key.lost);
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for (name, help, value) in [
        (
            "start_time_seconds",
            "When the guard started, in seconds since the epoch",
            whole(started.map_or(0, |since| since.as_secs())),
        ),
        (
            "whole",
            "1 unless hooks are missing or switched off",
            i64::from(status.is_whole()),
        ),
        (
            "sealed",
            "1 if nothing ends it before a reboot",
            i64::from(status.seal.is_some()),
        ),
        (
            "policy_number",
            "Number of the policy in force",
            whole(status.generation),
        ),
        (
            "policy_serial",
            "Highest serial of a policy in force",
            whole(status.serial),
        ),
        (
            "missing_hooks",
            "Hooks that somebody took away",
            count(status.missing_hooks.len()),
        ),
        (
            "lost_keys",
            "Keys whose keyring is gone",
            count(lost_keys.count()),
        ),
        (
            "trusted_processes",
            "Processes that have trust",
            count(trusted.count()),
        ),
        (
            "tokens",
            "BPF tokens that exist",
            count(status.tokens.len()),
        ),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    registry
}

/// By owner and kind. Names are of a policy and of signatures: few, and short.
fn objects(status: &Status) -> Family<Owned, Gauge> {
    let text = |name: &Option<Name>| name.as_ref().map_or_else(String::new, Name::to_string);
    let mut counts = BTreeMap::<_, i64>::new();
    for object in status.objects.iter().filter(|one| one.pid.is_some()) {
        let owner = (text(&object.publisher), text(&object.loader), object.kind);
        *counts.entry(owner).or_default() += 1;
    }
    let family = Family::<Owned, Gauge>::default();
    for ((publisher, loader, kind), count) in counts {
        let labels = Owned {
            publisher,
            loader,
            kind: kind.into(),
        };
        family.get_or_create(&labels).set(count);
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_guard_it_is_off_and_nothing_else() {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry(None)).unwrap();
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(values.len(), 3, "{text}");
        for (mode, value) in [("off", 1), ("audit", 0), ("enforce", 0)] {
            let line = format!("bpftrust_mode{{mode=\"{mode}\"}} {value}");
            assert!(values.contains(&&*line), "no {line} in {text}");
        }
    }
}
