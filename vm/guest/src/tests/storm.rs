//! Thousands of programs are executed at once, forked and asked, while one policy
//! follows the other: each is judged by its own file, and nothing is left.

use crate::asker::{self, Answer};
use crate::crowd::on_all_cpus;
use crate::envelope;
use crate::fixture::{self, ACME, STRANGER};
use crate::guest::Guest;
use crate::policy;
use crate::registry::{Group, RunsOn};
use crate::sys;
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub const GROUP: Group = Group {
    name: "storm",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[test!(ten_thousand_execs_across_policies_are_each_judged_alone).within(600)],
};

/// How many programs are executed.
const EXECS: usize = 10_000;

/// From one policy to the next.
const PAUSE: Duration = Duration::from_millis(100);

/// Of so many policies one is brought by bpftrust itself, with a keyring of its
/// own; the others are those bytes again, under the next number.
const BY_COMMAND: usize = 25;

/// `BT_PRCTL_POLICY` of `bpf/abi.h`, and the sizes of its structs.
const PRCTL_POLICY: i32 = 0x6270_7400;
const KEY_SIZE: usize = 616;
const KEY_GENERATION: std::ops::Range<usize> = 16..24;
const IMAGE_SIZE: usize = 320;

/// A program, and the reason that the guard must have for it, or `none`.
struct Labelled {
    program: PathBuf,
    reason: &'static str,
}

/// As many that are signed as are not.
fn programs(guest: &Guest) -> Result<Vec<Labelled>> {
    let mut programs = Vec::new();
    let mut add = |name: &str, reason: &'static str| -> Result<PathBuf> {
        let program = guest.path(name);
        asker::write(&program, name)?;
        programs.push(Labelled {
            program: program.clone(),
            reason,
        });
        Ok(program)
    };
    for number in 0..4 {
        let signed = add(&format!("signed-{number}"), "none")?;
        fixture::sign(guest, ACME, &signed)?;
        match number {
            0 => drop(add("plain", "no-signature")?),
            1 => envelope::write(&add("open", "no-verity")?, &envelope::read(&signed)?)?,
            2 => fixture::sign(guest, STRANGER, &add("stranger", "unknown-key")?)?,
            _ => {
                let library = add("library", "wrong-kind")?;
                fixture::sign_as(guest, ACME, &library, &["--kind", "library"])?;
            }
        }
    }
    Ok(programs)
}

/// Executes the program of that turn and compares its answers, and those of its
/// child, with its label.
fn check_one(programs: &[Labelled], turn: usize) -> Result<()> {
    let labelled = &programs[turn % programs.len()];
    let forks = does_fork(turn, programs.len());
    let wanted = match labelled.reason {
        "none" => Answer::Allowed,
        _ => Answer::Refused,
    };
    let status = Command::new(&labelled.program)
        .args(forks.then_some("fork"))
        .status()
        .with_context(|| format!("cannot run {}", labelled.program.display()))?;
    let code = status.code().with_context(|| format!("{status}"))?;
    let answers = asker::answers(code, forks)?;
    ensure!(
        answers.iter().all(|answer| *answer == wanted),
        "turn {turn}, {}: {answers:?}, not {wanted:?}",
        labelled.program.display()
    );
    Ok(())
}

/// Of the programs each forks every third time.
fn does_fork(turn: usize, programs: usize) -> bool {
    (turn / programs).is_multiple_of(3)
}

fn run_all(programs: &[Labelled]) -> Result<()> {
    let next = AtomicUsize::new(0);
    on_all_cpus(|_| {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                turn if turn < EXECS => check_one(programs, turn)?,
                _ => return Ok(()),
            }
        }
    })
}

