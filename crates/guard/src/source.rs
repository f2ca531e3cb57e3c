//! A text file that is read: bounded, and with lines and columns for what is
//! wrong in it.

use std::fmt;
use std::fs;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bpftrust_signature::{Grant, Name, Requirements};
use rustix::fs::OFlags;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// It can't be read.
    #[error("can't read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// It is larger than any that makes sense.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that are read.
        limit: u64,
    },
    /// What stands in it is wrong.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Problem {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// What is wrong there.
        problem: String,
    },
}

/// The content of a text file.
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads a regular file of at most `limit` bytes.
    pub(crate) fn read(path: &Path, limit: u64) -> Result<Self, TextError> {
        Self::from_bytes(path, read_bytes(path, limit)?)
    }

    /// What was read from `path`, if it is text.
    pub(crate) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, TextError> {
        String::from_utf8(bytes)
            .map(|text| Self::new(path, text))
            .map_err(|error| {
                let good = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
                Self::new(path, text).problem(good..good, "not UTF-8")
            })
    }

    /// A text as if it had been read from `path`.
    pub(crate) fn new(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text,
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What the text says as TOML.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, TextError> {
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            self.problem(span, printable(error.message()))
        })
    }

    /// What is wrong at a place in the text.
    pub(crate) fn problem(&self, span: Range<usize>, problem: impl Into<String>) -> TextError {
        let (line, column) = self.position(span);
        TextError::Problem {
            path: self.path.clone(),
            line,
            column,
            problem: problem.into(),
        }
    }

    /// Line and column, both from 1, the column in characters.
    pub(crate) fn position(&self, span: Range<usize>) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }
}

/// The content of a regular file of at most `limit` bytes.
pub(crate) fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, TextError> {
    read_regular(path, limit).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => TextError::TooLarge {
            path: path.to_owned(),
            limit,
        },
        _ => TextError::Read {
            path: path.to_owned(),
            source,
        },
    })
}

/// The content of a regular file. Looks before it opens, because opening a FIFO
/// waits and opening a device may do something.
pub(crate) fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let require_regular = |metadata: fs::Metadata| match metadata.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is not a regular file")),
    };
    require_regular(fs::metadata(path)?)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)?;
    require_regular(file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Text that is parsed while toml still knows where it stands, so that an error
/// gets the place of the very string.
pub(crate) fn parsed<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Parse<T>(fn(&str) -> Result<T, String>);

    impl<T> Visitor<'_> for Parse<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(Parse(parse))
}

/// A name, in a file or as a key of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameText(pub(crate) Name);

impl<'de> Deserialize<'de> for NameText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| {
            Name::new(text).map(Self).ok_or_else(|| {
                format!(
                    "{text:?}: a name has 1 to {} letters, digits, '-', '_' or '.'",
                    Name::SIZE - 1
                )
            })
        })
    }
}

/// The version of a grant.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(try_from = "i128")]
pub(crate) struct VersionText(pub(crate) u64);

impl TryFrom<i128> for VersionText {
    type Error = String;

    fn try_from(number: i128) -> Result<Self, String> {
        u64::try_from(number)
            .ok()
            .filter(|&version| version <= Grant::MAX_VERSION)
            .map(Self)
            .ok_or_else(|| format!("a version is 0 to {}, not {number}", Grant::MAX_VERSION))
    }
}

/// What each call of `bpf()` takes besides rights: one name, or a list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RequireText(pub(crate) Requirements);

impl<'de> Deserialize<'de> for RequireText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RequireVisitor;

        impl<'de> Visitor<'de> for RequireVisitor {
            type Value = RequireText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a requirement or a list of them")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<RequireText, E> {
                Requirements::named(name)
                    .map(RequireText)
                    .ok_or_else(|| E::unknown_variant(name, &Requirements::NAMES))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<RequireText, A::Error> {
                let mut all = Requirements::empty();
                while let Some(RequireText(one)) = array.next_element()? {
                    all |= one;
                }
                Ok(RequireText(all))
            }
        }

        deserializer.deserialize_any(RequireVisitor)
    }
}

/// What toml says of a text can have any character of the text in it.
fn printable(message: &str) -> String {
    let escape = |c| match c {
        '"' | '\'' | '\\' => String::from(c),
        c => c.escape_debug().to_string(),
    };
    message.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_characters() {
        let source = Source::new(Path::new("f"), "a = 1\nü = \"x\"\n".into());
        for (at, place) in [(0, (1, 1)), (4, (1, 5)), (6, (2, 1)), (11, (2, 5))] {
            assert_eq!(source.position(at..at), place, "{at}");
        }
    }

    #[test]
    fn what_toml_says_has_no_control_characters() {
        let source = Source::new(Path::new("f"), "\"\\u001b[2J\" = 1\n".into());
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Empty {}
        let error = source.parse::<Empty>().unwrap_err().to_string();
        assert!(error.starts_with("f:1:1: unknown field"), "{error}");
        assert!(!error.contains('\x1b'), "{error:?}");
    }

    #[test]
    fn what_is_no_text_of_this_size_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, b"a = 1\nb\xff").unwrap();
        let error = Source::read(&path, 8).err().unwrap().to_string();
        assert!(error.ends_with("f:2:2: not UTF-8"), "{error}");
        let error = Source::read(&path, 7).err().unwrap().to_string();
        assert!(error.ends_with("f has more than 7 bytes"), "{error}");
        let error = Source::read(directory.path(), 7).err().unwrap();
        assert!(matches!(error, TextError::Read { .. }));
    }
}
