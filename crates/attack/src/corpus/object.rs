//! 15 to 20: somebody else's BPF objects, and more than was granted.
//!
//! `peer` is signed as the loader is, under another name: another owner.

use crate::attack::Attack;
use crate::lab::{Lab, PIN};
use crate::loaders::LOADER;
use anyhow::Result;
use std::fs;

const NO_SIGNATURE: &[&str] = &["no-signature"];
const NOT_OWNER: &[&str] = &["not-owner", "not-granted"];
const NOT_GRANTED: &[&str] = &["not-granted"];

/// What victims hold, and let others have as far as the kernel does.
const MAP: &str = "pid hold-map mmapable_array id inherit pin /sys/fs/bpf/bpftrust-attack \
                   serve @/socket";
/// Called as a map of the guard is: it stands for that with enforcement off.
const IMAGES: &str = "hold-map array:images";
const PROGRAM: &str = "load socket_filter hold-program id serve @/socket";
const EVENT: &str = "load perf_event hold-program id serve @/socket";
const LINK: &str = "load cgroup_skb hold-link cgroup_inet_ingress id serve @/socket";

pub const ATTACKS: &[Attack] = &[
    reach(
        "15.scm-rights",
        "a map received over a socket",
        MAP,
        "receive @/socket lookup",
        NO_SIGNATURE,
    )
    .rightful("receive @/socket lookup"),
    Attack::run(
        "15.inherited",
        "a map that an exec leaves open",
        "loader",
        // The first descriptor behind the standard ones.
        "hold-map array inherit exec @/unsigned act adopt 3 lookup",
        NO_SIGNATURE,
    ),
    reach(
        "15.stolen",
        "a map taken by pidfd_getfd()",
        MAP,
        "steal %pid:%inherit lookup",
        NO_SIGNATURE,
    )
    .shows("trace", NO_SIGNATURE)
    .rightful("map-by-id %id lookup"),
    reach(
        "15.io-uring",
        "a map received by a worker of io_uring",
        MAP,
        "by-ring receive @/socket lookup",
        NO_SIGNATURE,
    )
    .rightful("by-ring receive @/socket lookup"),
    Attack::run(
        "15.ring-to-ring",
        "a map that was put into another process's io_uring",
        "unsigned",
        "ring beside [ exec @/loader act hold-map array ring-pass ] wait ring-take lookup",
        NO_SIGNATURE,
    )
    .shows("object", NO_SIGNATURE),
    reach(
        "15.socket-attach",
        "a received program attached by SO_ATTACH_BPF",
        PROGRAM,
        "receive @/socket socket-attach-held",
        NOT_OWNER,
    )
    .shows("*", &["no-signature", "not-owner"])
    .rightful("receive @/socket socket-attach-held"),
    reach(
        "15.mapped",
        "a received map mapped into memory",
        MAP,
        "receive @/socket map-memory",
        NOT_OWNER,
    )
    .shows("*", &["no-signature", "not-owner"])
    .rightful("receive @/socket map-memory"),
    reach(
        "16.by-id",
        "a map by its number",
        MAP,
        "map-by-id %id lookup",
        NO_SIGNATURE,
    )
    .rightful("map-by-id %id lookup"),
    reach(
        "16.pin",
        "a map by its pin",
        MAP,
        "obj-get /sys/fs/bpf/bpftrust-attack lookup",
        NO_SIGNATURE,
    )
    .rightful("obj-get /sys/fs/bpf/bpftrust-attack lookup"),
    reach(
        "16.batch",
        "a received map read by batch",
        MAP,
        "receive @/socket batch",
        NO_SIGNATURE,
    )
    .rightful("receive @/socket batch"),
    reach(
        "16.freeze",
        "a received map frozen",
        MAP,
        "receive @/socket freeze",
        NO_SIGNATURE,
    )
    .rightful("receive @/socket lookup"),
    by_peer(
        "16.peer-by-id",
        "another owner's map by its number",
        MAP,
        "map-by-id %id lookup",
    ),
    by_peer(
        "16.peer-pin",
        "another owner's map by its pin",
        MAP,
        "obj-get /sys/fs/bpf/bpftrust-attack lookup",
    ),
    by_peer(
        "16.peer-hard-link",
        "another pin of another owner's map",
        MAP,
        "link-from /sys/fs/bpf/bpftrust-attack unpin /sys/fs/bpf/bpftrust-attack-more",
    ),
    by_peer(
        "16.peer-freeze",
        "another owner's map frozen",
        MAP,
        "map-by-id %id freeze",
    )
    .rightful("map-by-id %id lookup"),
    by_peer(
        "16.peer-received",
        "another owner's map received over a socket",
        MAP,
        "receive @/socket lookup",
    ),
    reach(
        "17.test-run",
        "a received program run",
        PROGRAM,
        "receive @/socket test-run",
        NO_SIGNATURE,
    )
    .rightful("receive @/socket test-run"),
    by_peer(
        "17.peer-test-run",
        "another owner's program run",
        PROGRAM,
        "program-by-id %id test-run",
    ),
    reach(
        "18.detach",
        "a received link detached",
        LINK,
        "receive @/socket detach",
        NO_SIGNATURE,
    )
    .rightful("receive @/socket detach"),
    by_peer(
        "18.peer-detach",
        "another owner's link detached",
        LINK,
        "link-by-id %id detach",
    )
    .rightful("receive @/socket detach"),
    reach(
        "18.perf-ioctl",
        "a received program attached to a perf event",
        EVENT,
        "receive @/socket perf-attach-held",
        NO_SIGNATURE,
    )
    .shows("*", NO_SIGNATURE)
    .rightful("receive @/socket perf-attach-held"),
    reach(
        "18.xdp-off",
        "another's XDP program taken off by netlink",
        "load xdp xdp-netlink-on",
        "xdp-netlink-off",
        NO_SIGNATURE,
    )
    .shows("attach", NO_SIGNATURE)
    .rightful("xdp-netlink-off"),
    beyond(
        "19.program",
        "a type of program that was not granted",
        "load sched_cls",
    ),
    beyond("19.map", "a type of map that was not granted", "map hash"),
    beyond(
        "19.helper",
        "a helper that was not granted",
        "load kprobe probe-write-user",
    )
    .rightful("load kprobe"),
    beyond(
        "19.command",
        "a command that was not granted",
        "hold-map array pin /sys/fs/bpf/bpftrust-attack",
    ),
    beyond(
        "19.attach",
        "an attachment that was not granted, by ioctl()",
        "load kprobe perf-attach",
    )
    .shows("attach", NOT_GRANTED),
    reach(
        "20.guard-map",
        "a map of the guard, by who is not trusted",
        IMAGES,
        "map-named images",
        NO_SIGNATURE,
    ),
    Attack::run(
        "20.guard-map-trusted",
        "a map of the guard, by a trusted loader",
        "peer",
        "map-named images",
        NOT_OWNER,
    )
    .shows("*", NOT_OWNER)
    .victim(LOADER, IMAGES),
];

