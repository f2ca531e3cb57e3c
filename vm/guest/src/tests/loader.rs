//! A loader made with crate `bpftrust-token`, its example: it works under `bpftrust
//! run`, gives up what it has, and says what is lacking.

use crate::fixture::{self, ACME};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::process::{Output, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "loader",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(it_loads_by_the_option_and_then_holds_nothing).within(120),
        test!(what_is_lacking_for_a_token_is_said),
        test!(what_is_wrong_with_a_bpffs_is_said),
        test!(what_is_not_delegated_is_said),
    ],
};

/// Where a kernel has no tokens.
pub const WITHOUT_TOKENS: Group = Group {
    name: "loader-without-tokens",
    runs_on: RunsOn::Unsupported,
    setup: None,
    teardown: None,
    tests: &[test!(that_the_kernel_has_none_is_said)],
};

/// The loader of docs/token.md.
pub const EXAMPLE: &str = "/usr/bin/bpftrust-token-execs";

/// What it needs and no more, as docs/token.md has it.
pub const NEEDED: Grant<'_> = Grant {
    commands: "token_create map_create prog_load link_create map_update_elem \
               map_lookup_elem",
    programs: "tracing socket_filter",
    attaches: "trace_raw_tp cgroup_inet_ingress",
    maps: "array",
    abilities: "delegate",
};

/// With this libbpf makes no token, unless its caller's options name one
/// (`tools/lib/bpf/libbpf.c`, `bpf_object_prepare_token`).
const WITHOUT_ENVIRONMENT: [&str; 2] = ["/usr/bin/env", "LIBBPF_BPF_TOKEN_PATH="];

/// The example, signed with this grant.
fn signed(guest: &Guest, name: &str, grant: Grant<'_>) -> Result<PathBuf> {
    let copy = guest.copy(EXAMPLE, name)?;
    fixture::sign_with_grant(guest, ACME, &copy, &grant.of(name, 1))?;
    Ok(copy)
}

/// `bpftrust run`, with what this grant delegates.
fn run(guest: &Guest, delegated: Grant<'_>) -> Result<Program> {
    let grant = guest.write("delegated.toml", delegated.of("delegated", 1))?;
    let words = [
        "run",
        "--user",
        "nobody",
        "--grant-from",
        text(&grant)?,
        "--",
    ];
    Ok(Program::new("bpftrust").args(words))
}

fn it_loads_by_the_option_and_then_holds_nothing(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest, "execs", NEEDED)?;
    let program = run(guest, NEEDED)?
        .args(WITHOUT_ENVIRONMENT)
        .args([text(&loader)?, "1000"]);
    let mut running = guest.start(program)?;
    guest.wait_until_says(&mut running, " executed\n")?;
    let said = running.said();
    let allowed = "by a token that allows delegate_cmds=map_create:map_lookup_elem:\
                   map_update_elem:prog_load:link_create:token_create,delegate_maps=array,\
                   delegate_progs=socket_filter:tracing,\
                   delegate_attachs=cgroup_inet_ingress:trace_raw_tp\n";
    ensure!(said.contains(allowed), "{said}");

    let status = fs::read_to_string(format!("/proc/{}/status", running.pid()))?;
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        ensure!(
            status.contains(&format!("{set}:\t0000000000000000\n")),
            "{status}"
        );
    }
    for line in ["NoNewPrivs:\t1\n", "Threads:\t1\n", "Uid:\t65534\t"] {
        ensure!(status.contains(line), "{status}");
    }

    // It goes on to count.
    let before = count(&running.said());
    for _ in 0..5 {
        guest.run(&["/bin/true"])?.success()?;
    }
    guest.wait_for("a count", Duration::from_secs(30), || {
        let now = count(&running.said());
        Ok((now >= before.map(|before| before + 5)).then_some(()))
    })
}

/// The last that it printed.
fn count(said: &str) -> Option<u64> {
    said.lines()
        .rev()
        .find_map(|line| line.strip_suffix(" executed")?.parse().ok())
}

