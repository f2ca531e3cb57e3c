//! Programs, maps and links are their owner's: publisher and loader name. Nobody
//! else gets hold of one, by any way, and what he gets all the same is of no use.

use crate::fixture::{self, ACME, Events, GLOBEX, UNSIGNED};
use crate::guest::Guest;
use crate::owner::{Loaders, PINS, expect_answer, expect_denied, id_of, objects, signed, start};
use crate::policy::{Running, acme, apply, publisher, status};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "owner",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_map_or_program_by_id_is_its_owners),
        test!(an_owner_is_publisher_and_name),
        test!(a_link_or_btf_by_id_takes_inspect),
        test!(who_inspects_only_reads_from_then_on),
        test!(what_is_pinned_is_its_owners),
        test!(a_pinned_link_is_of_no_use_to_others),
        test!(a_pin_is_changed_by_its_owner_alone),
        test!(a_pin_is_read_by_its_owner_alone),
        test!(what_is_sent_over_a_socket_does_not_arrive),
        test!(who_is_executed_with_anothers_descriptor_has_no_trust),
        test!(who_inherits_one_without_trust_has_no_use_of_it),
        test!(what_was_made_before_is_nobodys),
        test!(all_are_listed_with_their_owners),
        test!(an_owner_is_evicted),
        test!(nobody_is_evicted_by_who_may_not),
        test!(a_full_table_lets_nothing_more_be_made).within(240),
    ],
};

fn setup(guest: &mut Guest) -> Result<()> {
    GLOBEX.make(guest)?;
    fixture::enforce(guest)?;
    let more = publisher("globex", &[GLOBEX]);
    apply(guest, &acme(&more))?;
    fs::create_dir(PINS).context("cannot make a directory for pins")
}

fn a_map_or_program_by_id_is_its_owners(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let agent = start(
        guest,
        &all.agent,
        "hold-map array load socket_filter hold-program",
    )?;
    for (kind, get, use_it) in [
        ("map", "map-by-id", "lookup"),
        ("program", "program-by-id", "test-run"),
    ] {
        let id = id_of(guest, kind, &agent)?.to_string();
        let get = format!("{get} {id}");
        let about = [("action", "object"), ("object", kind), ("target", &*id)];
        expect_denied(guest, &all.other, &get, "not-owner", &about)?;
        // It has no bpf() at all.
        let command = [("action", "bpf")];
        expect_denied(guest, Path::new(UNSIGNED), &get, "no-signature", &command)?;
        // Its own tool, of another version and content.
        expect_answer(&all.tool, &format!("{get} {use_it}"), "ok")?;
    }
    Ok(())
}

fn an_owner_is_publisher_and_name(guest: &mut Guest) -> Result<()> {
    let agent = signed(guest, ACME, "agent", "agent", 1)?;
    let namesake = signed(guest, GLOBEX, "namesake", "agent", 1)?;
    let running = start(guest, &agent, "hold-map hash")?;
    let get = format!("map-by-id {}", id_of(guest, "map", &running)?);
    let about = [("action", "object"), ("object", "map")];
    expect_denied(guest, &namesake, &get, "not-owner", &about)?;
    expect_answer(&agent, &get, "ok")
}

fn a_link_or_btf_by_id_takes_inspect(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let agent = start(
        guest,
        &all.agent,
        "load cgroup_skb hold-link cgroup_inet_ingress",
    )?;
    let id = id_of(guest, "link", &agent)?;
    let inspect = [
        ("action", "bpf"),
        ("object", "ability"),
        ("name", "inspect"),
    ];
    let get = format!("link-by-id {id}");
    expect_denied(guest, &all.other, &get, "not-granted", &inspect)?;
    expect_denied(guest, &all.other, "btf-by-id 1", "not-granted", &inspect)?;
    expect_answer(&all.inspector, &format!("{get} info"), "ok")?;
    expect_answer(&all.inspector, "btf-by-id 1", "ok")?;
    let detach = [("action", "bpf"), ("object", "command")];
    let actions = format!("{get} detach");
    expect_denied(guest, &all.inspector, &actions, "not-owner", &detach)
}

