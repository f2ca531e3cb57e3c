//! Objects that are held open to the end: own ones that others are to reach for,
//! or somebody else's that were reached. What is done is done with the last.

use super::bpf::{self, Attributes};
use super::sockets::{give, take};
use super::{sys, token};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;

static HELD: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

/// Where `hand-down` leaves a descriptor for what is executed.
const HANDED_DOWN: RawFd = 100;

/// Holds this from now on.
pub fn hold(object: OwnedFd) {
    if let Ok(mut held) = HELD.lock() {
        held.push(object);
    }
}

fn drop_last() -> io::Result<()> {
    let last = HELD.lock().ok().and_then(|mut held| held.pop());
    last.map(drop)
        .ok_or_else(|| io::Error::other("nothing is held"))
}

/// Does something with the last.
pub fn with_held<T>(act: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
    match HELD.lock().as_ref().map(|held| held.last()) {
        Ok(Some(object)) => act(object),
        _ => Err(io::Error::other("nothing is held")),
    }
}

/// Reaches for an object.
pub fn reach(action: &str, argument: &str) -> Option<io::Result<()>> {
    let reached = match action {
        // A map of maps like the one that is held.
        "around" => {
            let outer = super::map::shape_of(argument)?;
            return Some(with_held(|inner| {
                super::map::make_outer(outer, inner).map(drop)
            }));
        }
        "obj-get" => {
            let path = format!("{argument}\0");
            bpf::open(
                bpf::OBJ_GET,
                &mut Attributes::new().input(0, path.as_bytes()),
            )
        }
        "map-by-id" => by_id(bpf::MAP_GET_FD_BY_ID, argument),
        "map-named" => map_named(argument),
        "program-by-id" => by_id(bpf::PROG_GET_FD_BY_ID, argument),
        "link-by-id" => by_id(bpf::LINK_GET_FD_BY_ID, argument),
        "btf-by-id" => by_id(bpf::BTF_GET_FD_BY_ID, argument),
        "receive" => receive(argument),
        "steal" => steal(argument),
        "adopt" => adopt(argument),
        "hold-token" => token::create(argument),
        _ => return None,
    };
    Some(reached.map(hold))
}

/// Does something with what is held, and says a number if that is the answer.
pub fn act(action: &str) -> Option<io::Result<Option<i64>>> {
    let result = match action {
        "id" => with_held(id).map(|id| Some(id.into())),
        "inherit" => with_held(|object| {
            fcntl_setfd(object, FdFlags::empty())?;
            Ok(Some(object.as_raw_fd().into()))
        }),
        "hand-down" => with_held(|object| sys::leave_open(object, HANDED_DOWN)).map(|()| None),
        "inherited" => sys::inherited(HANDED_DOWN).map(|object| {
            hold(object);
            None
        }),
        "with-token" => with_held(OwnedFd::try_clone).map(|held| {
            token::offer(Some(held));
            None
        }),
        "drop" => drop_last().map(|()| None),
        "without-token" => {
            token::offer(None);
            Ok(None)
        }
        "lookup" => with_held(lookup).map(|()| None),
        "change" => with_held(change).map(|()| None),
        "info" => with_held(info).map(|_| None),
        "update" => with_held(update).map(|()| None),
        "tc-held" => with_held(|object| super::netlink::tc(object)).map(|()| None),
        "tunnel-held" => with_held(|object| super::netlink::tunnel(object)).map(|()| None),
        "batch" => with_held(batch).map(|()| None),
        "freeze" => with_held(|object| {
            bpf::call(bpf::MAP_FREEZE, &mut Attributes::new().file(0, object)).map(|_| None)
        }),
        "detach" => with_held(|object| {
            bpf::call(bpf::LINK_DETACH, &mut Attributes::new().file(0, object)).map(|_| None)
        }),
        "test-run" => with_held(test_run).map(|()| None),
        "map-memory" => with_held(sys::map_shared).map(|()| None),
        "perf-attach-held" => with_held(super::attach_to_event).map(|()| None),
        _ => {
            let hand_over = super::socket::way(action)?;
            with_held(|object| hand_over(object.as_raw_fd())).map(|()| None)
        }
    };
    Some(result)
}

/// Does something with a pin.
pub fn with_pin(action: &str, path: &str) -> Option<io::Result<()>> {
    Some(match action {
        "unpin" => fs::remove_file(path),
        // A bpffs takes no dots.
        "rename-over" => fs::rename(format!("{path}-new"), path),
        "link-from" => fs::hard_link(path, format!("{path}-more")),
        "read" => fs::read(path).map(drop),
        _ => return None,
    })
}

/// Pins what is held.
pub fn pin(path: &str) -> io::Result<()> {
    let path = format!("{path}\0");
    with_held(|object| {
        let mut attributes = Attributes::new().input(0, path.as_bytes()).file(8, object);
        bpf::call(bpf::OBJ_PIN, &mut attributes).map(drop)
    })
}

