//! What the probe does with BPF objects: maps, programs, and where they are
//! attached.

mod attach;
pub mod bpf;
mod btf;
mod event;
mod held;
mod inner;
mod instruction;
mod map;
mod netlink;
mod program;
mod signature;
mod skeleton;
mod socket;
pub mod sockets;
mod sys;
mod token;

pub use held::{hold, with_held};
pub use sys::leave_open;

use super::{Misuse, argument, say, tell};
use rustix::process::Resource;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;

/// A program that was loaded.
struct Loaded {
    file: OwnedFd,
    kind: &'static program::Kind,
}

/// The last one: what actions attach.
static LOADED: Mutex<Option<Loaded>> = Mutex::new(None);

/// What stays open to the end.
static KEPT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Runs an action and returns what follows it, if it is one of these.
pub fn act<'a>(action: &str, rest: &'a [&'a str]) -> Option<Result<&'a [&'a str], Misuse>> {
    let result = match action {
        "map" => make_map(rest),
        "keep-map" | "fill-maps" => keep_maps(action, rest),
        "map-in-map" => make_map_in_map(rest),
        "btf" => {
            tell(action, map::load_types().map(drop));
            Ok(rest)
        }
        "struct-ops-map" => {
            tell(action, map::make_struct_ops().map(drop));
            Ok(rest)
        }
        "load" => load(rest),
        "run-loader" => run_loader(rest),
        "with-signature" | "without-signature" | "bind-maps" | "exclusive-maps"
        | "instructions-to" => sign(action, rest),
        "load-inner" => {
            let (call, rest) = optional_call(rest);
            let (words, call) = call.unzip();
            tell(&join(&[Some(action), words]), inner::load(call));
            Ok(rest)
        }
        "link-create" | "prog-attach" | "raw-tracepoint-open" => attach(action, rest),
        "perf-attach" | "socket-attach" | "xdp-netlink" | "tc-netlink" => {
            tell(action, with_loaded(|program| attach_alone(action, program)));
            Ok(rest)
        }
        "hold-map" | "hold-link" | "pin" | "serve" => make_or_give(action, rest),
        "hold-program" => {
            tell(action, hold_program());
            Ok(rest)
        }
        "xdp-netlink-on" => {
            tell(
                action,
                with_loaded(|program| netlink::keep_xdp(&program.file)),
            );
            Ok(rest)
        }
        "xdp-netlink-off" => {
            tell(action, netlink::no_xdp());
            Ok(rest)
        }
        _ => return with_others(action, rest),
    };
    Some(result)
}

/// Actions on one object, of whoever it is.
fn with_others<'a>(action: &str, rest: &'a [&'a str]) -> Option<Result<&'a [&'a str], Misuse>> {
    if let Some(result) = held::act(action) {
        match result {
            Ok(Some(number)) => say(&format!("{action}: {number}")),
            result => tell(action, result.map(drop)),
        }
        return Some(Ok(rest));
    }
    let (word, after) = rest.split_first()?;
    let result = held::reach(action, word).or_else(|| held::with_pin(action, word))?;
    tell(&format!("{action} {word}"), result);
    Some(Ok(after))
}

/// Holds an own object, or gives what is held to others.
fn make_or_give<'a>(action: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (word, rest) = argument(action, rest)?;
    let result = match action {
        "hold-map" => match word.split_once(':') {
            Some((word, name)) => map::make_named(shape(word)?, name),
            None => map::make(shape(word)?),
        }
        .map(hold),
        "hold-link" => {
            let way = attach::attach_of(word)
                .ok_or_else(|| Misuse(format!("no way to attach is called {word:?}")))?;
            with_loaded(|program| attach::open_link(program, way)).map(hold)
        }
        "pin" => held::pin(word),
        _ => held::serve(word),
    };
    tell(&format!("{action} {word}"), result);
    Ok(rest)
}

/// A program of type perf_event on a clock of the CPU.
fn attach_to_event(program: &OwnedFd) -> io::Result<()> {
    let (kind, _) = program::kind_of("perf_event")
        .ok_or_else(|| io::Error::other("no kind is called perf_event"))?;
    event::attach(&event::open(kind)?, program)
}

fn hold_program() -> io::Result<()> {
    with_loaded(|program| {
        hold(program.file.try_clone()?);
        Ok(())
    })
}

/// What is there of these, with spaces between.
fn join(words: &[Option<&str>]) -> String {
    let words: Vec<&str> = words.iter().flatten().copied().collect();
    words.join(" ")
}

fn shape(name: &str) -> Result<map::Shape, Misuse> {
    map::shape_of(name).ok_or_else(|| Misuse(format!("no type of map is called {name:?}")))
}

fn make_map<'a>(rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (name, rest) = argument("map", rest)?;
    tell(&format!("map {name}"), map::make(shape(name)?).map(drop));
    Ok(rest)
}