fn who_inspects_only_reads_from_then_on(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let agent = start(guest, &all.agent, "hold-map array")?;
    let get = format!("map-by-id {}", id_of(guest, "map", &agent)?);
    expect_answer(
        &all.inspector,
        &format!("hold-map array change {get} lookup"),
        "ok",
    )?;
    for (after, command) in [
        ("change", "map-update-elem"),
        ("freeze", "map-freeze"),
        ("pin /sys/fs/bpf/owner/taken", "obj-pin"),
        ("map hash", "map-create"),
        ("load socket_filter", "prog-load"),
    ] {
        let about = [("action", "bpf"), ("object", "command"), ("name", command)];
        let actions = format!("{get} {after}");
        expect_denied(guest, &all.inspector, &actions, "not-owner", &about)?;
    }
    // A later process of the same loader has looked at nothing yet.
    expect_answer(&all.inspector, "hold-map array change", "ok")
}

fn what_is_pinned_is_its_owners(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let (map, program) = (format!("{PINS}/map"), format!("{PINS}/program"));
    let pin = format!("hold-map array pin {map} load socket_filter hold-program pin {program}");
    expect_answer(&all.agent, &pin, "ok")?;
    for (kind, path, use_it) in [("map", &map, "change"), ("program", &program, "test-run")] {
        let get = format!("obj-get {path}");
        let about = [("action", "object"), ("object", kind)];
        expect_denied(guest, &all.other, &get, "not-owner", &about)?;
        expect_answer(&all.tool, &format!("{get} {use_it} unpin {path}"), "ok")?;
    }
    Ok(())
}

fn a_pinned_link_is_of_no_use_to_others(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let link = format!("{PINS}/link");
    let pin = format!("load cgroup_skb hold-link cgroup_inet_ingress pin {link}");
    expect_answer(&all.agent, &pin, "ok")?;
    // No hook sees who gets it; each use of it is seen.
    let about = [("action", "bpf"), ("object", "link"), ("name", "cgroup")];
    for use_it in ["detach", "info", "pin /sys/fs/bpf/owner/second"] {
        let actions = format!("obj-get {link} {use_it}");
        expect_denied(guest, &all.other, &actions, "not-owner", &about)?;
    }
    let actions = format!("load cgroup_skb obj-get {link} update");
    expect_denied(guest, &all.other, &actions, "not-owner", &about)?;
    expect_answer(
        &all.tool,
        &format!("load cgroup_skb obj-get {link} update"),
        "ok",
    )?;
    expect_answer(
        &all.tool,
        &format!("obj-get {link} detach unpin {link}"),
        "ok",
    )
}

fn a_pin_is_changed_by_its_owner_alone(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let pin = format!("{PINS}/pin");
    let make = format!(
        "hold-map array pin {pin}-map load cgroup_skb hold-link cgroup_inet_ingress pin {pin}-link"
    );
    expect_answer(&all.agent, &make, "ok")?;
    for (kind, path) in [
        ("map", format!("{pin}-map")),
        ("link", format!("{pin}-link")),
    ] {
        let about = [("action", "object"), ("object", kind)];
        for take in ["unpin", "rename-over"] {
            // Another's own pin, which takes the place of this one.
            let own = format!("hold-map hash pin {path}-new {take} {path}");
            expect_denied(guest, &all.other, &own, "not-owner", &about)?;
            expect_answer(&all.other, &format!("unpin {path}-new"), "ok")?;
        }
        // One that its owner does not know of.
        let (more, rm) = (format!("link-from {path}"), format!("unpin {path}"));
        expect_denied(guest, &all.other, &more, "not-owner", &about)?;
        for change in [&more, &rm] {
            expect_denied(guest, Path::new(UNSIGNED), change, "no-signature", &about)?;
        }
        ensure!(Path::new(&path).exists(), "{path} is gone");
        let both = format!("{more} unpin {path}-more {rm}");
        expect_answer(&all.tool, &both, "ok")?;
    }
    // What is nobody's is anybody's to remove: a directory, or a plain link.
    let (directory, alias) = (format!("{PINS}/directory"), format!("{PINS}/alias"));
    fs::create_dir(&directory)?;
    fs::remove_dir(&directory)?;
    std::os::unix::fs::symlink("nowhere", &alias)?;
    fs::remove_file(&alias)?;
    Ok(())
}

