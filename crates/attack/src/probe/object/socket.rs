//! Programs by their descriptors, without `bpf()` or netlink.
#![allow(
    unsafe_code,
    reason = "these options and commands have no safe wrappers"
)]

use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

/// Hands a program over.
pub type Way = fn(RawFd) -> io::Result<()>;

/// The way of this name. But for `socket-attach-held` each is tried on what does not
/// know it: it must be refused before that is found out.
pub fn way(action: &str) -> Option<Way> {
    Some(match action {
        "socket-attach-held" => attach,
        "reuseport-held" => {
            |program| set(libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_EBPF, program)
        }
        "fanout-held" => |program| set(libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, program),
        "xt-bpf-held" => |program| set(libc::SOL_IP, IPT_SO_SET_REPLACE, program),
        "tun-held" => |program| control(TUNSETSTEERINGEBPF, program),
        "tun-filter-held" => |program| control(TUNSETFILTEREBPF, program),
        "kcm-held" => |program| control(SIOCKCMATTACH, program),
        _ => return None,
    })
}

/// Attaches a filter to a socket that is closed at once.
pub fn attach(program: RawFd) -> io::Result<()> {
    set(libc::SOL_SOCKET, libc::SO_ATTACH_BPF, program)
}

/// `linux/netfilter_ipv4/ip_tables.h`
const IPT_SO_SET_REPLACE: libc::c_int = 64;

/// `linux/if_tun.h`, `linux/kcm.h`
const TUNSETSTEERINGEBPF: libc::Ioctl = 0x8004_54e0;
const TUNSETFILTEREBPF: libc::Ioctl = 0x8004_54e1;
const SIOCKCMATTACH: libc::Ioctl = 0x89e0;

/// Sets an option of a socket that is closed at once.
fn set(level: libc::c_int, option: libc::c_int, program: RawFd) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the kernel reads one descriptor, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    answer(result)
}

fn control(command: libc::Ioctl, program: RawFd) -> io::Result<()> {
    // It knows no commands, so none reads behind what is pointed to.
    let file = File::open("/dev/null")?;
    // SAFETY: the kernel reads one descriptor, which outlives the call.
    answer(unsafe { libc::ioctl(file.as_raw_fd(), command, &raw const program) })
}

fn answer(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
