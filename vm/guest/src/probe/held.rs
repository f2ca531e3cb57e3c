//! Descriptors of BPF objects that the probe holds, where it has them from, and
//! what it does with the last one.
#![allow(
    unsafe_code,
    reason = "a descriptor that was inherited, and the memory of a map"
)]

use super::bpf::{self, Attributes};
use super::{attach, netlink, socket as filter, with_loaded};
use crate::Misuse;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketType, recvmsg, sendmsg,
};
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// Where an inherited descriptor is.
const INHERITED: i32 = 100;

/// What stays open to the end.
static HELD: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

pub fn keep(file: OwnedFd) -> io::Result<()> {
    HELD.lock()
        .map_err(|_| io::Error::other("poisoned"))?
        .push(file);
    Ok(())
}

fn with_last<T>(act: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
    let held = HELD.lock().map_err(|_| io::Error::other("poisoned"))?;
    act(held
        .last()
        .ok_or_else(|| io::Error::other("nothing is held"))?)
}

/// Actions without an argument.
pub fn alone(action: &str) -> Option<io::Result<()>> {
    Some(match action {
        "keep-program" => with_loaded(|program| keep(program.file.try_clone()?)),
        "look" => with_last(|map| element(bpf::MAP_LOOKUP_ELEM, map)),
        "change" => with_last(|map| element(bpf::MAP_UPDATE_ELEM, map)),
        "freeze" => with_last(|map| call(bpf::MAP_FREEZE, map, 0)),
        "run" => with_last(run),
        "info" => with_last(info),
        "detach" => with_last(|link| call(bpf::LINK_DETACH, link, 0)),
        "update" => with_last(|link| {
            with_loaded(|program| {
                let mut attributes = Attributes::new().file(0, link).file(4, &program.file);
                bpf::call(bpf::LINK_UPDATE, &mut attributes).map(drop)
            })
        }),
        "memory" => with_last(map_memory),
        "attach-held" => with_last(|program| filter::attach(program)),
        "tc-held" => with_last(|program| netlink::tc(program)),
        "inherit" => with_last(|file| {
            // SAFETY: dup2 takes two numbers; the second is nobody's here.
            match unsafe { libc::dup2(file.as_raw_fd(), INHERITED) } {
                INHERITED => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        }),
        "inherited" => {
            // SAFETY: nothing else in this program owns a descriptor that it inherited.
            keep(unsafe { OwnedFd::from_raw_fd(INHERITED) })
        }
        _ => return None,
    })
}

/// Actions with one argument.
pub fn with(action: &str, argument: &str) -> Option<Result<io::Result<()>, Misuse>> {
    let path = Path::new(argument);
    Some(Ok(match action {
        "get-map" | "get-program" | "get-btf" | "get-link" => {
            let Ok(id) = argument.parse() else {
                return Some(Err(Misuse(format!("{argument:?} is no id"))));
            };
            by_id(action, id).and_then(keep)
        }
        "keep-link" => match attach::attach_of(argument) {
            Some(way) => with_loaded(|program| keep(attach::open_link(program, way)?)),
            None => return Some(Err(Misuse(format!("cannot attach by {argument:?}")))),
        },
        "pin" => with_last(|file| {
            let path = terminated(argument);
            let mut attributes = Attributes::new().input(0, &path).file(8, file);
            bpf::call(bpf::OBJ_PIN, &mut attributes).map(drop)
        }),
        "get" => {
            let path = terminated(argument);
            bpf::open(bpf::OBJ_GET, &mut Attributes::new().input(0, &path)).and_then(keep)
        }
        "unpin" => fs::remove_file(path),
        "rename-over" => with_renamed(path),
        "read" => fs::read(path).map(drop),
        "send" => with_last(|file| send(path, file)),
        "receive" => receive(path).and_then(keep),
        _ => return None,
    }))
}

fn terminated(path: &str) -> Vec<u8> {
    let mut bytes = path.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Renames the pin `PATH-new` to `PATH`: a bpffs takes no dots.
fn with_renamed(path: &Path) -> io::Result<()> {
    fs::rename(format!("{}-new", path.display()), path)
}

fn by_id(action: &str, id: u32) -> io::Result<OwnedFd> {
    let command = match action {
        "get-map" => bpf::MAP_GET_FD_BY_ID,
        "get-program" => bpf::PROG_GET_FD_BY_ID,
        "get-link" => bpf::LINK_GET_FD_BY_ID,
        _ => bpf::BTF_GET_FD_BY_ID,
    };
    bpf::open(command, &mut Attributes::new().word(0, id))
}

/// Element 0 of a map with keys of 4 bytes and values of at most 8.
fn element(command: u32, map: &OwnedFd) -> io::Result<()> {
    let key = 0_u32.to_ne_bytes();
    let mut value = [0; 8];
    let mut attributes = Attributes::new()
        .file(0, map)
        .input(8, &key)
        .output(16, &mut value);
    match bpf::call(command, &mut attributes) {
        // It was looked, and nothing was there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}

fn call(command: u32, file: &OwnedFd, at: usize) -> io::Result<()> {
    bpf::call(command, &mut Attributes::new().file(at, file)).map(drop)
}

fn run(program: &OwnedFd) -> io::Result<()> {
    let packet = [0; 64];
    let mut attributes = Attributes::new()
        .file(0, program)
        .word(8, packet.len() as u32)
        .input(16, &packet);
    bpf::call(bpf::PROG_TEST_RUN, &mut attributes).map(drop)
}

fn info(file: &OwnedFd) -> io::Result<()> {
    let mut about = [0; 64];
    let mut attributes = Attributes::new()
        .file(0, file)
        .word(4, about.len() as u32)
        .output(8, &mut about);
    bpf::call(bpf::OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}

/// Maps and unmaps the first page.
fn map_memory(map: &OwnedFd) -> io::Result<()> {
    const PAGE: usize = 4096;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new area, wherever there is room; it is gone again below.
    unsafe {
        let area = libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            protection,
            libc::MAP_SHARED,
            map.as_raw_fd(),
            0,
        );
        if area == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        libc::munmap(area, PAGE);
    }
    Ok(())
}

/// Sends a descriptor to who receives at `path`, once he does.
fn send(path: &Path, file: &OwnedFd) -> io::Result<()> {
    let socket = socket()?;
    let address = SocketAddrUnix::new(path)?;
    let deadline = Instant::now() + crate::PATIENCE;
    while let Err(error) = rustix::net::connect(&socket, &address) {
        if Instant::now() > deadline {
            return Err(error.into());
        }
        crate::pause();
    }
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(
        &socket,
        &[IoSlice::new(b"x")],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Receives a descriptor; the kernel drops one that a security module refuses
/// and says nothing but that there was more (`MSG_CTRUNC`).
fn receive(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(
        &socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        })
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EPERM))
}

fn socket() -> io::Result<OwnedFd> {
    Ok(rustix::net::socket(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        None,
    )?)
}
