//! Loaders that may load programs alone whose signature the kernel verified, by a key
//! of the policy.

use crate::fixture::{self, ACME, Events, GLOBEX, STRANGER, probe, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::owner::{WORKER, expect_answer, expect_denied, start};
use crate::policy::{Running, apply, image, publisher};
use crate::registry::{Group, RunsOn};
use crate::signing::{
    der, free, hint, is_verified_here, offered, policy, ring, setup, signature, tied, tied_to,
    with_signature,
};
use crate::test;
use anyhow::{Context, Result, ensure};

/// Of kernels that verify signatures of programs.
const VERIFIED: &[&str] = &["program-signature"];

pub const GROUP: Group = Group {
    name: "signedprograms",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(unsigned_ones_are_refused),
        test!(one_that_a_key_of_the_policy_signed_is_loaded),
        test!(a_keyring_of_ones_own_does_not_count).needs(VERIFIED),
        test!(another_keys_ring_does_not_verify).needs(VERIFIED),
        test!(a_changed_program_does_not_verify).needs(VERIFIED),
        test!(type_and_target_are_the_grants).needs(VERIFIED),
        test!(what_a_signed_program_loads_counts_as_signed).needs(VERIFIED),
        test!(who_signed_it_limits_it).needs(VERIFIED),
        test!(who_signed_it_limits_what_it_is_attached_to).needs(VERIFIED),
        test!(a_refused_key_signs_nothing).needs(VERIFIED),
        test!(a_key_that_is_refused_later_runs_nothing).needs(VERIFIED),
        test!(unsigned_ones_of_the_same_owner_are_out_of_reach),
        test!(a_policy_that_requires_it_takes_trust_from_who_has_others),
    ],
};

const LOADED: [(&str, &str); 2] = [("action", "bpf"), ("command", "prog-load")];

fn unsigned_ones_are_refused(guest: &mut Guest) -> Result<()> {
    let (tied, free) = (tied(guest, "tied")?, free(guest, "free")?);
    for action in [
        "load socket_filter",
        "load xdp",
        "load syscall",
        "load-inner",
    ] {
        expect_answer(&free, action, "ok")?;
        expect_denied(guest, &tied, action, "unsigned-program", &LOADED)?;
    }
    // What is no program takes no signature.
    expect_answer(&tied, "map hash", "ok")?;
    expect_answer(&tied, "btf", "ok")?;
    if is_verified_here()? {
        // To name the policy's keyring is not to have anything verified.
        let ring = ring(guest, ACME)?;
        let action = format!("with-signature {ring}:- load socket_filter");
        expect_answer(&free, &action, "ok")?;
        expect_denied(guest, &tied, &action, "unsigned-program", &LOADED)?;
    }
    Ok(())
}

fn one_that_a_key_of_the_policy_signed_is_loaded(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    // 6.12 does not know the fields, and refuses whoever fills them.
    let answer = if is_verified_here()? { "ok" } else { "E2BIG" };
    for key in [ACME, GLOBEX] {
        for action in ["load socket_filter", "load xdp", "load fentry"] {
            let action = offered(guest, key, action)?;
            expect_answer(&tied, &action, answer)?;
        }
    }
    if answer == "ok" {
        // The next is another.
        let action = offered(guest, ACME, "load xdp")?;
        let again = format!("{action} without-signature load xdp");
        expect_denied(guest, &tied, &again, "unsigned-program", &LOADED)?;
    }
    Ok(())
}

fn a_keyring_of_ones_own_does_not_count(guest: &mut Guest) -> Result<()> {
    let (tied, free) = (tied(guest, "tied")?, free(guest, "free")?);
    for key in [ACME, STRANGER] {
        let certificate = der(guest, key, "certificate.der")?;
        let file = signature(guest, key, "load xdp")?;
        // The thread's, the process's, the session's and the user's own.
        for own in [-1, -2, -3, -4] {
            let add = format!("add-key {own}:{}", certificate.display());
            let action = format!("{add} {}", with_signature(own, &file, "load xdp"));
            expect_answer(&free, &action, "ok").with_context(|| action.clone())?;
            expect_denied(guest, &tied, &action, "unsigned-program", &LOADED)?;
        }
    }
    Ok(())
}

