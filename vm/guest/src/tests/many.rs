//! Verdicts do not land on other tasks, however many programs are executed at
//! once (scratch memory that tasks share is how they would).

use crate::crowd::{THREADS, on_all_cpus};
use crate::envelope;
use crate::fixture::{self, ACME, ANY_COMMAND, Events, STRANGER};
use crate::guest::Guest;
use crate::policy;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "many",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(every_exec_at_once_gets_its_own_verdict).within(150),
        test!(verdicts_are_right_while_signatures_are_set_anew).within(150),
    ],
};

/// A program, and what the guard must say of it: a reason, or `none`.
#[derive(Debug, Clone)]
struct Labelled {
    program: PathBuf,
    reason: &'static str,
}

/// As many that are signed as are not, these in every way.
fn programs(guest: &Guest) -> Result<Vec<Labelled>> {
    let copy = |name: &str| guest.copy("/usr/bin/bpftrust-probe", name);
    let mut programs = Vec::new();
    let mut add = |program, reason| programs.push(Labelled { program, reason });
    for number in 0..5 {
        add(
            fixture::signed_probe(guest, &format!("signed-{number}"))?,
            "none",
        );
    }
    let signature = envelope::read(&guest.path("signed-0"))?;
    add(copy("plain")?, "no-signature");
    let open = copy("open")?;
    envelope::write(&open, &signature)?;
    add(open, "no-verity");
    let stranger = copy("stranger")?;
    fixture::sign(guest, STRANGER, &stranger)?;
    add(stranger, "unknown-key");
    let library = copy("library")?;
    fixture::sign_as(guest, ACME, &library, &["--kind", "library"])?;
    add(library.clone(), "wrong-kind");
    // The kind that is signed is not the kind that is said.
    let forged = copy("forged")?;
    fixture::sign(guest, ACME, &forged)?;
    let lie = envelope::Envelope {
        statement: envelope::statement(envelope::LOADER, &[], 0),
        ..envelope::Envelope::of(&library)?
    };
    envelope::write(&forged, &lie.bytes())?;
    add(forged, "bad-signature");
    Ok(programs)
}

/// Runs `each` programs in each thread, all at the same time, and compares what
/// each could do with its label.
fn run_all(programs: &[Labelled], each: usize) -> Result<()> {
    let start = Barrier::new(THREADS);
    on_all_cpus(|thread| {
        start.wait();
        for turn in 0..each {
            // Each thread goes through them from another place on, in steps of
            // 3: signed and unsigned alternate.
            check_one(&programs[(thread + turn * 3) % programs.len()])?;
        }
        Ok(())
    })
}

fn check_one(labelled: &Labelled) -> Result<()> {
    let said = fixture::probe(&labelled.program, &["bpf", ANY_COMMAND])?.success()?;
    let right = match labelled.reason {
        "none" => "bpf 11: ok",
        _ => "bpf 11: EPERM",
    };
    let name = labelled.program.display();
    ensure!(said.trim() == right, "{name}, not {right}: {said}");
    Ok(())
}

/// Programs that the guard has records of, and what it had no room for.
fn accounts(guest: &Guest) -> Result<(usize, u64, u64)> {
    let status = policy::status(guest)?;
    let count = |name: &str| status[name].as_u64().context("not a number");
    let images = status["images"].as_array().context("no list of images")?;
    Ok((images.len(), count("starved")?, count("lost_events")?))
}

/// Runs [`run_all`], and requires that the guard's records agree with it: the
/// history holds as many verdicts as there were calls, and no image is left.
fn run_and_account(guest: &Guest, programs: &[Labelled], each: usize) -> Result<()> {
    let (images, starved, lost) = accounts(guest)?;
    let mark = Events::mark(guest)?;
    run_all(programs, each)?;
    let mut reported: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in mark.since(guest)? {
        if event["action"] == "bpf" {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            *reported
                .entry((text("executable"), text("reason")))
                .or_default() += 1;
        }
    }
    let total: usize = reported.values().sum();
    ensure!(
        total == THREADS * each,
        "{total} of the calls: {reported:#?}"
    );
    for labelled in programs {
        let key = (
            labelled.program.display().to_string(),
            labelled.reason.to_owned(),
        );
        ensure!(reported.remove(&key) > Some(0), "no event of {key:?}");
    }
    ensure!(reported.is_empty(), "wrong verdicts: {reported:#?}");
    // A task is freed some time after its end.
    guest.wait_for("as many images as before", Duration::from_secs(20), || {
        Ok((accounts(guest)?.0 == images).then_some(()))
    })?;
    let (_, starved_now, lost_now) = accounts(guest)?;
    ensure!(starved_now == starved, "{} starved", starved_now - starved);
    ensure!(lost_now == lost, "{} events lost", lost_now - lost);
    Ok(())
}

fn every_exec_at_once_gets_its_own_verdict(guest: &mut Guest) -> Result<()> {
    let programs = programs(guest)?;
    run_and_account(guest, &programs, 60)
}

/// Setting a signature drops the kept verdict, so most of these are made anew,
/// some by several tasks at once, some while the signature is replaced.
fn verdicts_are_right_while_signatures_are_set_anew(guest: &mut Guest) -> Result<()> {
    let programs = programs(guest)?;
    let signatures = programs
        .iter()
        .filter(|labelled| labelled.reason != "no-signature")
        .map(|labelled| Ok((&*labelled.program, envelope::read(&labelled.program)?)))
        .collect::<Result<Vec<(&Path, Vec<u8>)>>>()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let setter = scope.spawn(|| -> Result<u64> {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                for (program, signature) in &signatures {
                    envelope::write(program, signature)?;
                }
                rounds += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(rounds)
        });
        let result = run_and_account(guest, &programs, 25);
        done.store(true, Ordering::Relaxed);
        let rounds = setter.join().ok().context("a thread panicked")??;
        ensure!(rounds > 5, "the signatures were set only {rounds} times");
        result
    })
}
