//! A machine as Debian installs it: the initramfs is made by Debian's own tools, of a
//! tree in which bpftrust and its hooks are.
//!
//! Nothing of the tree is run but what makes the image, in a mount namespace of its own.

use crate::disk::Boot;
use crate::initramfs::Extra;
use crate::system::Generator;
use crate::tool;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Where what is in `packaging/` is on an installed machine: initramfs-tools' and
/// dracut's hooks, and units.
const PACKAGED: &[(&str, &str)] = &[
    (
        "initramfs-tools/hooks/bpftrust",
        "/usr/share/initramfs-tools/hooks/bpftrust",
    ),
    (
        "initramfs-tools/scripts/init-bottom/bpftrust",
        "/usr/share/initramfs-tools/scripts/init-bottom/bpftrust",
    ),
    (
        "dracut/70bpftrust/module-setup.sh",
        "/usr/lib/dracut/modules.d/70bpftrust/module-setup.sh",
    ),
    (
        "dracut/70bpftrust/bpftrust-boot.sh",
        "/usr/lib/dracut/modules.d/70bpftrust/bpftrust-boot.sh",
    ),
    (
        "systemd/bpftrust-enforce.service",
        "/usr/lib/systemd/system/bpftrust-enforce.service",
    ),
    (
        "systemd/bpftrust-events.service",
        "/usr/lib/systemd/system/bpftrust-events.service",
    ),
    (
        "systemd/bpftrust-metrics.service",
        "/usr/lib/systemd/system/bpftrust-metrics.service",
    ),
];

/// What an admin has: a key, and a policy that trusts it.
const CONFIGURE: &str = "set -e
bpftrust keygen --algorithm rsa-2048 --name acme --out /etc/bpftrust/acme
mkdir -p /etc/bpftrust/certificates
cp /etc/bpftrust/acme/certificate.pem /etc/bpftrust/certificates/acme.pem
printf 'libraries = \"any\"\\n[publisher.acme]\\ncertificates = [\"acme.pem\"]\\n' >/etc/bpftrust/policy.toml
";

/// The harness's own part in an initramfs, before bpftrust's: it brings this run's files
/// to the disk, as a disk that was installed has them.
const OURS: &[(&str, &str)] = &[
    (
        "/etc/initramfs-tools/initramfs.conf",
        "MODULES=list\nBUSYBOX=auto\nKEYMAP=n\nCOMPRESS=zstd\nDEVICE=\nNFSROOT=auto\n\
         RUNSIZE=10%\nFSTYPE=auto\n",
    ),
    (
        "/etc/initramfs-tools/modules",
        "virtio_pci\nvirtio_blk\next4\n",
    ),
    (
        "/etc/initramfs-tools/hooks/guest",
        "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n\
         . /usr/share/initramfs-tools/hook-functions\ncopy_exec /usr/bin/bpftrust-guest\n",
    ),
    (
        "/etc/initramfs-tools/scripts/local-bottom/guest",
        "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n\
         exec /usr/bin/bpftrust-guest stage \"$rootmnt\"\n",
    ),
    (
        "/usr/lib/dracut/modules.d/60guest/module-setup.sh",
        "#!/bin/bash\ncheck() { :; }\ndepends() { :; }\n\
         install() {\n\tinst_multiple bpftrust-guest\n\
         \tinst_hook pre-pivot 10 \"$moddir/guest.sh\"\n}\n",
    ),
    (
        "/usr/lib/dracut/modules.d/60guest/guest.sh",
        "#!/bin/sh\n/usr/bin/bpftrust-guest stage \"$NEWROOT\"\n",
    ),
];

const DRACUT: &str = "dracut --no-hostonly --force --add-drivers 'virtio_pci virtio_blk ext4'";

/// As docs/boot.md has it.
const WITHOUT_SYSTEMD: &str = "systemd systemd-initrd dracut-systemd busybox";

/// Where the image is, in the tree.
const IMAGE: &str = "/boot/initrd.img";

