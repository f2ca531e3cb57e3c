//! The initramfs: just enough to find the disk, and what is new in this run.
//!
//! It is two archives one after the other. The base is made once per kernel:
//! modules and the C library. The second is made for each run: `/init`, which
//! is the guest's harness, the job, and the files under test, which `/init`
//! copies over the disk.

use crate::cpio::Archive;
use crate::modules;
use crate::protocol::{FILES_DIR, JOB_PATH, Job};
use crate::tool;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Without these there is no disk and no channel to the host. All others are
/// on the disk, where the kernel finds them by modprobe.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "virtio_console"];

/// What the harness is linked against.
const LIBRARIES: &[&str] = &[
    "lib64/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/libc.so.6",
    "lib/x86_64-linux-gnu/libgcc_s.so.1",
];

/// The file that lists the modules in the order to load.
pub const LOAD_ORDER: &str = "modules/order";

/// A file of the host that a run wants in its guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// Where it is here.
    pub from: PathBuf,
    /// Its absolute path there.
    pub to: String,
}

/// Writes the part that all runs of a kernel share.
pub(crate) fn make_base(root: &Path, modules_dir: &Path, into: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = modules_dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let order = modules::load_order(MODULES, &read("modules.dep")?, &read("modules.builtin")?)?;
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "sys", "disk", FILES_DIR] {
        archive.directory(dir);
    }
    let mut names = String::new();
    for file in order {
        let path = modules_dir.join(&file);
        let module = match path.extension() {
            Some(extension) if extension == "xz" => {
                tool::output(Command::new("xz").arg("-dc").arg(&path))?
            }
            _ => fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?,
        };
        let name = file.rsplit('/').next().unwrap_or(&file);
        let name = name.trim_end_matches(".xz");
        archive.file(&format!("modules/{name}"), 0o644, &module);
        names += &format!("{name}\n");
    }
    archive.file(LOAD_ORDER, 0o644, names.as_bytes());
    for library in LIBRARIES {
        let path = root.join("usr").join(library);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        archive.file(library, 0o755, &content);
    }
    fs::write(into, archive.finish()).with_context(|| format!("cannot write {}", into.display()))
}

/// Writes the whole initramfs of one run. The harness is its `/init`, or if there is none
/// it is in `base` already, and `base` has an `/init` of its own.
pub fn make(
    base: &Path,
    harness: Option<&Path>,
    job: &Job,
    extras: &[Extra],
    into: &Path,
) -> Result<()> {
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut bytes = read(base)?;
    // What follows is looked for at multiples of four (init/initramfs.c,
    // unpack_to_rootfs).
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut archive = Archive::default();
    if let Some(harness) = harness {
        archive.file("init", 0o755, &read(harness)?);
    }
    archive.file(JOB_PATH, 0o600, job.to_text().as_bytes());
    for extra in extras {
        let mode = fs::metadata(&extra.from)
            .with_context(|| format!("cannot find {}, to copy it", extra.from.display()))?
            .permissions()
            .mode();
        let to = format!("{FILES_DIR}/{}", extra.to.trim_start_matches('/'));
        archive.file(&to, mode, &read(&extra.from)?);
    }
    bytes.extend(archive.finish());
    fs::write(into, bytes).with_context(|| format!("cannot write {}", into.display()))
}
