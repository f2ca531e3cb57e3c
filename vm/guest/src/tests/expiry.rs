//! A grant ends when it says, for who runs as for who is executed, and no clock
//! brings it back.
//!
//! Each test starts the guard anew: it never forgets how late it was. How fast
//! the machine is does not matter: ends are days ahead and the clock is moved,
//! but for the one test that waits.

use crate::fixture::{self, ACME, UNSIGNED, expect_trusted, probe, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::policy::{CALL, Running, acme, apply, expect_exec_refused, image, loader, own_probe};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const GROUP: Group = Group {
    name: "expiry",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::configure),
    teardown: Some(stop),
    tests: &[
        test!(a_grant_ends_by_itself).within(180),
        test!(the_clock_set_forward_ends_it_at_once).within(180),
        test!(the_clock_set_back_revives_nothing).within(180),
        test!(the_clock_set_back_beforehand_gives_no_time).within(180),
        test!(a_policy_revives_nothing).within(180),
        test!(a_fork_ends_with_its_parent).within(180),
        test!(an_end_that_is_far_away_is_none).within(180),
    ],
};

const DAY: i64 = 86_400;

fn stop(guest: &mut Guest) -> Result<()> {
    // A failed test may have left none.
    guest.run(&["bpftrust", "release"])?;
    Ok(())
}

/// The guard as it starts, by the clock as it is.
fn start(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    Ok(())
}

fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// A loader whose grant ends in so many seconds.
fn ends_in(guest: &Guest, name: &str, seconds: u64) -> Result<PathBuf> {
    let end = now()? + seconds;
    let end = guest.shell(&format!("date -u -d @{end} +%Y-%m-%dT%H:%M:%SZ"))?;
    let end = end.success()?;
    let grant = format!("not-after = {}\n{}", end.trim(), Grant::ALL.of(name, 1));
    loader(guest, name, ACME, &grant)
}

fn days_ahead(guest: &Guest, name: &str) -> Result<PathBuf> {
    ends_in(guest, name, 2 * DAY.unsigned_abs())
}

fn move_clock(seconds: i64) -> Result<()> {
    let said = probe(Path::new(UNSIGNED), &["clock", &seconds.to_string()])?.success()?;
    ensure!(said.ends_with(": ok\n"), "{said}");
    Ok(())
}

/// Moves the clock, does something, and moves it back whatever came of it.
fn with_clock_moved<T>(seconds: i64, act: impl FnOnce() -> Result<T>) -> Result<T> {
    move_clock(seconds)?;
    let result = act();
    move_clock(-seconds)?;
    result
}

fn a_grant_ends_by_itself(guest: &mut Guest) -> Result<()> {
    /// Enough for a slow machine to sign and to start.
    const SOON: u64 = 15;
    start(guest)?;
    let goes_on = days_ahead(guest, "goes-on")?;
    let program = ends_in(guest, "ends", SOON)?;
    let end = now()? + SOON;
    let mut running = Running::start(guest, &program, "bpf 11")?;
    let mut other = Running::start(guest, &goes_on, "bpf 11")?;
    ensure!(running.call(guest)? == "ok" || now()? >= end);
    // The last second is one of it, and the clock above was read before `sign`.
    while now()? <= end + 1 {
        std::thread::sleep(Duration::from_millis(200));
    }
    running.expect_refused(guest, "expired")?;
    ensure!(image(guest, running.pid())?["lost_trust"] == "expired");
    expect_exec_refused(guest, &program, "expired")?;
    other.expect_trusted(guest)?;
    expect_trusted(guest, &goes_on, CALL)
}

fn the_clock_set_forward_ends_it_at_once(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let program = days_ahead(guest, "ends")?;
    let endless = loader(guest, "endless", ACME, &Grant::ALL.of("endless", 1))?;
    let mut running = Running::start(guest, &program, "bpf 11")?;
    let mut other = Running::start(guest, &endless, "bpf 11")?;
    with_clock_moved(DAY, || running.expect_trusted(guest)).context("before its end")?;
    with_clock_moved(3 * DAY, || {
        running.expect_refused(guest, "expired")?;
        expect_exec_refused(guest, &program, "expired")?;
        other.expect_trusted(guest)?;
        expect_trusted(guest, &endless, CALL)
    })?;
    // And set back again.
    running.expect_refused(guest, "expired")?;
    expect_exec_refused(guest, &program, "expired")?;
    let fresh = days_ahead(guest, "fresh")?;
    expect_exec_refused(guest, &fresh, "expired").context("by the time that was seen")?;
    start(guest)?;
    expect_trusted(guest, &program, CALL)
}

