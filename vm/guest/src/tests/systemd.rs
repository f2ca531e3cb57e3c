//! systemd as PID 1: what its `PrivateBPF=` delegates is used by who the policy trusts
//! alone, within his grant; and what becomes of what systemd itself does by BPF.

use crate::fixture::{self, ACME, Events};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::policy::status;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::tests::loader::{EXAMPLE, NEEDED};
use crate::unit::{self, Unit};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "systemd",
    runs_on: RunsOn::Systemd,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(it_is_pid_1_and_delegates),
        test!(a_signed_loader_works_without_capabilities),
        test!(an_unsigned_one_gets_no_token),
        test!(more_than_the_grant_gives_no_token),
        test!(less_than_the_loader_needs_is_less),
        test!(what_a_unit_lacks_for_a_token_is_said),
        test!(a_list_takes_commas),
        test!(run_in_a_unit_leaves_the_loader_alone),
        test!(a_socket_starts_one_for_who_is_not_root),
    ],
};

/// A user namespace with a mount namespace and a bpffs of its own.
const NAMESPACES: &str = "PrivateUsers=yes\nPrivateMounts=yes\nDelegateNamespaces=mnt\n\
                          PrivateBPF=yes\n";

/// Who runs there, with what a token takes.
const USER: &str = "User=user\nAmbientCapabilities=CAP_BPF CAP_PERFMON\n\
                    CapabilityBoundingSet=CAP_BPF CAP_PERFMON\nNoNewPrivileges=yes\n";

/// All that [`NEEDED`] has.
const DELEGATED: &str = "\
BPFDelegateCommands=BPFTokenCreate,BPFMapCreate,BPFProgLoad,BPFLinkCreate,BPFMapUpdateElem,BPFMapLookupElem
BPFDelegateMaps=BPFMapTypeArray
BPFDelegatePrograms=BPFProgTypeTracing,BPFProgTypeSocketFilter
BPFDelegateAttachments=BPFTraceRawTp,BPFCgroupInetIngress
";

/// Everything.
const ANY: &str = "BPFDelegateCommands=any\nBPFDelegateMaps=any\nBPFDelegatePrograms=any\n\
                   BPFDelegateAttachments=any\n";

fn it_is_pid_1_and_delegates(guest: &mut Guest) -> Result<()> {
    let pid1 = fs::read_link("/proc/1/exe")?;
    ensure!(pid1.ends_with("systemd/systemd"), "{}", pid1.display());
    let said = guest.run(&["systemctl", "--version"])?.success()?;
    // "systemd 262 (262.1-1)"
    let version = said.split_whitespace().nth(1).context("no version")?;
    ensure!(version.parse::<u32>()? >= 258, "{said}");
    let failed = ["systemctl", "list-units", "--failed", "--quiet", "--plain"];
    let failed = guest.run(&failed)?.success()?;
    ensure!(failed.trim().is_empty(), "{failed}");
    Ok(())
}

/// The example, signed with what it needs, where a unit's user may execute it.
fn signed(guest: &Guest) -> Result<PathBuf> {
    let copy = guest.copy(EXAMPLE, "signed")?;
    fixture::sign_with_grant(guest, ACME, &copy, &NEEDED.of("execs", 1))?;
    Ok(copy)
}

/// A service that counts for `seconds` with these settings.
fn counting<'a>(guest: &'a Guest, loader: &str, seconds: u32, more: &str) -> Result<Unit<'a>> {
    let name = guest
        .path("")
        .file_name()
        .context("a test's name")?
        .to_owned();
    let name = name.to_string_lossy();
    Unit::service(guest, &name, &format!("{loader} {seconds}"), more)
}

/// Waits until the unit's loader counts; its process.
fn counts(guest: &Guest, unit: &Unit<'_>) -> Result<u32> {
    guest.wait_for("a count", Duration::from_secs(60), || {
        let said = unit.said()?;
        if unit.property("ActiveState")? == "failed" {
            bail!("it failed: {said}");
        }
        let counts = said.lines().any(|line| line.ends_with(" executed"));
        counts.then(|| unit.pid()).transpose()
    })
}

/// Waits until the unit's loader has failed; what it said.
fn fails(guest: &Guest, unit: &Unit<'_>) -> Result<String> {
    guest.wait_for("its failure", Duration::from_secs(60), || {
        let failed = unit.property("ActiveState")? == "failed";
        failed.then(|| unit.said()).transpose()
    })
}

