//! Reading a script that is signed or judged.

use std::os::unix::fs::FileExt;

use anyhow::{Context, anyhow};
use bpftrust_script::{MAX_SIZE, Problem};

use crate::target::Target;

/// What is in a script, which is no more than `bpftrust-script` takes.
///
/// # Errors
/// If it can't be read, or is larger.
pub fn content(target: &Target) -> anyhow::Result<Vec<u8>> {
    let size = target
        .file()
        .metadata()
        .context("asking for its size")?
        .len();
    if size > MAX_SIZE {
        return Err(anyhow!(Problem::TooLarge));
    }
    let mut content = vec![0; usize::try_from(size).context("a small file")?];
    target
        .file()
        .read_exact_at(&mut content, 0)
        .context("reading it")?;
    Ok(content)
}
