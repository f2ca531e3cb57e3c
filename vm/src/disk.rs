//! The guest's disk: real Debian packages and the kernel's modules on ext4 with
//! fs-verity, made without root.

use crate::dpkg;
use crate::kernels::Choice;
use crate::tool;
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The packages of every guest; what they depend on comes with them.
pub const PACKAGES: &[&str] = &[
    "attr",
    "base-files",
    "bash",
    "bpftool",
    "busybox-static",
    "coreutils",
    "dash",
    "diffutils",
    "e2fsprogs",
    "findutils",
    "fsverity",
    "grep",
    "keyutils",
    "kmod",
    "libbpf-tools",
    "libc-bin",
    "libc6",
    "libcap2-bin",
    "libelf1t64",
    "libgcc-s1",
    "libssl3t64",
    "mount",
    "openssl",
    "procps",
    "sed",
    "strace",
    "util-linux",
    "zlib1g",
];

/// Room for what tests write, beside the packages.
const DISK_SIZE: &str = "3G";

/// Directories that Debian's packages expect to be links (merged /usr).
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

const ETC: &[(&str, &str)] = &[
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000:user:/home/user:/bin/bash\n\
         nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"),
    ("shells", "/bin/sh\n/bin/bash\n"),
    ("hostname", "guest\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\n"),
];

/// Unpacks every package in `debs` into the tree `root`.
pub fn unpack(debs: &Path, root: &Path) -> Result<()> {
    let entries = fs::read_dir(debs).with_context(|| format!("cannot list {}", debs.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            unpack_one(&path, root).with_context(|| format!("cannot unpack {}", path.display()))?;
        }
    }
    Ok(())
}

/// What `dpkg-deb --extract` does, but a package that still ships `/lib` goes
/// where the link leads, as on an installed system.
fn unpack_one(deb: &Path, root: &Path) -> Result<()> {
    let mut files = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run dpkg-deb")?;
    let stream = files.stdout.take().context("dpkg-deb has no output")?;
    let status = Command::new("tar")
        .args(["--extract", "--preserve-permissions"])
        .args(["--keep-directory-symlink", "--directory"])
        .arg(root)
        .stdin(stream)
        .status()
        .context("cannot run tar")?;
    let read = files.wait().context("cannot wait for dpkg-deb")?;
    if !status.success() || !read.success() {
        bail!("dpkg-deb ended with {read}, tar with {status}");
    }
    Ok(())
}

/// Makes the tree that all guests share, out of the packages in `debs`. Their
/// maintainers' scripts do not run; what they would do and is needed is here.
pub fn make_tree(debs: &Path, root: &Path) -> Result<()> {
    for dir in MERGED {
        fs::create_dir_all(root.join("usr").join(dir))
            .and_then(|()| symlink(format!("usr/{dir}"), root.join(dir)))
            .with_context(|| format!("cannot make {dir} in {}", root.display()))?;
    }
    unpack(debs, root)?;
    if root.join("usr/bin/dpkg").exists() {
        dpkg::register(debs, root)?;
    }
    let shell = root.join("usr/bin/sh");
    if !shell.exists() {
        symlink("dash", &shell).with_context(|| format!("cannot make {}", shell.display()))?;
    }
    for dir in [
        "dev",
        "etc",
        "home/user",
        "mnt",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "var/tmp",
        "work",
    ] {
        fs::create_dir_all(root.join(dir))
            .with_context(|| format!("cannot make /{dir} in {}", root.display()))?;
    }
    for (name, content) in ETC {
        fs::write(root.join("etc").join(name), content)
            .with_context(|| format!("cannot write /etc/{name} in {}", root.display()))?;
    }
    for (path, mode) in [("tmp", 0o1777), ("var/tmp", 0o1777), ("work", 0o1777)] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of /{path} in {}", root.display()))?;
    }
    // Without its cache the loader would search its default paths, which
    // suffices: a host that cannot make a cache for another root is no failure.
    let _ = tool::output(Command::new("/sbin/ldconfig").arg("-r").arg(root));
    Ok(())
}

/// What a kernel boots with.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The kernel's image.
    pub vmlinuz: PathBuf,
    /// The guest's disk.
    pub disk: PathBuf,
    /// The modules that the initramfs needs, unpacked, in the order to load.
    pub initramfs: PathBuf,
    /// What the disk holds, where that is kept: for Debian's tools that make an initramfs.
    pub root: PathBuf,
}

impl Boot {
    /// The files of a boot, in the directory `dir`.
    pub fn at(dir: &Path) -> Self {
        Self {
            vmlinuz: dir.join("vmlinuz"),
            disk: dir.join("disk.img"),
            initramfs: dir.join("base.cpio"),
            root: dir.join("root"),
        }
    }
}

/// Adds the kernel `choice`, whose packages are in `debs`, to a copy of `tree`,
/// and makes of it everything that a boot needs, in `dir`.
pub fn make_boot(choice: &Choice, debs: &Path, tree: &Path, dir: &Path) -> Result<()> {
    let boot = Boot::at(dir);
    let root = &boot.root;
    // Hard links: the copy costs no space, and unpacking replaces, never
    // writes into, what is there.
    tool::output(Command::new("cp").arg("-al").arg(tree).arg(root))
        .context("cannot copy the guest's tree")?;
    unpack(debs, root)?;
    let modules = root.join("usr/lib/modules").join(&choice.release);
    let kernel = [
        root.join("boot")
            .join(format!("vmlinuz-{}", choice.release)),
        modules.join("vmlinuz"),
    ];
    let Some(kernel) = kernel.iter().find(|path| path.exists()) else {
        bail!(
            "the packages {} hold no kernel where one was expected",
            choice.packages.join(", ")
        );
    };
    fs::rename(kernel, &boot.vmlinuz)
        .with_context(|| format!("cannot move {}", kernel.display()))?;
    tool::output(
        Command::new("/sbin/depmod")
            .arg("--basedir")
            .arg(root)
            .arg(&choice.release),
    )
    .context("cannot work out how the kernel's modules depend on each other")?;
    crate::initramfs::make_base(root, &modules, &boot.initramfs)?;
    make_filesystem(root, &boot.disk)
}

fn make_filesystem(root: &Path, image: &Path) -> Result<()> {
    // By its path: busybox has an mke2fs too, which knows none of this. Files
    // of a user's tree must belong to the guest's root, which a user namespace
    // makes them look like.
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("/sbin/mke2fs")
    } else {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "/sbin/mke2fs"]);
        command
    };
    command
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "verity"])
        .args(["-L", "guest", "-m", "0", "-d"])
        .arg(root)
        .arg(image)
        .arg(DISK_SIZE);
    tool::output(&mut command).context("cannot make the guest's disk")?;
    Ok(())
}
