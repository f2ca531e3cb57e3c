//! A whole Debian host that nobody prepared: what is observed from its boot is proposed,
//! signed, and enforced from the next boot on. Then units, containers and tools work as
//! before, and an unsigned loader is refused by whatever way it is started.

pub mod soak;

use crate::fixture::{self, ACME, Events, UNSIGNED};
use crate::guest::Guest;
use crate::policy::{image, status};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::unit;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "host",
    runs_on: RunsOn::Host,
    setup: None,
    teardown: None,
    tests: &[
        test!(observed_from_its_boot_everything_works).within(900),
        test!(what_was_seen_is_proposed_signed_and_enforced_at_the_next_boot)
            .within(600)
            .kills_all_but(systemd_was_executed_with_trust),
        test!(enforced_everything_works_as_before).within(900),
        test!(an_unsigned_loader_is_refused_by_each_way_in).within(600),
        test!(nobody_else_was_refused_since_the_boot),
    ],
};

/// Where the proposal is, over a reboot.
const PROPOSAL: &str = "/var/lib/proposal";

/// Its policy.
const POLICY: &str = "/var/lib/proposal/policy.toml";

/// What the units say, each in a file.
const SAID: &str = "/var/lib/said";

/// What is done before systemd is executed: the first time bpftrust audits, and once
/// there is a proposal it enforces that.
pub fn early(guest: &mut Guest) -> Result<()> {
    let words = if Path::new(POLICY).exists() {
        ["bpftrust", "enforce", "--policy", POLICY].to_vec()
    } else {
        fixture::configure(guest)?;
        ["bpftrust", "enforce", "--audit"].to_vec()
    };
    guest.run(&words)?.success().map(drop)
}

/// What a unit does, the setting that limits it, and what comes of that. A missing
/// network namespace or file would say something else.
const LIMITED: [(&str, &str, &str, &str); 5] = [
    (
        "device-allowed",
        "DevicePolicy=closed\nDeviceAllow=/dev/vda r",
        "head -c 3 /dev/vda | wc -c",
        "3",
    ),
    (
        "device-denied",
        "DevicePolicy=closed",
        "head -c 3 /dev/vda",
        "Operation not permitted",
    ),
    (
        "addresses",
        "IPAddressDeny=any",
        "echo x > /dev/udp/127.0.0.1/9",
        "Operation not permitted",
    ),
    (
        "addresses-open",
        "IPAddressAllow=localhost\nIPAddressDeny=any",
        "echo x > /dev/udp/127.0.0.1/9 && echo sent",
        "sent",
    ),
    (
        "file-systems",
        "RestrictFileSystems=~proc",
        "head -c 1 /proc/uptime",
        "Operation not permitted",
    ),
];

/// Containers by systemd's hand and by crun's own: the cgroup managers of podman-run(1).
const CONTAINERS: [(&str, &str); 2] = [("box", "systemd"), ("box-by-crun", "cgroupfs")];

/// The loader inside of the image.
const BOXED: &str = "/usr/bin/probe-in-container";

/// What containers execute: one device is theirs, of another they make the node.
const IN_CONTAINER: &str = "\
head -c 3 /dev/disk | wc -c
mknod /node b 7 0
head -c 1 /node
echo ready
exec sleep 100000
";

/// What an installed host has, that unpacked packages lack; units, and an image.
fn prepare(guest: &Guest) -> Result<()> {
    for name in [
        "auth",
        "account",
        "password",
        "session",
        "session-noninteractive",
    ] {
        let (kind, _) = name.split_once('-').unwrap_or((name, ""));
        let mut lines = format!("{kind} required pam_permit.so\n");
        if kind == "session" {
            lines += "session optional pam_systemd.so\n";
        }
        fs::write(format!("/etc/pam.d/common-{name}"), lines)?;
    }
    fs::create_dir_all(SAID)?;
    for (name, setting, command, _) in LIMITED {
        let script = guest.script(name, &format!("#!/bin/bash\n{command}\n"))?;
        let more = format!("Type=oneshot\nRemainAfterExit=yes\n{setting}");
        service(name, &script.to_string_lossy(), &more)?;
    }
    // What it has not printed yet it does when it is interrupted.
    service(
        "execsnoop",
        "/usr/sbin/execsnoop-libbpf",
        "KillSignal=SIGINT",
    )?;
    for (name, manager) in CONTAINERS {
        let podman = format!("/usr/bin/podman --cgroup-manager={manager}");
        let run = format!(
            "{podman} run --rm --replace --name {name} --network none --cap-add mknod \
             --device /dev/vda:/dev/disk:r localhost/box /bin/sh /script"
        );
        let stop = format!("Type=exec\nDelegate=yes\nExecStop={podman} stop -t 1 {name}");
        service(name, &run, &stop)?;
    }
    make_image(guest)?;
    unit::reload(guest)
}

