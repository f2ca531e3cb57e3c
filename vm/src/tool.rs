//! Running host tools, with errors that show what they said.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

/// Runs `command` and returns its standard output; a failure carries the
/// command line and the end of what it printed.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let line = line(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run `{line}`; try `cargo xtask setup`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.trim().lines().collect();
        let end = lines[lines.len().saturating_sub(15)..].join("\n");
        bail!("`{line}` failed ({}):\n{end}", output.status);
    }
    Ok(output.stdout)
}

/// As [`output`], for a tool that prints text.
pub fn text(command: &mut Command) -> Result<String> {
    let line = line(command);
    String::from_utf8(output(command)?)
        .with_context(|| format!("`{line}` printed something that is not UTF-8"))
}

/// The command as a person would type it.
pub fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