/// The policy in force as `prctl()` takes it, under the next number: one
/// publisher without a ceiling, and its key as the guard shows it.
fn next_policy(generation: u64) -> Result<Vec<u8>> {
    let keys = fs::read("/sys/fs/bpf/bpftrust/keys").context("cannot read the keys")?;
    let key = keys
        .chunks_exact(KEY_SIZE)
        .find(|key| key.get(KEY_GENERATION) == Some(&generation.to_le_bytes()))
        .context("the policy in force has no key")?;
    // Form 2, libraries any.
    let mut bytes = b"BPOL\x02\0\x02\0".to_vec();
    bytes.extend((generation + 1).to_le_bytes());
    for number in [1_u32, 1, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    // Ceiling, default and serial, then the publisher: its name, flags and ceiling.
    bytes.extend([0xff; 2 * 48]);
    bytes.extend([0; 8]);
    let mut name = [0; 32];
    name[..4].copy_from_slice(b"acme");
    bytes.extend(name);
    bytes.extend([0; 8]);
    bytes.extend([0xff; 48]);
    bytes.extend(key);
    Ok(bytes)
}

/// Brings policies until all is done; how many it brought.
fn reload(guest: &Guest, done: &AtomicBool) -> Result<usize> {
    let mut generation = policy::status(guest)?["policy"]
        .as_u64()
        .context("a number")?;
    let mut count = 0_usize;
    while !done.load(Ordering::Relaxed) {
        let start = Instant::now();
        if count.is_multiple_of(BY_COMMAND) {
            policy::apply(guest, &policy::acme(""))?;
        } else {
            let answer = sys::prctl(PRCTL_POLICY, &next_policy(generation)?);
            let error = answer.err().and_then(|error| error.raw_os_error());
            ensure!(error == Some(libc::EALREADY), "policy {count}: {error:?}");
        }
        generation += 1;
        count += 1;
        std::thread::sleep(PAUSE.saturating_sub(start.elapsed()));
    }
    Ok(count)
}

/// Records of the guard: images, tasks that share one, tasks with a reason, and
/// what it had no room for. Without the kernel's threads, which come and go by
/// themselves: each has the reason of the first, that it was there before.
fn records(guest: &Guest) -> Result<[u64; 4]> {
    let status = policy::status(guest)?;
    let count = |name: &str| status[name].as_u64().context("not a number");
    let shown = status["images"].as_array().context("no list of images")?;
    let tasks = shown.iter().filter_map(|image| image["tasks"].as_u64());
    // Also those that `status` does not show, for nobody shares them.
    let images = fs::read("/sys/fs/bpf/bpftrust/images").context("cannot read the images")?;
    Ok([
        (images.len() / IMAGE_SIZE) as u64,
        tasks.sum(),
        count("reasons")? - kernel_threads()?,
        count("starved")?,
    ])
}

/// How many there are: the children of kthreadd, and itself (kernel/kthread.c).
fn kernel_threads() -> Result<u64> {
    const KTHREADD: &str = "2";
    let mut count = 0;
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        // Not of a process, or of one that has ended.
        let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else {
            continue;
        };
        // PID (COMM) STATE PPID, where COMM is whatever it is called.
        let of_kernel = stat.rsplit_once(") ").is_some_and(|(before, after)| {
            before.starts_with("2 (") || after.split(' ').nth(1) == Some(KTHREADD)
        });
        count += u64::from(of_kernel);
    }
    Ok(count)
}

fn refusals(status: &Value) -> BTreeMap<String, u64> {
    let table = status["refusals"].as_object().into_iter().flatten();
    table
        .filter_map(|(reason, count)| Some((reason.clone(), count.as_u64()?)))
        .collect()
}

/// How many refusals of each reason the guard must count: one for each question
/// and, where there is a signature, one for the exec.
fn expected(programs: &[Labelled]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for turn in 0..EXECS {
        let reason = programs[turn % programs.len()].reason;
        if reason != "none" {
            let questions = 1 + u64::from(does_fork(turn, programs.len()));
            let exec = u64::from(reason != "no-signature");
            *counts.entry(reason.to_owned()).or_default() += questions + exec;
        }
    }
    counts
}

fn ten_thousand_execs_across_policies_are_each_judged_alone(guest: &mut Guest) -> Result<()> {
    let programs = programs(guest)?;
    let before = records(guest)?;
    let counted = refusals(&policy::status(guest)?);
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let policies = std::thread::scope(|scope| {
        let reloader = scope.spawn(|| reload(guest, &done));
        let result = run_all(&programs);
        done.store(true, Ordering::Relaxed);
        let policies = reloader.join().ok().context("a thread panicked")?;
        result.and(policies)
    })?;
    println!(
        "{EXECS} execs, {policies} policies in {:?}",
        start.elapsed()
    );
    // Every 100 ms, if the machine comes to it.
    ensure!(policies >= 50, "only {policies} policies");
    let mut now = refusals(&policy::status(guest)?);
    for (reason, count) in counted {
        *now.entry(reason).or_default() -= count;
    }
    now.retain(|_, count| *count > 0);
    ensure!(
        now == expected(&programs),
        "{now:?}, not {:?}",
        expected(&programs)
    );
    // A task is freed some time after its end.
    let mut after = before;
    guest
        .wait_for("as many records as before", Duration::from_secs(20), || {
            after = records(guest)?;
            Ok((after == before).then_some(()))
        })
        .with_context(|| format!("{before:?} became {after:?}"))
}
