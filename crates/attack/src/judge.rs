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
use std::time::SystemTime;

/// Runs these attacks in a lab of their own.
pub fn run(arguments: &Arguments, attacks: &[&'static Attack]) -> Result<Vec<Finding>> {
    let mut lab = Lab::make(arguments)?;
    let mut trials = Vec::new();
    for attack in attacks {
        let off = attempt(&mut lab, attack, None).said;
        trials.push(Trial::new(attack, off));
    }
    let mut early = Vec::new();
    for attack in attacks {
        early.push(start_early(&lab, attack)?);
    }
    lab.enforce()
        .context("the attacks need a policy that is enforced")?;
    // Who waits since before does not for ever; who breaks the guard takes the
    // history with it.
    let mut order: Vec<_> = trials.iter_mut().zip(early).collect();
    order.sort_by_key(|(trial, early)| (trial.attack.breaks, early.is_none()));
    let mut events = None;
    for (trial, early) in order {
        if trial.attack.breaks {
            if events.is_none() {
                events = Some(lab.events()?);
            }
            lab.be_whole()?;
        }
        trial.under_enforcement(&mut lab, early)?;
    }
    let events = match events {
        Some(events) => events,
        None => lab.events()?,
    };
    let mut findings: Vec<_> = trials
        .into_iter()
        .map(|trial| trial.finding(&events))
        .collect();
    if arguments.numbers.is_empty() {
        findings.extend(limits::UNTRIED.iter().map(untried));
    }
    lab.release()?;
    Ok(findings)
}

/// What was seen of an attack.
struct Trial {
    attack: &'static Attack,
    off: Said,
    on: Option<Said>,
    rightful: Option<Said>,
    /// When it was tried under enforcement, as events say it.
    began: String,
    ended: String,
    /// The history as it was then, if it is gone at the end of the run.
    events: Option<Vec<Value>>,
}

impl Trial {
    fn new(attack: &'static Attack, off: Said) -> Self {
        Self {
            attack,
            off,
            on: None,
            rightful: None,
            began: String::new(),
            ended: String::new(),
            events: None,
        }
    }

    /// Tries it under enforcement, and asks whether the rightful loader still
    /// works.
    fn under_enforcement(&mut self, lab: &mut Lab, early: Option<Victim>) -> Result<()> {
        let attack = self.attack;
        self.began = now();
        let Attempt { said, victim } = attempt(lab, attack, early);
        self.ended = now();
        if !said.worked {
            let rightful = lab.act(LOADER, attack.rightful, victim.as_ref());
            self.rightful = Some(rightful.unwrap_or_else(failed));
        }
        self.on = Some(said);
        drop(victim);
        if attack.breaks {
            // Where it took the guard down there is no history.
            self.events = Some(lab.events().unwrap_or_default());
        }
        Ok(())
    }

    /// What follows, with the history at the end of the run.
    fn finding(self, events: &[Value]) -> Finding {
        let attack = self.attack;
        let events = self.events.as_deref().unwrap_or(events);
        let (reason, silent) = match attack.shows {
            Shows::Nothing => (None, true),
            Shows::Event(action, reasons) => {
                let events = events.iter().filter(|event| {
                    let time = event["time"].as_str().unwrap_or_default();
                    self.began.as_str() <= time && time <= self.ended.as_str()
                });
                (reason_of(events, action, reasons), false)
            }
        };
        let seen = Seen {
            worked_off: self.off.worked,
            worked_on: self.on.as_ref().is_some_and(|said| said.worked),
            reason: reason.clone(),
            silent,
            rightful_works: self.rightful.as_ref().is_none_or(|said| said.worked),
        };
        let (verdict, why) = judge(&seen, limits::of(attack.number));
        Finding {
            number: attack.number,
            tried: attack.tried,
            off: Some(self.off.text),
            on: self.on.map(|said| said.text),
            reason,
            rightful: self.rightful.map(|said| said.text),
            verdict,
            why,
        }
    }
}

/// The time as events have it, so that it is compared as text.
fn now() -> String {
    humantime::format_rfc3339_micros(SystemTime::now()).to_string()
}

/// What goes wrong with an attempt itself is its answer.
fn failed(error: anyhow::Error) -> Said {
    Said {
        worked: false,
        text: format!("{error:#}"),
    }
}

/// One attempt, and the process that it was made on, which lives on.
struct Attempt {
    said: Said,
    victim: Option<Victim>,
}

/// Tries it once.
fn attempt(lab: &mut Lab, attack: &Attack, early: Option<Victim>) -> Attempt {
    let mut victim = None;
    let said = try_once(lab, attack, early, &mut victim).unwrap_or_else(failed);
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

/// The first of the reasons that an event of a refusal has.
fn reason_of<'a>(
    events: impl Iterator<Item = &'a Value>,
    action: &str,
    reasons: &[&str],
) -> Option<String> {
    events
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