/// A signature counts by the ring of who made it, and no other.
fn another_keys_ring_does_not_verify(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    for (key, other) in [(ACME, GLOBEX), (STRANGER, ACME)] {
        let file = signature(guest, key, "load xdp")?;
        let action = with_signature(ring(guest, other)?, &file, "load xdp");
        expect_answer(&tied, &action, "ENOKEY")?;
    }
    // The kernel's own: the policy names none, and ours is in none.
    let file = signature(guest, ACME, "load xdp")?;
    for system in 0..3 {
        let action = with_signature(system, &file, "load xdp");
        expect_answer(&tied, &action, "ENOKEY")?;
    }
    Ok(())
}

fn a_changed_program_does_not_verify(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let ring = ring(guest, ACME)?;
    let file = signature(guest, ACME, "load xdp")?;
    let other = with_signature(ring, &file, "load socket_filter");
    expect_answer(&tied, &other, "EKEYREJECTED")?;
    let mut bytes = std::fs::read(&file)?;
    *bytes.last_mut().context("a signature")? ^= 1;
    let changed = guest.write("changed", bytes)?;
    let action = with_signature(ring, &changed, "load xdp");
    expect_answer(&tied, &action, "EKEYREJECTED")
}

/// Neither is signed: the same instructions can be loaded as something else.
fn type_and_target_are_the_grants(guest: &mut Guest) -> Result<()> {
    let ring = ring(guest, ACME)?;
    let narrow = tied_to(
        guest,
        "narrow",
        Grant {
            programs: "socket_filter cgroup_skb tracing",
            attaches: "cgroup_inet_ingress trace_fentry",
            ..WORKER
        },
    )?;
    for (signed, loaded, about) in [
        (
            "load socket_filter",
            "load sched_cls",
            ("object", "program"),
        ),
        (
            "load cgroup_skb",
            "load cgroup_skb_egress",
            ("object", "attach"),
        ),
        ("load fentry", "load fexit", ("object", "attach")),
    ] {
        let file = signature(guest, ACME, signed)?;
        expect_answer(&narrow, &with_signature(ring, &file, signed), "ok")?;
        let action = with_signature(ring, &file, loaded);
        let about = [LOADED[0], LOADED[1], about];
        expect_denied(guest, &narrow, &action, "not-granted", &about)?;
    }
    Ok(())
}

fn what_a_signed_program_loads_counts_as_signed(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let action = offered(guest, ACME, "load-inner")?;
    expect_answer(&tied, &action, "ok")?;
    // As far as the grant goes.
    let narrow = tied_to(
        guest,
        "narrow",
        Grant {
            programs: "syscall",
            ..WORKER
        },
    )?;
    let about = [
        LOADED[0],
        LOADED[1],
        ("object", "program"),
        ("name", "kprobe"),
    ];
    expect_denied(guest, &narrow, &action, "not-granted", &about)?;
    let harmless = tied_to(
        guest,
        "harmless",
        Grant {
            abilities: "children",
            ..WORKER
        },
    )?;
    let action = offered(guest, ACME, "load-inner send-signal")?;
    let about = [LOADED[0], LOADED[1], ("object", "ability")];
    expect_denied(guest, &harmless, &action, "not-granted", &about)
}

fn who_signed_it_limits_it(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let actions = ["load socket_filter", "load xdp", "load-inner"]
        .map(|action| offered(guest, GLOBEX, action));
    for action in actions {
        expect_answer(&tied, &action?, "ok")?;
    }
    let ceiling = "[publisher.globex.ceiling]\nprograms = [\"socket_filter\", \"syscall\"]\n";
    apply(guest, &policy(ceiling))?;
    let limited = || -> Result<()> {
        expect_answer(&tied, &offered(guest, GLOBEX, "load socket_filter")?, "ok")?;
        expect_answer(&tied, &offered(guest, ACME, "load xdp")?, "ok")?;
        expect_answer(&tied, &offered(guest, ACME, "load-inner")?, "ok")?;
        for (action, name) in [("load xdp", "xdp"), ("load-inner", "kprobe")] {
            let action = offered(guest, GLOBEX, action)?;
            let about = [LOADED[0], LOADED[1], ("object", "program"), ("name", name)];
            expect_denied(guest, &tied, &action, "not-granted", &about)?;
        }
        // Who may sign but some loaders signs programs for no others.
        let restricted = crate::policy::acme(&publisher("globex", &[GLOBEX]));
        apply(guest, &format!("{restricted}loaders = [\"other\"]\n"))?;
        let action = offered(guest, GLOBEX, "load socket_filter")?;
        expect_denied(guest, &tied, &action, "not-granted", &LOADED)
    };
    let result = limited();
    apply(guest, &policy(""))?;
    result
}