/// Requires that it fails so, and gives help.
fn says(output: &Output, expected: &str, help: &str) -> Result<()> {
    ensure!(output.status == 1, "{output}");
    ensure!(
        output.stderr.contains(&format!("error: {expected}")),
        "{expected}: {output}"
    );
    ensure!(
        output.stderr.contains(&format!("help: {help}")),
        "{help}: {output}"
    );
    Ok(())
}

fn what_is_lacking_for_a_token_is_said(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest, "execs", NEEDED)?;
    let loader = text(&loader)?;
    let output = guest.run(&[loader, "1"])?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf: there are none in the initial user namespace",
        "start it by 'bpftrust run --user USER -- LOADER'",
    )?;
    let output = run(guest, NEEDED)?.args([loader, "1", "/tmp"]).run()?;
    says(
        &output,
        "no BPF token of /tmp: no bpffs is mounted there",
        "start it by 'bpftrust run",
    )?;
    let output = run(guest, NEEDED)?
        .args(["/usr/bin/setpriv", "--ambient-caps=-all", loader, "1"])
        .run()?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf: the process lacks cap_bpf in its user namespace",
        "keep cap_bpf in the namespace until all is loaded",
    )?;
    let output = run(guest, NEEDED)?.args([EXAMPLE, "1"]).run()?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf: a security module or seccomp filter refuses the command",
        "type 'bpftrust explain LOADER'",
    )?;
    let output = run(guest, Grant::ALL)?.args([loader, "1"]).run()?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf: the bpffs is of another user namespace, or a security \
         module refuses it",
        "type 'bpftrust events'",
    )
}

fn what_is_wrong_with_a_bpffs_is_said(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest, "execs", NEEDED)?;
    let loader = text(&loader)?;
    let below = format!("mkdir /sys/fs/bpf/below && {loader} 1 /sys/fs/bpf/below");
    let output = run(guest, NEEDED)?.args(["/bin/sh", "-c", &below]).run()?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf/below: it is not the root of a bpffs",
        "name the directory that the bpffs is mounted at",
    )?;
    // That of the machine, in a namespace that nobody mounted one for.
    let output = guest.run(&["unshare", "--user", "--map-root-user", loader, "1"])?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf: the bpffs is of another user namespace, or a security \
         module refuses it",
        "type 'bpftrust events'",
    )
}

fn that_the_kernel_has_none_is_said(guest: &mut Guest) -> Result<()> {
    let output = guest.run(&[EXAMPLE, "1"])?;
    says(
        &output,
        "no BPF token of /sys/fs/bpf: the kernel has none",
        "BPF tokens came with Linux 6.9",
    )
}

fn what_is_not_delegated_is_said(guest: &mut Guest) -> Result<()> {
    // What is delegated must be granted.
    let granted = Grant {
        maps: "array hash",
        ..NEEDED
    };
    let loader = signed(guest, "execs", granted)?;
    let loader = text(&loader)?;
    for (delegated, lacking, option) in [
        (
            Grant {
                programs: "socket_filter",
                attaches: "cgroup_inet_ingress",
                ..NEEDED
            },
            "program type tracing; attach type trace_raw_tp",
            "delegate_progs=tracing,delegate_attachs=trace_raw_tp",
        ),
        (
            Grant {
                maps: "hash",
                ..NEEDED
            },
            "map type array",
            "delegate_maps=array",
        ),
        (
            Grant {
                attaches: "trace_raw_tp",
                ..NEEDED
            },
            "attach type cgroup_inet_ingress",
            "delegate_attachs=cgroup_inet_ingress",
        ),
    ] {
        // Without its map a program is none.
        let program = run(guest, delegated)?.args([loader, "1"]);
        let output = program.may_be_rejected().run()?;
        says(
            &output,
            &format!("the bpffs at /sys/fs/bpf does not delegate: {lacking}"),
            &format!("have it mounted with '{option}' added"),
        )?;
    }
    Ok(())
}
