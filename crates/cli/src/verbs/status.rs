//! `bpftrust status`.

mod attention;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bpftrust_guard::{
    Error, Image, Libraries, Mode, Object, Script, Seal, Status, Token, Vocabulary, describe,
};
use bpftrust_signature::Name;
use serde_json::{Value, json};

use crate::cli::StatusArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, escape_bytes, print, print_json};
use crate::rights::{grant_as_json, require, rights_as_json};
use crate::verbs::events::prefix;
use crate::verbs::policy::libraries;
use attention::{Attention, LastHour, attention};

pub fn run(args: &StatusArgs) -> anyhow::Result<Outcome> {
    let status = match Status::read() {
        Err(Error::NotEnforcing) if explain(bpftrust_guard::is_closed())? => {
            if args.json {
                print_json(&json!({ "mode": "closed" }));
            } else {
                print(
                    "closed: what was sealed is gone, and bpf() is refused to everybody until \
                     the machine is started again\n",
                );
            }
            return Ok(Outcome::No);
        }
        Err(Error::NotEnforcing) => {
            if args.json {
                print_json(&json!({ "mode": "off" }));
            } else {
                print("not enforcing: bpf() is open to every process that has the privilege\n");
            }
            return Ok(Outcome::No);
        }
        status => explain(status)?,
    };
    let last = LastHour::read(SystemTime::now())?;
    if args.json {
        print_json(&as_json(&status, &last));
    } else {
        print(&as_text(&status, &last));
    }
    Ok(if status.is_whole() {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

fn as_json(status: &Status, last: &LastHour) -> Value {
    json!({
        "mode": status.mode.name(),
        "version": status.version,
        "missing_hooks": status.missing_hooks,
        "ftrace_off": status.ftrace_off,
        "started": humantime::format_rfc3339_seconds(status.started).to_string(),
        "policy": status.generation,
        "serial": status.serial,
        "seal": status.seal.map(|seal| json!({
            "anchor": seal.anchor,
            "anchor_runs": seal.anchor_runs,
            "nonce": seal.nonce.to_string(),
            "boot_time": seal.uptime,
            "lifted_until": seal.lifted_until,
        })),
        "libraries": status.libraries.map(Libraries::name),
        "policy_since": humantime::format_rfc3339_seconds(status.policy_since).to_string(),
        "events": status.events,
        "lost_events": status.lost_events,
        "starved": status.starved,
        "reasons": status.reasons,
        "refusals": status.refusals.iter().copied().collect::<std::collections::BTreeMap<_, _>>(),
        "last_hour": last.refusals,
        "attention": attention(status, last, SystemTime::now()).iter().map(|one| json!({
            "what": one.what,
            "help": one.help,
        })).collect::<Vec<_>>(),
        "keys": status.keys.iter().map(|key| json!({
            "publisher": (!key.publisher.is_empty()).then_some(&key.publisher),
            "key": key.hint.to_string(),
            "ring": key.ring,
            "keyring": key.keyring,
            "signs": if key.orders { "policies" } else { "loaders" },
            "refused": key.refused,
            "lost": key.lost,
        })).collect::<Vec<_>>(),
        "images": status.images.iter().map(|image| json!({
            "pid": image.pid,
            "comm": escape_bytes(&image.comm),
            "tasks": image.tasks,
            "started": humantime::format_rfc3339_seconds(image.started).to_string(),
            "lost_trust": image.lost_trust,
            "adopted": image.adopted,
            "libraries": image.libraries.map(Libraries::name),
            "library_keys": image.library_keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "digest": image.digest.as_ref().map(ToString::to_string),
            "key": image.key.as_ref().map(ToString::to_string),
            "publisher": image.publisher.as_ref().map(Name::as_str),
            "grant": image.grant.as_ref().map(grant_as_json),
            "rights": rights_as_json(&image.rights),
            "require": require(image.requires),
            "script": image.script.as_ref().map(script_as_json),
        })).collect::<Vec<_>>(),
        "tokens": status.tokens.iter().map(token_as_json).collect::<Vec<_>>(),
        "loaders": loaders(status).iter().map(Loader::as_json).collect::<Vec<_>>(),
    })
}

fn script_as_json(script: &Script) -> Value {
    json!({
        "name": script.name().map(Name::as_str),
        "digest": script.digest.to_string(),
        "key": script.key.as_ref().map(ToString::to_string),
        "publisher": script.publisher.as_ref().map(Name::as_str),
        "grant": script.grant.as_ref().map(grant_as_json),
    })
}

fn token_as_json(token: &Token) -> Value {
    let mut delegates = rights_as_json(&token.delegates);
    // A token has none.
    delegates.remove(Vocabulary::Abilities.label());
    json!({
        "number": token.number,
        "publisher": token.publisher.as_ref().map(Name::as_str),
        "loader": token.loader.as_ref().map(Name::as_str),
        "pid": token.pid,
        "comm": escape_bytes(&token.comm),
        "made": humantime::format_rfc3339_seconds(token.made).to_string(),
        "delegates": delegates,
    })
}

/// "5m 3s": whole seconds since `then`.
fn age(then: SystemTime) -> String {
    let age = SystemTime::now().duration_since(then).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(age.as_secs())).to_string()
}

fn as_text(status: &Status, last: &LastHour) -> String {
    let mut text = String::new();
    let what = match status.mode {
        Mode::Enforce => "enforcing",
        Mode::Audit => "audit only: nothing is refused",
    };
    writeln!(text, "{what}, for {}", age(status.started)).expect(TO_STRING);
    if status.generation > 1 {
        let (number, age) = (status.generation, age(status.policy_since));
        writeln!(text, "policy number {number}, for {age}").expect(TO_STRING);
    }
    if let Some(seal) = status.seal {
        tell_seal(&mut text, seal, status);
    }
    if let Some(rule) = status.libraries {
        writeln!(text, "libraries {}", libraries(rule)).expect(TO_STRING);
    }
    writeln!(text, "keys that may sign:").expect(TO_STRING);
    for key in status.keys.iter().filter(|key| !key.refused && !key.orders) {
        let lost = if key.lost {
            "  LOST: its keyring is gone"
        } else {
            ""
        };
        let name = match key.keyring {
            Some(keyring) => format!("those in the kernel's keyring {keyring}"),
            None => key.hint.to_string(),
        };
        writeln!(text, "  {name}  {}{lost}", key.publisher).expect(TO_STRING);
    }
    let (trusted, fallen): (Vec<_>, Vec<_>) = status
        .images
        .iter()
        .partition(|image| image.lost_trust.is_none());
    list(&mut text, "trusted processes", &trusted, status);
    if !fallen.is_empty() {
        list(&mut text, "processes that lost trust", &fallen, status);
    }
    for loader in loaders(status) {
        loader.tell(&mut text);
    }
    if !status.tokens.is_empty() {
        writeln!(text, "tokens: {}", status.tokens.len()).expect(TO_STRING);
    }
    for token in &status.tokens {
        tell_token(&mut text, token);
    }
    let refused = match status.mode {
        Mode::Enforce => "refused",
        Mode::Audit => "would have refused",
    };
    let total: u64 = status.refusals.iter().map(|(_, count)| count).sum();
    writeln!(text, "{refused}: {total}").expect(TO_STRING);
    for (reason, count) in &status.refusals {
        writeln!(text, "  {count:>8}  {reason}").expect(TO_STRING);
    }
    let lately: Vec<_> = last
        .refusals
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !lately.is_empty() {
        let least = if last.is_cut { "at least " } else { "" };
        writeln!(
            text,
            "{refused} in the last hour: {least}{}",
            lately.join(", ")
        )
        .expect(TO_STRING);
    }
    if status.lost_events > 0 {
        writeln!(text, "events not recorded: {}", status.lost_events).expect(TO_STRING);
    }
    for Attention { what, help } in attention(status, last, SystemTime::now()) {
        writeln!(text, "attention: {what}; {help}").expect(TO_STRING);
    }
    text
}

/// Whether the seal holds and by what, who can change that, and how.
fn tell_seal(text: &mut String, seal: Seal, status: &Status) {
    let pins = "/sys/fs/bpf/bpftrust and root's user keyring";
    let Seal { anchor, .. } = seal;
    if seal.anchor_runs {
        writeln!(
            text,
            "sealed until reboot, by {pins} and by process {anchor}"
        )
    } else {
        writeln!(
            text,
            "sealed until reboot, by {pins}\n\
             attention: the process {anchor} that held the rest was killed by a way that no \
             hook sees; what is left still holds"
        )
    }
    .expect(TO_STRING);
    match seal.lifted_until {
        Some(until) => {
            let left = Duration::from_secs(until.saturating_sub(seal.uptime));
            let left = humantime::format_duration(left);
            writeln!(text, "the seal is lifted by a permit, for another {left}").expect(TO_STRING);
        }
        None => writeln!(
            text,
            "only a policy key changes the policy, to one with a serial above {}",
            status.serial
        )
        .expect(TO_STRING),
    }
    for key in status.keys.iter().filter(|key| key.orders && !key.refused) {
        let lost = if key.lost {
            "  LOST: its keyring is gone"
        } else {
            ""
        };
        writeln!(text, "  policy key {}{lost}", key.hint).expect(TO_STRING);
    }
    writeln!(
        text,
        "  to permit more: bpftrust permit make --nonce {} --boot-time {} --minutes N \
         --key KEY.pem --certificate CERT.pem --out PERMIT",
        seal.nonce, seal.uptime
    )
    .expect(TO_STRING);
}

const TO_STRING: &str = "writing to a string can't fail";

fn list(text: &mut String, title: &str, images: &[&Image], status: &Status) {
    writeln!(text, "{title}: {}", images.len()).expect(TO_STRING);
    for image in images {
        write!(text, "  {}[{}]", escape_bytes(&image.comm), image.pid).expect(TO_STRING);
        let publisher = status
            .keys
            .iter()
            .find(|key| Some(&key.hint) == image.key.as_ref())
            .map(|key| &key.publisher);
        if let Some(publisher) = publisher {
            write!(text, "  by {publisher}").expect(TO_STRING);
        }
        if let Some(script) = &image.script {
            let name = script.name().map_or("(no name)", Name::as_str);
            write!(text, "  script {name} {}", prefix(&script.digest)).expect(TO_STRING);
        }
        if image.adopted {
            text.push_str("  adopted");
        }
        if let Some(reason) = image.lost_trust {
            write!(text, "  {reason}").expect(TO_STRING);
        }
        writeln!(text, "  for {}", age(image.started)).expect(TO_STRING);
    }
}

/// Whose a token is, who made it, when, and what it delegates.
fn tell_token(text: &mut String, token: &Token) {
    let publisher = token.publisher.as_ref().map_or("adopted", Name::as_str);
    let loader = token.loader.as_ref().map_or("(no name)", Name::as_str);
    let delegates: Vec<_> = Vocabulary::ALL
        .into_iter()
        .filter(|kind| *kind != Vocabulary::Abilities)
        .map(|kind| format!("{} {}", kind.label(), kind.list(&token.delegates)))
        .collect();
    writeln!(
        text,
        "  {} of {publisher}/{loader}, made by {}[{}], for {}: {}",
        token.number,
        escape_bytes(&token.comm),
        token.pid,
        age(token.made),
        delegates.join("; ")
    )
    .expect(TO_STRING);
}

/// Everything of one owner: publisher and loader name.
struct Loader<'a> {
    publisher: Option<&'a Name>,
    name: Option<&'a Name>,
    images: Vec<&'a Image>,
    objects: Vec<&'a Object>,
}

/// By owner, whether he runs or has only left something.
fn loaders(status: &Status) -> Vec<Loader<'_>> {
    let mut found = BTreeMap::new();
    for image in status.images.iter().filter(|image| !image.adopted) {
        let name = image.grant.as_ref().map(|grant| &grant.name);
        let owner = (image.publisher.as_ref(), name);
        let (images, _): &mut (Vec<_>, Vec<_>) = found.entry(owner).or_default();
        images.push(image);
    }
    for object in status.objects.iter().filter(|object| object.pid.is_some()) {
        let owner = (object.publisher.as_ref(), object.loader.as_ref());
        let (_, objects) = found.entry(owner).or_default();
        objects.push(object);
    }
    let loaders = found.into_iter();
    loaders
        .map(|((publisher, name), (images, objects))| Loader {
            publisher,
            name,
            images,
            objects,
        })
        .collect()
}

