//! `bpftrust run`: a loader without any privilege works under a token, and what is
//! not granted is not delegated.

use crate::fixture::{self, ACME, Events, UNSIGNED};
use crate::grant::{Grant, loader};
use crate::guest::{Guest, text};
use crate::policy::status;
use crate::preload;
use crate::process::{Output, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "run",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_tool_of_debian_works_without_privileges).within(120),
        test!(so_do_others_that_attach_by_bpf_alone).within(240),
        test!(one_that_names_no_token_does_with_the_library).within(120),
        test!(nothing_is_kept_but_what_a_token_takes),
        test!(who_insists_on_root_is_root_of_nothing),
        test!(it_is_its_process_and_status),
        test!(a_connection_is_its_input_and_output).within(120),
        test!(the_users_other_processes_stay_outside),
        test!(what_is_granted_is_delegated_and_no_more),
        test!(without_the_token_the_kernel_refuses),
        test!(who_would_get_no_token_is_not_started),
        test!(a_grant_of_somebodys_choice_gives_no_trust),
        test!(who_may_not_delegate_is_told),
        test!(without_user_namespaces_nothing_is_left),
    ],
};

/// A tool that attaches by `bpf()` alone, to tracepoints with BTF.
const TOOL: &str = "runqlat";

/// `nobody`, of Debian.
const UID: u32 = 65_534;

/// `CAP_BPF`, `CAP_PERFMON`, `CAP_NET_ADMIN`
const KEPT: &str = "000000c000001000";

fn run(guest: &Guest, words: &[&str]) -> Result<Output> {
    guest.run(&[&["bpftrust", "run"], words].concat())
}

/// Where Debian has the tool of this name.
fn of_debian(name: &str) -> String {
    format!("/usr/sbin/{name}-libbpf")
}

/// The tool, signed with all rights.
fn tool(guest: &Guest, name: &str) -> Result<PathBuf> {
    let copy = guest.copy(of_debian(name), name)?;
    fixture::sign_with_grant(guest, ACME, &copy, &Grant::ALL.of(name, 1))?;
    Ok(copy)
}

fn a_tool_of_debian_works_without_privileges(guest: &mut Guest) -> Result<()> {
    let tool = tool(guest, TOOL)?;
    let path = text(&tool)?;
    let mark = Events::mark(guest)?;
    let words = ["run", "--user", "nobody", "--", path, "2", "1"];
    let mut running = guest.start(Program::new("bpftrust").args(words))?;
    guest.wait_until_says(&mut running, "distribution")?;
    let said = running.said();
    // A line of its histogram: something was counted.
    ensure!(said.contains("|*"), "{said}");
    for command in [
        "token-create",
        "map-create",
        "prog-load",
        "raw-tracepoint-open",
    ] {
        mark.expect(
            guest,
            &[
                ("action", "bpf"),
                ("outcome", "allowed"),
                ("command", command),
                ("executable", path),
            ],
        )
        .context(command)?;
    }
    mark.expect_none(guest, &[("outcome", "denied"), ("executable", path)])
}

/// By raw tracepoints and those with BTF.
fn so_do_others_that_attach_by_bpf_alone(guest: &mut Guest) -> Result<()> {
    for (name, figures) in [("cpudist", "|*"), ("softirqs", "timer")] {
        let tool = tool(guest, name)?;
        let path = text(&tool)?;
        let mark = Events::mark(guest)?;
        let said = run(guest, &["--user", "nobody", "--", path, "1", "1"])?.success()?;
        ensure!(said.contains(figures), "{name}: {said}");
        mark.expect_none(guest, &[("outcome", "denied"), ("executable", path)])?;
    }
    Ok(())
}

