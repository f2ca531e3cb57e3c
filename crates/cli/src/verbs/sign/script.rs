//! What `sign` asks of a script.

use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, anyhow};
use bpftrust_script::{MAX_LINE, brought_in, check};

use crate::advice::advised;
use crate::script_file;
use crate::target::Target;

/// Is a file of a directory a script? One that looks like it and can't be signed is an
/// error, as one that was named is.
pub fn is_meant(target: &Target, path: &Path) -> anyhow::Result<bool> {
    let mut start = [0; MAX_LINE + 1];
    let length = target.file().read_at(&mut start, 0).context("reading it")?;
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    Ok(bpftrust_script::is_meant(name, &start[..length]))
}

/// Refuses what no loader is started on, and, unless they are allowed, scripts that
/// bring in files that nobody signs.
pub fn require_script(target: &Target, allow_includes: bool) -> anyhow::Result<()> {
    let content = script_file::content(target)?;
    check(&content)?;
    let lines = brought_in(&content);
    if lines.is_empty() || allow_includes {
        return Ok(());
    }
    let lines: Vec<_> = lines.iter().map(usize::to_string).collect();
    Err(advised(
        anyhow!(
            "it brings in other files (line {}), and what they say nobody signs",
            lines.join(", ")
        ),
        "take that out, or say --allow-includes if whoever can change those files may change \
         what the script does, within what is granted",
    ))
}
