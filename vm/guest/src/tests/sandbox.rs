//! What systemd does by BPF for its units' sandboxes, before and while the guard
//! enforces.

use crate::fixture::{self, ACME, Events};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::owner::WORKER;
use crate::policy::image;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::unit::Unit;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "sandbox",
    runs_on: RunsOn::Systemd,
    setup: Some(fixture::configure),
    teardown: None,
    tests: &[
        test!(without_a_guard_every_setting_holds),
        test!(without_trust_four_are_lost_and_one_stops_its_unit),
        test!(adopted_systemd_keeps_all_but_file_systems),
        // Last: systemd does not ask again for what it was refused here.
        test!(signed_and_executed_again_it_is_refused_for_what_it_holds),
    ],
};

/// The guard enforces from before systemd's start, and trusts it.
pub const TRUSTED: Group = Group {
    name: "sandbox-trusted",
    runs_on: RunsOn::TrustedSystemd,
    setup: None,
    teardown: None,
    tests: &[test!(signed_before_it_starts_systemd_keeps_all)],
};

/// A setting that takes BPF, and what a unit does against it.
const SETTINGS: [(&str, &str); 5] = [
    ("IPAddressDeny=any", "echo x > /dev/udp/127.0.0.1/9"),
    ("DevicePolicy=closed", "head -c 1 /dev/vda"),
    (
        "SocketBindDeny=any",
        "busybox timeout 1 busybox nc -l -p 4444",
    ),
    (
        "RestrictNetworkInterfaces=~lo",
        "echo x > /dev/udp/127.0.0.1/9",
    ),
    ("RestrictFileSystems=~proc", "head -c 1 /proc/uptime"),
];

/// What became of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// What it forbids is refused.
    Holds,
    /// The unit runs, and is not restricted.
    Lost,
    /// The unit is not executed.
    Stops,
}
use Setting::{Holds, Lost, Stops};

/// systemd's status of a process that it did not execute for want of BPF
/// (systemd.exec(5), EXIT_BPF).
const EXIT_BPF: &str = "244";

/// Tries every setting.
fn try_all(guest: &Guest) -> Result<Vec<Setting>> {
    let one = |(setting, command): (&str, &str)| {
        let said = guest.path("said");
        let command = guest.script("against", &format!("#!/bin/bash\n{command}\n"))?;
        let more = format!(
            "Type=oneshot\n{setting}\nStandardOutput=truncate:{}\nStandardError=inherit\n",
            text(&said)?
        );
        let unit = Unit::service(guest, "sandboxed", text(&command)?, &more)?;
        // It fails where the setting holds.
        unit.start()?;
        if unit.property("ExecMainStatus")? == EXIT_BPF {
            return Ok(Stops);
        }
        let said = fs::read_to_string(said)?;
        Ok(match said.contains("Operation not permitted") {
            true => Holds,
            false => Lost,
        })
    };
    SETTINGS.into_iter().map(one).collect()
}

/// Enforces with these options, and tries every setting meanwhile.
fn try_enforced(guest: &mut Guest, options: &[&str]) -> Result<Vec<Setting>> {
    let words = [&["bpftrust", "enforce"], options].concat();
    guest.run(&words)?.success()?;
    let found = try_all(guest);
    fixture::release(guest)?;
    found
}

fn without_a_guard_every_setting_holds(guest: &mut Guest) -> Result<()> {
    let found = try_all(guest)?;
    ensure!(found == [Holds; 5], "{found:?}");
    Ok(())
}

fn without_trust_four_are_lost_and_one_stops_its_unit(guest: &mut Guest) -> Result<()> {
    let found = try_enforced(guest, &[])?;
    ensure!(found == [Lost, Lost, Lost, Lost, Stops], "{found:?}");
    // What it could not do it does again.
    without_a_guard_every_setting_holds(guest)
}

/// The last is set by another executable, `systemd-executor`.
fn adopted_systemd_keeps_all_but_file_systems(guest: &mut Guest) -> Result<()> {
    let found = try_enforced(guest, &["--adopt", "systemd"])?;
    ensure!(found == [Holds, Holds, Holds, Holds, Stops], "{found:?}");
    Ok(())
}

/// It keeps descriptors over its exec, of a map, a link and programs that were made
/// before.
fn signed_and_executed_again_it_is_refused_for_what_it_holds(guest: &mut Guest) -> Result<()> {
    sign_systemd(guest, WORKER)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    let mark = Events::mark(guest)?;
    let executed = guest.run(&["systemctl", "daemon-reexec"])?.success();
    let fields = [
        ("action", "exec"),
        ("outcome", "denied"),
        ("reason", "not-owner"),
        ("executable", SYSTEMD[0]),
        ("pid", "1"),
    ];
    let found = mark.expect(guest, &fields);
    fixture::release(guest)?;
    executed?;
    found.map(drop)
}

/// Both that call `bpf()`, as one loader: what one makes the other uses.
const SYSTEMD: [&str; 2] = [
    "/usr/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-executor",
];

fn sign_systemd(guest: &Guest, grant: Grant<'_>) -> Result<()> {
    let grant = grant.of("systemd", 1);
    SYSTEMD
        .iter()
        .try_for_each(|path| fixture::sign_with_grant(guest, ACME, Path::new(path), &grant))
}

/// What systemd is granted that is to do all of it.
const GRANT: Grant<'_> = Grant {
    commands: "prog_load prog_attach prog_detach map_create map_update_elem map_delete_elem \
               map_lookup_elem btf_load link_create map_freeze prog_bind_map",
    programs: "socket_filter cgroup_skb cgroup_device cgroup_sock_addr lsm",
    attaches: "cgroup_inet_ingress cgroup_inet_egress cgroup_device cgroup_inet4_bind \
               cgroup_inet6_bind lsm_mac",
    maps: "array hash hash_of_maps",
    abilities: "",
};

/// Signs systemd for all that it does by BPF.
pub fn sign_systemd_for_all(guest: &mut Guest) -> Result<()> {
    sign_systemd(guest, GRANT)
}

/// What is done before systemd is executed first.
pub fn enforce_early(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    sign_systemd_for_all(guest)?;
    guest.run(&["bpftrust", "enforce"])?.success().map(drop)
}

pub fn signed_before_it_starts_systemd_keeps_all(guest: &mut Guest) -> Result<()> {
    let trusted = image(guest, 1)?;
    ensure!(trusted["publisher"] == "acme", "{trusted:#}");
    let found = try_all(guest)?;
    // Also from before: what it was refused at its start it does not try again.
    let events = guest.run(&["bpftrust", "events"])?.success()?;
    let denied: Vec<&str> = events
        .lines()
        .filter(|event| event.contains(" denied ") && event.contains("systemd"))
        .collect();
    ensure!(found == [Holds; 5], "{found:?} {denied:#?}");
    Ok(())
}
