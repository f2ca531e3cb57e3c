//! Work that io_uring does on the probe's behalf, and descriptors in its rings.
#![allow(
    unsafe_code,
    reason = "what a ring is told to do is not checked by the compiler"
)]

use super::object;
use super::{Misuse, argument, code::write_own_in, process, tell};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, opcode};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

/// The ring that `ring` or `poller` made: it stays to the end.
static RING: Mutex<Option<IoUring>> = Mutex::new(None);

/// Where it leaves the ring for what is executed.
const INHERITED: RawFd = 101;

/// Milliseconds without work after which a thread that polls sleeps.
const IDLE: u32 = 1000;

/// Runs an action, and returns what follows it, if it is one of these.
pub fn act<'a>(action: &str, rest: &'a [&'a str]) -> Option<Result<&'a [&'a str], Misuse>> {
    let result = match action {
        "by-ring" | "by-poller" => return Some(by_ring(action, rest)),
        "ring" => open(IoUring::new(1)),
        "poller" => open(IoUring::builder().setup_sqpoll(IDLE).build(1)),
        "ring-pass" => object::with_held(pass),
        "ring-take" => take().map(object::hold),
        _ => return None,
    };
    tell(action, result);
    Some(Ok(rest))
}

fn by_ring<'a>(by: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    let (action, rest) = argument(by, rest)?;
    let polls = by == "by-poller";
    let simple = match action {
        "self-mem" => {
            Some(open_memory(polls, "/proc/self/mem").and_then(|file| write_own_in(&file)))
        }
        "socket-attach-held" => Some(object::with_held(|program| attach(polls, program))),
        _ => None,
    };
    if let Some(result) = simple {
        tell(&format!("{by} {action}"), result);
        return Ok(rest);
    }
    let (what, rest) = argument(action, rest)?;
    let result = match action {
        "peek-mem" => open_memory(polls, &format!("/proc/{}/mem", process(what)?)).map(drop),
        "receive" => receive(polls, what).map(object::hold),
        _ => return Err(Misuse(format!("no ring does {action}"))),
    };
    tell(&format!("{by} {action} {what}"), result);
    Ok(rest)
}

/// Has a thread of the kernel do it: one that polls the ring, or one of those that
/// wait on the caller's behalf.
fn work(polls: bool, entry: Entry) -> io::Result<RawFd> {
    let mut builder = IoUring::builder();
    if polls {
        builder.setup_sqpoll(IDLE);
        return submit(&mut builder.build(1)?, entry);
    }
    submit(&mut builder.build(1)?, entry.flags(Flags::ASYNC))
}

/// Waits until it is done.
fn submit(ring: &mut IoUring, entry: Entry) -> io::Result<RawFd> {
    // SAFETY: what the entry points to is its maker's, who waits for this call. Who
    // is interrupted ends with the probe.
    unsafe { ring.submission().push(&entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next();
    match done
        .ok_or_else(|| io::Error::other("nothing was done"))?
        .result()
    {
        result @ 0.. => Ok(result),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

fn open_memory(polls: bool, path: &str) -> io::Result<File> {
    let path = CString::new(path)?;
    let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), path.as_ptr());
    let fd = work(polls, open.flags(libc::O_RDWR | libc::O_CLOEXEC).build())?;
    // SAFETY: the kernel has just opened it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Attaches a filter to a socket that is closed at once.
fn attach(polls: bool, program: &OwnedFd) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let program = program.as_raw_fd();
    let set = opcode::SetSockOpt::new(
        Fd(socket.as_raw_fd()),
        libc::SOL_SOCKET as u32,
        libc::SO_ATTACH_BPF as u32,
        (&raw const program).cast(),
        size_of_val(&program) as u32,
    );
    work(polls, set.build()).map(drop)
}

/// What a socket sends. EPERM if the kernel let nothing arrive.
fn receive(polls: bool, path: &str) -> io::Result<OwnedFd> {
    let stream = UnixStream::connect(path)?;
    let mut byte = 0_u8;
    let mut part = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    // Of words, for its alignment; more than one descriptor takes.
    let mut space = [0_u64; 8];
    // SAFETY: zeros are a message of nothing.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = space.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&space);
    let receive = opcode::RecvMsg::new(Fd(stream.as_raw_fd()), &raw mut message);
    work(polls, receive.flags(libc::MSG_CMSG_CLOEXEC as u32).build())?;
    // SAFETY: the kernel has filled the message, which says how far.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    if first.is_null() {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: it sends one descriptor, which is what follows the header, and is
    // nobody's yet.
    Ok(unsafe { OwnedFd::from_raw_fd(libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned()) })
}

/// A ring with room for one file, which what is executed can reach, too.
fn open(ring: io::Result<IoUring>) -> io::Result<()> {
    let ring = ring?;
    ring.submitter().register_files_sparse(1)?;
    object::leave_open(&ring, INHERITED)?;
    if let Ok(mut kept) = RING.lock() {
        *kept = Some(ring);
    }
    Ok(())
}

/// Puts `object` into the ring that was open when this process was executed.
fn pass(object: &OwnedFd) -> io::Result<()> {
    let mut ring = IoUring::new(1)?;
    ring.submitter().register_files(&[object.as_raw_fd()])?;
    let slot = DestinationSlot::auto_target();
    let send = opcode::MsgRingSendFd::new(Fd(INHERITED), Fixed(0), slot, 0);
    submit(&mut ring, send.build()).map(drop)
}

/// Makes a descriptor of what was put into the own ring.
fn take() -> io::Result<OwnedFd> {
    let mut kept = RING
        .lock()
        .map_err(|_| io::Error::other("a thread panicked"))?;
    let ring = kept
        .as_mut()
        .ok_or_else(|| io::Error::other("there is no ring"))?;
    // That something was put in.
    ring.completion().for_each(drop);
    let fd = submit(ring, opcode::FixedFdInstall::new(Fixed(0), 0).build())?;
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
