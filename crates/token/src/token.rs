//! A token, and why there is none.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstatfs, open};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use crate::{Delegation, Error, sys};

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPFFS_MAGIC: u32 = 0xcafe_4a11;

/// The inode of the initial user namespace, the same everywhere
/// (`include/linux/proc_ns.h`, `PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// A BPF token: a descriptor that stands for what its bpffs delegates. It is closed
/// when executing, and when this is dropped; the kernel keeps a token as long as
/// something that was loaded with it is there.
#[derive(Debug)]
pub struct Token {
    file: OwnedFd,
    bpffs: PathBuf,
    delegation: Delegation,
}

impl Token {
    /// Makes a token of the bpffs that is mounted at `bpffs`, usually
    /// [`BPFFS`](crate::BPFFS).
    ///
    /// That takes `CAP_BPF` in the user namespace that the bpffs was made for, which
    /// must be the caller's and is not the initial one (`kernel/bpf/token.c`,
    /// `bpf_token_create`). Under `bpftrust run` all this is given.
    ///
    /// # Errors
    /// [`Error::NoToken`], with what is lacking.
    pub fn create(bpffs: impl AsRef<Path>) -> Result<Self, Error> {
        let bpffs = bpffs.as_ref();
        make(bpffs).map_err(|lack| Error::NoToken {
            bpffs: bpffs.to_owned(),
            lack,
        })
    }

    /// The bpffs that it is of, as it was named.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// What it allows, as the kernel says: all bits, where that is all that this
    /// kernel knows.
    pub fn delegation(&self) -> &Delegation {
        &self.delegation
    }

    /// Whether it allows all of `wanted`.
    ///
    /// # Errors
    /// [`Error::NotDelegated`], with what it does not.
    pub fn require(&self, wanted: &Delegation) -> Result<(), Error> {
        let lacking = wanted.difference(&self.delegation);
        if lacking.is_empty() {
            return Ok(());
        }
        Err(Error::NotDelegated {
            bpffs: self.bpffs.clone(),
            lacking,
            source: None,
        })
    }
}

impl AsFd for Token {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What is lacking for a token.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lack {
    /// The directory can't be opened.
    Directory(io::Error),
    /// No bpffs is mounted there.
    Bpffs,
    /// The path is below the root of a bpffs, or is a bind mount of such.
    Root,
    /// The bpffs is another user's.
    Access,
    /// The kernel has no tokens.
    Kernel,
    /// The caller is in the initial user namespace, where there are none.
    Namespace,
    /// `CAP_BPF` in the caller's user namespace.
    Capability,
    /// A security module, such as bpftrust's, or a seccomp filter does not let the
    /// caller make any token.
    Permission,
    /// The bpffs is of another user namespace, or bpftrust does not let the caller
    /// make a token of this one: it delegates more than is granted.
    NamespaceOrGrant,
    /// The bpffs delegates nothing.
    Delegation,
    /// Something else.
    Other(io::Error),
}

impl Lack {
    /// What to do about it.
    pub(crate) fn help(&self) -> Option<&'static str> {
        const RUN: &str = "start it by 'bpftrust run --user USER -- LOADER', or otherwise \
                           in a user namespace for which root mounted a bpffs";
        match self {
            Self::Directory(_) | Self::Bpffs | Self::Namespace => Some(RUN),
            Self::Root => Some("name the directory that the bpffs is mounted at"),
            Self::Access => Some("mount it with 'uid=' of the user that the loader runs as"),
            Self::Kernel => Some("BPF tokens came with Linux 6.9"),
            Self::Capability => Some(
                "keep cap_bpf in the namespace until all is loaded, in the ambient set if \
                 the loader is executed as another user than its root",
            ),
            Self::Permission => Some(
                "type 'bpftrust explain LOADER' to see whether it is trusted, and \
                 'bpftrust events' to see what was refused",
            ),
            Self::NamespaceOrGrant => Some(
                "type 'bpftrust events' to see whether something that the bpffs delegates \
                 is not granted; else make the token in the namespace that the bpffs was \
                 mounted for",
            ),
            Self::Delegation => Some("mount it with 'delegate_cmds=' and so on"),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory(error) => return write!(f, "it can't be opened: {error}"),
            Self::Other(error) => return write!(f, "the kernel says: {error}"),
            Self::Bpffs => "no bpffs is mounted there",
            Self::Root => "it is not the root of a bpffs",
            Self::Access => "the bpffs is another user's",
            Self::Kernel => "the kernel has none",
            Self::Namespace => "there are none in the initial user namespace",
            Self::Capability => "the process lacks cap_bpf in its user namespace",
            Self::Permission => "a security module or seccomp filter refuses the command",
            Self::NamespaceOrGrant => {
                "the bpffs is of another user namespace, or a security module refuses it"
            }
            Self::Delegation => "the bpffs delegates nothing",
        })
    }
}

