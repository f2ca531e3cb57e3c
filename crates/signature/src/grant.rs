//! What a signature lets a loader do: `struct bt_grant` of `bpf/abi.h`.
//!
//! Numbers are the kernel's (`include/uapi/linux/bpf.h`). Their names, and the
//! text form of a grant, are no part of the signature.

use std::fmt;

use crate::Malformed;

/// A set of numbers below `64 * WORDS`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Set<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Set<WORDS> {
    /// No number.
    pub const EMPTY: Self = Self([0; WORDS]);
    /// Every number that has a bit, also those that mean nothing yet.
    pub const FULL: Self = Self([u64::MAX; WORDS]);
    /// The first number that has no bit.
    pub const END: u32 = 64 * WORDS as u32;

    /// The bits, the lowest number first.
    pub fn words(&self) -> [u64; WORDS] {
        self.0
    }

    /// The set with these bits.
    pub fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// Adds a number; false if it has no bit.
    pub fn insert(&mut self, number: u32) -> bool {
        match self.0.get_mut(number as usize / 64) {
            Some(word) => {
                *word |= 1 << (number % 64);
                true
            }
            None => false,
        }
    }

    /// Whether it has this number. A number without a bit is in no set.
    pub fn contains(&self, number: u32) -> bool {
        self.0
            .get(number as usize / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] & other.0[index]))
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] | other.0[index]))
    }

    /// What is in this one alone.
    pub fn difference(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] & !other.0[index]))
    }

    /// Whether it has no number.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// Its numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..Self::END).filter(|&number| self.contains(number))
    }
}

impl<const WORDS: usize> Default for Set<WORDS> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<const WORDS: usize> FromIterator<u32> for Set<WORDS> {
    /// Numbers without a bit are left out.
    fn from_iter<T: IntoIterator<Item = u32>>(numbers: T) -> Self {
        let mut set = Self::EMPTY;
        for number in numbers {
            set.insert(number);
        }
        set
    }
}

impl<const WORDS: usize> fmt::Debug for Set<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What may be done, by the kernel's numbers: `struct bt_rights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rights {
    /// `enum bpf_cmd`.
    pub commands: Set<1>,
    /// `enum bpf_prog_type`.
    pub programs: Set<1>,
    /// `enum bpf_map_type`.
    pub maps: Set<1>,
    /// `enum bpf_attach_type`.
    pub attaches: Set<2>,
    /// `enum bt_ability` of `bpf/abi.h`.
    pub abilities: Set<1>,
}

impl Rights {
    /// Bytes of `struct bt_rights`.
    pub const SIZE: usize = 48;

    /// No right.
    pub const NONE: Self = Self {
        commands: Set::EMPTY,
        programs: Set::EMPTY,
        maps: Set::EMPTY,
        attaches: Set::EMPTY,
        abilities: Set::EMPTY,
    };

    /// Every right that can be expressed, also those that mean nothing yet: a
    /// ceiling that limits nothing.
    pub const UNLIMITED: Self = Self {
        commands: Set::FULL,
        programs: Set::FULL,
        maps: Set::FULL,
        attaches: Set::FULL,
        abilities: Set::FULL,
    };

    /// What both allow. The kernel side computes the same (`bpf/rights.h`).
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            commands: self.commands.intersection(&other.commands),
            programs: self.programs.intersection(&other.programs),
            maps: self.maps.intersection(&other.maps),
            attaches: self.attaches.intersection(&other.attaches),
            abilities: self.abilities.intersection(&other.abilities),
        }
    }

    /// What either allows: for who writes a grant. Nothing that decides may use it.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            commands: self.commands.union(&other.commands),
            programs: self.programs.union(&other.programs),
            maps: self.maps.union(&other.maps),
            attaches: self.attaches.union(&other.attaches),
            abilities: self.abilities.union(&other.abilities),
        }
    }

    /// What is in this one alone.
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            commands: self.commands.difference(&other.commands),
            programs: self.programs.difference(&other.programs),
            maps: self.maps.difference(&other.maps),
            attaches: self.attaches.difference(&other.attaches),
            abilities: self.abilities.difference(&other.abilities),
        }
    }

    /// The bytes of `struct bt_rights`.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let [first, second] = self.attaches.words();
        let words = [
            self.commands.words()[0],
            self.programs.words()[0],
            self.maps.words()[0],
            first,
            second,
            self.abilities.words()[0],
        ];
        let mut bytes = [0; Self::SIZE];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes: any bytes are rights.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let word = |index: usize| u64::from_le_bytes(words[index]);
        Self {
            commands: Set::from_words([word(0)]),
            programs: Set::from_words([word(1)]),
            maps: Set::from_words([word(2)]),
            attaches: Set::from_words([word(3), word(4)]),
            abilities: Set::from_words([word(5)]),
        }
    }
}