/// Who is not trusted reaches for what the loader holds.
const fn reach(
    number: &'static str,
    tried: &'static str,
    victim: &'static str,
    actions: &'static str,
    reasons: &'static [&'static str],
) -> Attack {
    Attack::run(number, tried, "unsigned", actions, reasons)
        .shows("*", reasons)
        .victim(LOADER, victim)
        .before(tidy)
}

/// Another trusted loader does; the same loader may.
const fn by_peer(
    number: &'static str,
    tried: &'static str,
    victim: &'static str,
    actions: &'static str,
) -> Attack {
    Attack::run(number, tried, "peer", actions, &[])
        .shows("*", NOT_OWNER)
        .victim(LOADER, victim)
        .before(tidy)
        .rightful(actions)
}

/// A loader with a narrow grant asks for more; one that has it may.
const fn beyond(number: &'static str, tried: &'static str, actions: &'static str) -> Attack {
    Attack::run(number, tried, "narrow", actions, NOT_GRANTED)
        .before(tidy)
        .rightful(actions)
}

/// Takes away what an earlier victim left: its pin is its own to remove.
fn tidy(lab: &Lab) -> Result<()> {
    // Most left nothing.
    lab.act(LOADER, &format!("unpin {PIN}"), None)?;
    let _ = fs::remove_file(lab.path("socket"));
    Ok(())
}
