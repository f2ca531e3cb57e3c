//! A signed loader may call what its grant says, for the types that it says,
//! whichever way it goes about it.

use crate::fixture::{self, Events, expect_refused, signed_probe};
use crate::grant::{Grant, Right, allowed, loader, refused, takes};
use crate::guest::Guest;
use crate::owner::expect_answer;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};

pub const GROUP: Group = Group {
    name: "grant",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(commands_are_those_granted),
        test!(map_types_are_those_granted).within(120),
        test!(program_types_are_those_granted).within(120),
        test!(attach_types_are_those_granted_when_loading).within(120),
        test!(attach_types_are_those_granted_when_attaching).within(180),
        test!(a_filter_by_netlink_takes_both_directions),
        test!(a_grant_of_one_thing_is_enough_for_it),
        test!(a_signature_without_a_grant_means_the_default),
        test!(a_grant_ends_when_it_says),
    ],
};

fn commands_are_those_granted(guest: &mut Guest) -> Result<()> {
    for (action, name, other) in [
        ("bpf 11", "prog_get_next_id", "map_create prog_load"),
        ("map array", "map_create", "prog_load"),
        ("load kprobe", "prog_load", "map_create"),
    ] {
        let right = Right {
            object: "command",
            name,
            action: "bpf",
        };
        let granting = |commands| Grant {
            commands,
            ..Grant::ALL
        };
        takes(guest, &[action], right, granting(name), granting(other))?;
    }
    Ok(())
}

fn map_types_are_those_granted(guest: &mut Guest) -> Result<()> {
    let takes_map = |action: &str, name, with, without| {
        let right = Right {
            object: "map",
            name,
            action: "bpf",
        };
        let granting = |maps| Grant { maps, ..Grant::ALL };
        takes(guest, &[action], right, granting(with), granting(without))
    };
    for name in [
        "hash",
        "array",
        "percpu_array",
        "stack_trace",
        "lru_hash",
        "lpm_trie",
        "ringbuf",
        "task_storage",
        "arena",
    ] {
        takes_map(&format!("map {name}"), name, name, "queue")?;
    }
    let nested = "map-in-map hash_of_maps array";
    takes_map(nested, "hash_of_maps", "hash_of_maps array", "array")?;
    takes_map(nested, "array", "hash_of_maps array", "hash_of_maps")?;
    takes_map("struct-ops-map", "struct_ops", "struct_ops", "queue")?;
    // Of a map that another process of the same owner made.
    let maker = loader(guest, "maker", Grant::ALL)?;
    for (maps, answer) in [("array hash_of_maps", "ok"), ("hash_of_maps", "EPERM")] {
        let around = loader(guest, "around", Grant { maps, ..Grant::ALL })?;
        let line = format!(
            "hold-map array hand-down exec {} inherited around hash_of_maps",
            around.display()
        );
        let mark = Events::mark(guest)?;
        expect_answer(&maker, &line, answer).context(maps)?;
        if answer != "ok" {
            let about = [
                ("reason", "not-granted"),
                ("object", "map"),
                ("name", "array"),
            ];
            mark.expect(guest, &about)?;
        }
    }
    Ok(())
}

fn program_types_are_those_granted(guest: &mut Guest) -> Result<()> {
    for (kind, name) in [
        ("socket_filter", "socket_filter"),
        ("kprobe", "kprobe"),
        ("tracepoint", "tracepoint"),
        ("raw_tracepoint", "raw_tracepoint"),
        ("perf_event", "perf_event"),
        ("xdp", "xdp"),
        ("sched_cls", "sched_cls"),
        ("cgroup_skb", "cgroup_skb"),
        ("cgroup_sysctl", "cgroup_sysctl"),
        ("syscall", "syscall"),
        ("fentry", "tracing"),
        ("iter", "tracing"),
        ("lsm", "lsm"),
    ] {
        let right = Right {
            object: "program",
            name,
            action: "bpf",
        };
        let granting = |programs| Grant {
            programs,
            ..Grant::ALL
        };
        let load = format!("load {kind}");
        takes(
            guest,
            &[&load],
            right,
            granting(name),
            granting("sk_reuseport"),
        )?;
    }
    Ok(())
}

/// Whose attach type is said when it is loaded.
fn attach_types_are_those_granted_when_loading(guest: &mut Guest) -> Result<()> {
    for (kind, name) in [
        ("xdp", "xdp"),
        ("cgroup_skb_egress", "cgroup_inet_egress"),
        ("cgroup_sysctl", "cgroup_sysctl"),
        ("tp_btf", "trace_raw_tp"),
        ("fentry", "trace_fentry"),
        ("fexit", "trace_fexit"),
        ("fmod_ret", "modify_return"),
        ("iter", "trace_iter"),
        ("lsm", "lsm_mac"),
        ("lsm_cgroup", "lsm_cgroup"),
    ] {
        takes_attach(guest, &[&format!("load {kind}")], name, "bpf")?;
    }
    Ok(())
}

