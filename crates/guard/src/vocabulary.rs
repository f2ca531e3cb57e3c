//! The names of what can be granted, and rights as text.

use std::sync::LazyLock;

use bpftrust_signature::{Rights, Set};

use crate::{abi, libbpf_names};

/// A kind of right, with names for its numbers.
///
/// Programs, attaches and maps have libbpf's names, commands and abilities those
/// of `bpf/abi.h` and `bpf/policy.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Vocabulary {
    /// `enum bpf_prog_type`.
    Programs,
    /// `enum bpf_attach_type`.
    Attaches,
    /// `enum bpf_map_type`.
    Maps,
    /// `enum bpf_cmd`.
    Commands,
    /// `enum bt_ability` of `bpf/abi.h`.
    Abilities,
}

/// A number and what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The kernel's number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
}

impl Vocabulary {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Programs,
        Self::Attaches,
        Self::Maps,
        Self::Commands,
        Self::Abilities,
    ];

    /// What it is called in files and output.
    pub fn label(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Attaches => "attaches",
            Self::Maps => "maps",
            Self::Commands => "commands",
            Self::Abilities => "abilities",
        }
    }

    /// What one of its numbers stands for.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Programs => "program type",
            Self::Attaches => "attach type",
            Self::Maps => "map type",
            Self::Commands => "command",
            Self::Abilities => "ability",
        }
    }

    /// Its words, by number.
    pub fn words(self) -> &'static [Word] {
        match self {
            Self::Programs => &PROGRAMS,
            Self::Attaches => &ATTACHES,
            Self::Maps => &MAPS,
            Self::Commands => &COMMANDS,
            Self::Abilities => &ABILITIES,
        }
    }

    /// The name of a number, if this version has one.
    pub fn name(self, number: u32) -> Option<&'static str> {
        self.words()
            .iter()
            .find(|word| word.number == number)
            .map(|word| word.name)
    }

    /// The number of a name. `-` and `_` are the same, and case is ignored.
    pub fn number(self, name: &str) -> Option<u32> {
        let name = folded(name);
        self.words()
            .iter()
            .find(|word| folded(word.name) == name)
            .map(|word| word.number)
    }

    /// The name that was probably meant: the shortest that has `name` in it, or
    /// the one most like it, unless none is.
    pub fn nearest(self, name: &str) -> Option<&'static str> {
        let name = folded(name);
        let has_it = |word: &&Word| name.len() > 2 && folded(word.name).contains(&name);
        let longer = self.words().iter().filter(has_it).map(|word| word.name);
        longer
            .min_by_key(|longer| longer.len())
            .or_else(|| self.most_like(&name))
    }

    fn most_like(self, name: &str) -> Option<&'static str> {
        self.words()
            .iter()
            .map(|word| (strsim::osa_distance(&folded(word.name), name), word.name))
            .min_by_key(|&(distance, _)| distance)
            .filter(|&(distance, _)| distance <= 1 + name.len() / 4)
            .map(|(_, name)| name)
    }

    /// The first number for which rights have no bit.
    pub fn end(self) -> u32 {
        match self {
            Self::Attaches => Set::<2>::END,
            _ => Set::<1>::END,
        }
    }

    /// The numbers of this kind that `rights` has.
    pub fn numbers(self, rights: &Rights) -> Vec<u32> {
        self.set(rights).iter().collect()
    }

    /// Adds a number of this kind to `rights`; false if there is no bit for it.
    pub fn insert(self, rights: &mut Rights, number: u32) -> bool {
        match self {
            Self::Programs => rights.programs.insert(number),
            Self::Attaches => rights.attaches.insert(number),
            Self::Maps => rights.maps.insert(number),
            Self::Commands => rights.commands.insert(number),
            Self::Abilities => rights.abilities.insert(number),
        }
    }

    /// Adds numbers of this kind that have a bit.
    pub(crate) fn insert_all(self, rights: &mut Rights, numbers: impl IntoIterator<Item = u32>) {
        for number in numbers {
            self.insert(rights, number);
        }
    }

    /// Whether `rights` has this number of this kind.
    pub fn contains(self, rights: &Rights, number: u32) -> bool {
        self.set(rights).contains(number)
    }

    /// Whether `rights` has every number of this kind, also those that mean
    /// nothing yet.
    pub fn is_unlimited(self, rights: &Rights) -> bool {
        self.set(rights) == self.set(&Rights::UNLIMITED)
    }

    /// What `rights` has of this kind, as text without spaces: `none`, `all` for
    /// what has names, `unlimited` for every bit; else names, and numbers where
    /// there is none.
    pub fn list(self, rights: &Rights) -> String {
        let set = self.set(rights);
        if set.is_empty() {
            return "none".into();
        }
        if self.is_unlimited(rights) {
            return "unlimited".into();
        }
        let mut entries = Vec::new();
        let mut rest = set;
        let named: Set<2> = self.words().iter().map(|word| word.number).collect();
        if named.difference(&set).is_empty() {
            entries.push("all".to_owned());
            rest = set.difference(&named);
        }
        entries.extend(rest.iter().map(|number| {
            self.name(number)
                .map_or_else(|| number.to_string(), str::to_owned)
        }));
        entries.join(",")
    }

    fn set(self, rights: &Rights) -> Set<2> {
        let [word] = match self {
            Self::Attaches => return rights.attaches,
            Self::Programs => rights.programs.words(),
            Self::Maps => rights.maps.words(),
            Self::Commands => rights.commands.words(),
            Self::Abilities => rights.abilities.words(),
        };
        Set::from_words([word, 0])
    }
}