bitflags::bitflags! {
    /// What every `bpf()` call of a loader takes besides rights: `enum
    /// bt_requirement` of `bpf/abi.h`. Grant, publisher and policy add to it, and
    /// none takes away.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Requirements: u8 {
        /// A BPF token of its owner's.
        const TOKEN = 1;
        /// A signed script that it was started to run.
        const SCRIPT = 2;
        /// Programs whose signature the kernel verified.
        const SIGNED_PROGRAMS = 4;
    }
}

impl Requirements {
    /// What files call each.
    pub const NAMES: [&str; 3] = ["token", "script", "signed-programs"];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let place = Self::NAMES.iter().position(|known| *known == name)?;
        Self::from_bits(1 << place)
    }

    /// The names of those that are in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let has = move |place: &usize| self.bits() >> place & 1 == 1;
        (0..Self::NAMES.len())
            .filter(has)
            .map(|place| Self::NAMES[place])
    }
}

bitflags::bitflags! {
    /// What a script may have besides rights: `enum bt_script_right` of `bpf/abi.h`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ScriptRights: u8 {
        /// Parameters, of who starts it.
        const PARAMETERS = 1;
        /// A loader that is started with `--unsafe`.
        const UNSAFE = 2;
    }
}

impl ScriptRights {
    /// What files call each.
    pub const NAMES: [&str; 2] = ["parameters", "unsafe"];

    /// The names of those that are in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let has = move |place: &usize| self.bits() >> place & 1 == 1;
        (0..Self::NAMES.len())
            .filter(has)
            .map(|place| Self::NAMES[place])
    }
}

/// The name of a loader or publisher: 1 to 31 letters, digits, `-`, `_` or `.`.
/// It stands in events, status lines and keyrings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Bytes of the field that a name is in, a NUL at its end included.
    pub const SIZE: usize = 32;

    /// A name, if `text` is one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..Self::SIZE).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// NUL-padded, as in `bpf/abi.h`.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let (text, padding) = bytes.split_at(end);
        if padding.iter().any(|&byte| byte != 0) {
            return None;
        }
        Self::new(std::str::from_utf8(text).ok()?)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a signature lets a loader, or a script in it, do, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The loader's name: with its publisher's the owner of what it makes.
    pub name: Name,
    /// Of two statements for the same content the higher version counts. At
    /// most [`MAX_VERSION`](Self::MAX_VERSION).
    pub version: u64,
    /// Seconds since the epoch after which it allows nothing; 0 for no end.
    pub not_after: u64,
    /// What it allows.
    pub rights: Rights,
    /// What each of its calls takes besides.
    pub requires: Requirements,
    /// Of a script, what it may have besides; of a loader nothing.
    pub script: ScriptRights,
}

impl Grant {
    /// Bytes of `struct bt_grant`.
    pub const SIZE: usize = 104;

    /// The highest version.
    pub const MAX_VERSION: u64 = (1 << 63) - 1;