fn make(path: &Path) -> Result<Token, Lack> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let bpffs = open(path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ACCESS => Lack::Access,
        errno => Lack::Directory(errno.into()),
    })?;
    let statfs = fstatfs(&bpffs).map_err(|errno| Lack::Directory(errno.into()))?;
    // Of 32 bits, whatever the type that it has on this architecture.
    if statfs.f_type as u32 != BPFFS_MAGIC {
        return Err(Lack::Bpffs);
    }
    let file = sys::token_create(Some(bpffs.as_fd())).map_err(why)?;
    let delegation = delegated(&file).map_err(Lack::Other)?;
    Ok(Token {
        file,
        bpffs: path.to_owned(),
        delegation,
    })
}

/// What an error of `bpf_token_create` means (`kernel/bpf/token.c`), if need be by
/// asking further.
fn why(errno: Errno) -> Lack {
    match errno {
        Errno::NOENT => Lack::Delegation,
        Errno::OPNOTSUPP => Lack::Namespace,
        Errno::ACCESS => Lack::Access,
        Errno::INVAL if command(Errno::INVAL) => Lack::Kernel,
        Errno::INVAL => Lack::Root,
        Errno::PERM if is_initial_namespace() => Lack::Namespace,
        Errno::PERM if !has_capability() => Lack::Capability,
        Errno::PERM if command(Errno::PERM) => Lack::Permission,
        Errno::PERM => Lack::NamespaceOrGrant,
        errno => Lack::Other(errno.into()),
    }
}

/// Whether the command fails so without any bpffs: then it is not the bpffs' fault.
/// Else it fails with `EBADF`.
fn command(errno: Errno) -> bool {
    sys::token_create(None).is_err_and(|error| error == errno)
}

fn is_initial_namespace() -> bool {
    fs::read_link("/proc/self/ns/user").is_ok_and(|name| name.as_os_str() == INITIAL_USER_NAMESPACE)
}

fn has_capability() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::BPF))
}

/// What the kernel shows of a token (`kernel/bpf/token.c`, `bpf_token_show_fdinfo`).
fn delegated(token: &OwnedFd) -> io::Result<Delegation> {
    let path = format!("/proc/self/fdinfo/{}", token.as_raw_fd());
    let text = fs::read_to_string(path)?;
    parse(&text).ok_or_else(|| io::Error::other("a token's fdinfo of another form"))
}

fn parse(fdinfo: &str) -> Option<Delegation> {
    let value = |name: &str| {
        fdinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| (key == name).then_some(value.trim()))
    };
    Some(Delegation {
        commands: value("allowed_cmds")?.parse().ok()?,
        maps: value("allowed_maps")?.parse().ok()?,
        programs: value("allowed_progs")?.parse().ok()?,
        attaches: value("allowed_attachs")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commands, ProgramTypes};

    #[test]
    fn fdinfo_says_what_is_allowed() {
        let text = "pos:\t0\nflags:\t02000002\nmnt_id:\t54\nino:\t9\nallowed_cmds:\tany\n\
                    allowed_maps:\t0x2\nallowed_progs:\t0x40\nallowed_attachs:\t0x0\n";
        let delegation = parse(text).unwrap();
        assert_eq!(delegation.commands, Commands::all());
        assert_eq!(delegation.maps.bits(), 2);
        assert_eq!(delegation.programs, ProgramTypes::XDP);
        assert!(delegation.attaches.is_empty());
        assert!(parse("pos:\t0\n").is_none());
    }

    #[test]
    fn where_no_bpffs_is_it_is_said() {
        let error = Token::create("/proc").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no BPF token of /proc: no bpffs is mounted there"
        );
        assert!(error.missing().unwrap().contains("bpftrust run"));
        let error = Token::create("/nowhere").unwrap_err().to_string();
        assert!(
            error.starts_with("no BPF token of /nowhere: it can't be opened: No such file"),
            "{error}"
        );
    }
}