fn a_pin_is_read_by_its_owner_alone(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let pin = format!("{PINS}/read");
    expect_answer(&all.agent, &format!("hold-map array_typed pin {pin}"), "ok")?;
    let read = format!("read {pin}");
    let about = [("action", "object"), ("object", "map")];
    expect_denied(guest, &all.other, &read, "not-owner", &about)?;
    expect_denied(guest, Path::new(UNSIGNED), &read, "no-signature", &about)?;
    expect_answer(&all.inspector, &read, "ok")?;
    expect_answer(&all.tool, &format!("{read} unpin {pin}"), "ok")
}

fn what_is_sent_over_a_socket_does_not_arrive(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    for (make, kind) in [
        ("hold-map array", "map"),
        ("load socket_filter hold-program", "program"),
        ("load cgroup_skb hold-link cgroup_inet_ingress", "link"),
    ] {
        for (receiver, reason) in [
            (all.other.as_path(), Some("not-owner")),
            (Path::new(UNSIGNED), Some("no-signature")),
            (all.tool.as_path(), None),
        ] {
            let socket = guest.path("socket");
            let serve = format!("{make} serve {}", socket.display());
            let sender = start(guest, &all.agent, &serve)?;
            let receive = format!("receive {}", socket.display());
            let about = [("action", "object"), ("object", kind)];
            match reason {
                Some(reason) => expect_denied(guest, receiver, &receive, reason, &about)?,
                None => expect_answer(receiver, &receive, "ok")?,
            }
            drop(sender);
            fs::remove_file(&socket)?;
        }
    }
    Ok(())
}

fn who_is_executed_with_anothers_descriptor_has_no_trust(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    for make in ["hold-map array", "load socket_filter hold-program"] {
        let hand_over = |program: &Path, then: &str| {
            format!("{make} hand-down exec {} {then}", program.display())
        };
        let mark = Events::mark(guest)?;
        expect_answer(&all.agent, &hand_over(&all.other, "bpf 11"), "EPERM")?;
        let path = all.other.to_str().context("a path of ASCII")?;
        for action in ["exec", "bpf"] {
            let event = [
                ("action", action),
                ("outcome", "denied"),
                ("reason", "not-owner"),
                ("executable", path),
            ];
            mark.expect(guest, &event)?;
        }
        expect_answer(&all.agent, &hand_over(&all.tool, "inherited bpf 11"), "ok")?;
        expect_answer(
            &all.agent,
            &hand_over(&all.inspector, "inherited info"),
            "ok",
        )?;
        let about = [("action", "bpf"), ("name", "map-create")];
        let mark = Events::mark(guest)?;
        expect_answer(&all.agent, &hand_over(&all.inspector, "map hash"), "EPERM")?;
        mark.expect(guest, &[&about[..], &[("reason", "not-owner")]].concat())?;
    }
    // What an exec closes says nothing.
    let closed = format!("hold-map array exec {} bpf 11", all.other.display());
    expect_answer(&all.agent, &closed, "ok")
}

/// Calls that take the descriptor of a program of this kind, on what does not know
/// them or, of the last, is down: and how its owner hears of that.
const BY_DESCRIPTOR: &[(&str, &str, &str)] = &[
    ("socket_filter", "reuseport-held", "EINVAL"),
    ("socket_filter", "fanout-held", "ENOPROTOOPT"),
    ("socket_filter", "xt-bpf-held", "ENOPROTOOPT"),
    ("socket_filter", "tun-held", "ENOTTY"),
    ("socket_filter", "tun-filter-held", "ENOTTY"),
    ("socket_filter", "kcm-held", "ENOTTY"),
    ("lwt_in", "tunnel-held", "ENETDOWN"),
];