/// Every right of these kinds that this version has a name for.
pub(crate) fn known(kinds: &[Vocabulary]) -> Rights {
    let mut rights = Rights::NONE;
    for kind in kinds {
        kind.insert_all(&mut rights, kind.words().iter().map(|word| word.number));
    }
    rights
}

/// Rights in one line, such as `programs tracing,kprobe; attaches trace_fentry;
/// maps all; commands all; abilities children`.
pub fn describe(rights: &Rights) -> String {
    Vocabulary::ALL
        .map(|kind| format!("{} {}", kind.label(), kind.list(rights)))
        .join("; ")
}

fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

static PROGRAMS: LazyLock<Vec<Word>> = LazyLock::new(|| named_by(libbpf_names::program));
static ATTACHES: LazyLock<Vec<Word>> = LazyLock::new(|| named_by(libbpf_names::attach));
static MAPS: LazyLock<Vec<Word>> = LazyLock::new(|| named_by(libbpf_names::map));
static COMMANDS: LazyLock<Vec<Word>> = LazyLock::new(|| of_table(abi::commands()));
static ABILITIES: LazyLock<Vec<Word>> = LazyLock::new(|| of_table(abi::abilities()));

fn named_by(name: fn(u32) -> Option<&'static str>) -> Vec<Word> {
    // The name of 0, "unspec", is no type: the kernel refuses it. For attaches
    // 0 is one, and has another name.
    (0..Set::<2>::END)
        .filter_map(|number| name(number).map(|name| Word { number, name }))
        .filter(|word| word.name != "unspec")
        .collect()
}

fn of_table(table: &[(u32, &'static str)]) -> Vec<Word> {
    table
        .iter()
        .map(|&(number, name)| Word { number, name })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels_and_have_a_bit() {
        for (kind, name, number) in [
            (Vocabulary::Programs, "tracing", 26),
            (Vocabulary::Programs, "KPROBE", 2),
            (Vocabulary::Attaches, "cgroup_inet_ingress", 0),
            (Vocabulary::Attaches, "trace-fentry", 24),
            (Vocabulary::Maps, "ringbuf", 27),
            (Vocabulary::Commands, "map_create", 0),
            (Vocabulary::Commands, "prog-load", 5),
            (Vocabulary::Abilities, "own-code", 5),
            (Vocabulary::Abilities, "Children", 7),
        ] {
            assert_eq!(kind.number(name), Some(number), "{name}");
        }
        for kind in Vocabulary::ALL {
            assert_eq!(kind.number("unspec"), None, "{kind:?}");
            assert!(kind.words().len() > 5, "{kind:?}");
            assert!(kind.words().iter().all(|word| word.number < kind.end()));
        }
    }

    #[test]
    fn a_misspelt_name_leads_to_the_right_one() {
        for (kind, name, nearest) in [
            (Vocabulary::Programs, "tracng", Some("tracing")),
            (Vocabulary::Programs, "xpd", Some("xdp")),
            (Vocabulary::Programs, "socket-filtr", Some("socket_filter")),
            (Vocabulary::Attaches, "fentry", Some("trace_fentry")),
            (Vocabulary::Maps, "ring_buf", Some("ringbuf")),
            (Vocabulary::Commands, "prog_laod", Some("prog-load")),
            (Vocabulary::Abilities, "owncode", Some("own-code")),
            (Vocabulary::Abilities, "zzz", None),
            (Vocabulary::Abilities, "", None),
        ] {
            assert_eq!(kind.nearest(name), nearest, "{name}");
        }
    }

    #[test]
    fn rights_are_one_line() {
        let mut rights = known(&[Vocabulary::Maps, Vocabulary::Commands]);
        rights.programs = [26, 2, 60].into_iter().collect();
        rights.attaches = [24, 127].into_iter().collect();
        rights.commands.insert(63);
        rights.abilities = Set::FULL;
        assert_eq!(
            describe(&rights),
            "programs kprobe,tracing,60; attaches trace_fentry,127; maps all; \
             commands all,63; abilities unlimited"
        );
        assert!(describe(&Rights::NONE).starts_with("programs none; "));
    }

    #[test]
    fn every_kind_has_its_own_bits() {
        for kind in Vocabulary::ALL {
            let mut rights = Rights::NONE;
            assert!(kind.insert(&mut rights, kind.end() - 1));
            assert!(!kind.insert(&mut rights, kind.end()));
            for other in Vocabulary::ALL {
                let numbers = other.numbers(&rights);
                assert_eq!(numbers.len(), usize::from(other == kind), "{other:?}");
            }
        }
    }
}