impl Loader<'_> {
    fn as_json(&self) -> Value {
        json!({
            "publisher": self.publisher.map(Name::as_str),
            "name": self.name.map(Name::as_str),
            "processes": self.images.iter().map(|image| image.pid).collect::<Vec<_>>(),
            "objects": self.objects.iter().map(|object| json!({
                "id": object.id,
                "kind": object.kind,
                "type": object.type_name,
                "name": escape_bytes(&object.label),
                "pid": object.pid,
            })).collect::<Vec<_>>(),
        })
    }

    /// A line for each version that runs, then what he owns.
    fn tell(&self, text: &mut String) {
        let publisher = self.publisher.map_or("adopted", Name::as_str);
        let name = self.name.map_or("(no name)", Name::as_str);
        writeln!(text, "loader {name} of {publisher}:").expect(TO_STRING);
        let mut versions = BTreeMap::new();
        for &image in &self.images {
            let version = image.grant.as_ref().map(|grant| grant.version);
            let (_, pids) = versions
                .entry((version, image.key, image.lost_trust))
                .or_insert_with(|| (image, Vec::new()));
            pids.push(image.pid.to_string());
        }
        for ((version, key, lost_trust), (image, pids)) in versions {
            let version = version.map_or_else(
                || "without a grant".to_owned(),
                |version| format!("version {version}"),
            );
            let key = key.map(|key| format!(", key {key}")).unwrap_or_default();
            let what = match lost_trust {
                Some(reason) => format!("lost trust: {reason}"),
                None if image.requires.is_empty() => describe(&image.rights),
                None => {
                    let required = require(image.requires).join(", ");
                    format!("{}; requires {required}", describe(&image.rights))
                }
            };
            let pids = pids.join(" ");
            writeln!(text, "  {version}{key}, processes {pids}: {what}").expect(TO_STRING);
        }
        for kind in ["program", "map", "link"] {
            let ids: Vec<_> = self
                .objects
                .iter()
                .filter(|object| object.kind == kind)
                .map(|object| match object.id {
                    Some(id) => format!("{id} ({})", object.type_name),
                    None => format!("? ({})", object.type_name),
                })
                .collect();
            if !ids.is_empty() {
                writeln!(text, "  {kind}s: {}", ids.join(", ")).expect(TO_STRING);
            }
        }
    }
}