/// A unit over a reboot.
fn service(name: &str, command: &str, more: &str) -> Result<()> {
    let content = format!(
        "[Service]\nExecStart={command}\nStandardOutput=truncate:{SAID}/{name}\n\
         StandardError=inherit\n{more}\n"
    );
    let path = format!("/etc/systemd/system/{name}.service");
    fs::write(&path, content).with_context(|| format!("cannot write {path}"))
}

/// An image without a registry: busybox, and a loader that nobody signed.
fn make_image(guest: &Guest) -> Result<()> {
    guest.write("script", IN_CONTAINER)?;
    guest
        .shell(&format!(
            "mkdir root && cd root && mkdir -p bin dev etc lib64 proc sys usr/bin usr/lib &&
             ln -s usr/lib lib && cp ../script . && cp /usr/bin/busybox bin/ &&
             for tool in sh sleep head wc mknod; do ln -s busybox bin/$tool; done &&
             echo root:x:0:0::/:/bin/sh > etc/passwd && cp {UNSIGNED} .{BOXED} &&
             cp /lib64/ld-linux-x86-64.so.2 lib64/ &&
             cp /lib/x86_64-linux-gnu/libc.so.6 /lib/x86_64-linux-gnu/libgcc_s.so.1 usr/lib/ &&
             busybox tar -cf ../image.tar . && podman import --quiet ../image.tar box"
        ))?
        .success()
        .map(drop)
}

fn systemctl(guest: &Guest, words: &[&str]) -> Result<()> {
    guest.run(&[&["systemctl"], words].concat())?.success()?;
    Ok(())
}

fn said(name: &str) -> String {
    fs::read_to_string(format!("{SAID}/{name}")).unwrap_or_default()
}

/// Starts every unit anew, and requires that each is limited as it should be.
fn use_all(guest: &Guest) -> Result<()> {
    let running = ["execsnoop", CONTAINERS[0].0, CONTAINERS[1].0];
    systemctl(guest, &[&["stop"], &running[..]].concat())?;
    systemctl(guest, &[&["start"], &running[..]].concat())?;
    for (name, _, _, expected) in LIMITED {
        // It fails where that is what is expected.
        guest.run(&["systemctl", "restart", name])?;
        let said = said(name);
        ensure!(said.contains(expected), "{name}: {said:?}");
    }
    for (name, _) in CONTAINERS {
        // Output and errors come by ways of their own.
        guest.wait_for(name, Duration::from_secs(120), || {
            let said = said(name);
            Ok((said.contains("ready") && said.contains("/node")).then_some(()))
        })?;
        let said = said(name);
        ensure!(
            said.lines().any(|line| line == "3") && said.contains("/node: Operation not permitted"),
            "{name}: {said}"
        );
    }
    guest.run(&["uptime"])?;
    systemctl(guest, &["stop", "execsnoop"])?;
    ensure!(
        said("execsnoop").contains("uptime"),
        "{}",
        said("execsnoop")
    );
    systemctl(guest, &["start", "execsnoop"])
}

/// All that is asked of it, before and after PID 1 is executed anew.
fn use_it(guest: &Guest) -> Result<()> {
    unit::reload(guest)?;
    use_all(guest)?;
    systemctl(guest, &["daemon-reexec"])?;
    use_all(guest)?;
    systemctl(guest, &["restart", "user@1000.service"])
}

fn observed_from_its_boot_everything_works(guest: &mut Guest) -> Result<()> {
    prepare(guest)?;
    use_it(guest)
}

/// Those who must be in the proposal.
const LOADERS: [&str; 4] = ["systemd", "systemd-executor", "crun", "execsnoop-libbpf"];

fn what_was_seen_is_proposed_signed_and_enforced_at_the_next_boot(guest: &mut Guest) -> Result<()> {
    let (key, certificate) = (ACME.private(), ACME.certificate());
    let words = [
        "bpftrust",
        "propose",
        "--out",
        PROPOSAL,
        "--key",
        &key,
        "--certificate",
    ];
    let words = [&words[..], &[&certificate, "--publisher", "acme"]].concat();
    let output = guest.run(&words)?;
    for name in LOADERS {
        let grant = format!("{PROPOSAL}/grants/{name}.toml");
        ensure!(Path::new(&grant).exists(), "no {grant}: {output}");
    }
    guest
        .run(&["sh", &format!("{PROPOSAL}/sign.sh")])?
        .success()?;
    guest
        .run(&["bpftrust", "replay", "--policy", POLICY])?
        .success()?;
    finish(guest)?;
    rustix::fs::sync();
    systemctl(guest, &["reboot", "--force", "--force"])?;
    std::thread::sleep(Duration::from_secs(60));
    bail!("it did not start again")
}

/// What user managers execute: a copy that is not signed, so not in secure execution.
const USER_MANAGER: &str = "/usr/local/lib/systemd-user";