/// Requires no capability in the initial user namespace, for it is in another, nor
/// there, for it has dropped them.
fn is_unprivileged(pid: u32) -> Result<()> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/user"));
    ensure!(namespace(pid)? != namespace(1)?);
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for line in ["NoNewPrivs:\t1\n", "Uid:\t1000\t1000\t1000\t1000\n"] {
        ensure!(status.contains(line), "{status}");
    }
    for set in ["CapPrm", "CapEff"] {
        ensure!(status.contains(&format!("{set}:\t{NONE}\n")), "{status}");
    }
    Ok(())
}

const NONE: &str = "0000000000000000";

fn a_signed_loader_works_without_capabilities(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest)?;
    let mark = Events::mark(guest)?;
    let more = format!("{NAMESPACES}{USER}{DELEGATED}");
    let unit = counting(guest, text(&loader)?, 1000, &more)?;
    unit.start()?.success()?;
    let pid = counts(guest, &unit)?;
    is_unprivileged(pid)?;
    let tokens = &status(guest)?["tokens"];
    let tokens = tokens.as_array().context("no tokens")?;
    let token = tokens.iter().find(|token| token["pid"] == pid);
    let token = token.with_context(|| format!("no token of {pid} in {tokens:#?}"))?;
    let expected = json!({
        "commands": ["map-create", "map-lookup-elem", "map-update-elem", "prog-load",
                     "link-create", "token-create"],
        "maps": ["array"],
        "programs": ["socket_filter", "tracing"],
        "attaches": ["cgroup_inet_ingress", "trace_raw_tp"],
    });
    ensure!(token["delegates"] == expected, "{token:#}");
    for command in ["token-create", "prog-load", "map-create", "link-create"] {
        let fields = [
            ("outcome", "allowed"),
            ("command", command),
            ("executable", text(&loader)?),
        ];
        mark.expect(guest, &fields).context(command)?;
    }
    // To delegate, systemd calls no bpf(): what it is refused is its own affair.
    let executor = [("executable", "/usr/lib/systemd/systemd-executor")];
    mark.expect_none(guest, &executor)
}

fn an_unsigned_one_gets_no_token(guest: &mut Guest) -> Result<()> {
    let loader = guest.copy(EXAMPLE, "unsigned")?;
    expect_no_token(guest, &loader, DELEGATED, &[("reason", "no-signature")])
}

/// Starts a unit with this delegation, and requires that its loader gets no token of it
/// and that an event has these fields.
fn expect_no_token(
    guest: &Guest,
    loader: &Path,
    delegated: &str,
    fields: &[(&str, &str)],
) -> Result<()> {
    let mark = Events::mark(guest)?;
    let more = format!("{NAMESPACES}{USER}{delegated}");
    let unit = counting(guest, text(loader)?, 1, &more)?;
    unit.start()?.success()?;
    let said = fails(guest, &unit)?;
    ensure!(
        said.contains("error: no BPF token of /sys/fs/bpf"),
        "{said}"
    );
    let common = [
        ("outcome", "denied"),
        ("command", "token-create"),
        ("executable", text(loader)?),
    ];
    mark.expect(guest, &[&common, fields].concat()).map(drop)
}

/// Refused, not narrowed: one number beyond the grant is enough.
fn more_than_the_grant_gives_no_token(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest)?;
    let hash = DELEGATED.replace("BPFMapTypeArray", "BPFMapTypeArray,BPFMapTypeHash");
    for (delegated, object, name) in [
        (hash.as_str(), "map", "hash"),
        (ANY, "command", "map-delete-elem"),
    ] {
        let fields = [
            ("reason", "not-granted"),
            ("object", object),
            ("name", name),
        ];
        expect_no_token(guest, &loader, delegated, &fields)?;
    }
    Ok(())
}

