//! What a bpffs, and each token made from it, delegates.

use std::fmt;

use crate::{AttachTypes, Commands, MapTypes, ProgramTypes};

/// What a token allows.
///
/// ```
/// use bpftrust_token::{AttachTypes, Commands, Delegation, MapTypes, ProgramTypes};
///
/// let delegation = Delegation {
///     commands: Commands::MAP_CREATE | Commands::PROG_LOAD | Commands::LINK_CREATE,
///     maps: MapTypes::HASH,
///     programs: "tracing".parse()?,
///     attaches: AttachTypes::TRACE_FENTRY,
/// };
/// assert_eq!(
///     delegation.to_string(),
///     "delegate_cmds=map_create:prog_load:link_create,delegate_maps=hash,\
///      delegate_progs=tracing,delegate_attachs=trace_fentry"
/// );
/// // Raw, by the kernel's numbers: also what this crate has no name for.
/// assert_eq!(delegation.programs, ProgramTypes::from_bits_retain(1 << 26));
/// # Ok::<(), bpftrust_token::Error>(())
/// ```
///
/// As text it is what `mount -t bpf -o` takes; what is empty is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Delegation {
    /// Commands of `bpf()`. The kernel asks a token for those that load:
    /// `map_create`, `prog_load`, `btf_load`.
    pub commands: Commands,
    /// Types of maps.
    pub maps: MapTypes,
    /// Types of programs.
    pub programs: ProgramTypes,
    /// What programs are loaded to be attached to.
    pub attaches: AttachTypes,
}

impl Delegation {
    /// Whether it delegates nothing: the kernel makes no token of such
    /// (`kernel/bpf/token.c`, `bpf_token_create`: `ENOENT`).
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What of this `other` has not.
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            commands: self.commands.difference(other.commands),
            maps: self.maps.difference(other.maps),
            programs: self.programs.difference(other.programs),
            attaches: self.attaches.difference(other.attaches),
        }
    }

    /// What is in this or in `other`.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            commands: self.commands.union(other.commands),
            maps: self.maps.union(other.maps),
            programs: self.programs.union(other.programs),
            attaches: self.attaches.union(other.attaches),
        }
    }

    /// In words: `map type hash; program type xdp`.
    pub(crate) fn in_words(&self) -> String {
        [
            (
                Commands::NOUN,
                self.commands.bits(),
                self.commands.to_string(),
            ),
            (MapTypes::NOUN, self.maps.bits(), self.maps.to_string()),
            (
                ProgramTypes::NOUN,
                self.programs.bits(),
                self.programs.to_string(),
            ),
            (
                AttachTypes::NOUN,
                self.attaches.bits(),
                self.attaches.to_string(),
            ),
        ]
        .into_iter()
        .filter(|(_, bits, _)| *bits != 0)
        .map(|(noun, _, names)| format!("{noun} {}", names.replace(':', ", ")))
        .collect::<Vec<_>>()
        .join("; ")
    }

    /// The options of `mount -t bpf`, in hexadecimal, which a kernel that knows fewer
    /// names than we takes, too; none for what is empty.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("delegate_cmds", self.commands.bits()),
            ("delegate_maps", self.maps.bits()),
            ("delegate_progs", self.programs.bits()),
            ("delegate_attachs", self.attaches.bits()),
        ]
        .into_iter()
        .filter(|(_, bits)| *bits != 0)
        .map(|(name, bits)| (name, format!("{bits:#x}")))
    }
}

impl fmt::Display for Delegation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            (
                "delegate_cmds",
                self.commands.is_empty(),
                self.commands.to_string(),
            ),
            ("delegate_maps", self.maps.is_empty(), self.maps.to_string()),
            (
                "delegate_progs",
                self.programs.is_empty(),
                self.programs.to_string(),
            ),
            (
                "delegate_attachs",
                self.attaches.is_empty(),
                self.attaches.to_string(),
            ),
        ];
        let options = all
            .into_iter()
            .filter(|(_, empty, _)| !empty)
            .map(|(option, _, names)| format!("{option}={names}"));
        f.write_str(&options.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_mount() {
        let delegation = Delegation {
            commands: Commands::from_bits_retain(0x21),
            attaches: AttachTypes::from_bits_retain(1 << 63),
            ..Delegation::default()
        };
        let options: Vec<_> = delegation.options().collect();
        assert_eq!(
            options,
            [
                ("delegate_cmds", "0x21".to_owned()),
                ("delegate_attachs", "0x8000000000000000".to_owned())
            ]
        );
        assert_eq!(Delegation::default().options().count(), 0);
        assert_eq!(
            delegation.to_string(),
            "delegate_cmds=map_create:prog_load,delegate_attachs=0x8000000000000000"
        );
    }

    #[test]
    fn what_is_lacking_is_said_in_words() {
        let wanted = Delegation {
            maps: MapTypes::HASH | MapTypes::RINGBUF,
            programs: ProgramTypes::XDP,
            ..Delegation::default()
        };
        let held = Delegation {
            maps: MapTypes::RINGBUF,
            ..Delegation::default()
        };
        let lacking = wanted.difference(&held);
        assert_eq!(lacking.in_words(), "map type hash; program type xdp");
        assert_eq!(lacking.union(&held), wanted);
        assert!(wanted.difference(&wanted).is_empty());
    }
}
