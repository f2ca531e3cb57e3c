//! All facts about one host, as `bpftrust check` needs them.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::file_system::{AskVerity, FileSystem, USUAL_PATHS};
use crate::keyring::{self, Support};
use crate::mounts::Mounts;
use crate::posture::Posture;
use crate::types::KernelTypes;
use crate::users::Users;
use crate::{Root, Unknown};

/// What is known about a host. `Err` is "could not tell", with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// `uname -r`.
    pub release: Result<String, Unknown>,
    /// The active security modules, in their order; `None` on a kernel without
    /// any.
    pub security_modules: Result<Option<Vec<String>>, Unknown>,
    /// What the kernel's types say; `None` on a kernel that has none.
    pub types: Result<Option<KernelTypes>, Unknown>,
    /// `net.core.bpf_jit_enable`: 0 off, 1 on, 2 on with debugging; `None` on a
    /// kernel without a compiler for BPF.
    pub jit: Result<Option<u32>, Unknown>,
    /// `kernel.ftrace_enabled`; `None` on a kernel without ftrace.
    pub ftrace_enabled: Result<Option<u32>, Unknown>,
    /// Of the running kernel, whatever the root is.
    pub keyrings: Support,
    /// `/sys/fs/bpf` is a bpffs.
    pub bpffs: Result<bool, Unknown>,
    /// What holds the paths that were asked about.
    pub file_systems: Vec<FileSystem>,
    /// The user named those paths, so that each of them counts.
    pub paths_given: bool,
    /// Files of ext4 can have fs-verity in this kernel.
    pub ext4_verity: Result<bool, Unknown>,
    /// Who uses BPF.
    pub users: Result<Users, Unknown>,
    /// What the promise rests on.
    pub posture: Posture,
}

impl Facts {
    /// Reads everything beneath `root`. Changes nothing, and can't fail: what
    /// can't be read is an [`Unknown`].
    ///
    /// Without `paths` those of [`USUAL_PATHS`] are looked at that exist and are
    /// on different mounts.
    pub fn probe(root: &Root, paths: &[PathBuf], ask: &impl AskVerity) -> Self {
        let mounts = Mounts::probe(root);
        let file_systems = if paths.is_empty() {
            usual_file_systems(root, &mounts, ask)
        } else {
            paths
                .iter()
                .map(|path| FileSystem::probe(root, &mounts, path, ask))
                .collect()
        };
        Self {
            release: root
                .text("/proc/sys/kernel/osrelease")
                .and_then(|text| text.ok_or_else(|| Unknown("/proc is not mounted".to_owned()))),
            security_modules: securityfs(root, &mounts, "lsm")
                .map(|list| list.map(|list| list.split(',').map(str::to_owned).collect())),
            types: KernelTypes::probe(root),
            jit: root.sysctl("net.core.bpf_jit_enable"),
            ftrace_enabled: root.sysctl("kernel.ftrace_enabled"),
            keyrings: keyring::support(),
            bpffs: mounts
                .as_ref()
                .map(|mounts| mounts.has("bpf", "/sys/fs/bpf"))
                .map_err(Clone::clone),
            file_systems,
            paths_given: !paths.is_empty(),
            ext4_verity: root.has("/sys/fs/ext4/features/verity"),
            users: Users::probe(root),
            posture: Posture::probe(root, &mounts),
        }
    }
}

fn usual_file_systems(
    root: &Root,
    mounts: &Result<Mounts, Unknown>,
    ask: &impl AskVerity,
) -> Vec<FileSystem> {
    let mut found: Vec<FileSystem> = Vec::new();
    for path in USUAL_PATHS {
        if !root.path(path).exists() {
            continue;
        }
        let next = FileSystem::probe(root, mounts, path.as_ref(), ask);
        let is_known = |known: &FileSystem| match (&known.mount, &next.mount) {
            (Ok(known), Ok(next)) => known.point == next.point,
            _ => false,
        };
        if !found.iter().any(is_known) {
            found.push(next);
        }
    }
    found
}

/// A file of securityfs; `None` if that has no such file. Where it isn't mounted
/// the kernel may have the thing all the same, so we look into a mount of our own.
pub(crate) fn securityfs(
    root: &Root,
    mounts: &Result<Mounts, Unknown>,
    name: &str,
) -> Result<Option<String>, Unknown> {
    const POINT: &str = "/sys/kernel/security";
    if let Some(text) = root.text(&format!("{POINT}/{name}"))? {
        return Ok(Some(text));
    }
    if mounts
        .as_ref()
        .map_err(Clone::clone)?
        .has("securityfs", POINT)
    {
        return Ok(None);
    }
    if root.is_host()
        && let Ok(text) = unseen_securityfs(name)
    {
        return Ok(text);
    }
    let advice = format!("securityfs is not mounted: mount -t securityfs none {POINT}");
    Err(Unknown(advice))
}

/// The same by a mount that hangs nowhere, that nobody else sees, and that ends
/// with its descriptor. Takes `CAP_SYS_ADMIN`.
fn unseen_securityfs(name: &str) -> io::Result<Option<String>> {
    let context = fsopen("securityfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&mount, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = io::read_to_string(File::from(file))?;
    Ok(Some(text.trim().to_owned()))
}