fn less_than_the_loader_needs_is_less(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest)?;
    let mark = Events::mark(guest)?;
    let delegated = DELEGATED.replace(",BPFProgTypeSocketFilter", "");
    let more = format!("{NAMESPACES}{USER}{delegated}");
    let unit = counting(guest, text(&loader)?, 1, &more)?;
    unit.start()?.success()?;
    let said = fails(guest, &unit)?;
    let missing = "does not delegate: program type socket_filter:";
    ensure!(said.contains(missing), "{said}");
    // It is the kernel's refusal.
    let fields = [
        ("reason", "not-granted"),
        ("command", "prog-load"),
        ("executable", text(&loader)?),
    ];
    mark.expect_none(guest, &fields)
}

fn what_a_unit_lacks_for_a_token_is_said(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest)?;
    let whole = format!("{NAMESPACES}{USER}{DELEGATED}");
    for (without, expected) in [
        (
            "DelegateNamespaces=mnt\n",
            "the bpffs is of another user namespace",
        ),
        (
            "AmbientCapabilities=CAP_BPF CAP_PERFMON\n",
            "the process lacks cap_bpf in its user namespace",
        ),
        (
            "PrivateUsers=yes\nPrivateMounts=yes\nDelegateNamespaces=mnt\n",
            "there are none in the initial user namespace",
        ),
    ] {
        let lacking = whole.replace(without, "");
        ensure!(lacking != whole, "{without}");
        let unit = counting(guest, text(&loader)?, 1, &lacking)?;
        unit.start()?.success()?;
        let said = fails(guest, &unit)?;
        ensure!(said.contains(expected), "{without}: {said}");
    }
    Ok(())
}

/// With spaces between, nothing is delegated.
fn a_list_takes_commas(guest: &mut Guest) -> Result<()> {
    let command = "/bin/grep delegate_ /proc/self/mounts";
    for (between, expected) in [(",", "delegate_maps=hash:array"), (" ", "")] {
        let maps = format!("BPFDelegateMaps=BPFMapTypeHash{between}BPFMapTypeArray\n");
        let more = format!("Type=oneshot\n{NAMESPACES}{maps}");
        let name = if expected.is_empty() {
            "spaces"
        } else {
            "commas"
        };
        let unit = Unit::service(guest, name, command, &more)?;
        let started = unit.start()?;
        let said = unit.said()?;
        if expected.is_empty() {
            started.failure()?;
        } else {
            started.success()?;
        }
        ensure!(said.contains(expected), "{said}");
    }
    Ok(())
}

fn run_in_a_unit_leaves_the_loader_alone(guest: &mut Guest) -> Result<()> {
    let loader = signed(guest)?;
    let loader = text(&loader)?;
    let run = format!("/usr/bin/bpftrust run --user user -- {loader}");
    let unit = counting(guest, &run, 1000, "")?;
    unit.start()?.success()?;
    let pid = counts(guest, &unit)?;
    let executed = fs::read_link(format!("/proc/{pid}/exe"))?;
    ensure!(text(&executed)? == loader, "{}", executed.display());
    is_unprivileged(pid)
}

/// As docs/token.md has it.
fn a_socket_starts_one_for_who_is_not_root(guest: &mut Guest) -> Result<()> {
    let tool = guest.copy("/usr/sbin/runqlat-libbpf", "runqlat")?;
    fixture::sign_with_grant(guest, ACME, &tool, &Grant::ALL.of("runqlat", 1))?;
    let command = format!("bpftrust run --user nobody -- {} 5 1", text(&tool)?);
    unit::write(
        "runqlat.socket",
        "[Socket]\nListenStream=/run/runqlat.sock\nSocketGroup=user\nSocketMode=0660\nAccept=yes\n",
    )?;
    unit::write(
        "runqlat@.service",
        &format!(
            "[Service]\nExecStart=/usr/bin/{command}\nStandardInput=socket\n\
             StandardError=journal\n"
        ),
    )?;
    unit::reload(guest)?;
    guest
        .run(&["systemctl", "start", "runqlat.socket"])?
        .success()?;
    let mark = Events::mark(guest)?;
    let mut connection = UnixStream::connect("/run/runqlat.sock")?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut said = String::new();
    connection.read_to_string(&mut said)?;
    // A line of its histogram: something was counted.
    ensure!(said.contains("|*"), "{said}");
    let fields = [
        ("outcome", "allowed"),
        ("command", "token-create"),
        ("executable", text(&tool)?),
    ];
    mark.expect(guest, &fields)?;
    guest
        .run(&["systemctl", "stop", "runqlat.socket"])?
        .success()
        .map(drop)
}
