//! `libbpftrust_preload.so`, as it is installed.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The dynamic linker's variable, and what it is to hold.
pub const VARIABLE: &str = "LD_PRELOAD";
/// In secure execution, by its name alone (ld.so(8)).
pub const NAME: &str = "libbpftrust_preload.so";

/// Where the host put it.
const PATH: &str = "/usr/lib/x86_64-linux-gnu/libbpftrust_preload.so";

/// Gives it the mode that it must have to be preloaded in secure execution.
pub fn install() -> Result<()> {
    fs::set_permissions(PATH, fs::Permissions::from_mode(0o4644))
        .with_context(|| format!("cannot set the mode of {PATH}"))
}
