//! What a policy asks of the files that trusted processes map as code.

use std::fmt;

use crate::abi;

/// What a file must be, besides a process's own executable, for a trusted process
/// to run code from it: libraries, the dynamic linker, what is opened later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Libraries {
    /// Signed as a library by a key of the policy.
    #[default]
    Signed,
    /// Unable to change (fs-verity), whoever made it.
    Verity,
    /// Anything.
    Any,
}

impl Libraries {
    /// All, from the strictest on.
    pub const ALL: [Self; 3] = [Self::Signed, Self::Verity, Self::Any];

    /// As a policy says it.
    pub fn name(self) -> &'static str {
        abi::libraries(self.number())
    }

    /// What it asks for.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Signed => "trusted processes run only code that was signed",
            Self::Verity => "trusted processes run code of any file that has fs-verity",
            Self::Any => "trusted processes run code of any file",
        }
    }

    /// What is lost beside the strictest; `None` for that.
    pub fn gives_up(self) -> Option<&'static str> {
        match self {
            Self::Signed => None,
            Self::Verity => Some(
                "who can replace a library, as uid 0 can, has the rights of every loader that \
                 maps it; it can't be changed once it is mapped",
            ),
            Self::Any => Some(
                "who can replace or write a library, as uid 0 can, has the rights of every loader \
                 that maps it",
            ),
        }
    }

    /// `enum bt_libraries`.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Signed => abi::BT_LIBRARIES_SIGNED,
            Self::Verity => abi::BT_LIBRARIES_VERITY,
            Self::Any => abi::BT_LIBRARIES_ANY,
        }
    }

    /// What a number of `enum bt_libraries` means.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.number() == number)
    }

    /// The weakest in a set of `1 << enum bt_libraries`.
    pub(crate) fn weakest(set: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .rfind(|one| set >> one.number() & 1 == 1)
    }
}

impl fmt::Display for Libraries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_number_asks_for_less() {
        let numbers = Libraries::ALL.map(Libraries::number);
        assert!(numbers.is_sorted());
        assert!(Libraries::ALL.is_sorted());
        for one in Libraries::ALL {
            assert_eq!(Libraries::from_number(one.number()), Some(one));
        }
        assert_eq!(Libraries::from_number(3), None);
    }

    #[test]
    fn the_weakest_counts() {
        assert_eq!(Libraries::weakest(0), None);
        assert_eq!(Libraries::weakest(1), Some(Libraries::Signed));
        assert_eq!(Libraries::weakest(3), Some(Libraries::Verity));
        assert_eq!(Libraries::weakest(5), Some(Libraries::Any));
    }

    #[test]
    fn the_weaker_say_what_they_give_up() {
        assert_eq!(
            Libraries::ALL.map(|one| one.gives_up().is_some()),
            [false, true, true]
        );
        assert_eq!(
            Libraries::ALL.map(Libraries::name),
            ["signed", "verity", "any"]
        );
    }
}
