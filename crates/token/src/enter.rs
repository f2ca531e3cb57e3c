//! Into a user namespace with a bpffs that delegates.
//!
//! Two processes take part. The one that is to be confined makes the namespaces and
//! begins a bpffs, which is then its user namespace's; a child of it that stays as
//! it was says what the bpffs delegates, for only privilege in the initial namespace
//! may (`kernel/bpf/inode.c`, `bpf_parse_param`). The process keeps its number and
//! its parent, so signals and exit status are its own.
//!
//! The namespace is root's, not the user's: who owns a user namespace has every
//! capability in it (`security/commoncap.c`, `cap_capable`), so the user's other
//! processes could enter it, or trace what is executed in it.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg,
    socketpair,
};
use rustix::process::{Pid, WaitOptions, geteuid, getpid, waitpid};
use rustix::thread::{
    CapabilitySet, Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Error, Step};
use crate::{Delegation, privileges, sys};

/// Where the bpffs is mounted: where libbpf looks by itself
/// (`tools/lib/bpf/libbpf_internal.h`, `BPF_FS_DEFAULT_PATH`).
pub const BPFFS: &str = "/sys/fs/bpf";

/// By this variable libbpf is told to use a token, and where from; without one at
/// [`BPFFS`] it goes on without a token if it gets none (`libbpf.c`,
/// `bpf_object_prepare_token`).
pub const TOKEN_PATH_VARIABLE: &str = "LIBBPF_BPF_TOKEN_PATH";

/// What is kept, in the new user namespace: a token stands for a capability only
/// where who uses it has the same in its namespace (`kernel/bpf/token.c`,
/// `bpf_ns_capable`), and these are what loading asks for: `CAP_BPF` always,
/// `CAP_PERFMON` for what reads the kernel, `CAP_NET_ADMIN` for what handles packets
/// (`kernel/bpf/syscall.c`, `bpf_prog_load`).
const KEPT: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::NET_ADMIN);

/// Who the process becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Not 0.
    pub uid: u32,
    /// The main group.
    pub gid: u32,
    /// The others, as of the initial user namespace. They stay in force; in the new
    /// one they have no number.
    pub groups: Vec<u32>,
    /// Be uid 0 in the new namespace, for loaders that insist on it. Outside it stays
    /// the same, and what an exec gives to a root is bounded (`security/commoncap.c`,
    /// `handle_privileged_root`): no capability comes with it.
    pub as_root: bool,
}

impl User {
    /// User and group in the new namespace.
    fn inside(&self) -> (u32, u32) {
        match self.as_root {
            true => (0, 0),
            false => (self.uid, self.gid),
        }
    }
}

/// Takes the calling process into a user namespace, as `user`, with a bpffs at
/// [`BPFFS`] that delegates this and no more. It keeps no capability in the initial
/// user namespace, and three in the new one, which an exec does not take away; it
/// gains none by any exec (`PR_SET_NO_NEW_PRIVS`). Only the standard descriptors
/// outlive an exec.
///
/// # Errors
/// [`Error`]. Then the process is somewhere on the way, and should end.
pub fn enter(user: &User, delegation: &Delegation) -> Result<(), Error> {
    if !geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if user.uid == 0 {
        return Err(Error::RootUser);
    }
    if delegation.is_empty() {
        return Err(Error::Empty);
    }
    privileges::alone()?;
    let me = getpid();
    let (here, there) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(Error::at(Step::Helper))?;
    // Without our end, so that it ends with us.
    let helper = sys::in_child(&here, || serve(&there, me, user, delegation))
        .map_err(Error::at(Step::Helper))?;
    drop(there);

    // While their numbers still mean something.
    let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let gid = Gid::from_raw(user.gid);
    set_thread_groups(&groups)
        .and_then(|()| set_thread_res_gid(gid, gid, gid))
        .map_err(Error::at(Step::Groups))?;
    sys::unshare().map_err(Error::at(Step::Unshare))?;
    let bpffs = fsopen(c"bpf", FsOpenFlags::FSOPEN_CLOEXEC).map_err(Error::at(Step::Open))?;
    ask(&here, bpffs.as_fd())?;
    // Or what is executed would find a child that it has not made.
    waitpid(Some(helper), WaitOptions::empty()).map_err(Error::at(Step::Helper))?;
    let (uid, _) = user.inside();
    let uid = Uid::from_raw(uid);
    set_thread_res_uid(uid, uid, uid).map_err(Error::at(Step::Become))?;
    place(&bpffs).map_err(Error::at(Step::Place))?;
    privileges::keep(KEPT).map_err(Error::at(Step::Drop))?;
    sys::close_on_exec().map_err(Error::at(Step::Close))
}

/// Hands the bpffs over, and waits until it is made.
fn ask(socket: &OwnedFd, bpffs: BorrowedFd<'_>) -> Result<(), Error> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let files = [bpffs];
    message.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(
        socket,
        &[IoSlice::new(&[0])],
        &mut message,
        SendFlags::NOSIGNAL,
    )
    .map_err(Error::at(Step::Helper))?;
    let mut answer = [0; ANSWER];
    let (size, _) =
        recv(socket, &mut answer, RecvFlags::empty()).map_err(Error::at(Step::Helper))?;
    let [step, errno @ ..] = answer;
    match (size, i32::from_ne_bytes(errno)) {
        (ANSWER, 0) => Ok(()),
        (ANSWER, errno) => Err(Error::Kernel {
            step: Step::of(step).unwrap_or(Step::Helper),
            source: std::io::Error::from_raw_os_error(errno),
        }),
        // It ended before it answered.
        _ => Err(Error::at(Step::Helper)(Errno::CONNRESET)),
    }
}

/// Bytes of an answer: which step failed, and its error; 0 for none.
const ANSWER: usize = 5;

/// The other side. It says what happened; nobody waits for it.
fn serve(socket: &OwnedFd, pid: Pid, user: &User, delegation: &Delegation) {
    let mut answer = [0; ANSWER];
    if let Err((step, errno)) = delegate(socket, pid, user, delegation) {
        answer[0] = step as u8;
        answer[1..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
    }
    // Who does not listen any more has ended.
    let _ = send(socket, &answer, SendFlags::NOSIGNAL);
}

fn delegate(
    socket: &OwnedFd,
    pid: Pid,
    user: &User,
    delegation: &Delegation,
) -> Result<(), (Step, Errno)> {
    let at = |step| move |errno| (step, errno);
    let bpffs = receive(socket).map_err(at(Step::Helper))?;
    let (uid, gid) = user.inside();
    for (map, inside, id) in [("gid_map", gid, user.gid), ("uid_map", uid, user.uid)] {
        let path = format!("/proc/{}/{map}", pid.as_raw_nonzero());
        fs::write(path, format!("{inside} {id} 1"))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .map_err(at(Step::Map))?;
    }
    let owner = [
        ("uid", user.uid.to_string()),
        ("gid", user.gid.to_string()),
        ("mode", "0700".to_owned()),
    ];
    for (option, value) in owner.into_iter().chain(delegation.options()) {
        fsconfig_set_string(&bpffs, option, value).map_err(at(Step::Delegate))?;
    }
    fsconfig_create(&bpffs).map_err(at(Step::Create))
}

fn receive(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut messages = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut messages,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    messages
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        })
        .ok_or(Errno::CONNRESET)
}

fn place(bpffs: &OwnedFd) -> Result<(), Errno> {
    let harmless = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(bpffs, FsMountFlags::FSMOUNT_CLOEXEC, harmless)?;
    move_mount(
        &mount,
        "",
        CWD,
        BPFFS,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}
