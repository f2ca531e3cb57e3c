//! `bpftrust policy`: what a policy file says, whether it is one, and its
//! compiled form.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::anyhow;
use bpftrust_guard::{
    Compiled, Image, Keys, Libraries, Mode, Policy, Publisher, Signer, Status, Vocabulary,
};
use bpftrust_signature::{Certificate, Requirements, Rights};
use serde_json::{Value, json};

use crate::advice::advised;
use crate::cli::{
    PolicyApplyArgs, PolicyArgs, PolicyCheckArgs, PolicyCompileArgs, PolicyShowArgs,
    PolicySignArgs, PolicyVerb,
};
use crate::guard_advice::{advise_policy, explain, load_compiled, load_policy};
use crate::input::read_regular;
use crate::output::{self, Outcome, counted, escape_bytes, escaped, print, print_json};
use crate::replace::replace;
use crate::rights::{require, rights_as_json, rights_lines};
use crate::signer::read_signer;

pub fn run(args: &PolicyArgs) -> anyhow::Result<Outcome> {
    match &args.verb {
        PolicyVerb::Check(args) => Ok(check(args)),
        PolicyVerb::Show(args) => show(args),
        PolicyVerb::Apply(args) => apply(args),
        PolicyVerb::Compile(args) => compile(args),
        PolicyVerb::Sign(args) => sign(args),
    }
}

fn apply(args: &PolicyApplyArgs) -> anyhow::Result<Outcome> {
    explain(bpftrust_guard::require_root())?;
    let compiled = load_compiled(args.policy.as_deref())?;
    let policy = compiled.policy();
    let mode = if args.audit { Mode::Audit } else { policy.mode };
    let before: BTreeSet<u32> = lost_trust(&explain(Status::read())?)
        .map(|image| image.pid)
        .collect();
    explain(bpftrust_guard::apply(policy, mode, compiled.order()))?;
    let status = explain(Status::read())?;
    print(&format!(
        "policy number {} is in force: {}, {}, {}\n",
        status.generation,
        counted(policy.publishers.len(), "publisher"),
        counted(policy.signers().count(), "key"),
        counted(policy.rules(), "rule"),
    ));
    for image in lost_trust(&status).filter(|image| !before.contains(&image.pid)) {
        let (comm, reason) = (escape_bytes(&image.comm), image.lost_trust);
        print(&format!(
            "without trust now: {comm}[{}]: {}\n",
            image.pid,
            reason.unwrap_or_default()
        ));
    }
    Ok(Outcome::Yes)
}

fn lost_trust(status: &Status) -> impl Iterator<Item = &Image> {
    let images = status.images.iter();
    images.filter(|image| image.lost_trust.is_some())
}

fn check(args: &PolicyCheckArgs) -> Outcome {
    match Compiled::load(&args.file) {
        Ok(compiled) => {
            tell(&args.file, "good", &compiled);
            Outcome::Yes
        }
        Err(error) => {
            let outcome = if error.is_unreadable() {
                Outcome::Unknown
            } else {
                Outcome::No
            };
            output::report(&advise_policy(error));
            outcome
        }
    }
}

/// One line about a policy.
fn tell(path: &Path, what: &str, compiled: &Compiled) {
    let policy = compiled.policy();
    let mut line = format!(
        "{}: {what}, {}, {}, {}",
        escaped(path),
        counted(policy.publishers.len(), "publisher"),
        counted(policy.signers().count(), "key"),
        counted(policy.rules(), "rule"),
    );
    if let Some(order) = compiled.order() {
        let (serial, key) = (policy.serial, order.key());
        write!(line, ", serial {serial}, signed by key {key}").expect(TO_STRING);
    }
    print(&format!("{line}\n"));
}

fn compile(args: &PolicyCompileArgs) -> anyhow::Result<Outcome> {
    let compiled = load_compiled(Some(&args.file))?;
    replace(&args.out, &compiled.to_bytes()?)?;
    tell(&args.out, "compiled", &compiled);
    Ok(Outcome::Yes)
}

fn sign(args: &PolicySignArgs) -> anyhow::Result<Outcome> {
    let mut compiled = load_compiled(Some(&args.file))?;
    let out = match &args.out {
        Some(out) => out,
        None if Compiled::is_begun_by(&read_regular(&args.file)?) => &args.file,
        None => {
            return Err(advised(
                anyhow!(
                    "{} is not compiled, and it must not be overwritten",
                    escaped(&args.file)
                ),
                "--out OUT writes it compiled and signed",
            ));
        }
    };
    if compiled.policy().serial == 0 {
        return Err(advised(
            anyhow!("{}: its serial is 0", escaped(&args.file)),
            "say `serial = N` in the policy, more than `bpftrust status` shows: a sealed guard \
             takes no other",
        ));
    }
    compiled.sign(&read_signer(&args.key)?)?;
    replace(out, &compiled.to_bytes()?)?;
    tell(out, "compiled", &compiled);
    Ok(Outcome::Yes)
}

fn show(args: &PolicyShowArgs) -> anyhow::Result<Outcome> {
    let policy = load_policy(args.policy.as_deref())?;
    if args.json {
        print_json(&as_json(&policy));
    } else {
        print(&as_text(&policy));
    }
    Ok(Outcome::Yes)
}