fn keep_maps<'a>(action: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (name, rest) = argument(action, rest)?;
    let shape = shape(name)?;
    let keep = || map::make(shape).map(keep);
    let kept = match action {
        "keep-map" => keep(),
        _ => super::limit(Resource::Nofile, 1 << 20).and_then(|()| {
            loop {
                keep()?;
            }
        }),
    };
    tell(&format!("{action} {name}"), kept);
    Ok(rest)
}

fn keep(object: OwnedFd) {
    KEPT.lock().expect("one thread keeps").push(object);
}

fn make_map_in_map<'a>(rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (outer, rest) = argument("map-in-map", rest)?;
    let (inner, rest) = argument("map-in-map", rest)?;
    let around = shape(outer)?;
    let result = map::make(shape(inner)?).and_then(|inner| map::make_outer(around, &inner));
    tell(&format!("map-in-map {outer} {inner}"), result.map(drop));
    Ok(rest)
}

fn load<'a>(rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (word, rest) = argument("load", rest)?;
    let Some((kind, target)) = program::kind_of(word) else {
        return Err(Misuse(format!("no kind of program is called {word:?}")));
    };
    let (call, rest) = optional_call(rest);
    let (words, call) = call.unzip();
    let result =
        program::load_kind(kind, target, call).map(|file| set_loaded(Loaded { file, kind }));
    tell(&join(&[Some("load"), Some(word), words]), result);
    Ok(rest)
}

fn run_loader<'a>(rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (word, rest) = argument("run-loader", rest)?;
    match skeleton::run(word) {
        Ok((value, entries)) => say(&format!("run-loader: {value} in {entries}")),
        Err(error) => tell("run-loader", Err(error)),
    }
    Ok(rest)
}

/// What is offered with programs, or what becomes of the next one's instructions.
fn sign<'a>(action: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    if action == "without-signature" {
        tell(action, signature::withdraw());
        return Ok(rest);
    }
    let (word, rest) = argument(action, rest)?;
    let result = match word.split_once(':') {
        Some((keyring, file)) if action == "with-signature" => {
            signature::offer(super::number(keyring)?, file)
        }
        _ if action == "with-signature" => {
            return Err(Misuse(format!("{word:?} is not RING:FILE")));
        }
        _ if action == "bind-maps" => signature::bind_maps(word, true),
        _ if action == "exclusive-maps" => signature::bind_maps(word, false),
        _ => signature::want(word),
    };
    tell(&format!("{action} {word}"), result);
    Ok(rest)
}

/// The next word and the call that it means, if it means one.
fn optional_call<'a>(rest: &'a [&'a str]) -> (Option<(&'a str, program::Call<'a>)>, &'a [&'a str]) {
    match rest.split_first() {
        Some((word, after)) => match program::Call::parse(word) {
            Some(call) => (Some((*word, call)), after),
            None => (None, rest),
        },
        None => (None, rest),
    }
}

fn attach<'a>(action: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (word, rest) = argument(action, rest)?;
    let way = || {
        attach::attach_of(word)
            .ok_or_else(|| Misuse(format!("no way to attach is called {word:?}")))
    };
    let result = match action {
        "link-create" => {
            let way = way()?;
            with_loaded(|program| attach::link(program, way))
        }
        "prog-attach" => {
            let way = way()?;
            with_loaded(|program| attach::to_cgroup(program, way))
        }
        _ => {
            let name = (word != "-").then_some(word);
            with_loaded(|program| attach::to_raw_tracepoint(program, name))
        }
    };
    tell(&format!("{action} {word}"), result);
    Ok(rest)
}

fn attach_alone(action: &str, program: &Loaded) -> io::Result<()> {
    match action {
        "perf-attach" => event::attach(&event::open(program.kind)?, &program.file),
        "socket-attach" => socket::attach(program.file.as_raw_fd()),
        "xdp-netlink" => netlink::xdp(&program.file),
        _ => netlink::tc(&program.file),
    }
}

fn set_loaded(program: Loaded) {
    if let Ok(mut loaded) = LOADED.lock() {
        *loaded = Some(program);
    }
}

fn with_loaded<T>(act: impl FnOnce(&Loaded) -> io::Result<T>) -> io::Result<T> {
    let loaded = LOADED.lock();
    match loaded.as_deref() {
        Ok(Some(program)) => act(program),
        _ => Err(io::Error::other("no program is loaded")),
    }
}
