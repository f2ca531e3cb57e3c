//! A bpffs that delegates, in a user namespace of its own: what a broker makes for
//! a loader that is to have a BPF token and no privilege (`kernel/bpf/inode.c`,
//! `bpf_init_fs_context`).

use super::object::sockets::{give, take};
use super::{Misuse, act_all, namespace, say, sys, tell};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Where the bpffs is mounted, in the child's mount namespace.
const PLACE: &str = "/sys/fs/bpf";

/// Who the child is, and what its bpffs says.
pub struct Delegation<'a> {
    /// Outside of the user namespace; inside it is 0.
    pub user: u32,
    /// `cmds=…,maps=…`: values of the mount options `delegate_*`.
    pub options: &'a str,
}

/// Runs actions in a child that has nothing but what is delegated, and waits.
///
/// The child makes the file system's context, for its user namespace is to own it;
/// the parent, which has the privilege, says what it delegates and mounts it.
pub fn run(delegation: &Delegation<'_>, actions: &[&str]) -> io::Result<()> {
    let (parent, child) = UnixStream::pair()?;
    let started = sys::fork(|| match enter(delegation.user, &child) {
        Ok(()) => {
            if let Err(Misuse(what)) = act_all(actions) {
                say(&format!("bpftrust-probe: {what}"));
            }
        }
        Err(error) => tell("entering the namespaces", Err(error)),
    })?;
    // Else it would be waited for if the child does not get so far.
    drop(child);
    let made = mount(delegation.options, &parent);
    drop(parent);
    started.wait()?;
    made
}

fn enter(user: u32, parent: &UnixStream) -> io::Result<()> {
    namespace::become_user(user)?;
    namespace::own_user_namespace()?;
    namespace::own_mount_namespace()?;
    // Not before: a change of credentials undoes it.
    namespace::end_with_parent()?;
    give(parent, &fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?)?;
    let mounted: OwnedFd = take(parent)?;
    move_mount(
        &mounted,
        "",
        rustix::fs::CWD,
        PLACE,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )?;
    Ok(())
}

fn mount(options: &str, child: &UnixStream) -> io::Result<()> {
    let context = take(child)?;
    for option in options.split(',') {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| io::Error::other(format!("{option:?} is not NAME=VALUE")))?;
        fsconfig_set_string(&context, format!("delegate_{name}"), value)?;
    }
    fsconfig_create(&context)?;
    let mounted = fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    give(child, &mounted)
}