/// Also where it is attached by its own loader, whose attach types are more.
fn who_signed_it_limits_what_it_is_attached_to(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let attach = "link-create cgroup_inet_ingress";
    let action =
        |key| Ok::<_, anyhow::Error>(offered(guest, key, "load cgroup_skb")? + " " + attach);
    expect_answer(&tied, &action(GLOBEX)?, "ok")?;
    let ceiling = "[publisher.globex.ceiling]\nattaches = [\"xdp\"]\n";
    apply(guest, &policy(ceiling))?;
    let limited = || -> Result<()> {
        expect_answer(&tied, &action(ACME)?, "ok")?;
        let about = [
            ("command", "link-create"),
            ("object", "attach"),
            ("name", "cgroup_inet_ingress"),
        ];
        expect_denied(guest, &tied, &action(GLOBEX)?, "not-granted", &about)
    };
    let result = limited();
    apply(guest, &policy(""))?;
    result
}

fn a_refused_key_signs_nothing(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let refused = format!("[refused]\nkeys = [\"{}\"]\n", hint(guest, GLOBEX)?);
    let action = offered(guest, GLOBEX, "load xdp")?;
    expect_answer(&tied, &action, "ok")?;
    apply(guest, &policy(&refused))?;
    let action = offered(guest, GLOBEX, "load xdp")?;
    let result = expect_denied(guest, &tied, &action, "revoked", &LOADED);
    apply(guest, &policy(""))?;
    result
}

fn a_key_that_is_refused_later_runs_nothing(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let first = format!("{} hold-program", offered(guest, GLOBEX, "load syscall")?);
    let mut running = Running::start_with(guest, &tied, &first, "test-run")?;
    // The kernel takes other arguments for it.
    let answer = running.call(guest)?;
    ensure!(answer == "EINVAL", "{answer}");
    let refused = format!("[refused]\nkeys = [\"{}\"]\n", hint(guest, GLOBEX)?);
    apply(guest, &policy(&refused))?;
    let result = running.expect_refused(guest, "revoked").map(drop);
    apply(guest, &policy(""))?;
    result?;
    let answer = running.call(guest)?;
    ensure!(answer == "EINVAL", "{answer}");
    Ok(())
}

/// The owner may have been allowed more, or be so in another version.
fn unsigned_ones_of_the_same_owner_are_out_of_reach(guest: &mut Guest) -> Result<()> {
    let (tied, free) = (tied(guest, "tied")?, free(guest, "free")?);
    let socket = guest.path("socket");
    let pin = "/sys/fs/bpf/unsigned";
    let serve = format!(
        "load socket_filter hold-program pin {pin} serve {}",
        socket.display()
    );
    let server = start(guest, &free, &serve)?;
    let about = [("object", "program")];
    for reach in [
        format!("obj-get {pin}"),
        format!("receive {}", socket.display()),
    ] {
        expect_answer(&free, &format!("{reach} test-run"), "ok")?;
        expect_denied(guest, &tied, &reach, "unsigned-program", &about)?;
    }
    let line = format!(
        "load socket_filter hold-program hand-down exec {} map hash",
        tied.display()
    );
    let mark = Events::mark(guest)?;
    let said = probe(&free, &words(&line))?.success()?;
    ensure!(said.ends_with("map hash: EPERM\n"), "{said}");
    expect_answer(&free, &format!("unpin {pin}"), "ok")?;
    server.stop()?;
    let about = [
        ("action", "exec"),
        ("outcome", "denied"),
        ("reason", "unsigned-program"),
    ];
    mark.expect(guest, &about).map(drop)
}

fn a_policy_that_requires_it_takes_trust_from_who_has_others(guest: &mut Guest) -> Result<()> {
    let free = free(guest, "free")?;
    let other = crate::policy::loader(guest, "other", ACME, &WORKER.of("other", 1))?;
    let mut has_one = Running::start(guest, &free, "load socket_filter hold-program")?;
    let mut has_none = Running::start(guest, &other, "map hash")?;
    for running in [&mut has_one, &mut has_none] {
        running.expect_trusted(guest)?;
    }
    apply(
        guest,
        &format!("require = \"signed-programs\"\n{}", policy("")),
    )?;
    let mut required = || -> Result<()> {
        has_one.expect_refused(guest, "unsigned-program")?;
        has_none.expect_trusted(guest)?;
        let record = image(guest, has_one.pid())?;
        ensure!(record["lost_trust"] == "unsigned-program", "{record:#}");
        expect_denied(
            guest,
            &other,
            "load socket_filter",
            "unsigned-program",
            &LOADED,
        )
    };
    let result = required();
    apply(guest, &policy(""))?;
    result
}
