//! Programs on the loopback device by netlink, not by `bpf()`; each is taken off
//! again, but for what `keep_xdp` puts there.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `LOOPBACK_IFINDEX`
pub const LOOPBACK: u32 = 1;

/// Puts the program on the device as XDP, by its generic way.
pub fn xdp(program: impl AsFd) -> io::Result<()> {
    let socket = open()?;
    set_xdp(&socket, program.as_fd().as_raw_fd())?;
    // Not to be taken for a refusal to attach.
    set_xdp(&socket, -1).map_err(|error| io::Error::other(format!("it stays there: {error}")))
}

/// Puts the program on the device as XDP, and leaves it there.
pub fn keep_xdp(program: impl AsFd) -> io::Result<()> {
    set_xdp(&open()?, program.as_fd().as_raw_fd())
}

/// Takes off the device what XDP program there is, if there is one.
pub fn no_xdp() -> io::Result<()> {
    set_xdp(&open()?, -1)
}

fn set_xdp(socket: &OwnedFd, program: i32) -> io::Result<()> {
    const RTM_SETLINK: u16 = 19;
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_FD: u16 = 1;
    const IFLA_XDP_FLAGS: u16 = 3;
    const XDP_FLAGS_SKB_MODE: u32 = 2;
    // struct ifinfomsg: family and type, index, flags, change
    let mut body = words(&[0, LOOPBACK, 0, 0]);
    let mut options = attribute(IFLA_XDP_FD, &program.to_ne_bytes());
    options.extend(attribute(IFLA_XDP_FLAGS, &XDP_FLAGS_SKB_MODE.to_ne_bytes()));
    body.extend(attribute(IFLA_XDP | NESTED, &options));
    ask(socket, RTM_SETLINK, 0, &body)
}

/// Puts the program before the device as a classifier that decides itself.
pub fn tc(program: impl AsFd) -> io::Result<()> {
    const RTM_NEWQDISC: u16 = 36;
    const RTM_DELQDISC: u16 = 37;
    const TC_H_CLSACT: u32 = 0xffff_fff1;
    const HANDLE: u32 = 0xffff_0000;
    let socket = open()?;
    // struct tcmsg: family, index, handle, parent, info
    let mut queue = words(&[0, LOOPBACK, HANDLE, TC_H_CLSACT, 0]);
    queue.extend(attribute(TCA_KIND, b"clsact\0"));
    ask(&socket, RTM_NEWQDISC, CREATE, &queue)?;
    let result = add_filter(&socket, program);
    ask(&socket, RTM_DELQDISC, 0, &queue)?;
    result
}

fn add_filter(socket: &OwnedFd, program: impl AsFd) -> io::Result<()> {
    const RTM_NEWTFILTER: u16 = 44;
    const INGRESS: u32 = 0xffff_fff2;
    const PRIORITY: u32 = 1 << 16;
    /// `ETH_P_ALL`, in network order
    const ALL: u32 = (3_u16.to_be()) as u32;
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_FD: u16 = 6;
    const TCA_BPF_NAME: u16 = 7;
    const TCA_BPF_FLAGS: u16 = 8;
    const DIRECT: u32 = 1;
    let program = program.as_fd().as_raw_fd();
    let mut options = attribute(TCA_BPF_FD, &program.to_ne_bytes());
    options.extend(attribute(TCA_BPF_NAME, b"probe\0"));
    options.extend(attribute(TCA_BPF_FLAGS, &DIRECT.to_ne_bytes()));
    let mut filter = words(&[0, LOOPBACK, 0, INGRESS, PRIORITY | ALL]);
    filter.extend(attribute(TCA_KIND, b"bpf\0"));
    filter.extend(attribute(TCA_OPTIONS | NESTED, &options));
    ask(socket, RTM_NEWTFILTER, CREATE, &filter)
}

/// Has the program look at what comes by a route that no packet takes.
pub fn tunnel(program: impl AsFd) -> io::Result<()> {
    const RTM_NEWROUTE: u16 = 24;
    const RTM_DELROUTE: u16 = 25;
    const RTA_DST: u16 = 1;
    const RTA_OIF: u16 = 4;
    const RTA_ENCAP_TYPE: u16 = 21;
    const RTA_ENCAP: u16 = 22;
    const LWTUNNEL_ENCAP_BPF: u16 = 6;
    const LWT_BPF_IN: u16 = 1;
    const LWT_BPF_PROG_FD: u16 = 1;
    const LWT_BPF_PROG_NAME: u16 = 2;
    // struct rtmsg: AF_INET, 32 bits of destination, no source, no service;
    // table, protocol, scope, type: main, static, link, unicast; flags
    let mut route = words(&[2 | 32 << 8, 254 | 4 << 8 | 253 << 16 | 1 << 24, 0]);
    // Of TEST-NET-3 (RFC 5737)
    route.extend(attribute(RTA_DST, &[203, 0, 113, 1]));
    route.extend(attribute(RTA_OIF, &LOOPBACK.to_ne_bytes()));
    let mut entry = attribute(LWT_BPF_PROG_FD, &program.as_fd().as_raw_fd().to_ne_bytes());
    entry.extend(attribute(LWT_BPF_PROG_NAME, b"probe\0"));
    let entry = attribute(LWT_BPF_IN | NESTED, &entry);
    let mut tunnel = route.clone();
    tunnel.extend(attribute(RTA_ENCAP_TYPE, &LWTUNNEL_ENCAP_BPF.to_ne_bytes()));
    tunnel.extend(attribute(RTA_ENCAP | NESTED, &entry));
    let socket = open()?;
    ask(&socket, RTM_NEWROUTE, CREATE, &tunnel)?;
    ask(&socket, RTM_DELROUTE, 0, &route)
}

const TCA_KIND: u16 = 1;

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;

/// `NLM_F_CREATE | NLM_F_EXCL`
const CREATE: u16 = 0x600;

fn open() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE, which is 0.
        None,
    )?)
}

/// Sends a request and returns what the kernel answers.
fn ask(socket: &OwnedFd, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    /// `NLM_F_REQUEST | NLM_F_ACK`
    const REQUEST: u16 = 5;
    const HEADER: usize = 16;
    // struct nlmsghdr: length, type and flags, sequence, sender
    let size = (HEADER + body.len()) as u32;
    let kind_and_flags = u32::from(kind) | u32::from(REQUEST | flags) << 16;
    let mut message = words(&[size, kind_and_flags, 1, 0]);
    message.extend(body);
    send(socket, &message, SendFlags::empty())?;
    let mut answer = [0; 4096];
    let (size, _) = recv(socket, &mut answer, RecvFlags::empty())?;
    // struct nlmsgerr begins with the error, or 0.
    let error = answer[..size]
        .get(HEADER..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(|| io::Error::other("a short answer"))?;
    match i32::from_ne_bytes(*error) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// An attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let size = 4 + value.len();
    let mut bytes = words(&[size as u32 | u32::from(kind) << 16]);
    bytes.extend(value);
    bytes.resize(size.next_multiple_of(4), 0);
    bytes
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
