//! The attributes of `bpf()`, as far as tokens go.

/// As many bytes as are looked at; a larger `union bpf_attr` is a later kernel's.
pub const MAXIMUM: usize = 256;

/// `BPF_F_TOKEN_FD` of `enum`, among the flags of each command.
const TOKEN_FD: u32 = 1 << 16;

/// Where a command has its flags and its token, in bytes
/// (`include/uapi/linux/bpf.h`, `union bpf_attr`).
struct Place {
    command: i64,
    flags: usize,
    token: usize,
}

const PLACES: [Place; 3] = [
    // BPF_MAP_CREATE: map_flags, map_token_fd
    Place {
        command: 0,
        flags: 16,
        token: 76,
    },
    // BPF_PROG_LOAD: prog_flags, prog_token_fd
    Place {
        command: 5,
        flags: 44,
        token: 144,
    },
    // BPF_BTF_LOAD: btf_flags, btf_token_fd
    Place {
        command: 18,
        flags: 32,
        token: 36,
    },
];

/// Attributes that name a token, and what the caller had in their place.
pub struct Named {
    /// What the kernel is given.
    pub bytes: [u8; MAXIMUM],
    /// How much of that.
    pub size: usize,
    place: &'static Place,
    given: usize,
    before: [u8; MAXIMUM],
}

impl Named {
    /// The attributes with the token that `token` gives; none if the command takes
    /// none, one is named already, or there is none.
    pub fn new(command: i64, given: &[u8], token: impl FnOnce() -> Option<i32>) -> Option<Self> {
        let place = PLACES.iter().find(|place| place.command == command)?;
        let mut bytes = [0; MAXIMUM];
        bytes.get_mut(..given.len())?.copy_from_slice(given);
        let before = bytes;
        let flags = word(&bytes, place.flags);
        if flags & TOKEN_FD != 0 {
            return None;
        }
        let token = token()?;
        set(&mut bytes, place.flags, flags | TOKEN_FD);
        set(&mut bytes, place.token, token.cast_unsigned());
        Some(Self {
            bytes,
            size: given.len().max(place.token + 4),
            place,
            given: given.len(),
            before,
        })
    }

    /// What the caller is to find: what the kernel wrote, without the token.
    pub fn answer(mut self) -> ([u8; MAXIMUM], usize) {
        for at in [self.place.flags, self.place.token] {
            let was = word(&self.before, at);
            set(&mut self.bytes, at, was);
        }
        (self.bytes, self.given)
    }
}

fn word(bytes: &[u8; MAXIMUM], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

fn set(bytes: &mut [u8; MAXIMUM], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_ne_bytes());
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn a_short_load_grows_to_the_token_and_the_caller_finds_what_he_had() {
        let mut given = [7; 120];
        given[44..48].copy_from_slice(&1_u32.to_ne_bytes());
        let mut named = Named::new(5, &given, || Some(9)).unwrap();
        assert_eq!(named.size, 148);
        assert_eq!(word(&named.bytes, 44), 1 | TOKEN_FD);
        assert_eq!(word(&named.bytes, 144), 9);
        assert_eq!(named.bytes[120..144], [0; 24]);
        // The kernel answers in the attributes, too.
        named.bytes[4] = 3;
        let (bytes, size) = named.answer();
        assert_eq!(size, 120);
        given[4] = 3;
        assert_eq!(bytes[..120], given);
    }

    #[test]
    fn what_names_one_or_takes_none_passes() {
        let mut given = [0; 80];
        given[16..20].copy_from_slice(&TOKEN_FD.to_ne_bytes());
        assert!(Named::new(0, &given, || panic!("not asked")).is_none());
        assert!(Named::new(1, &[0; 80], || panic!("not asked")).is_none());
        assert!(Named::new(0, &[0; MAXIMUM + 1], || panic!("not asked")).is_none());
        assert!(Named::new(18, &[0; 40], || None).is_none());
    }
}
