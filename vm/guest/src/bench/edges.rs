//! Calls beside `bpf()` that bpftrust looks at, made by anybody, with nothing of BPF in
//! them.

use crate::{CHEAP, Driver, Place, Row, row, sys};
use anyhow::{Context, Result, ensure};
use rustix::fs::XattrFlags;
use rustix::net::{AddressFamily, SendFlags, SocketType, socket, sockopt};
use std::os::fd::AsFd;

pub fn rows() -> Vec<Row> {
    vec![
        row(
            "setsockopt",
            CHEAP,
            |_| {
                let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
                Driver::new(move || Ok(sockopt::set_socket_broadcast(&socket, true)?))
            },
            "setsockopt(SO_BROADCAST) of a UDP socket",
        ),
        row(
            "perf-ioctl",
            CHEAP,
            |_| {
                let event = sys::perf_event().context("cannot open a perf event")?;
                // PERF_EVENT_IOC_RESET
                Driver::new(move || Ok(sys::ioctl(event.as_fd(), 0x2403)?))
            },
            "ioctl(PERF_EVENT_IOC_RESET) of a software event",
        ),
        row(
            "netlink",
            (700, 300),
            asks,
            "RTM_GETLINK of lo by rtnetlink, and the answer",
        ),
        row(
            "prctl",
            CHEAP,
            |_| Driver::new(|| Ok(sys::prctl()?)),
            "prctl(PR_GET_DUMPABLE)",
        ),
        row(
            "setxattr",
            CHEAP,
            |place| {
                let path = place.path("labelled");
                std::fs::write(&path, "")?;
                let flags = XattrFlags::empty();
                Driver::new(move || Ok(rustix::fs::setxattr(&path, "user.other", b"1", flags)?))
            },
            "setxattr of another name, of a file of ext4",
        ),
        row(
            "kill",
            CHEAP,
            |_| {
                Driver::new(|| {
                    Ok(rustix::process::test_kill_process(
                        rustix::process::getpid(),
                    )?)
                })
            },
            "kill of oneself with signal 0",
        ),
    ]
}

/// A request of rtnetlink about interface 1: `struct nlmsghdr` and `struct ifinfomsg`
/// (linux/netlink.h, linux/rtnetlink.h).
fn request() -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(32u32.to_ne_bytes());
    bytes.extend(18u16.to_ne_bytes()); // RTM_GETLINK
    bytes.extend(1u16.to_ne_bytes()); // NLM_F_REQUEST
    bytes.extend([0; 8]);
    bytes.extend([0; 4]);
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

fn asks(_: &Place) -> Result<Driver> {
    let socket = sys::netlink()?;
    let request = request();
    let mut answer = vec![0; 16_384];
    Driver::new(move || {
        rustix::net::send(&socket, &request, SendFlags::empty())?;
        let length = rustix::io::read(&socket, &mut answer[..])?;
        // RTM_NEWLINK, and no error.
        ensure!(
            length > 32 && answer[4] == 16,
            "rtnetlink said {:?}",
            &answer[..20]
        );
        Ok(())
    })
}
