//! Runs attacks, first with enforcement off, then with it on, and says what was
//! seen.

use crate::arguments::Arguments;
use crate::attack::{Attack, How, Shows};
use crate::lab::{Lab, Said, Victim};
use crate::limits;
use crate::loaders::LOADER;
use crate::verdict::{Finding, Seen, Verdict, judge};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;

/// Runs these attacks in a lab of their own.
pub fn run(arguments: &Arguments, attacks: &[&'static Attack]) -> Result<Vec<Finding>> {
    let mut lab = Lab::make(arguments)?;
    let mut off = Vec::new();
    for attack in attacks {
        off.push(attempt(&mut lab, attack, None).said);
    }
    let mut early = Vec::new();
    for attack in attacks {
        early.push(start_early(&lab, attack)?);
    }
    lab.enforce()
        .context("the attacks need a policy that is enforced")?;
    let mut findings = Vec::new();
    for ((attack, off), early) in attacks.iter().zip(off).zip(early) {
        findings.push(examine(&mut lab, attack, off, early)?);
    }
    if arguments.numbers.is_empty() {
        findings.extend(limits::UNTRIED.iter().map(untried));
    }
    lab.release()?;
    Ok(findings)
}

/// One attempt, and the process that it was made on, which lives on.
struct Attempt {
    said: Said,
    victim: Option<Victim>,
}

/// Tries it once. What goes wrong with the attempt itself is its answer.
fn attempt(lab: &mut Lab, attack: &Attack, early: Option<Victim>) -> Attempt {
    let mut victim = None;
    let said = try_once(lab, attack, early, &mut victim).unwrap_or_else(|error| Said {
        worked: false,
        text: format!("{error:#}"),
    });
    Attempt { said, victim }
}

fn try_once(
    lab: &mut Lab,
    attack: &Attack,
    early: Option<Victim>,
    victim: &mut Option<Victim>,
) -> Result<Said> {
    if let Some(before) = attack.before {
        before(lab)?;
    }
    if let Some((program, actions)) = attack.victim {
        *victim = Some(lab.victim(program, actions)?);
    }
    match attack.how {
        How::Run(program, actions) => lab.act(program, actions, victim.as_ref()),
        How::Own(own) => own(lab),
        How::Early(..) => {
            let process = match early {
                Some(process) => process,
                None => start_early(lab, attack)?.context("it does not start")?,
            };
            let go = go(lab, attack);
            fs::write(&go, "").context("telling a process to go on")?;
            let said = process.end();
            fs::remove_file(&go).context("removing a file")?;
            said
        }
    }
}

/// The file that tells an early process to go on.
fn go(lab: &Lab, attack: &Attack) -> std::path::PathBuf {
    lab.path(&format!("{}.go", attack.number))
}

fn start_early(lab: &Lab, attack: &Attack) -> Result<Option<Victim>> {
    let How::Early(first, then) = attack.how else {
        return Ok(None);
    };
    let then = format!("until {} {then}", go(lab, attack).display());
    lab.background(LOADER, first, &then).map(Some)
}

/// Tries it under enforcement, looks for the event, and asks whether the
/// rightful loader still works.
fn examine(
    lab: &mut Lab,
    attack: &'static Attack,
    off: Said,
    early: Option<Victim>,
) -> Result<Finding> {
    // What the others and the making ready of victims left.
    lab.events()?;
    let Attempt { said: on, victim } = attempt(lab, attack, early);
    let (reason, silent) = match attack.shows {
        Shows::Nothing => (None, true),
        Shows::Event(action, reasons) => (reason_of(&lab.events()?, action, reasons), false),
    };
    let rightful = match on.worked || attack.rightful.is_empty() {
        true => None,
        false => Some(
            lab.act(LOADER, attack.rightful, victim.as_ref())
                .unwrap_or_else(|error| Said {
                    worked: false,
                    text: format!("{error:#}"),
                }),
        ),
    };
    let seen = Seen {
        worked_off: off.worked,
        worked_on: on.worked,
        reason: reason.clone(),
        silent,
        rightful_works: rightful.as_ref().is_none_or(|said| said.worked),
    };
    let (verdict, why) = judge(&seen, limits::of(attack.number));
    drop(victim);
    if attack.breaks && !lab.is_whole()? {
        lab.release()?;
        lab.enforce().context("enforcing again after an attack")?;
    }
    Ok(Finding {
        number: attack.number,
        tried: attack.tried,
        off: Some(off.text),
        on: Some(on.text),
        reason,
        rightful: rightful.map(|said| said.text),
        verdict,
        why,
    })
}

/// The first of the reasons that an event of a refusal has.
fn reason_of(events: &[Value], action: &str, reasons: &[&str]) -> Option<String> {
    events
        .iter()
        .filter(|event| event["outcome"] == "denied")
        .filter(|event| action == "*" || event["action"] == action)
        .filter_map(|event| event["reason"].as_str())
        .find(|reason| reasons.contains(reason))
        .map(str::to_owned)
}

fn untried(row: &limits::Untried) -> Finding {
    Finding {
        number: row.number,
        tried: row.what,
        off: None,
        on: None,
        reason: None,
        rightful: None,
        verdict: Verdict::Untested,
        why: Some(row.why.to_owned()),
    }
}