fn who_inherits_one_without_trust_has_no_use_of_it(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let hand_over = |make: &str, then: &str| format!("{make} hand-down exec {UNSIGNED} {then}");
    for (make, then, action) in [
        ("hold-map mmapable_array", "inherited map-memory", "object"),
        ("hold-map array", "inherited lookup", "bpf"),
        // It attaches what it loaded itself, and it can't load.
        (
            "load socket_filter hold-program",
            "inherited test-run",
            "bpf",
        ),
        (
            "load socket_filter hold-program",
            "inherited socket-attach-held",
            "attach",
        ),
        ("load sched_cls hold-program", "inherited tc-held", "attach"),
    ] {
        let mark = Events::mark(guest)?;
        expect_answer(&all.agent, &hand_over(make, then), "EPERM")
            .with_context(|| then.to_owned())?;
        let event = [
            ("action", action),
            ("outcome", "denied"),
            ("reason", "no-signature"),
            ("executable", UNSIGNED),
        ];
        mark.expect(guest, &event)
            .with_context(|| then.to_owned())?;
    }
    for (kind, action, by_owner) in BY_DESCRIPTOR {
        let mark = Events::mark(guest)?;
        let load = &format!("load {kind} hold-program");
        let then = format!("inherited {action}");
        expect_answer(&all.agent, &hand_over(load, &then), "EPERM")
            .with_context(|| then.clone())?;
        mark.expect(
            guest,
            &[
                ("action", "attach"),
                ("reason", "no-signature"),
                ("executable", UNSIGNED),
            ],
        )
        .context(then)?;
        expect_answer(&all.agent, &format!("{load} {action}"), by_owner)?;
    }
    // The owner's own way to do the same.
    expect_answer(&all.agent, "hold-map mmapable_array map-memory", "ok")?;
    expect_answer(
        &all.agent,
        "load socket_filter hold-program socket-attach-held",
        "ok",
    )?;
    expect_answer(&all.agent, "load sched_cls hold-program tc-held", "ok")
}

fn what_was_made_before_is_nobodys(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    // The guard's own.
    let objects = objects(guest)?;
    let before = |kind: &str| {
        objects
            .iter()
            .find(|object| object["kind"] == kind && object["owner"].is_null())
            .and_then(|object| object["id"].as_u64())
            .with_context(|| format!("no {kind} from before in {objects:#?}"))
    };
    for (kind, get) in [("map", "map-by-id"), ("program", "program-by-id")] {
        let get = format!("{get} {}", before(kind)?);
        let about = [("action", "object"), ("object", kind)];
        expect_denied(guest, &all.agent, &get, "not-owner", &about)?;
        expect_answer(&all.inspector, &format!("{get} info"), "ok")?;
    }
    Ok(())
}

fn all_are_listed_with_their_owners(guest: &mut Guest) -> Result<()> {
    let agent = signed(guest, ACME, "agent", "agent", 1)?;
    let actions = "hold-map hash load cgroup_skb hold-program hold-link cgroup_inet_ingress";
    let running = start(guest, &agent, actions)?;
    let mut mine: Vec<_> = objects(guest)?
        .into_iter()
        .filter(|object| object["pid"] == running.pid())
        .map(|object| json!([object["kind"], object["type"], object["owner"]]))
        .collect();
    mine.sort_by_key(Value::to_string);
    let owner = json!({ "publisher": "acme", "loader": "agent" });
    let expected = [
        json!(["link", "cgroup", owner]),
        json!(["map", "hash", owner]),
        json!(["program", "cgroup_skb", owner]),
    ];
    ensure!(mine == expected, "{mine:#?}");
    let text = guest.run(&["bpftrust", "objects", "list"])?.success()?;
    let pid = format!("acme/agent  made by process {}", running.pid());
    ensure!(
        text.lines().filter(|line| line.ends_with(&pid)).count() == 3,
        "{text}"
    );
    ensure!(
        text.lines()
            .any(|line| line.contains("bt_bpf") && line.ends_with("before")),
        "{text}"
    );
    Ok(())
}

