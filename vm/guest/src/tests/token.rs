//! BPF tokens: within the grant, and of their owner's processes alone. All that
//! makes them is in a user namespace of its own, as uid 1000 outside of it.

use crate::fixture::{self, ACME, Events, GLOBEX, UNSIGNED};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::owner::{Loaders, expect_answer, expect_denied, expect_event};
use crate::policy::{apply, loader, status};
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::token::{
    ANY, AS_GRANTED, Called, GRANT, TOKEN, answers, holder, policy, refused, serving, setup, tied,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "token",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(the_untrusted_make_none),
        test!(making_one_takes_delegate),
        test!(none_delegates_more_than_the_grant),
        test!(within_the_grant_no_privilege_is_needed),
        test!(live_ones_are_listed),
        test!(what_is_sent_over_a_socket_is_its_owners),
        test!(over_exec_it_is_its_owners),
        test!(in_a_nested_namespace_it_is_of_no_use),
        test!(without_trust_it_is_of_no_use),
        test!(without_delegate_it_is_of_no_use),
        test!(a_program_made_with_it_is_attached_only_with_delegate),
        test!(a_narrower_policy_narrows_it),
    ],
};

/// Requires that it is the kernel that refuses the last action, and not the guard.
fn refused_by_the_kernel(guest: &Guest, program: &Path, actions: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    answers(AS_GRANTED, program, actions, "EPERM")?;
    let executable = program.to_str().context("a path of ASCII")?;
    mark.expect_none(guest, &[("outcome", "denied"), ("executable", executable)])
}

fn the_untrusted_make_none(guest: &mut Guest) -> Result<()> {
    let nobody = Path::new(UNSIGNED);
    for (actions, command) in [
        ("hold-token /sys/fs/bpf", "token-create"),
        // It has CAP_BPF there.
        ("map hash", "map-create"),
        ("load xdp", "prog-load"),
        ("userns [ map hash ]", "map-create"),
    ] {
        let about = [("action", "bpf"), ("command", command)];
        refused(guest, ANY, nobody, actions, "no-signature", &about)?;
    }
    let agent = holder(guest, "holder")?;
    answers(AS_GRANTED, &agent, "hold-token /sys/fs/bpf", "ok")
}

fn making_one_takes_delegate(guest: &mut Guest) -> Result<()> {
    let grant = Grant {
        abilities: "children",
        ..GRANT
    };
    let other = loader(guest, "without", ACME, &grant.of("agent", 1))?;
    let about = [
        ("command", "token-create"),
        ("object", "ability"),
        ("name", "delegate"),
    ];
    let make = "hold-token /sys/fs/bpf";
    refused(guest, AS_GRANTED, &other, make, "not-granted", &about)
}

fn none_delegates_more_than_the_grant(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let make = "hold-token /sys/fs/bpf";
    for (options, object, name) in [
        // The first that is not granted; of types, 0 means none.
        (ANY, "command", "map-delete-elem"),
        ("cmds=map_create:obj_pin", "command", "obj-pin"),
        // Without a name: what a later kernel may add.
        ("cmds=0x8000000000000001", "command", "63"),
        ("maps=array:ringbuf", "map", "ringbuf"),
        ("maps=any", "map", "0"),
        ("progs=xdp:kprobe", "program", "kprobe"),
        ("progs=any", "program", "0"),
        ("attachs=xdp:trace_fentry", "attach", "trace_fentry"),
        ("attachs=0x8000000000000000", "attach", "63"),
    ] {
        let about = [
            ("command", "token-create"),
            ("object", object),
            ("name", name),
        ];
        refused(guest, options, &agent, make, "not-granted", &about)
            .with_context(|| options.to_owned())?;
    }
    for options in [AS_GRANTED, "cmds=map_create", "maps=array"] {
        answers(options, &agent, make, "ok").with_context(|| options.to_owned())?;
    }
    // Who is granted all that has a name is not granted what has none.
    let all = loader(guest, "all", ACME, &Grant::ALL.of("all", 1))?;
    let about = [("command", "token-create"), ("object", "command")];
    refused(guest, ANY, &all, make, "not-granted", &about)
}

