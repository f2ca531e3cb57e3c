//! Programs on sockets, by setsockopt().
#![allow(unsafe_code, reason = "SO_ATTACH_BPF has no safe wrapper")]

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};

/// Attaches a filter to a socket that is closed at once.
pub fn attach(program: impl AsFd) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let program = program.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one descriptor, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