/// Whose attach type is said only then.
fn attach_types_are_those_granted_when_attaching(guest: &mut Guest) -> Result<()> {
    for (kind, attach, name, action) in [
        (
            "cgroup_skb",
            "link-create cgroup_inet_ingress",
            "cgroup_inet_ingress",
            "bpf",
        ),
        (
            "cgroup_skb",
            "prog-attach cgroup_inet_ingress",
            "cgroup_inet_ingress",
            "bpf",
        ),
        ("xdp_unsaid", "link-create xdp", "xdp", "bpf"),
        ("xdp_unsaid", "xdp-netlink", "xdp", "attach"),
        ("sched_cls", "link-create tcx_ingress", "tcx_ingress", "bpf"),
        ("sched_cls", "link-create tcx_egress", "tcx_egress", "bpf"),
        ("perf_event", "link-create perf_event", "perf_event", "bpf"),
        ("perf_event", "perf-attach", "perf_event", "attach"),
        ("kprobe", "link-create perf_event", "perf_event", "bpf"),
        ("kprobe", "perf-attach", "perf_event", "attach"),
        ("tracepoint", "perf-attach", "perf_event", "attach"),
        (
            "raw_tracepoint",
            "raw-tracepoint-open sched_process_exec",
            "trace_raw_tp",
            "bpf",
        ),
    ] {
        takes_attach(guest, &[&format!("load {kind}"), attach], name, action)?;
    }
    // A map that needs no link attaches when it is written to; who may not
    // attach XDP programs takes none off.
    takes_attach(guest, &["struct-ops-map"], "struct_ops", "bpf")?;
    takes_attach(guest, &["xdp-netlink-off"], "xdp", "attach")
}

/// As [`takes`], of an attach type, with a grant of no other.
fn takes_attach(guest: &Guest, actions: &[&str], name: &str, action: &str) -> Result<()> {
    let right = Right {
        object: "attach",
        name,
        action,
    };
    let with = Grant {
        attaches: name,
        ..Grant::ALL
    };
    let without = Grant {
        attaches: "sk_lookup",
        ..Grant::ALL
    };
    takes(guest, actions, right, with, without)
}

/// A message does not say for certain which way packets go: it takes both.
fn a_filter_by_netlink_takes_both_directions(guest: &mut Guest) -> Result<()> {
    let actions = ["load sched_cls", "tc-netlink"];
    let granting = |attaches| Grant {
        attaches,
        ..Grant::ALL
    };
    allowed(guest, &actions, granting("tcx_ingress tcx_egress"))?;
    for (has, lacks) in [("tcx_egress", "tcx_ingress"), ("tcx_ingress", "tcx_egress")] {
        let right = Right {
            object: "attach",
            name: lacks,
            action: "attach",
        };
        refused(guest, &actions, right, granting(has))?;
    }
    Ok(())
}

/// Nothing beside it is asked for.
fn a_grant_of_one_thing_is_enough_for_it(guest: &mut Guest) -> Result<()> {
    let nothing = Grant {
        commands: "",
        programs: "",
        attaches: "",
        maps: "",
        abilities: "",
    };
    let map = Grant {
        commands: "map_create",
        maps: "ringbuf",
        ..nothing
    };
    allowed(guest, &["map ringbuf"], map)?;
    let kprobe = Grant {
        commands: "prog_load link_create",
        programs: "kprobe",
        attaches: "perf_event",
        ..nothing
    };
    allowed(guest, &["load kprobe", "link-create perf_event"], kprobe)?;
    let xdp = Grant {
        commands: "prog_load",
        programs: "xdp",
        attaches: "xdp",
        ..nothing
    };
    allowed(guest, &["load xdp", "xdp-netlink"], xdp)
}

fn a_signature_without_a_grant_means_the_default(guest: &mut Guest) -> Result<()> {
    let program = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    let said = fixture::probe(
        &program,
        &fixture::words("map hash load kprobe fork [ bpf 11 ] load kprobe send-signal"),
    )?
    .success()?;
    let wanted = "map hash: ok\nload kprobe: ok\nbpf 11: ok\nload kprobe send-signal: EPERM\n";
    ensure!(said == wanted, "{said}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("reason", "not-granted"),
            ("command", "prog-load"),
            ("object", "ability"),
            ("name", "send-signal"),
        ],
    )
    .map(drop)
}

/// For who runs already as for who is executed later.
fn a_grant_ends_when_it_says(guest: &mut Guest) -> Result<()> {
    const DAYS: &str = "172800";
    let end = guest.shell("date -u -d '+1 day' +%Y-%m-%dT%H:%M:%SZ")?;
    let end = end.success()?;
    let text = format!("not-after = {}\n{}", end.trim(), Grant::ALL.to_toml());
    let program = guest.copy(fixture::UNSIGNED, "ends")?;
    fixture::sign_with_grant(guest, fixture::ACME, &program, &text)?;
    fixture::expect_trusted(guest, &program, &["bpf", "11"])?;
    let move_clock = |by: &str| -> Result<()> {
        let said = guest.run(&[fixture::UNSIGNED, "clock", by])?.success()?;
        ensure!(said.ends_with(": ok\n"), "{said}");
        Ok(())
    };
    let line = format!("bpf 11 clock {DAYS} bpf 11");
    let running = expect_refused(guest, &program, &fixture::words(&line), "expired");
    let later = expect_refused(guest, &program, &["bpf", "11"], "expired");
    move_clock(&format!("-{DAYS}"))?;
    running.context("one that runs")?;
    later.context("one that is executed later")?;
    // What did not end goes on.
    let program = loader(guest, "goes-on", Grant::ALL)?;
    fixture::expect_trusted(guest, &program, &["bpf", "11"])
}