/// vfsstat asks whether the kernel has fentry by a load that names no token.
fn one_that_names_no_token_does_with_the_library(guest: &mut Guest) -> Result<()> {
    preload::install()?;
    let tool = tool(guest, "vfsstat")?;
    let path = text(&tool)?;
    let words = ["run", "--user", "nobody", "--", path, "1", "1"];
    let program = || Program::new("bpftrust").args(words);
    let without = program().run()?;
    ensure!(without.status == 1, "{without}");
    ensure!(
        without
            .stderr
            .contains("failed to create kprobe 'vfs_read+0x0' perf event: Permission denied"),
        "{without}"
    );
    let mark = Events::mark(guest)?;
    let said = program()
        .env(preload::VARIABLE, preload::NAME)
        .run()?
        .success()?;
    // Reads a second, and so on: this very run read files.
    let figures = said.lines().nth(1).context("no figures")?;
    let reads = figures.split_whitespace().nth(1).context("no figure")?;
    ensure!(reads.parse::<u64>()? > 0, "{said}");
    mark.expect_none(guest, &[("outcome", "denied"), ("executable", path)])
}

/// A shell, in which nothing is to be trusted, says what it finds.
fn nothing_is_kept_but_what_a_token_takes(guest: &mut Guest) -> Result<()> {
    let grant = guest.write("grant.toml", Grant::ALL.of("shell", 1))?;
    let secret = guest.write("secret", "")?;
    let secret = secret.display();
    // A descriptor that is no loader's business.
    let command = format!(
        "chmod 600 {secret}; exec 7< {secret}; bpftrust run --grant-from {} -- /bin/sh -c '\
         cat /proc/self/status /proc/self/uid_map /proc/self/gid_map; readlink /proc/self/ns/user; \
         ls /proc/$$/fd; env; \
         cat {secret}; mount -t tmpfs none /mnt; chroot / true; echo x > /proc/sys/kernel/hostname'",
        grant.display()
    );
    let output = guest.shell(&command)?;
    let said = &output.stdout;
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        ensure!(said.contains(&format!("{set}:\t{KEPT}\n")), "{set}: {said}");
    }
    ensure!(said.contains("NoNewPrivs:\t1\n"), "{said}");
    ensure!(
        said.contains(&format!("Uid:\t{UID}\t{UID}\t{UID}\t{UID}\n")),
        "{said}"
    );
    let mapped = said
        .lines()
        .filter(|line| {
            line.split_whitespace()
                .eq([UID.to_string(), UID.to_string(), "1".into()])
        })
        .count();
    ensure!(mapped == 2, "{said}");
    let initial = fs::read_link("/proc/1/ns/user")?;
    ensure!(said.contains("user:["), "{said}");
    ensure!(!said.contains(text(&initial)?), "{said}");
    ensure!(!said.lines().any(|line| line == "7"), "{said}");
    for variable in [
        "LIBBPF_BPF_TOKEN_PATH=/sys/fs/bpf",
        "USER=nobody",
        "LOGNAME=nobody",
    ] {
        ensure!(said.lines().any(|line| line == variable), "{said}");
    }
    for refused in [
        "secret: Permission denied",
        "/mnt: ",
        "chroot: cannot change root directory",
        "hostname: Permission denied",
    ] {
        ensure!(output.stderr.contains(refused), "{refused}: {output}");
    }
    Ok(())
}

fn who_insists_on_root_is_root_of_nothing(guest: &mut Guest) -> Result<()> {
    let grant = guest.write("grant.toml", Grant::ALL.of("shell", 1))?;
    let secret = guest.write("secret", "")?;
    let command = format!(
        "chmod 600 {0}; bpftrust run --as-root --grant-from {1} -- /bin/sh -c 'id -u; id -g; \
         cat /proc/self/status /proc/self/uid_map; cat {0}; mount -t tmpfs none /mnt'",
        secret.display(),
        grant.display()
    );
    let output = guest.shell(&command)?;
    let said = &output.stdout;
    ensure!(said.starts_with("0\n0\n"), "{output}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd"] {
        ensure!(said.contains(&format!("{set}:\t{KEPT}\n")), "{set}: {said}");
    }
    let expected = ["0", &UID.to_string(), "1"];
    let is_map = |line: &str| line.split_whitespace().eq(expected);
    ensure!(said.lines().any(is_map), "{said}");
    for refused in ["secret: Permission denied", "/mnt: "] {
        ensure!(output.stderr.contains(refused), "{refused}: {output}");
    }
    Ok(())
}

