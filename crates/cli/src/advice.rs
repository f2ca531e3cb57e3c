//! Errors that carry one line of what to type next.

use std::error::Error;
use std::fmt;
use std::path::Path;

use crate::output::escaped;

/// An error and its `help:` line. It reads like the error it wraps, so it can
/// sit anywhere in a chain.
#[derive(Debug)]
pub struct Advised {
    error: anyhow::Error,
    help: String,
}

impl Advised {
    /// The help line of the first error in the chain that has one.
    pub fn find(error: &anyhow::Error) -> Option<&str> {
        error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Self>())
            .map(|advised| advised.help.as_str())
    }
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds a help line to whatever fails.
pub trait Advise<T> {
    /// On failure, attaches `help` as what to type next.
    fn advise(self, help: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn advise(self, help: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| advised(error, help()))
    }
}

/// `error`, with `help` as what to type next.
pub fn advised(error: impl Into<anyhow::Error>, help: impl Into<String>) -> anyhow::Error {
    Advised {
        error: error.into(),
        help: help.into(),
    }
    .into()
}

/// A path as a word that a shell takes as it is, for help lines.
pub fn quoted(path: &Path) -> String {
    let text = escaped(path);
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,=".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn help_is_found_below_any_context_and_changes_no_message() {
        let inner = anyhow!("inner").context("middle");
        let error = Err::<(), _>(inner)
            .advise(|| "type this".into())
            .context("outer")
            .unwrap_err();
        assert_eq!(format!("{error:#}"), "outer: middle: inner");
        assert_eq!(Advised::find(&error), Some("type this"));
        assert_eq!(Advised::find(&anyhow!("no help")), None);
    }

    #[test]
    fn a_quoted_path_is_one_word() {
        for (path, expected) in [
            ("/usr/bin/g++", "/usr/bin/g++"),
            ("a b", "'a b'"),
            ("it's;ls", r"'it'\''s;ls'"),
        ] {
            assert_eq!(quoted(Path::new(path)), expected);
        }
    }
}
