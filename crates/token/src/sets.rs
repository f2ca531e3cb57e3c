//! Sets of the kernel's numbers, with their names.

use std::fmt::{self, Write as _};

use bitflags::Flags;

use crate::Error;

/// A set of one of the kernel's enumerations: a bit for each number, and a constant
/// for each name. All 64 bits are valid, for a kernel may have more names than we.
macro_rules! set_of {
    (
        $(#[$about:meta])*
        $set:ident, $noun:literal, $prefix:literal, { $($name:ident = $number:literal,)* }
    ) => {
        bitflags::bitflags! {
            $(#[$about])*
            ///
            /// As text it is what the kernel reads and shows as a bpffs' option: names
            /// with colons between, numbers in hexadecimal for bits that have no name,
            /// `any` for all (`kernel/bpf/inode.c`, `bpf_parse_param`).
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
            pub struct $set: u64 {
                $(
                    #[doc = concat!("`", $prefix, stringify!($name), "`")]
                    const $name = 1 << $number;
                )*
                const _ = !0;
            }
        }

        impl $set {
            /// What one of its numbers is called in errors.
            pub(crate) const NOUN: &str = $noun;

            /// The set of one, by the kernel's number, such as
            /// `libbpf_rs::MapType::Hash as u32`; nothing above 63, which a token has
            /// no bit for.
            pub const fn of(number: u32) -> Option<Self> {
                match 1_u64.checked_shl(number) {
                    Some(bit) => Some(Self::from_bits_retain(bit)),
                    None => None,
                }
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::sets::show(*self, f)
            }
        }

        impl std::str::FromStr for $set {
            type Err = $crate::Error;

            /// Case is ignored.
            ///
            /// # Errors
            /// [`Error::Unknown`](crate::Error::Unknown).
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::sets::read(text, Self::NOUN)
            }
        }
    };
}
pub(crate) use set_of;

pub(crate) fn show<S>(set: S, f: &mut fmt::Formatter<'_>) -> fmt::Result
where
    S: Flags<Bits = u64> + Copy,
{
    if set.bits() == u64::MAX {
        return f.write_str("any");
    }
    let mut between = false;
    let mut names = set.iter_names();
    for (name, _) in &mut names {
        if between {
            f.write_char(':')?;
        }
        between = true;
        f.write_str(&name.to_ascii_lowercase())?;
    }
    match (between, names.remaining().bits()) {
        (true, 0) => Ok(()),
        (true, rest) => write!(f, ":{rest:#x}"),
        (false, rest) => write!(f, "{rest:#x}"),
    }
}

pub(crate) fn read<S: Flags<Bits = u64>>(text: &str, noun: &'static str) -> Result<S, Error> {
    let mut set = S::empty();
    for word in text.split(':') {
        let named = S::FLAGS
            .iter()
            .filter(|flag| !flag.name().is_empty())
            .find(|flag| flag.name().eq_ignore_ascii_case(word));
        let bits = match (word, named) {
            ("any", _) => Some(u64::MAX),
            (_, Some(flag)) => Some(flag.value().bits()),
            _ => number(word),
        };
        let bits = bits.ok_or_else(|| Error::Unknown {
            noun,
            name: word.to_owned(),
        })?;
        set.insert(S::from_bits_retain(bits));
    }
    Ok(set)
}

/// Bits, not one bit's number: so the kernel reads and shows them.
fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use crate::{AttachTypes, Commands, MapTypes, ProgramTypes};

    #[test]
    fn text_is_that_of_a_bpffs_option() {
        let commands = Commands::MAP_CREATE | Commands::PROG_LOAD;
        for (text, set) in [
            ("map_create:prog_load", commands),
            (
                "map_create:prog_load:0x8000000000000000",
                commands | Commands::of(63).unwrap(),
            ),
            ("0x8000000000000000", Commands::from_bits_retain(1 << 63)),
            ("any", Commands::all()),
            ("0x0", Commands::empty()),
        ] {
            assert_eq!(set.to_string(), text);
            assert_eq!(text.parse::<Commands>().unwrap(), set, "{text}");
        }
        assert_eq!("0x21".parse::<Commands>().unwrap(), commands);
        assert_eq!("33".parse::<Commands>().unwrap(), commands);
        assert_eq!(
            "CGROUP_STORAGE_deprecated".parse::<MapTypes>().unwrap(),
            MapTypes::CGROUP_STORAGE
        );
        assert_eq!(MapTypes::CGROUP_STORAGE.to_string(), "cgroup_storage");
    }

    #[test]
    fn an_unknown_name_is_named() {
        for text in ["hahs", "hash:hahs", "hash:", "", "0xg", "-1"] {
            let error = text.parse::<MapTypes>().unwrap_err().to_string();
            let word = text.rsplit(':').next().unwrap();
            assert_eq!(error, format!("no map type is called {word:?}"));
        }
    }

    #[test]
    fn a_number_without_a_bit_is_no_set() {
        assert_eq!(ProgramTypes::of(6), Some(ProgramTypes::XDP));
        assert_eq!(AttachTypes::of(64), None);
        assert_eq!(MapTypes::of(u32::MAX), None);
    }
}
