//! Work that io_uring does for somebody, by its workers or by a thread that polls a
//! ring, and descriptors in its rings, get nobody further than he gets by himself.

use crate::fixture::{self, Events, UNSIGNED, expect_refused, expect_trusted, words};
use crate::guest::Guest;
use crate::owner::{Loaders, expect_answer, expect_denied, expect_event, start};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Result, ensure};
use std::path::Path;

pub const GROUP: Group = Group {
    name: "ring",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(code_that_a_ring_writes_costs_trust),
        test!(a_ring_reaches_into_no_trusted_process),
        test!(what_a_ring_receives_does_not_arrive),
        test!(a_ring_attaches_only_its_owners_program),
        test!(what_is_in_a_ring_does_not_leave_it),
        test!(a_ring_that_polls_gives_who_is_executed_nothing),
    ],
};

/// Who does the work.
const BY: &[&str] = &["by-ring", "by-poller"];

fn code_that_a_ring_writes_costs_trust(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    for by in BY {
        // Whether the kernel lets it write or not: it could open that.
        let own_code = format!("{by} self-mem bpf 11");
        expect_refused(guest, &all.agent, &words(&own_code), "writable-code")?;
        // A ring alone costs nothing.
        let harmless = format!("load socket_filter hold-program {by} socket-attach-held bpf 11");
        expect_trusted(guest, &all.agent, &words(&harmless))?;
    }
    Ok(())
}

fn a_ring_reaches_into_no_trusted_process(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let victim = start(guest, &all.agent, "")?;
    let plain = start(guest, Path::new(UNSIGNED), "")?;
    for by in BY {
        let mark = Events::mark(guest)?;
        let reach = |pid: u32| format!("{by} peek-mem {pid}");
        expect_answer(Path::new(UNSIGNED), &reach(victim.pid()), "EACCES")?;
        let about = [("action", "trace")];
        expect_event(guest, &mark, Path::new(UNSIGNED), "no-signature", &about)?;
        expect_answer(Path::new(UNSIGNED), &reach(plain.pid()), "ok")?;
    }
    Ok(())
}

fn what_a_ring_receives_does_not_arrive(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let socket = guest.path("socket");
    let serve = format!("hold-map array serve {}", socket.display());
    let _sender = start(guest, &all.agent, &serve)?;
    let about = [("action", "object"), ("object", "map")];
    for by in BY {
        let receive = format!("{by} receive {}", socket.display());
        expect_denied(guest, &all.other, &receive, "not-owner", &about)?;
        let unsigned = Path::new(UNSIGNED);
        expect_denied(guest, unsigned, &receive, "no-signature", &about)?;
        expect_answer(&all.tool, &format!("{receive} lookup"), "ok")?;
    }
    Ok(())
}

fn a_ring_attaches_only_its_owners_program(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    for by in BY {
        let mark = Events::mark(guest)?;
        let load = "load socket_filter hold-program";
        let hand_over =
            format!("{load} hand-down exec {UNSIGNED} inherited {by} socket-attach-held");
        expect_answer(&all.agent, &hand_over, "EPERM")?;
        let about = [("action", "attach")];
        expect_event(guest, &mark, Path::new(UNSIGNED), "no-signature", &about)?;
        expect_answer(&all.agent, &format!("{load} {by} socket-attach-held"), "ok")?;
    }
    Ok(())
}

/// One ring passes a map to another's without a descriptor. What has none is of no
/// use, and to get one is to receive it.
fn what_is_in_a_ring_does_not_leave_it(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let take = format!(
        "ring beside [ exec {} hold-map array ring-pass ] wait ring-take",
        all.agent.display()
    );
    let about = [("action", "object"), ("object", "map")];
    let unsigned = Path::new(UNSIGNED);
    expect_denied(guest, unsigned, &take, "no-signature", &about)?;
    expect_denied(guest, &all.other, &take, "not-owner", &about)?;
    expect_answer(&all.tool, &format!("{take} lookup"), "ok")
}

/// An exec ends what works for a ring (`fs/exec.c`, `begin_new_exec`), also where the
/// ring stays open: none of its threads comes along.
fn a_ring_that_polls_gives_who_is_executed_nothing(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let actions = format!("poller threads exec {} threads bpf 11", all.agent.display());
    let said = fixture::probe(Path::new(UNSIGNED), &words(&actions))?.success()?;
    ensure!(
        said == "poller: ok\nthreads: 2\nthreads: 1\nbpf 11: ok\n",
        "{said}"
    );
    Ok(())
}
