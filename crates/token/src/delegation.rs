//! What a bpffs delegates.

/// What tokens of a bpffs allow: bit sets by the kernel's own numbers (`enum
/// bpf_cmd`, `bpf_map_type`, `bpf_prog_type`, `bpf_attach_type` of `linux/bpf.h`).
///
/// ```
/// use bpftrust_token::Delegation;
///
/// // BPF_MAP_CREATE, BPF_PROG_LOAD and BPF_LINK_CREATE; a hash; a tracing program
/// let delegation = Delegation {
///     commands: 1 << 0 | 1 << 5 | 1 << 28,
///     maps: 1 << 1,
///     programs: 1 << 26,
///     attaches: 1 << 24,
/// };
/// assert!(!delegation.is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delegation {
    /// Commands of `bpf()`.
    pub commands: u64,
    /// Types of maps.
    pub maps: u64,
    /// Types of programs.
    pub programs: u64,
    /// Types of attachments. The kernel keeps 64.
    pub attaches: u64,
}

impl Delegation {
    /// Whether it delegates nothing: the kernel makes no token of such
    /// (`kernel/bpf/token.c`, `bpf_token_create`: `ENOENT`).
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The options of `mount -t bpf`, in hexadecimal as the kernel shows them; none
    /// for what is empty.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&'static str, String)> {
        [
            ("delegate_cmds", self.commands),
            ("delegate_maps", self.maps),
            ("delegate_progs", self.programs),
            ("delegate_attachs", self.attaches),
        ]
        .into_iter()
        .filter(|(_, bits)| *bits != 0)
        .map(|(name, bits)| (name, format!("{bits:#x}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_mount() {
        let delegation = Delegation {
            commands: 0x21,
            attaches: 1 << 63,
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
    }
}
