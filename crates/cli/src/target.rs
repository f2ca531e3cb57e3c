//! A file that is to carry a signature.
//!
//! A signature counts only together with fs-verity. So it is stored first,
//! where it means nothing yet, and enabling fs-verity, which the kernel does
//! wholly or not at all, makes it count. On a file that has fs-verity already,
//! replacing the xattr is what the file system does wholly or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use bpftrust_host::Mount;
use bpftrust_signature::{FileSignature, XATTR};
use bpftrust_verity::{self as verity, Descriptor, Digest, Parameters};
use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

use crate::advice::{advised, quoted};
use crate::input::open_regular;
use crate::mount;

/// The largest value of any xattr, `XATTR_SIZE_MAX`, in bytes.
const XATTR_SIZE_MAX: usize = 65536;

/// Where a file stands with fs-verity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verity {
    /// Enabled: the content can't change any more.
    Enabled,
    /// Not enabled on this file.
    Off,
    /// Not possible on this file system.
    Unsupported,
}

impl Verity {
    /// What it takes for the content to be frozen, unless it is.
    pub fn lacking(self) -> Option<&'static str> {
        match self {
            Self::Enabled => None,
            Self::Off => Some("fs-verity is not enabled on the file"),
            Self::Unsupported => Some("the file system has no fs-verity"),
        }
    }
}

/// What a file holds now.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    /// Its digest: the kernel's, or computed where the kernel has none.
    pub digest: Digest,
    /// Where it stands with fs-verity.
    pub verity: Verity,
}

/// An open regular file.
pub struct Target {
    file: File,
    path: PathBuf,
}

