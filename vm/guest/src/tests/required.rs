//! Loaders that must use a BPF token: nothing is done without it.

use crate::fixture::{self, ACME, Events, GLOBEX, probe};
use crate::guest::Guest;
use crate::owner::{expect_answer, expect_denied, expect_event};
use crate::policy::{apply, loader};
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::token::{
    AS_GRANTED, Called, GRANT, TOKEN, answers, holder, policy, refused, serving, setup, tied,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

pub const GROUP: Group = Group {
    name: "required",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(who_must_use_one_does_nothing_without),
        test!(one_that_the_kernel_ignores_is_none),
        test!(one_that_is_gone_is_none),
        test!(policy_and_publisher_require_it_too),
        test!(a_requirement_is_shown),
    ],
};

fn who_must_use_one_does_nothing_without(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    // Root, with every capability.
    for (actions, command) in [
        ("map hash", "map-create"),
        ("load xdp", "prog-load"),
        ("btf", "btf-load"),
        ("hold-map array", "map-create"),
    ] {
        let about = [("action", "bpf"), ("command", command)];
        expect_denied(guest, &tied, actions, "no-token", &about)?;
        refused(guest, AS_GRANTED, &tied, actions, "no-token", &about)?;
        // To have one is not to use it.
        let holding = format!("hold-token /sys/fs/bpf {actions}");
        refused(guest, AS_GRANTED, &tied, &holding, "no-token", &about)?;
    }
    for actions in [
        "map hash",
        "load xdp",
        "btf",
        "load cgroup_skb link-create cgroup_inet_ingress",
        "hold-map array change lookup",
        "without-token",
    ] {
        answers(AS_GRANTED, &tied, &format!("{TOKEN} {actions}"), "ok")
            .with_context(|| actions.to_owned())?;
    }
    // A map's descriptor is no token.
    let free = holder(guest, "holder")?;
    let actions = format!(
        "{TOKEN} hold-map array hand-down exec {} inherited with-token map hash",
        tied.display()
    );
    let mark = Events::mark(guest)?;
    answers(AS_GRANTED, &free, &actions, "EPERM")?;
    expect_event(
        guest,
        &mark,
        &tied,
        "no-token",
        &[("command", "map-create")],
    )?;
    // Another's does not even arrive.
    let other = loader(guest, "other", ACME, &GRANT.of("other", 1))?;
    let (_other, socket) = serving(guest, &other, AS_GRANTED)?;
    let receive = format!("receive {socket}");
    expect_denied(guest, &tied, &receive, "not-owner", &[("object", "token")])
}

fn one_that_the_kernel_ignores_is_none(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let tied = tied(guest, "tied")?;
    let options = "cmds=map_create:prog_load,maps=hash,progs=xdp,attachs=xdp";
    let (_agent, socket) = serving(guest, &agent, options)?;
    let receive = format!("receive {socket} with-token");
    // Root may all by himself, and the kernel falls back to that.
    for (actions, command) in [
        ("map array", "map-create"),
        ("load cgroup_skb", "prog-load"),
        ("btf", "btf-load"),
    ] {
        let actions = format!("{receive} {actions}");
        let about = [("action", "bpf"), ("command", command)];
        expect_denied(guest, &tied, &actions, "no-token", &about)?;
        expect_answer(&agent, &actions, "ok")?;
    }
    expect_answer(&tied, &format!("{receive} map hash load xdp"), "ok")
}

fn one_that_is_gone_is_none(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let held = format!("{TOKEN} drop hold-map array change");
    answers(AS_GRANTED, &tied, &held, "ok")?;
    // The kernel frees it a moment after its last descriptor is closed.
    let gone = format!("{held} without-token sleep 1000 lookup");
    let about = [("command", "map-lookup-elem")];
    refused(guest, AS_GRANTED, &tied, &gone, "no-token", &about)
}

fn policy_and_publisher_require_it_too(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let namesake = loader(guest, "namesake", GLOBEX, &GRANT.of("agent", 1))?;
    let mut running = Called::start(guest, &agent, TOKEN, "without-token map hash")?;
    let about = [("command", "map-create")];
    let both = [ACME, GLOBEX].map(|key| key.certificate());
    let of = |name: &str, certificate: &str, require: &str| {
        format!("[publisher.{name}]\ncertificates = [{certificate:?}]\n{require}")
    };
    let require = "require = \"token\"\n";
    let acme_alone = of("acme", &both[0], require) + &of("globex", &both[1], "");
    let all = require.to_owned() + &of("acme", &both[0], "") + &of("globex", &both[1], "");
    for (text, others) in [(acme_alone, "ok"), (all, "EPERM")] {
        apply(guest, &text)?;
        expect_denied(guest, &agent, "map hash", "no-token", &about)?;
        expect_answer(&namesake, "map hash", others)?;
        // It reaches who runs, too.
        running.expect_refused(guest, "no-token", &about)?;
        let actions = format!("{TOKEN} map hash");
        answers(AS_GRANTED, &agent, &actions, "ok")?;
    }
    apply(guest, &policy(""))?;
    expect_answer(&agent, "map hash", "ok")
}

fn a_requirement_is_shown(guest: &mut Guest) -> Result<()> {
    let tied = tied(guest, "tied")?;
    let path = tied.to_str().context("a path of ASCII")?;
    for verb in ["inspect", "explain"] {
        let text = guest.run(&["bpftrust", verb, path])?.success()?;
        ensure!(text.contains("\n  require    token\n"), "{verb}: {text}");
    }
    let said = guest
        .run(&["bpftrust", "explain", "--json", path])?
        .success()?;
    let said: Value = serde_json::from_str(&said)?;
    ensure!(said["require"] == json!(["token"]), "{said:#}");
    let policy = guest.write("p.toml", format!("require = \"token\"\n{}", policy("")))?;
    let policy = policy.to_str().context("a path of ASCII")?;
    let text = guest
        .run(&["bpftrust", "policy", "show", "--policy", policy])?
        .success()?;
    ensure!(
        text.contains("require      token: each bpf() call"),
        "{text}"
    );
    ensure!(text.contains("  require    nothing"), "{text}");
    // The signature is as good as any other.
    let said = probe(&tied, &["say", "hello"])?.success()?;
    ensure!(said == "hello\n", "{said}");
    Ok(())
}