fn by_id(command: u32, id: &str) -> io::Result<OwnedFd> {
    let id = id.parse().map_err(io::Error::other)?;
    bpf::open(command, &mut Attributes::new().word(0, id))
}

/// Bytes of what the kernel says of an object that are asked for.
const INFO: usize = 64;

fn info(object: &OwnedFd) -> io::Result<[u8; INFO]> {
    let mut info = [0; INFO];
    let mut attributes = Attributes::new()
        .file(0, object)
        .word(4, INFO as u32)
        .output(8, &mut info);
    bpf::call(bpf::OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info)
}

/// Programs, maps and links have their number behind their type.
fn id(object: &OwnedFd) -> io::Result<u32> {
    let [_, _, _, _, a, b, c, d, ..] = info(object)?;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// The oldest map of that name.
fn map_named(name: &str) -> io::Result<OwnedFd> {
    /// `struct bpf_map_info`
    const NAME: std::ops::Range<usize> = 24..40;
    let mut id = 0;
    loop {
        let mut next = Attributes::new().word(0, id);
        bpf::call(bpf::MAP_GET_NEXT_ID, &mut next)?;
        id = next.answer(4);
        let map = by_id(bpf::MAP_GET_FD_BY_ID, &id.to_string())?;
        let said = info(&map)?;
        let end = said[NAME].iter().position(|byte| *byte == 0).unwrap_or(16);
        if &said[NAME][..end] == name.as_bytes() {
            return Ok(map);
        }
    }
}

/// The first element of an array of words.
fn lookup(object: &OwnedFd) -> io::Result<()> {
    first_word(object).map(drop)
}

/// The same, and what it is.
pub fn first_word(object: &OwnedFd) -> io::Result<u32> {
    let mut value = [0; 8];
    let mut attributes = Attributes::new()
        .file(0, object)
        .input(8, &[0; 4])
        .output(16, &mut value);
    bpf::call(bpf::MAP_LOOKUP_ELEM, &mut attributes)?;
    let [a, b, c, d, ..] = value;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// How many entries a map may have, which are behind its type, number and sizes.
pub fn entries(object: &OwnedFd) -> io::Result<u32> {
    let info = info(object)?;
    let [a, b, c, d] = [16, 17, 18, 19].map(|at| info[at]);
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// The first element of an array of words becomes 0.
fn change(object: &OwnedFd) -> io::Result<()> {
    let mut attributes = Attributes::new()
        .file(0, object)
        .input(8, &[0; 4])
        .input(16, &[0; 8]);
    bpf::call(bpf::MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// The program that was loaded last takes the place of a link's.
fn update(object: &OwnedFd) -> io::Result<()> {
    super::with_loaded(|program| {
        let mut attributes = Attributes::new().file(0, object).file(4, &program.file);
        bpf::call(bpf::LINK_UPDATE, &mut attributes).map(drop)
    })
}

fn batch(object: &OwnedFd) -> io::Result<()> {
    let (mut next, mut keys, mut values) = ([0; 8], [0; 8], [0; 8]);
    let mut attributes = Attributes::new()
        .output(8, &mut next)
        .output(16, &mut keys)
        .output(24, &mut values)
        .word(32, 1)
        .file(36, object);
    bpf::call(bpf::MAP_LOOKUP_BATCH, &mut attributes).map(drop)
}

fn test_run(object: &OwnedFd) -> io::Result<()> {
    /// A frame of Ethernet with something in it.
    const PACKET: [u8; 64] = [0; 64];
    let mut attributes = Attributes::new()
        .file(0, object)
        .word(8, PACKET.len() as u32)
        .input(16, &PACKET);
    bpf::call(bpf::PROG_TEST_RUN, &mut attributes).map(drop)
}

/// Gives what is held to everybody who connects to a socket at `path`, for ever.
/// Returns when there is somebody who listens.
pub fn serve(path: &str) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    let object = with_held(|object| Ok(fcntl_dupfd_cloexec(object, 0)?))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who went away again gets nothing.
            let _ = give(&stream, &object);
        }
    });
    Ok(())
}

fn receive(path: &str) -> io::Result<OwnedFd> {
    take(&UnixStream::connect(path)?)
}

/// `PID:FD`, by pidfd_getfd().
fn steal(argument: &str) -> io::Result<OwnedFd> {
    let bad = || io::Error::other("not PID:FD");
    let (pid, fd) = argument.split_once(':').ok_or_else(bad)?;
    let pid = pid.parse().ok().and_then(Pid::from_raw).ok_or_else(bad)?;
    let fd: RawFd = fd.parse().map_err(io::Error::other)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, fd, PidfdGetfdFlags::empty())?)
}

/// What an exec left open.
fn adopt(fd: &str) -> io::Result<OwnedFd> {
    sys::inherited(fd.parse().map_err(io::Error::other)?)
}
