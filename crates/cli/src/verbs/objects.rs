//! `bpftrust objects`: whose the programs, maps and links are.

use std::fmt::Write as _;

use anyhow::Context;
use bpftrust_guard::{Object, Owner, Status, evict};
use bpftrust_signature::Name;
use serde_json::{Value, json};

use crate::cli::{ObjectsArgs, ObjectsEvictArgs, ObjectsListArgs, ObjectsVerb};
use crate::guard_advice::explain;
use crate::output::{Outcome, escape_bytes, escaped, print, print_json};

/// What stands for the name of a loader whose signature has no grant.
const NO_NAME: &str = "(no name)";

pub fn run(args: &ObjectsArgs) -> anyhow::Result<Outcome> {
    match &args.verb {
        ObjectsVerb::List(args) => list(args),
        ObjectsVerb::Evict(args) => remove(args),
    }
}

fn list(args: &ObjectsListArgs) -> anyhow::Result<Outcome> {
    let objects = explain(Status::read())?.objects;
    if args.json {
        print_json(&json!({
            "objects": objects.iter().map(as_json).collect::<Vec<_>>(),
        }));
    } else {
        print(&objects.iter().map(line).collect::<String>());
    }
    Ok(Outcome::Yes)
}

/// The owner as a person reads it: `before` for what nobody made under
/// enforcement.
fn owner(object: &Object) -> String {
    if object.pid.is_none() {
        return "before".to_owned();
    }
    let publisher = object.publisher.as_ref().map_or("adopted", Name::as_str);
    let loader = object.loader.as_ref().map_or(NO_NAME, Name::as_str);
    format!("{publisher}/{loader}")
}

fn as_json(object: &Object) -> Value {
    json!({
        "id": object.id,
        "kind": object.kind,
        "type": object.type_name,
        "name": escape_bytes(&object.label),
        "pid": object.pid,
        "signed_by": object.signer.map(|key| key.to_string()),
        "owner": object.pid.map(|_| json!({
            "publisher": object.publisher.as_ref().map(Name::as_str),
            "loader": object.loader.as_ref().map(Name::as_str),
        })),
    })
}

fn line(object: &Object) -> String {
    let mut line = format!("{:<8}", object.kind);
    match object.id {
        Some(id) => write!(line, "{id:>6}"),
        None => write!(line, "{:>6}", "?"),
    }
    .expect("writing to a string");
    write!(
        line,
        "  {:<20} {:<16} {}",
        object.type_name,
        escape_bytes(&object.label),
        owner(object)
    )
    .expect("writing to a string");
    if let Some(pid) = object.pid {
        write!(line, "  made by process {pid}").expect("writing to a string");
    }
    if let Some(key) = object.signer {
        write!(line, ", signed by key {key}").expect("writing to a string");
    }
    line.push('\n');
    line
}

fn remove(args: &ObjectsEvictArgs) -> anyhow::Result<Outcome> {
    let owner = parse(&args.owner)?;
    for path in &explain(evict(&owner))? {
        print(&format!("removed {}\n", escaped(path)));
    }
    let status = explain(Status::read())?;
    let left = status
        .objects
        .iter()
        .filter(|object| {
            object.pid.is_some()
                && object.publisher.as_ref() == Some(&owner.publisher)
                && object.loader == owner.loader
        })
        .count();
    if left == 0 {
        print(&format!("{} owns nothing\n", args.owner));
        return Ok(Outcome::Yes);
    }
    let holders: Vec<String> = status
        .images
        .iter()
        .filter(|image| {
            image.publisher.as_ref() == Some(&owner.publisher)
                && image.grant.as_ref().map(|grant| &grant.name) == owner.loader.as_ref()
        })
        .map(|image| image.pid.to_string())
        .collect();
    print(&format!("{} still owns {left} objects", args.owner));
    if holders.is_empty() {
        print(": they are attached without a link, or held by a process that lost its trust\n");
    } else {
        let pids = holders.join(" ");
        print(&format!("; processes of it run, type 'kill {pids}'\n"));
    }
    Ok(Outcome::No)
}

fn parse(text: &str) -> anyhow::Result<Owner> {
    let (publisher, loader) = match text.split_once('/') {
        Some((publisher, loader)) => (publisher, Some(loader)),
        None => (text, None),
    };
    let name = |part: &str| {
        Name::new(part).with_context(|| {
            format!(
                "{part:?} in {text:?} is no name: an owner is PUBLISHER/LOADER, or PUBLISHER \
                 for signatures without a grant, as 'bpftrust objects list' shows them"
            )
        })
    };
    Ok(Owner {
        publisher: name(publisher)?,
        loader: loader.map(name).transpose()?,
    })
}