    /// The bytes that are signed.
    ///
    /// # Panics
    /// If the version is above [`MAX_VERSION`](Self::MAX_VERSION).
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        assert!(self.version <= Self::MAX_VERSION, "the caller limits it");
        let mut bytes = [0; Self::SIZE];
        bytes[..2].copy_from_slice(&(Self::SIZE as u16).to_le_bytes());
        bytes[2..4].copy_from_slice(&u16::from(self.requires.bits()).to_le_bytes());
        bytes[4..6].copy_from_slice(&u16::from(self.script.bits()).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.not_after.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.name.to_bytes());
        bytes[56..].copy_from_slice(&self.rights.to_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; Self::SIZE] = bytes
            .try_into()
            .map_err(|_| Malformed::GrantSize { size: bytes.len() })?;
        let size = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        if size != Self::SIZE {
            return Err(Malformed::GrantSize { size });
        }
        let required = u16::from_le_bytes([bytes[2], bytes[3]]);
        let requires = u8::try_from(required)
            .ok()
            .and_then(Requirements::from_bits)
            .ok_or(Malformed::Requirement { bits: required })?;
        let bits = u16::from_le_bytes([bytes[4], bytes[5]]);
        let script = u8::try_from(bits)
            .ok()
            .and_then(ScriptRights::from_bits)
            .ok_or(Malformed::ScriptRight { bits })?;
        if bytes[6..8] != [0; 2] {
            return Err(Malformed::Reserved);
        }
        let word = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes were taken"))
        };
        let version = word(8);
        if version > Self::MAX_VERSION {
            return Err(Malformed::GrantVersion { version });
        }
        let name = bytes[24..56].try_into().expect("32 bytes were taken");
        let rights = bytes[56..].try_into().expect("48 bytes were taken");
        Ok(Self {
            name: Name::from_bytes(name).ok_or(Malformed::GrantName)?,
            version,
            not_after: word(16),
            rights: Rights::from_bytes(rights),
            requires,
            script,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            name: Name::new("execsnoop").unwrap(),
            version: 7,
            not_after: 0x1_0000_0001,
            rights: Rights {
                commands: [0, 5].into_iter().collect(),
                programs: [26].into_iter().collect(),
                maps: [27].into_iter().collect(),
                attaches: [24, 70].into_iter().collect(),
                abilities: [7].into_iter().collect(),
            },
            requires: Requirements::empty(),
            script: ScriptRights::empty(),
        }
    }

    #[test]
    fn bytes_are_those_of_the_abi() {
        let mut expected = vec![104, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend(b"execsnoop");
        expected.resize(56, 0);
        expected.extend([0x21, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 4, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 8, 0, 0, 0, 0]);
        expected.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        expected.extend([0x40, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(grant().to_bytes()[..], expected);
        assert_eq!(Grant::parse(&expected), Ok(grant()));
        // Bits which were reserved say what it takes besides.
        expected[2] = 5;
        expected[4] = 2;
        let tied = Grant {
            requires: Requirements::TOKEN | Requirements::SIGNED_PROGRAMS,
            script: ScriptRights::UNSAFE,
            ..grant()
        };
        assert_eq!(tied.to_bytes()[..], expected);
        assert_eq!(Grant::parse(&expected), Ok(tied));
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = grant().to_bytes();
        let changed = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Grant::parse(&bytes)
        };
        assert_eq!(
            Grant::parse(&good[..103]),
            Err(Malformed::GrantSize { size: 103 })
        );
        assert_eq!(changed(0, 105), Err(Malformed::GrantSize { size: 105 }));
        assert_eq!(changed(2, 8), Err(Malformed::Requirement { bits: 8 }));
        assert_eq!(changed(3, 1), Err(Malformed::Requirement { bits: 256 }));
        assert_eq!(changed(4, 4), Err(Malformed::ScriptRight { bits: 4 }));
        assert_eq!(changed(5, 1), Err(Malformed::ScriptRight { bits: 256 }));
        assert_eq!(changed(6, 1), Err(Malformed::Reserved));
        assert_eq!(changed(7, 1), Err(Malformed::Reserved));
        assert_eq!(
            changed(15, 0x80),
            Err(Malformed::GrantVersion {
                version: 1 << 63 | 7
            })
        );
        for (at, byte) in [(24, 0), (24, b' '), (26, 0xff), (40, b'x'), (55, b'x')] {
            assert_eq!(changed(at, byte), Err(Malformed::GrantName), "{at}");
        }
    }

    #[test]
    fn a_set_has_a_bit_for_its_numbers_only() {
        let mut set = Set::<2>::EMPTY;
        assert!(set.insert(127) && set.insert(0));
        assert!(!set.insert(128));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 127]);
        assert!(!Set::<1>::FULL.contains(64));
        assert_eq!(Set::<1>::FULL.iter().count(), 64);
    }

    #[test]
    fn names_are_short_and_plain() {
        for name in ["a", "cilium-agent", "x.y_z-1", &"n".repeat(31)] {
            let name = Name::new(name).unwrap();
            assert_eq!(Name::from_bytes(&name.to_bytes()), Some(name));
        }
        for text in ["", "a b", "ü", "a/b", "a\0", &"n".repeat(32)] {
            assert_eq!(Name::new(text), None, "{text:?}");
        }
    }
}
