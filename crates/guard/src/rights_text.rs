//! Lists of rights as they stand in grant and policy files: `"all"`, or names and
//! numbers.

use std::fmt;

use bpftrust_signature::{Requirements, Rights};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use toml::Spanned;

use crate::Vocabulary;
use crate::source::{Source, TextError};

/// The lists of one place, still as text.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RightsText {
    pub(crate) commands: Option<List>,
    pub(crate) programs: Option<ProgramsText>,
    pub(crate) attaches: Option<List>,
    pub(crate) maps: Option<List>,
    pub(crate) abilities: Option<List>,
}

/// Program types, and what programs must be besides.
#[derive(Debug)]
pub(crate) struct ProgramsText {
    types: List,
    requires: Requirements,
}

/// One list.
#[derive(Debug)]
pub(crate) enum List {
    /// `"all"`: what this version has names for.
    All,
    /// An array.
    Entries(Vec<Spanned<Entry>>),
}

/// One right.
#[derive(Debug)]
pub(crate) enum Entry {
    Name(String),
    Number(i64),
}

impl RightsText {
    /// The rights; where a list is absent, those of `absent`. No list may name
    /// what `ceiling` excludes: it would never take effect.
    pub(crate) fn rights(
        &self,
        source: &Source,
        absent: &Rights,
        ceiling: &Rights,
    ) -> Result<Rights, TextError> {
        let mut rights = Rights::NONE;
        for kind in Vocabulary::ALL {
            match self.list(kind) {
                None => kind.insert_all(&mut rights, kind.numbers(absent)),
                Some(List::All) => {
                    let named = kind.words().iter().map(|word| word.number);
                    kind.insert_all(&mut rights, named);
                }
                Some(List::Entries(entries)) => {
                    for entry in entries {
                        let problem = |problem| source.problem(entry.span(), problem);
                        let number = entry.get_ref().number(kind).map_err(problem)?;
                        if !kind.contains(ceiling, number) {
                            return Err(problem(format!(
                                "the policy's ceiling excludes {} {}, so this never takes effect",
                                kind.noun(),
                                entry.get_ref()
                            )));
                        }
                        kind.insert(&mut rights, number);
                    }
                }
            }
        }
        Ok(rights)
    }

    /// What the lists require besides.
    pub(crate) fn requires(&self) -> Requirements {
        let programs = self.programs.as_ref();
        programs.map_or_else(Requirements::empty, |programs| programs.requires)
    }

    fn list(&self, kind: Vocabulary) -> Option<&List> {
        match kind {
            Vocabulary::Commands => self.commands.as_ref(),
            Vocabulary::Programs => self.programs.as_ref().map(|programs| &programs.types),
            Vocabulary::Attaches => self.attaches.as_ref(),
            Vocabulary::Maps => self.maps.as_ref(),
            Vocabulary::Abilities => self.abilities.as_ref(),
        }
    }
}

impl Entry {
    fn number(&self, kind: Vocabulary) -> Result<u32, String> {
        match self {
            Self::Number(number) => u32::try_from(*number)
                .ok()
                .filter(|&number| number < kind.end())
                .ok_or_else(|| {
                    format!(
                        "{} {number}: numbers are 0 to {}",
                        kind.noun(),
                        kind.end() - 1
                    )
                }),
            Self::Name(name) => kind.number(name).ok_or_else(|| {
                let unknown = format!("unknown {} {name:?}", kind.noun());
                match kind.nearest(name) {
                    Some(nearest) => format!("{unknown}: did you mean {nearest:?}?"),
                    None => unknown,
                }
            }),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

impl<'de> Deserialize<'de> for ProgramsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProgramsVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\" or a list of names and numbers")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<List, E> {
        match text {
            "all" => Ok(List::All),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<List, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = array.next_element()? {
            entries.push(entry);
        }
        Ok(List::Entries(entries))
    }
}

struct ProgramsVisitor;

impl<'de> Visitor<'de> for ProgramsVisitor {
    type Value = ProgramsText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\", \"signed\", \"script\" or a list of names and numbers")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ProgramsText, E> {
        let requires = match text {
            "all" => Requirements::empty(),
            "signed" => Requirements::SIGNED_PROGRAMS,
            "script" => Requirements::SCRIPT,
            _ => return Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        };
        Ok(ProgramsText {
            types: List::All,
            requires,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<ProgramsText, A::Error> {
        Ok(ProgramsText {
            types: ListVisitor.visit_seq(array)?,
            requires: Requirements::empty(),
        })
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        impl Visitor<'_> for EntryVisitor {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry::Name(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Entry, E> {
                Ok(Entry::Number(number))
            }
        }

        deserializer.deserialize_any(EntryVisitor)
    }
}