fn within_the_grant_no_privilege_is_needed(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    for action in [
        "map hash",
        "map array",
        "btf",
        "load xdp",
        "map array_typed",
    ] {
        refused_by_the_kernel(guest, &agent, &format!("hold-token /sys/fs/bpf {action}"))
            .with_context(|| action.to_owned())?;
        answers(AS_GRANTED, &agent, &format!("{TOKEN} {action}"), "ok")
            .with_context(|| action.to_owned())?;
    }
    // Granted, and not delegated.
    let mark = Events::mark(guest)?;
    let actions = format!("{TOKEN} map array");
    answers("cmds=map_create,maps=hash", &agent, &actions, "EPERM")?;
    mark.expect_none(guest, &[("outcome", "denied"), ("action", "bpf")])
}

fn live_ones_are_listed(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let tokens = |guest: &Guest| -> Result<Vec<Value>> {
        let status = status(guest)?;
        status["tokens"].as_array().cloned().context("no tokens")
    };
    // The kernel frees those of other tests in its own time.
    let limit = std::time::Duration::from_secs(10);
    let none = |guest: &Guest| {
        guest
            .wait_for("the end of all tokens", limit, || {
                Ok(tokens(guest)?.is_empty().then_some(()))
            })
            .with_context(|| format!("{:#?}", tokens(guest)))
    };
    none(guest)?;
    let (process, _) = serving(guest, &agent, "cmds=map_create:prog_load,maps=hash")?;
    let all = tokens(guest)?;
    let [token] = &all[..] else {
        anyhow::bail!("not one: {all:#?}");
    };
    ensure!(
        token["publisher"] == "acme" && token["loader"] == "agent" && token["comm"] == "holder",
        "{token:#}"
    );
    let pid = token["pid"].as_u64().context("no pid")?;
    let executable = fs::read_link(format!("/proc/{pid}/exe"))?;
    ensure!(executable == agent, "{} made it", executable.display());
    let expected = json!({
        "commands": ["map-create", "prog-load"], "maps": ["hash"], "programs": [], "attaches": [],
    });
    ensure!(token["delegates"] == expected, "{token:#}");
    let text = guest.run(&["bpftrust", "status"])?.success()?;
    let number = token["number"].as_u64().context("no number")?;
    let begin = format!("  {number} of acme/agent, made by holder[{pid}], for ");
    let end = ": programs none; attaches none; maps hash; commands map-create,prog-load";
    ensure!(
        text.lines()
            .any(|line| line.starts_with(&begin) && line.ends_with(end)),
        "{text}"
    );
    drop(process);
    none(guest)
}

fn what_is_sent_over_a_socket_is_its_owners(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let all = Loaders::sign(guest)?;
    let tool = loader(guest, "its-tool", ACME, &GRANT.of("agent", 2))?;
    let namesake = loader(guest, "namesake", GLOBEX, &GRANT.of("agent", 1))?;
    let (_agent, socket) = serving(guest, &agent, AS_GRANTED)?;
    let receive = format!("receive {socket}");
    let about = [("action", "object"), ("object", "token")];
    for (program, reason) in [
        (Path::new(UNSIGNED), "no-signature"),
        (&all.other, "not-owner"),
        (&namesake, "not-owner"),
    ] {
        expect_denied(guest, program, &receive, reason, &about)?;
    }
    // It may look at what is another's, and use nothing of it.
    let about = [("command", "map-create"), ("object", "token")];
    let actions = format!("{receive} with-token map hash");
    expect_denied(guest, &all.inspector, &actions, "not-owner", &about)?;
    expect_answer(&tool, &actions, "ok")
}