impl Target {
    /// Opens a regular file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::new(open_regular(path)?, path))
    }

    /// A regular file that is open for reading.
    pub fn new(file: File, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
        }
    }

    /// How it is called.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Refuses an empty file: there is nothing in it to vouch for.
    pub fn require_content(&self) -> anyhow::Result<()> {
        let size = self.file.metadata().context("asking for its size")?.len();
        ensure!(size > 0, "it is empty");
        Ok(())
    }

    /// Measures or computes the digest.
    pub fn content(&self) -> anyhow::Result<Content> {
        let verity = match verity::measure(&self.file) {
            Ok(Some(digest)) => {
                return Ok(Content {
                    digest,
                    verity: Verity::Enabled,
                });
            }
            Ok(None) => Verity::Off,
            Err(verity::Error::Unsupported { .. }) => Verity::Unsupported,
            Err(error) => return Err(error.into()),
        };
        let digest = Descriptor::of_file(&self.file, &Parameters::default())?.digest();
        Ok(Content { digest, verity })
    }

    /// Refuses a file on a file system that can't protect it, before any work.
    pub fn require_verity(&self) -> anyhow::Result<()> {
        match verity::measure(&self.file) {
            Err(error @ verity::Error::Unsupported { .. }) => Err(self.explain(error)),
            _ => Ok(()),
        }
    }

    /// The value of our xattr, if there is one.
    pub fn xattr(&self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut value = vec![0; XATTR_SIZE_MAX];
        match fgetxattr(&self.file, XATTR, &mut value[..]) {
            Ok(size) => {
                value.truncate(size);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(errno).with_context(|| format!("reading xattr {XATTR}")),
        }
    }

    /// Puts the signature on the file and enables fs-verity. On success the
    /// kernel measures `digest`, the xattr is on disk, and both fit together.
    ///
    /// On failure the file has the xattr that it had before. One case can't be
    /// undone: content that was changed after it was signed is frozen by then,
    /// unsigned.
    pub fn attach(&self, signature: &FileSignature, digest: &Digest) -> anyhow::Result<()> {
        self.put(signature, digest)?;
        self.file.sync_all().context("writing to disk")
    }

    /// The same, and whoever calls this brings it to disk. Whenever that is, the xattr is
    /// there before fs-verity counts.
    pub fn put(&self, signature: &FileSignature, digest: &Digest) -> anyhow::Result<()> {
        let value = signature.to_bytes();
        let previous = self.xattr()?;
        self.set_xattr(&value)?;
        if let Err(error) = self.freeze(digest) {
            return Err(match self.restore(previous.as_deref()) {
                Ok(()) => error,
                Err(restoring) => error.context(format!("{restoring:#}, after an error")),
            });
        }
        ensure!(
            self.xattr()?.is_some_and(|stored| stored == value),
            "somebody else replaced the signature meanwhile"
        );
        Ok(())
    }

    /// Enables fs-verity unless it is, and compares.
    fn freeze(&self, digest: &Digest) -> anyhow::Result<()> {
        match verity::measure(&self.file) {
            Ok(Some(_)) => {}
            _ => match verity::enable(&self.file, &Parameters::default()) {
                Ok(()) | Err(verity::Error::AlreadyEnabled { .. }) => {}
                Err(error) => return Err(self.explain(error)),
            },
        }
        let measured = verity::measure(&self.file)?;
        if measured.as_ref() == Some(digest) {
            return Ok(());
        }
        let error = anyhow!("it was changed while it was being signed");
        Err(advised(
            error,
            "its content is frozen as it is now: look at it, then sign again or replace the file",
        ))
    }

    fn set_xattr(&self, value: &[u8]) -> anyhow::Result<()> {
        fsetxattr(&self.file, XATTR, value, XattrFlags::empty())
            .map_err(|errno| self.explain_xattr(errno, value.len()))
    }

    fn restore(&self, previous: Option<&[u8]>) -> anyhow::Result<()> {
        match previous {
            Some(value) => fsetxattr(&self.file, XATTR, value, XattrFlags::empty()),
            None => fremovexattr(&self.file, XATTR),
        }
        .context("taking the signature off again")
    }

    /// What to type after an error of fs-verity.
    fn explain(&self, error: verity::Error) -> anyhow::Error {
        use verity::Error as E;
        let path = quoted(&self.path);
        let mount = mount::holding(&self.file);
        let point = mount
            .as_ref()
            .map_or_else(|| "/".into(), |mount| quoted(&mount.point));
        let help = match &error {
            E::OpenForWriting { .. } => format!("see who has it open: fuser -v {path}"),
            E::Unsupported { .. } => without_verity(mount.as_ref()),
            E::AccessDenied { .. } => may_not_write(&path),
            E::NotPermitted { .. } => {
                format!("lsattr {path}; sysctl fs.verity.require_signatures")
            }
            E::ReadOnly { .. } => format!("mount -o remount,rw {point}"),
            E::NoSpace { .. } => format!("about 1 % of the file's size is needed: df {point}"),
            E::Interrupted { .. } => "the file is as it was: sign it again".into(),
            _ => return error.into(),
        };
        advised(error, help)
    }

    /// What an error number of setting the xattr means.
    fn explain_xattr(&self, errno: Errno, size: usize) -> anyhow::Error {
        let path = quoted(&self.path);
        let mount = mount::holding(&self.file);
        let point = mount
            .as_ref()
            .map_or_else(|| "/".into(), |mount| quoted(&mount.point));
        let (meaning, help) = match errno {
            Errno::OPNOTSUPP => (
                "the file system has no user xattrs".into(),
                "move the file to ext4, f2fs or btrfs".into(),
            ),
            Errno::ACCESS => ("no right to write to the file".into(), may_not_write(&path)),
            Errno::PERM => (
                "the file may not be changed".into(),
                format!("is it immutable or append-only? lsattr {path}"),
            ),
            Errno::ROFS => (
                "the file system is read-only".into(),
                format!("mount -o remount,rw {point}"),
            ),
            Errno::NOSPC | Errno::DQUOT | Errno::RANGE | Errno::TOOBIG => (
                format!("no space for the signature's {size} bytes"),
                format!(
                    "df {point}; on ext4 all xattrs of a file share one block: a p256 key makes \
                     the smallest signatures"
                ),
            ),
            _ => return anyhow!(errno).context(format!("setting xattr {XATTR}")),
        };
        advised(
            anyhow!(errno).context(format!("setting xattr {XATTR}: {meaning}")),
            help,
        )
    }
}

fn may_not_write(path: &str) -> String {
    format!("run this as root or as an owner who may write: ls -l {path}")
}

fn without_verity(mount: Option<&Mount>) -> String {
    let Some(mount) = mount else {
        return "move the file to ext4, f2fs or btrfs with fs-verity".into();
    };
    match mount.kind.as_str() {
        "ext4" => format!(
            "tune2fs -O verity {}, then mount it again (needs a kernel with CONFIG_FS_VERITY)",
            quoted(Path::new(&mount.source))
        ),
        "f2fs" => "f2fs has it when made with: mkfs.f2fs -O verity".into(),
        "overlay" => "sign the file in the directory below the overlay".into(),
        kind => format!("{kind} has none: move the file to ext4, f2fs or btrfs with fs-verity"),
    }
}