/// Nor for one who did not call at that moment.
fn the_clock_set_back_revives_nothing(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let program = days_ahead(guest, "ends")?;
    let later = days_ahead(guest, "later")?;
    let mut running = Running::start(guest, &program, "bpf 11")?;
    let mut silent = Running::start(guest, &later, "bpf 11")?;
    with_clock_moved(3 * DAY, || running.expect_refused(guest, "expired"))?;
    for back in [0, -DAY, -1000 * DAY] {
        with_clock_moved(back, || {
            running.expect_refused(guest, "expired")?;
            silent.expect_refused(guest, "expired")?;
            expect_exec_refused(guest, &program, "expired")
        })?;
    }
    Ok(())
}

/// The guard goes on from the latest time that it saw.
fn the_clock_set_back_beforehand_gives_no_time(guest: &mut Guest) -> Result<()> {
    const SOON: u64 = 15;
    start(guest)?;
    let program = ends_in(guest, "ends", SOON)?;
    let end = now()? + SOON;
    expect_trusted(guest, &program, CALL)
        .or_else(|error| if now()? < end { Err(error) } else { Ok(()) })?;
    with_clock_moved(-30 * DAY, || {
        std::thread::sleep(Duration::from_secs(SOON + 2));
        expect_exec_refused(guest, &program, "expired")
    })
}

fn a_policy_revives_nothing(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let program = days_ahead(guest, "ends")?;
    let later = days_ahead(guest, "later")?;
    let mut running = Running::start(guest, &program, "bpf 11")?;
    let silent = Running::start(guest, &later, "bpf 11")?;
    let result = with_clock_moved(3 * DAY, || {
        running.expect_refused(guest, "expired")?;
        // Whoever is revoked is known to be when the policy takes effect.
        apply(guest, &acme(""))?;
        let record = image(guest, silent.pid())?;
        ensure!(record["lost_trust"] == "expired", "{record:#}");
        Ok(())
    });
    apply(guest, &acme(""))?;
    result?;
    running.expect_refused(guest, "expired")?;
    expect_exec_refused(guest, &program, "expired")
}

fn a_fork_ends_with_its_parent(guest: &mut Guest) -> Result<()> {
    for line in [
        "bpf 11 fork [ clock 259200 bpf 11 ]",
        "bpf 11 fork [ bpf 11 clock 259200 bpf 11 ]",
        "bpf 11 clock 259200 fork [ bpf 11 ]",
        "bpf 11 thread [ clock 259200 bpf 11 ]",
        "bpf 11 fork [ clock 259200 ] bpf 11",
    ] {
        start(guest)?;
        let program = days_ahead(guest, "ends")?;
        let said = probe(&program, &words(line));
        move_clock(-3 * DAY)?;
        let said = said?.success()?;
        ensure!(said.starts_with("bpf 11: ok\n"), "{line}: {said}");
        ensure!(said.ends_with("bpf 11: EPERM\n"), "{line}: {said}");
    }
    Ok(())
}

/// 2^63 and more, which no calendar has, are signed by a publisher's own tool.
fn an_end_that_is_far_away_is_none(guest: &mut Guest) -> Result<()> {
    use crate::envelope::{self, Envelope};
    const NOT_AFTER: usize = 24;
    start(guest)?;
    let file = own_probe(guest, "far")?;
    fixture::sign_with_grant(guest, ACME, &file, &Grant::ALL.of("far", 0))?;
    let own = Envelope::of(&file)?;
    for (end, is_trusted) in [
        (1_u64, false),
        (now()? - 100, false),
        (1 << 40, true),
        (1 << 63, true),
        (u64::MAX, true),
        (0, true),
    ] {
        let mut statement = own.statement.clone();
        statement[NOT_AFTER..NOT_AFTER + 8].copy_from_slice(&end.to_le_bytes());
        let signed = own.restate(guest, &file, ACME, statement)?;
        envelope::write(&file, &signed.bytes())?;
        if is_trusted {
            expect_trusted(guest, &file, CALL).with_context(|| format!("until {end}"))?;
        } else {
            expect_exec_refused(guest, &file, "expired").with_context(|| format!("until {end}"))?;
        }
    }
    Ok(())
}
