//! `bpftrust replay`: what enforcing a policy would refuse of what was recorded.

use std::fs;
use std::path::Path;

use bpftrust_signature::Rights;
use serde_json::{Value, json};

use crate::cli::ReplayArgs;
use crate::guard_advice::load_policy;
use crate::output::{Outcome, counted, print, print_json};
use crate::recorded::{Found, Outlook, Prospect, Recording};
use crate::rights::{rights_as_json, short};

pub fn run(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let recording = Recording::load(&args.source)?;
    let prospect = Prospect::new(load_policy(args.policy.as_deref())?)?;
    let all: Vec<_> = Found::all(recording.loaders())
        .into_iter()
        .map(|found| (prospect.of(&found), found))
        .collect();
    let count = |word: &str| {
        all.iter()
            .filter(|(outlook, _)| outlook.word() == word)
            .count()
    };
    let (refused, unknown) = (count("refused"), count("unknown"));
    if args.json {
        print_json(&json!({
            "events": recording.lines.len(),
            "lost": recording.lost,
            "refused": refused,
            "unknown": unknown,
            "loaders": all.iter().map(|(outlook, found)| as_json(outlook, found)).collect::<Vec<_>>(),
        }));
    } else {
        for (outlook, found) in &all {
            print(&text(outlook, found));
        }
        print(&format!(
            "{}: {refused} would be refused, {unknown} could not be told, of {}\n",
            if refused + unknown == 0 { "yes" } else { "no" },
            counted(all.len(), "loader")
        ));
        if recording.lost > 0 {
            print(&format!(
                "{} events were lost: there may have been more\n",
                recording.lost
            ));
        }
    }
    Ok(match (refused, unknown) {
        (0, 0) if recording.lost == 0 => Outcome::Yes,
        (0, _) => Outcome::Unknown,
        _ => Outcome::No,
    })
}

fn text(outlook: &Outlook, found: &Found) -> String {
    let mut text = format!("{}: {}\n", found.loader.executable, outlook);
    if found.loader.tried != Rights::NONE {
        text.push_str(&format!(
            "  it also tries {}, is refused, and goes on\n",
            short(&found.loader.tried)
        ));
    }
    let running = running(&found.loader.processes, &found.loader.executable);
    if !running.is_empty() {
        let pids: Vec<_> = running.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            "  runs now as {}: has no trust until it is started again\n",
            pids.join(" ")
        ));
    }
    text
}

/// Which of the recorded processes still execute the file.
fn running<'a>(pids: impl IntoIterator<Item = &'a u32>, executable: &str) -> Vec<u32> {
    let executes = |pid: &u32| {
        let link = fs::read_link(format!("/proc/{pid}/exe"));
        link.is_ok_and(|file| file == Path::new(executable))
    };
    pids.into_iter().copied().filter(executes).collect()
}

fn as_json(outlook: &Outlook, found: &Found) -> Value {
    let loader = &found.loader;
    let (reason, detail, missing) = match outlook {
        Outlook::Works { .. } => (None, None, Rights::NONE),
        Outlook::Unknown(why) => (None, Some(why.as_str()), Rights::NONE),
        Outlook::Refused {
            reason,
            detail,
            missing,
        } => (Some(reason.as_str()), detail.as_deref(), *missing),
    };
    json!({
        "executable": loader.executable,
        "digest": loader.digest,
        "outlook": outlook.word(),
        "reason": reason,
        "detail": detail,
        "missing": rights_as_json(&missing),
        "takes": rights_as_json(&loader.takes),
        "tried": rights_as_json(&loader.tried),
        "recorded_refusals": loader.refusals,
        "running": running(&loader.processes, &loader.executable),
    })
}
