//! What `sign` asks of a script.

use std::os::unix::fs::FileExt;

use anyhow::{Context, anyhow};
use bpftrust_script::{MAX_SIZE, Problem, brought_in, check};

use crate::advice::advised;
use crate::target::Target;

/// Refuses what no loader is started on, and, unless they are allowed, scripts that
/// bring in files that nobody signs.
pub fn require_script(target: &Target, allow_includes: bool) -> anyhow::Result<()> {
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