/// What docs/host.md says is to be done besides.
fn finish(guest: &Guest) -> Result<()> {
    let drop_in = Path::new("/etc/systemd/system/user@.service.d/bpftrust.conf");
    fs::create_dir_all(drop_in.parent().context("a directory")?)?;
    fs::create_dir_all("/usr/local/lib")?;
    fs::copy("/usr/lib/systemd/systemd", USER_MANAGER)?;
    let content = format!("[Service]\nExecStart=\nExecStart={USER_MANAGER} --user\n");
    fs::write(drop_in, content)?;
    let (key, certificate) = (ACME.private(), ACME.certificate());
    guest
        .shell(&format!(
            "bpftrust sign --kind library --with-libraries --key {key} \
             --certificate {certificate} /usr/lib/x86_64-linux-gnu/security/*.so"
        ))?
        .success()
        .map(drop)
}

fn systemd_was_executed_with_trust(guest: &mut Guest) -> Result<()> {
    let trusted = image(guest, 1)?;
    ensure!(trusted["publisher"] == "acme", "{trusted:#}");
    ensure!(status(guest)?["mode"] == "enforce", "{:#}", status(guest)?);
    nobody_else_was_refused_since_the_boot(guest)
}

fn enforced_everything_works_as_before(guest: &mut Guest) -> Result<()> {
    use_it(guest)?;
    let trusted = image(guest, 1)?;
    ensure!(trusted["publisher"] == "acme", "{trusted:#}");
    Ok(())
}

/// What nobody signed, here, begins with this.
const STRANGERS: &str = "/usr/bin/probe-";

fn an_unsigned_loader_is_refused_by_each_way_in(guest: &mut Guest) -> Result<()> {
    let call = |name: &str| -> Result<String> {
        let path = format!("{STRANGERS}{name}");
        fs::copy(UNSIGNED, &path)?;
        Ok(path)
    };
    let service = call("in-service")?;
    let login = call("in-login")?;
    let session = call("in-session")?;
    let as_login = format!("{login} bpf 11");
    let run = ["systemd-run", "--wait", "--quiet", "--pipe"];
    let ways = [
        (
            &*service,
            Program::new(run[0])
                .args(&run[1..])
                .args([&service, "bpf", "11"]),
        ),
        (
            &*session,
            Program::new(run[0])
                .args(&run[1..])
                .args(["--user", &session, "bpf", "11"])
                .env("XDG_RUNTIME_DIR", "/run/user/1000")
                .by_user(),
        ),
        // After that: with the last login the user's manager ends.
        (
            &*login,
            Program::new("su").args(["-", "user", "-c", &as_login]),
        ),
        (
            BOXED,
            // Privileged from its start, or a seccomp filter refuses bpf() first.
            Program::new("podman")
                .args(["run", "--rm", "--privileged", "--network", "none"])
                .args(["localhost/box", BOXED, "bpf", "11"]),
        ),
    ];
    for (path, way) in ways {
        let mark = Events::mark(guest)?;
        let output = way.run()?;
        ensure!(output.stdout.contains("bpf 11: EPERM"), "{output}");
        let fields = [
            ("outcome", "denied"),
            ("reason", "no-signature"),
            ("command", "prog-get-next-id"),
            ("executable", path),
        ];
        mark.expect(guest, &fields)?;
    }
    Ok(())
}

/// What was refused, as far as the history says.
#[derive(Debug, Default)]
struct Refusals {
    /// How many events there were, refusals or not.
    events: usize,
    /// Refusals that are as they should be, by whose they are.
    meant: BTreeMap<&'static str, usize>,
    /// All others.
    others: Vec<Value>,
}

impl Refusals {
    /// Since then.
    fn after(guest: &Guest, mark: &Events) -> Result<Self> {
        let mut all = Self::default();
        for event in mark.all_since(guest)? {
            all.events += 1;
            if event["outcome"] != "denied" {
                continue;
            }
            match meant(&event) {
                Some(whose) => *all.meant.entry(whose).or_default() += 1,
                None => all.others.push(event),
            }
        }
        Ok(all)
    }

    fn add(&mut self, more: Self) {
        self.events += more.events;
        for (whose, count) in more.meant {
            *self.meant.entry(whose).or_default() += count;
        }
        self.others.extend(more.others);
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, others) = (self.events, self.others.len());
        write!(f, "{events} events, {others} false refusals")?;
        for (whose, count) in &self.meant {
            write!(f, ", {count} of {whose}")?;
        }
        Ok(())
    }
}

/// Whose refusal an event is that is as it should be; none if it is a false one.
fn meant(event: &Value) -> Option<&'static str> {
    let executable = event["executable"].as_str().unwrap_or_default();
    if event["command"] == "token-create" {
        return Some("libbpf, which tries whether it has a token and goes on without");
    }
    if executable == USER_MANAGER {
        return Some("the user's manager, to which the kernel refuses it as well");
    }
    if executable.ends_with("/bpftrust") {
        return Some("bpftrust itself, which nobody signed");
    }
    executable
        .starts_with(STRANGERS)
        .then_some("loaders that nobody signed")
}

fn nobody_else_was_refused_since_the_boot(guest: &mut Guest) -> Result<()> {
    let refusals = Refusals::after(guest, &Events::of_all())?;
    ensure!(refusals.others.is_empty(), "{:#?}", refusals.others);
    Ok(())
}
