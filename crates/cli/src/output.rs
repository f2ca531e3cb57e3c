//! The one place that prints. Results go to stdout, diagnostics to stderr, and
//! a reader that closes the pipe early ends the program quietly.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::advice::Advised;

/// How a verb ended, as the exit code that scripts see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// 0: done, or the answer is yes.
    Yes,
    /// 1: the answer is no.
    No,
    /// 2: could not tell, or could not be done.
    Unknown,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

/// Writes `text` to stdout. A closed pipe ends the process with success, as
/// for any filter in a pipeline (`bpftrust events | head`).
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        diagnose(&format!("error: writing to standard output: {error}"));
        if error.kind() == io::ErrorKind::StorageFull {
            diagnose(
                "help: make room, see 'df'; the last line there may be cut off, those before it \
                 are whole",
            );
        }
        std::process::exit(2);
    }
}

/// Reports a failure on stderr: `error: outer: inner`, then what to type next
/// where the error says so.
pub fn report(error: &anyhow::Error) {
    diagnose(&format!("error: {error:#}"));
    if let Some(help) = Advised::find(error) {
        diagnose(&format!("help: {help}"));
    }
}

/// Says on stderr what the user should know although the verb goes on.
pub fn warn(text: &str) {
    diagnose(&format!("warning: {text}"));
}

/// How grave a line of the kernel's log is (syslog(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelLevel {
    /// Something failed.
    Error = 3,
    /// Somebody should know.
    Warning = 4,
    /// As it should be.
    Notice = 5,
}

/// Writes a line to the kernel's log, for who starts before there is any other
/// (`Documentation/ABI/testing/dev-kmsg`). Nobody is left to tell when that fails.
pub fn log_to_kernel(level: KernelLevel, text: &str) {
    let line = format!("<{}>bpftrust: {text}\n", level as u8);
    // One write is one record.
    if let Ok(mut log) = std::fs::File::options().write(true).open("/dev/kmsg") {
        let _ = log.write_all(line.as_bytes());
    }
}

/// Passes on a line that another process of ours said on its stderr.
pub fn relay(line: &str) {
    diagnose(line);
}

/// A line on stderr. Nobody is left to tell when that fails.
fn diagnose(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// "1 loader", "2 loaders", "2 processes".
pub fn counted(count: usize, noun: &str) -> String {
    let end = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{end}")
}

/// Prints one result as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) {
    print(&json_line(value));
}

/// A result as a line of JSON, for who prints many at once.
pub fn json_line(value: &impl serde::Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("a result is always valid JSON");
    line.push('\n');
    line
}

/// A path fit for a terminal: control characters and invalid UTF-8 escaped, so
/// that a file's name can't forge output or move the cursor.
pub fn escaped(path: &Path) -> String {
    escape_bytes(path.as_os_str().as_encoded_bytes())
}

/// The same for any bytes that somebody else chose (a `comm`, a path of an event).
pub fn escape_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' || is_invisible(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Whether a text can be what [`escape_bytes`] makes.
pub fn is_escaped(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || is_invisible(c))
}

/// Format characters that reorder or hide text (Unicode TR36, "bidirectional
/// text spoofing").
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_escaped() {
        for (name, expected) in [
            (&b"/usr/bin/tool"[..], "/usr/bin/tool"),
            (b"a\x1b[2Jb\n", "a\\u{1b}[2Jb\\n"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("x\u{202e}y".as_bytes(), "x\\u{202e}y"),
            (b"back\\slash", "back\\\\slash"),
        ] {
            assert_eq!(escape_bytes(name), expected);
        }
    }
}