/// The image of an installed machine, and what its disk holds besides packages.
#[derive(Debug)]
pub struct Installed {
    /// The image.
    pub image: PathBuf,
    /// Units and configuration, for the disk.
    pub extras: Vec<Extra>,
    _dir: TempDir,
}

/// Installs `programs` and what is in `packaging` in a copy of the tree that `boot`'s
/// disk was made of, configures bpftrust there, and has `generator` make the image.
///
/// # Errors
/// If anything of that fails; the error has what the tools said.
pub fn install(
    generator: Generator,
    boot: &Boot,
    packaging: &Path,
    programs: &[Extra],
) -> Result<Installed> {
    let cache = boot.root.parent().context("the tree has a directory")?;
    let dir = tempfile::Builder::new()
        .prefix("installed-")
        .tempdir_in(cache)
        .with_context(|| format!("cannot make a directory in {}", cache.display()))?;
    let root = dir.path().join("root");
    tool::output(Command::new("cp").arg("-al").arg(&boot.root).arg(&root))
        .context("cannot copy the guest's tree")?;
    for program in programs {
        install_file(&program.from, &in_tree(&root, &program.to))?;
    }
    let mut extras = Vec::new();
    for (from, to) in PACKAGED {
        let from = packaging.join(from);
        install_file(&from, &in_tree(&root, to))?;
        extras.push(Extra {
            from,
            to: (*to).to_owned(),
        });
    }
    for (path, content) in OURS {
        let path = in_tree(&root, path);
        make_parent(&path)?;
        fs::write(&path, content)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    run_in(&root, CONFIGURE).context("cannot configure bpftrust for an image")?;
    let etc = in_tree(&root, "/etc/bpftrust");
    files_below(&etc, "/etc/bpftrust", &mut extras)?;
    let release = release(&root)?;
    let command = match generator {
        Generator::InitramfsTools => format!("mkinitramfs -o {IMAGE} {release}"),
        Generator::Dracut => format!("{DRACUT} {IMAGE} {release}"),
        Generator::DracutWithoutSystemd => {
            format!("{DRACUT} --omit '{WITHOUT_SYSTEMD}' {IMAGE} {release}")
        }
    };
    run_in(&root, &command).with_context(|| format!("cannot make an initramfs by {command:?}"))?;
    Ok(Installed {
        image: in_tree(&root, IMAGE),
        extras,
        _dir: dir,
    })
}

/// The one kernel whose modules the tree holds.
fn release(root: &Path) -> Result<String> {
    let modules = in_tree(root, "/usr/lib/modules");
    let mut entries =
        fs::read_dir(&modules).with_context(|| format!("cannot list {}", modules.display()))?;
    let entry = entries.next().context("the tree holds no kernel")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Runs a shell command in the tree, which must succeed.
fn run_in(root: &Path, command: &str) -> Result<()> {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare
        .args(["--mount", "/bin/sh", "-c"])
        .arg(
            "mount --rbind /dev \"$0/dev\" && mount --rbind /proc \"$0/proc\" && \
             exec env -i PATH=/usr/sbin:/usr/bin chroot \"$0\" /bin/sh -c \"$1\"",
        )
        .arg(root)
        .arg(command);
    tool::output(&mut unshare).map(drop)
}

fn in_tree(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().context("a file in a directory")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

/// Copies a file, never into what is there: that is the cache's, too.
fn install_file(from: &Path, to: &Path) -> Result<()> {
    make_parent(to)?;
    // It may not be there, which is as well.
    let _ = fs::remove_file(to);
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn files_below(dir: &Path, name: &str, extras: &mut Vec<Extra>) -> Result<()> {
    let listing = || format!("cannot list {}", dir.display());
    for entry in fs::read_dir(dir).with_context(listing)? {
        let entry = entry.with_context(listing)?;
        let to = format!("{name}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files_below(&entry.path(), &to, extras)?;
        } else {
            extras.push(Extra {
                from: entry.path(),
                to,
            });
        }
    }
    Ok(())
}
