//! Attaching a program by `bpf()`. A link is let go at once, unless it is kept; what
//! is attached to the probe's own cgroup ends with that.

use super::bpf::{self, Attributes};
use super::netlink::LOOPBACK;
use super::{Loaded, event};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

/// A way to attach.
pub struct Attach {
    /// As libbpf says it.
    name: &'static str,
    /// `enum bpf_attach_type`
    number: u32,
    to: To,
}

enum To {
    /// What the program was loaded for.
    Target,
    Cgroup,
    Loopback,
    Event,
}

const fn to(to: To, name: &'static str, number: u32) -> Attach {
    Attach { name, number, to }
}

const ATTACHES: &[Attach] = &[
    to(To::Cgroup, "cgroup_inet_ingress", 0),
    to(To::Cgroup, "cgroup_inet_egress", 1),
    to(To::Cgroup, "cgroup_inet_sock_create", 2),
    to(To::Cgroup, "cgroup_device", 6),
    to(To::Cgroup, "cgroup_sysctl", 18),
    to(To::Target, "trace_raw_tp", 23),
    to(To::Target, "trace_fentry", 24),
    to(To::Target, "trace_fexit", 25),
    to(To::Target, "modify_return", 26),
    to(To::Target, "lsm_mac", 27),
    to(To::Target, "trace_iter", 28),
    to(To::Loopback, "xdp", 37),
    to(To::Event, "perf_event", 41),
    to(To::Cgroup, "lsm_cgroup", 43),
    to(To::Loopback, "tcx_ingress", 46),
    to(To::Loopback, "tcx_egress", 47),
];

/// The way of that name.
pub fn attach_of(name: &str) -> Option<&'static Attach> {
    ATTACHES.iter().find(|attach| attach.name == name)
}

/// `BPF_LINK_CREATE`
pub fn link(program: &Loaded, attach: &Attach) -> io::Result<()> {
    open_link(program, attach).map(drop)
}

/// The same, and the link is kept.
pub fn open_link(program: &Loaded, attach: &Attach) -> io::Result<OwnedFd> {
    /// `XDP_FLAGS_SKB_MODE`
    const GENERIC: u32 = 2;
    let attributes = Attributes::new()
        .file(0, &program.file)
        .word(8, attach.number);
    let create = |attributes: Attributes<'_>| {
        let mut attributes = attributes;
        bpf::open(bpf::LINK_CREATE, &mut attributes)
    };
    match attach.to {
        To::Target => create(attributes),
        To::Cgroup => create(attributes.file(4, &own_cgroup()?)),
        To::Loopback if attach.name == "xdp" => {
            create(attributes.word(4, LOOPBACK).word(12, GENERIC))
        }
        To::Loopback => create(attributes.word(4, LOOPBACK)),
        To::Event => create(attributes.file(4, &event::open(program.kind)?)),
    }
}

/// `BPF_PROG_ATTACH`, to the own cgroup.
pub fn to_cgroup(program: &Loaded, attach: &Attach) -> io::Result<()> {
    /// `BPF_F_ALLOW_MULTI`
    const BESIDE_OTHERS: u32 = 2;
    let cgroup = own_cgroup()?;
    let mut attributes = Attributes::new()
        .file(0, &cgroup)
        .file(4, &program.file)
        .word(8, attach.number)
        .word(12, BESIDE_OTHERS);
    bpf::call(bpf::PROG_ATTACH, &mut attributes).map(drop)
}

/// `BPF_RAW_TRACEPOINT_OPEN`; without a name it attaches to what the program
/// was loaded for.
pub fn to_raw_tracepoint(program: &Loaded, name: Option<&str>) -> io::Result<()> {
    let name = name.map(|name| format!("{name}\0"));
    let mut attributes = Attributes::new().file(8, &program.file);
    if let Some(name) = &name {
        attributes = attributes.input(0, name.as_bytes());
    }
    bpf::open(bpf::RAW_TRACEPOINT_OPEN, &mut attributes).map(drop)
}

fn own_cgroup() -> io::Result<File> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let path = groups
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| io::Error::other("no cgroup of version 2"))?;
    File::open(format!("/sys/fs/cgroup{path}"))
}