fn as_json(policy: &Policy) -> Value {
    json!({
        "mode": policy.mode.name(),
        "serial": policy.serial,
        "sealed_boot": policy.sealed_boot,
        "policy_keys": policy.policy_keys.iter().map(signer_as_json).collect::<Vec<_>>(),
        "libraries": policy.libraries.name(),
        "require": require(policy.requires),
        "ceiling": rights_as_json(&policy.ceiling),
        "default": rights_as_json(&policy.fallback),
        "publishers": policy.publishers.iter().map(publisher_as_json).collect::<Vec<_>>(),
        "minimum_versions": policy
            .minimum_versions
            .iter()
            .map(|(name, version)| (name.to_string(), json!(version)))
            .collect::<serde_json::Map<_, _>>(),
        "refused": {
            "digests": policy.refused.digests.len(),
            "keys": policy.refused.keys.len(),
            "names": policy.refused.names.len(),
        },
    })
}

fn signer_as_json(signer: &Signer) -> Value {
    json!({ "key": signer.hint.to_string(), "subject": subject(signer) })
}

fn publisher_as_json(publisher: &Publisher) -> Value {
    let (keys, keyring) = match &publisher.keys {
        Keys::Certificates(signers) => (signers.iter().map(signer_as_json).collect(), None),
        Keys::Keyring(keyring) => (Vec::new(), Some(keyring.name())),
        _ => (Vec::new(), None),
    };
    json!({
        "name": publisher.name.as_str(),
        "keys": keys,
        "keyring": keyring,
        "loaders": publisher
            .loaders
            .as_ref()
            .map(|names| names.iter().map(|name| name.as_str()).collect::<Vec<_>>()),
        "bare": publisher.bare.map(|kind| kind.name()),
        "require": require(publisher.requires),
        "ceiling": rights_as_json(&publisher.ceiling),
    })
}

fn as_text(policy: &Policy) -> String {
    let mut text = String::new();
    line(&mut text, "mode", policy.mode.name());
    if policy.serial > 0 {
        line(&mut text, "serial", &policy.serial.to_string());
    }
    if policy.sealed_boot {
        let sealed = "sealed, whatever the kernel's command line says";
        line(&mut text, "boot", sealed);
    }
    for signer in &policy.policy_keys {
        let key = format!("{}  {}", signer.hint, subject(signer));
        line(&mut text, "policy key", &key);
    }
    line(&mut text, "libraries", &libraries(policy.libraries));
    line(&mut text, "require", &requirements(policy.requires));
    line(&mut text, "ceiling", &ceiling(&policy.ceiling));
    text.push_str("default, for a signature without a grant:\n");
    for (label, list) in rights_lines(&policy.fallback) {
        line(&mut text, &format!("  {label}"), &list);
    }
    for publisher in &policy.publishers {
        writeln!(text, "publisher {}:", publisher.name).expect(TO_STRING);
        match &publisher.keys {
            Keys::Certificates(signers) => {
                for signer in signers {
                    let key = format!("{}  {}", signer.hint, subject(signer));
                    line(&mut text, "  key", &key);
                }
            }
            Keys::Keyring(keyring) => line(&mut text, "  keyring", keyring.name()),
            _ => {}
        }
        let loaders = publisher.loaders.as_ref().map_or_else(
            || "any".to_owned(),
            |names| {
                let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
                names.join(",")
            },
        );
        line(&mut text, "  loaders", &loaders);
        let bare = publisher.bare.map_or("nothing", |kind| kind.name());
        line(&mut text, "  bare", bare);
        line(&mut text, "  require", &requirements(publisher.requires));
        line(&mut text, "  ceiling", &ceiling(&publisher.ceiling));
    }
    if !policy.minimum_versions.is_empty() {
        text.push_str("minimum versions:\n");
        for (name, version) in &policy.minimum_versions {
            line(&mut text, &format!("  {name}"), &version.to_string());
        }
    }
    let refused = format!(
        "{}, {}, {}",
        counted(policy.refused.digests.len(), "digest"),
        counted(policy.refused.keys.len(), "key"),
        counted(policy.refused.names.len(), "name"),
    );
    line(&mut text, "refused", &refused);
    text
}

const TO_STRING: &str = "writing to a string can't fail";

fn line(text: &mut String, label: &str, value: &str) {
    writeln!(text, "{label:<12} {value}").expect(TO_STRING);
}

/// What a policy asks of libraries, and what that gives up.
pub fn libraries(libraries: Libraries) -> String {
    let cost = match libraries.gives_up() {
        Some(cost) => format!("; {cost}"),
        None => String::new(),
    };
    format!("{libraries}: {}{cost}", libraries.rule())
}

/// What a policy requires of calls besides rights.
fn requirements(requirements: Requirements) -> String {
    let required: Vec<_> = require(requirements)
        .into_iter()
        .map(|name| match name {
            "token" => "token: each bpf() call takes the loader's own BPF token",
            "script" => "script: a loader runs signed scripts alone",
            _ => "signed-programs: the kernel must have verified each program's signature",
        })
        .collect();
    match required.is_empty() {
        true => "nothing".into(),
        false => required.join("; "),
    }
}

/// The kinds of right that a ceiling limits.
fn ceiling(rights: &Rights) -> String {
    let limited: Vec<_> = Vocabulary::ALL
        .into_iter()
        .filter(|kind| !kind.is_unlimited(rights))
        .map(|kind| format!("{} {}", kind.label(), kind.list(rights)))
        .collect();
    match &limited[..] {
        [] => "limits nothing".into(),
        limited => limited.join("; "),
    }
}

/// Who a certificate is of, as it says itself.
fn subject(signer: &Signer) -> String {
    Certificate::parse(&signer.certificate)
        .map(|certificate| escape_bytes(certificate.subject().as_bytes()))
        .unwrap_or_default()
}