fn over_exec_it_is_its_owners(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let other = loader(guest, "other", ACME, &GRANT.of("other", 1))?;
    let tool = tied(guest, "its-tool")?;
    let hand_over = |program: &Path| {
        format!(
            "{TOKEN} hand-down exec {} inherited with-token map hash",
            program.display()
        )
    };
    for (program, reason) in [(Path::new(UNSIGNED), "no-signature"), (&other, "not-owner")] {
        let mark = Events::mark(guest)?;
        answers(AS_GRANTED, &agent, &hand_over(program), "EPERM")?;
        let about = [("action", "bpf"), ("command", "map-create")];
        expect_event(guest, &mark, program, reason, &about)?;
    }
    answers(AS_GRANTED, &agent, &hand_over(&agent), "ok")?;
    // Who must use one has neither made nor used one after an exec.
    let then = |actions: &str| {
        format!(
            "{TOKEN} hold-map array hand-down exec {} {actions}",
            tool.display()
        )
    };
    let mark = Events::mark(guest)?;
    answers(AS_GRANTED, &agent, &then("inherited lookup"), "EPERM")?;
    let about = [("command", "map-lookup-elem")];
    expect_event(guest, &mark, &tool, "no-token", &about)?;
    let makes = then("hold-token /sys/fs/bpf inherited lookup");
    answers(AS_GRANTED, &agent, &makes, "ok")?;
    let uses = format!(
        "{TOKEN} hand-down exec {} inherited with-token hold-map array lookup",
        tool.display()
    );
    answers(AS_GRANTED, &agent, &uses, "ok")
}

fn in_a_nested_namespace_it_is_of_no_use(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let nested = [
        "userns [ hold-token /sys/fs/bpf ]".to_owned(),
        format!("{TOKEN} userns [ map hash ]"),
        format!("{TOKEN} userns [ load xdp ]"),
    ];
    for actions in nested {
        refused_by_the_kernel(guest, &agent, &actions).with_context(|| actions.clone())?;
    }
    Ok(())
}

fn without_trust_it_is_of_no_use(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let mut running = Called::start(guest, &agent, TOKEN, "map hash")?;
    running.expect_ok(guest)?;
    apply(guest, &policy("[minimum-version]\nagent = 2\n"))?;
    let about = [("command", "map-create")];
    running.expect_refused(guest, "too-old", &about)?;
    apply(guest, &policy(""))?;
    // Permission comes back to who is executed again.
    running.expect_refused(guest, "too-old", &about)?;
    let actions = format!("{TOKEN} map hash");
    answers(AS_GRANTED, &agent, &actions, "ok")
}

fn without_delegate_it_is_of_no_use(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let mut running = Called::start(guest, &agent, TOKEN, "map hash")?;
    running.expect_ok(guest)?;
    apply(guest, &policy("[ceiling]\nabilities = [\"children\"]\n"))?;
    let about = [
        ("action", "bpf"),
        ("command", "map-create"),
        ("object", "ability"),
        ("name", "delegate"),
    ];
    running.expect_refused(guest, "not-granted", &about)?;
    apply(guest, &policy(""))?;
    running.expect_ok(guest)
}

fn a_program_made_with_it_is_attached_only_with_delegate(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let first = format!("{TOKEN} load cgroup_skb");
    let call = "link-create cgroup_inet_ingress";
    let mut running = Called::start(guest, &agent, &first, call)?;
    running.expect_ok(guest)?;
    apply(guest, &policy("[ceiling]\nabilities = [\"children\"]\n"))?;
    let about = [
        ("action", "object"),
        ("object", "ability"),
        ("name", "delegate"),
    ];
    running.expect_refused(guest, "not-granted", &about)?;
    apply(guest, &policy(""))?;
    running.expect_ok(guest)
}

fn a_narrower_policy_narrows_it(guest: &mut Guest) -> Result<()> {
    let agent = holder(guest, "holder")?;
    let mut running = Called::start(guest, &agent, TOKEN, "map hash")?;
    running.expect_ok(guest)?;
    apply(guest, &policy("[ceiling]\nmaps = [\"array\"]\n"))?;
    let about = [("object", "map"), ("name", "hash")];
    running.expect_refused(guest, "not-granted", &about)?;
    // Nor is another one made that delegates it.
    let make = "hold-token /sys/fs/bpf";
    refused(guest, AS_GRANTED, &agent, make, "not-granted", &about)?;
    apply(guest, &policy(""))?;
    running.expect_ok(guest)
}
