//! Files, pipes and sockets: where bpftrust has no hook, or one that returns at once.

use crate::{CHEAP, Driver, FILES, Place, Row, row, sys};
use anyhow::{Context, Result, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

pub fn rows() -> Vec<Row> {
    vec![
        row("open", CHEAP, opens, "open to read, and close"),
        row("read", CHEAP, reads, "pread of 1 byte of a file of ext4"),
        row("write", CHEAP, writes, "pwrite of 1 byte to a file of ext4"),
        row("stat", CHEAP, stats, "stat of a file of ext4"),
        row(
            "pipe",
            CHEAP,
            |_| {
                let (output, input) = rustix::pipe::pipe()?;
                Driver::new(move || exchange(&input, &output))
            },
            "write of 1 byte to a pipe, and read of it",
        ),
        row(
            "eventfd",
            CHEAP,
            |_| {
                let event = eventfd(0, EventfdFlags::CLOEXEC)?;
                Driver::new(move || {
                    rustix::io::write(&event, &1u64.to_ne_bytes())?;
                    Ok(())
                })
            },
            "write to an eventfd",
        ),
        row(
            "socket",
            CHEAP,
            |_| {
                let (here, there) = pair()?;
                Driver::new(move || exchange(&here, &there))
            },
            "write of 1 byte to a unix socket, and read of it, by one process",
        ),
        row(
            "socket-ping-pong",
            (500, 500),
            ping_pong,
            "1 byte to another process by a unix socket, and back",
        ),
        row(
            "pass-descriptor",
            CHEAP,
            passes,
            "SCM_RIGHTS with a file by a unix socket, received and closed",
        ),
        row("unlink", FILES, unlinks, "open to create, close, unlink"),
        row(
            "rename",
            FILES,
            renames,
            "rename of a file of ext4, and back",
        ),
        row("link", FILES, links, "link of a file of ext4, and unlink"),
    ]
}

fn file(place: &Place) -> Result<std::path::PathBuf> {
    let path = place.path("data");
    std::fs::write(&path, [0; 4096]).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn opens(place: &Place) -> Result<Driver> {
    let path = file(place)?;
    Driver::new(move || {
        open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(())
    })
}

fn reads(place: &Place) -> Result<Driver> {
    let file = File::open(file(place)?)?;
    Driver::new(move || {
        rustix::io::pread(&file, &mut [0], 0)?;
        Ok(())
    })
}

fn writes(place: &Place) -> Result<Driver> {
    let file = File::options().write(true).open(file(place)?)?;
    Driver::new(move || {
        rustix::io::pwrite(&file, &[0], 0)?;
        Ok(())
    })
}

fn stats(place: &Place) -> Result<Driver> {
    let path = file(place)?;
    Driver::new(move || {
        rustix::fs::stat(&path)?;
        Ok(())
    })
}

fn exchange(input: &OwnedFd, output: &OwnedFd) -> Result<()> {
    rustix::io::write(input, &[1])?;
    rustix::io::read(output, &mut [0])?;
    Ok(())
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

fn ping_pong(_: &Place) -> Result<Driver> {
    let (here, there) = pair()?;
    sys::fork(move || {
        // It has the other end, too, so it would never see that the parent is gone.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let mut byte = [0];
        while let Ok(1) = rustix::io::read(&there, &mut byte) {
            if rustix::io::write(&there, &byte).is_err() {
                return;
            }
        }
    })
    .context("cannot fork")?;
    Driver::new(move || {
        rustix::io::write(&here, &[1])?;
        rustix::io::read(&here, &mut [0])?;
        Ok(())
    })
}

fn passes(place: &Place) -> Result<Driver> {
    let file = File::open(file(place)?)?;
    let (here, there) = pair()?;
    Driver::new(move || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut sent = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        ensure!(
            sent.push(SendAncillaryMessage::ScmRights(&files)),
            "no room"
        );
        sendmsg(&here, &[IoSlice::new(&[1])], &mut sent, SendFlags::empty())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut received = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(
            &there,
            &mut [IoSliceMut::new(&mut [0])],
            &mut received,
            flags,
        )?;
        // Dropped here, and so closed.
        ensure!(received.drain().count() == 1, "no descriptor came");
        Ok(())
    })
}

fn unlinks(place: &Place) -> Result<Driver> {
    let path = place.path("short-lived");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    Driver::new(move || {
        open(&path, flags, Mode::RUSR)?;
        Ok(rustix::fs::unlink(&path)?)
    })
}

fn renames(place: &Place) -> Result<Driver> {
    let (one, other) = (file(place)?, place.path("renamed"));
    Driver::new(move || {
        rustix::fs::rename(&one, &other)?;
        Ok(rustix::fs::rename(&other, &one)?)
    })
}

fn links(place: &Place) -> Result<Driver> {
    let (one, other) = (file(place)?, place.path("linked"));
    Driver::new(move || {
        rustix::fs::link(&one, &other)?;
        Ok(rustix::fs::unlink(&other)?)
    })
}