fn an_owner_is_evicted(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let deep = format!("{PINS}/deep");
    fs::create_dir_all(&deep)?;
    let (evicted, kept) = (format!("{deep}/agent"), format!("{deep}/other"));
    let actions = format!("load cgroup_skb hold-link cgroup_inet_ingress pin {evicted}");
    let running = start(guest, &all.agent, &actions)?;
    expect_answer(&all.other, &format!("hold-map array pin {kept}"), "ok")?;

    let mark = Events::mark(guest)?;
    let output = guest.run(&["bpftrust", "objects", "evict", "acme/agent"])?;
    ensure!(output.status == 1, "{output}");
    let said = output.stdout;
    ensure!(said.contains(&format!("removed {evicted}\n")), "{said}");
    ensure!(
        said.contains(&format!("type 'kill {}'", running.pid())),
        "{said}"
    );
    ensure!(
        !Path::new(&evicted).exists() && Path::new(&kept).exists(),
        "{said}"
    );
    mark.expect(
        guest,
        &[
            ("action", "object"),
            ("outcome", "allowed"),
            ("object", "link"),
        ],
    )?;
    guest.run(&["bpftrust", "status"])?.success()?;

    drop(running);
    guest.wait_for("nothing is left", Duration::from_secs(20), || {
        let output = guest.run(&["bpftrust", "objects", "evict", "acme/agent"])?;
        Ok(output.success().is_ok().then_some(()))
    })?;
    expect_answer(&all.other, &format!("unpin {kept}"), "ok")
}

fn nobody_is_evicted_by_who_may_not(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let pin = format!("{PINS}/stays");
    expect_answer(&all.agent, &format!("hold-map array pin {pin}"), "ok")?;
    for without in [
        "setpriv --bounding-set=-mac_admin",
        "unshare --user --map-root-user",
    ] {
        let output = guest.shell(&format!("{without} bpftrust objects evict acme/agent"))?;
        ensure!(
            output.status == 2 && output.stderr.contains("CAP_MAC_ADMIN"),
            "{output}"
        );
        ensure!(Path::new(&pin).exists(), "{without}: it is gone");
    }
    expect_answer(&all.agent, &format!("unpin {pin}"), "ok")
}

/// Objects that there is room for: `OBJECTS_MAX` of `bpf/object.h`.
const OBJECTS: usize = 65_536;

/// The table of objects is everybody's, so one loader can fill it.
fn a_full_table_lets_nothing_more_be_made(guest: &mut Guest) -> Result<()> {
    let all = Loaders::sign(guest)?;
    let counts = |guest: &Guest| -> Result<[u64; 2]> {
        let status = status(guest)?;
        let refused = status["refusals"]["resources"].as_u64();
        let starved = status["starved"].as_u64();
        Ok([refused.unwrap_or_default(), starved.context("a number")?])
    };
    let before = counts(guest)?;
    let mut maker = Running::start_with(guest, &all.agent, "bpf 11", "fill-maps array")?;
    let event = maker.expect_refused(guest, "resources")?;
    ensure!(event["command"] == "map-create", "{event}");
    let held = fs::read_dir(format!("/proc/{}/fd", maker.pid()))?.count();
    ensure!(held >= OBJECTS, "only {held} descriptors");
    // Another keeps its trust, and gets no room.
    expect_denied(guest, &all.other, "bpf 11 map array", "resources", &[])?;
    let one = [("action", "bpf"), ("command", "prog-get-next-id")];
    expect_denied(guest, Path::new(UNSIGNED), "bpf 11", "no-signature", &one)?;
    let now = counts(guest)?;
    ensure!(
        now == before.map(|count| count + 2),
        "{before:?} became {now:?}"
    );
    maker.stop()?;
    guest.wait_for("room", Duration::from_secs(60), || {
        Ok(expect_answer(&all.other, "map array", "ok").ok())
    })
}
