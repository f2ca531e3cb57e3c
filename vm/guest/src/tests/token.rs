//! BPF tokens: within the grant, and of their owner's processes alone. All that
//! makes them is in a user namespace of its own, as uid 1000 outside of it.

use crate::fixture::{self, ACME, Events, GLOBEX, UNSIGNED, probe, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::owner::{Loaders, expect_answer, expect_denied};
use crate::policy::{acme, apply, loader, publisher, status};
use crate::process::{Background, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
        test!(who_must_use_one_does_nothing_without),
        test!(one_that_the_kernel_ignores_is_none),
        test!(one_that_is_gone_is_none),
        test!(policy_and_publisher_require_it_too),
        test!(a_requirement_is_shown),
    ],
};

/// What a loader is granted that lives by a token.
const GRANT: Grant<'_> = Grant {
    commands: "map_create prog_load btf_load link_create map_update_elem map_lookup_elem \
               token_create",
    programs: "xdp cgroup_skb",
    attaches: "xdp cgroup_inet_ingress",
    maps: "array hash",
    abilities: "delegate children",
};

/// Exactly that, as far as a token goes.
const AS_GRANTED: &str = "cmds=map_create:prog_load:btf_load:link_create,maps=array:hash,\
                          progs=xdp:cgroup_skb,attachs=xdp:cgroup_inet_ingress";

/// Everything.
const ANY: &str = "cmds=any,maps=any,progs=any,attachs=any";

/// Makes a token and goes on with it.
const TOKEN: &str = "hold-token /sys/fs/bpf with-token";

fn setup(guest: &mut Guest) -> Result<()> {
    GLOBEX.make(guest)?;
    fixture::enforce(guest)?;
    apply(guest, &policy(""))
}

/// Two publishers, and more.
fn policy(more: &str) -> String {
    acme(&format!("{}{more}", publisher("globex", &[GLOBEX])))
}

/// The loader of this name with that grant.
fn holder(guest: &Guest, name: &str) -> Result<PathBuf> {
    loader(guest, name, ACME, &GRANT.of("agent", 1))
}

/// The same, and it must use a token.
fn tied(guest: &Guest, name: &str) -> Result<PathBuf> {
    let grant = format!("{}require = \"token\"\n", GRANT.of("agent", 1));
    loader(guest, name, ACME, &grant)
}

/// What has a broker start `program` with a bpffs that delegates this.
fn under(options: &str, program: &Path, actions: &str) -> String {
    format!(
        "delegate 1000 {options} [ exec {} {actions} ]",
        program.display()
    )
}

/// Requires this answer to the last action of a program that a broker started.
fn answers(options: &str, program: &Path, actions: &str, answer: &str) -> Result<()> {
    let line = under(options, program, actions);
    expect_answer(Path::new(UNSIGNED), &line, answer)
}

/// Requires that the last action is refused for this reason.
fn refused(
    guest: &Guest,
    options: &str,
    program: &Path,
    actions: &str,
    reason: &str,
    fields: &[(&str, &str)],
) -> Result<()> {
    let mark = Events::mark(guest)?;
    answers(options, program, actions, "EPERM")?;
    expect_event(guest, &mark, program, reason, fields).with_context(|| actions.to_owned())
}

/// Requires that it is the kernel that refuses the last action, and not the guard.
fn refused_by_the_kernel(guest: &Guest, program: &Path, actions: &str) -> Result<()> {
    let mark = Events::mark(guest)?;
    answers(AS_GRANTED, program, actions, "EPERM")?;
    let executable = program.to_str().context("a path of ASCII")?;
    mark.expect_none(guest, &[("outcome", "denied"), ("executable", executable)])
}

fn expect_event(
    guest: &Guest,
    mark: &Events,
    program: &Path,
    reason: &str,
    fields: &[(&str, &str)],
) -> Result<()> {
    let executable = program.to_str().context("a path of ASCII")?;
    let common = [
        ("outcome", "denied"),
        ("reason", reason),
        ("executable", executable),
    ];
    mark.expect(guest, &[&common[..], fields].concat())
        .map(drop)
}

/// A program that a broker started, which calls when it is told to.
struct Called {
    process: Background,
    steps: String,
    calls: usize,
    program: PathBuf,
}

impl Called {
    fn start(guest: &mut Guest, program: &Path, first: &str, call: &str) -> Result<Self> {
        let steps = format!("{}.step", program.display());
        let mut line = format!("{first} say ready");
        for number in 1..=4 {
            let _ = fs::remove_file(format!("{steps}-{number}"));
            line += &format!(" until {steps}-{number} {call} say done-{number}");
        }
        let line = under(AS_GRANTED, program, &line);
        let mut process = guest.start(Program::new(UNSIGNED).args(words(&line)))?;
        guest.wait_until_says(&mut process, "ready")?;
        Ok(Self {
            process,
            steps,
            calls: 0,
            program: program.to_owned(),
        })
    }

    /// What the call answers.
    fn call(&mut self, guest: &Guest) -> Result<String> {
        self.calls += 1;
        let done = format!("done-{}", self.calls);
        fs::write(format!("{}-{}", self.steps, self.calls), "")?;
        guest.wait_until_says(&mut self.process, &done)?;
        let said = self.process.said();
        let (before, _) = said.split_once(&done).context("it said so")?;
        let last = before.lines().last().context("it did nothing")?;
        Ok(last.rsplit(": ").next().unwrap_or_default().to_owned())
    }

    fn expect_ok(&mut self, guest: &Guest) -> Result<()> {
        let answer = self.call(guest)?;
        ensure!(answer == "ok", "{}", self.process.said());
        Ok(())
    }

    fn expect_refused(
        &mut self,
        guest: &Guest,
        reason: &str,
        fields: &[(&str, &str)],
    ) -> Result<()> {
        let mark = Events::mark(guest)?;
        let answer = self.call(guest)?;
        ensure!(answer == "EPERM", "{}", self.process.said());
        expect_event(guest, &mark, &self.program, reason, fields)
    }
}

/// Starts `program` with a broker; it makes a token and lets others have it. The
/// socket is in a place where uid 1000 may make it.
fn serving(guest: &mut Guest, program: &Path, options: &str) -> Result<(Background, String)> {
    let place = guest.path("sockets");
    fs::create_dir_all(&place)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777))?;
    let socket = place.join("token").display().to_string();
    let _ = fs::remove_file(&socket);
    let actions = format!("{TOKEN} serve {socket} say ready until never");
    let line = under(options, program, &actions);
    let mut process = guest.start(Program::new(UNSIGNED).args(words(&line)))?;
    guest.wait_until_says(&mut process, "ready")?;
    let said = process.said();
    ensure!(!said.contains("EPERM"), "{said}");
    Ok((process, socket))
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
    let options = "cmds=map_create:prog_load:btf_load,maps=hash,progs=xdp,attachs=xdp";
    let (_agent, socket) = serving(guest, &agent, options)?;
    let receive = format!("receive {socket} with-token");
    // Root may both by himself, and the kernel falls back to that.
    for (actions, command) in [
        ("map array", "map-create"),
        ("load cgroup_skb", "prog-load"),
    ] {
        let actions = format!("{receive} {actions}");
        let about = [("action", "bpf"), ("command", command)];
        expect_denied(guest, &tied, &actions, "no-token", &about)?;
        expect_answer(&agent, &actions, "ok")?;
    }
    expect_answer(&tied, &format!("{receive} map hash load xdp btf"), "ok")
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
    ensure!(said["require"] == "token", "{said:#}");
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