fn it_is_its_process_and_status(guest: &mut Guest) -> Result<()> {
    let grant = guest.write("grant.toml", Grant::ALL.of("shell", 1))?;
    let grant = text(&grant)?;
    let words = ["run", "--grant-from", grant, "--", "/bin/sh", "-c"];
    let program = Program::new("bpftrust").args(words);
    let mut running = guest.start(program.arg("echo $$; read line < /dev/zero"))?;
    let pid = format!("{}\n", running.pid());
    guest.wait_until_says(&mut running, &pid)?;
    running.stop()?;
    // It has no child that it has not made.
    let children = "read them < /proc/$$/task/$$/children; echo \"[$them]\"; exit 42";
    let output = run(guest, &["--grant-from", grant, "sh", "-c", children])?;
    ensure!(output.status == 42 && output.stdout == "[]\n", "{output}");
    Ok(())
}

/// As systemd starts it for a socket with `Accept=yes`.
fn a_connection_is_its_input_and_output(guest: &mut Guest) -> Result<()> {
    let tool = tool(guest, TOOL)?;
    let (mut here, there) = UnixStream::pair()?;
    let mut running = Command::new("bpftrust")
        .args(["run", "--user", "nobody", "--", text(&tool)?, "1", "1"])
        .stdin(OwnedFd::from(there.try_clone()?))
        .stdout(OwnedFd::from(there))
        .spawn()?;
    here.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut said = String::new();
    here.read_to_string(&mut said)?;
    let status = running.wait()?;
    ensure!(status.success(), "{status}: {said}");
    ensure!(said.contains("|*"), "{said}");
    Ok(())
}

/// The namespace is root's, though who runs in it is the user.
fn the_users_other_processes_stay_outside(guest: &mut Guest) -> Result<()> {
    let signed = loader(guest, "signed", Grant::ALL)?;
    let words = ["run", "--user", "user", "--", text(&signed)?];
    let actions = fixture::words("say ready until never");
    let program = Program::new("bpftrust").args(words).args(actions);
    let mut running = guest.start(program)?;
    guest.wait_until_says(&mut running, "ready")?;
    let pid = running.pid().to_string();
    let owner = guest.shell(&format!("stat -c %U /proc/{pid}/cwd"))?;
    ensure!(owner.success()? == "user\n");
    let enter = ["--user", "--preserve-credentials", "--target", &pid, "true"];
    let output = Program::new("nsenter").args(enter).by_user().run()?;
    ensure!(output.stderr.contains("ermi"), "{output}");
    output.failure()?;
    guest.run(&[&["nsenter"], &enter[..]].concat())?.success()?;
    running.stop().map(drop)
}

fn what_is_granted_is_delegated_and_no_more(guest: &mut Guest) -> Result<()> {
    let narrow = Grant {
        commands: "map_create token_create",
        programs: "xdp",
        attaches: "xdp",
        maps: "hash ringbuf",
        abilities: "delegate",
    };
    let signed = loader(guest, "narrow", narrow)?;
    let grant = guest.write("grant.toml", narrow.of("narrow", 1))?;
    for from in [&[][..], &["--grant-from", text(&grant)?]] {
        let words = [&["run"], from, &["--", text(&signed)?]].concat();
        let actions = "hold-token /sys/fs/bpf with-token map hash say ready until never";
        let program = Program::new("bpftrust").args(words);
        let mut running = guest.start(program.args(fixture::words(actions)))?;
        guest.wait_until_says(&mut running, "ready")?;
        ensure!(
            running.said().contains("map hash: ok\n"),
            "{}",
            running.said()
        );
        let status = status(guest)?;
        let tokens = status["tokens"].as_array().context("no tokens")?;
        let token = tokens
            .iter()
            .find(|token| token["pid"] == running.pid())
            .with_context(|| format!("no token: {status:#}"))?;
        let expected = json!({
            "commands": ["map-create", "token-create"],
            "maps": ["hash", "ringbuf"],
            "programs": ["xdp"],
            "attaches": ["xdp"],
        });
        ensure!(token["delegates"] == expected, "{token:#}");
        running.stop()?;
    }
    Ok(())
}

/// Trust alone is no privilege.
fn without_the_token_the_kernel_refuses(guest: &mut Guest) -> Result<()> {
    let signed = loader(guest, "signed", Grant::ALL)?;
    let path = text(&signed)?;
    let mark = Events::mark(guest)?;
    let said = run(guest, &["--", path, "map", "hash", "bpf", "11"])?.success()?;
    ensure!(said == "map hash: EPERM\nbpf 11: EPERM\n", "{said}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "allowed"),
            ("command", "map-create"),
            ("executable", path),
        ],
    )?;
    mark.expect_none(guest, &[("outcome", "denied"), ("executable", path)])
}

fn who_would_get_no_token_is_not_started(guest: &mut Guest) -> Result<()> {
    let unsigned = guest.copy(UNSIGNED, "unsigned")?;
    let undelegated = loader(
        guest,
        "undelegated",
        Grant {
            abilities: "children",
            ..Grant::ALL
        },
    )?;
    for (path, expected) in [
        (&unsigned, "is not trusted, no-signature"),
        (&undelegated, "it lacks the abilities 'delegate'"),
    ] {
        let output = run(guest, &["--", text(path)?, "touch", "started"])?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.stderr.contains(expected), "{output}");
        ensure!(output.stderr.contains("\nhelp: "), "{output}");
        ensure!(!guest.path("started").exists(), "it was started");
    }
    Ok(())
}

/// What `--grant-from` says is delegated; whether the loader is trusted says its
/// signature.
fn a_grant_of_somebodys_choice_gives_no_trust(guest: &mut Guest) -> Result<()> {
    let tool = guest.copy(of_debian(TOOL), "unsigned-runqlat")?;
    let grant = guest.write("grant.toml", Grant::ALL.of("runqlat", 1))?;
    let mark = Events::mark(guest)?;
    let output = run(
        guest,
        &["--grant-from", text(&grant)?, "--", text(&tool)?, "1", "1"],
    )?;
    ensure!(output.status != 0, "{output}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("reason", "no-signature"),
            ("executable", text(&tool)?),
        ],
    )
    .map(drop)
}

fn who_may_not_delegate_is_told(guest: &mut Guest) -> Result<()> {
    let signed = loader(guest, "signed", Grant::ALL)?;
    let path = text(&signed)?;
    for (words, expected) in [
        (&["--user", "root", "--", path][..], "the user is root"),
        (&["--user", "nemo", "--", path], "there is no user \"nemo\""),
        (&["--", "no-such-loader"], "is in no directory of PATH"),
    ] {
        let output = run(guest, words)?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.stderr.contains(expected), "{output}");
    }
    let words = ["run", "--", path, "say", "started"];
    let output = Program::new("bpftrust").args(words).by_user().run()?;
    ensure!(output.status == 2, "{output}");
    ensure!(output.stderr.contains("help: type 'sudo"), "{output}");
    ensure!(!output.stdout.contains("started"), "{output}");
    Ok(())
}

fn without_user_namespaces_nothing_is_left(guest: &mut Guest) -> Result<()> {
    const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
    let signed = loader(guest, "signed", Grant::ALL)?;
    let before = fs::read_to_string(LIMIT)?;
    fs::write(LIMIT, "0")?;
    let output = run(guest, &["--", text(&signed)?, "say", "started"]);
    fs::write(LIMIT, before)?;
    let output = output?;
    ensure!(output.status == 2 && output.stdout.is_empty(), "{output}");
    ensure!(
        output.stderr.contains("help: user namespaces are limited"),
        "{output}"
    );
    // Nor the process that would have delegated.
    guest.wait_for("its end", Duration::from_secs(10), || {
        let said = guest.shell("grep -lx bpftrust /proc/[0-9]*/comm")?;
        Ok(said.stdout.is_empty().then_some(()))
    })
}
