//! What a script's own grant says that its command line may have, read out of the
//! xattr without judging that: the kernel side holds the command line against what it
//! has judged (`judge_start` in `bpf/script.h`).

/// What a script may have besides rights: `enum bt_script_right` of `bpf/abi.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Words of who starts it.
    pub parameters: bool,
    /// A loader that is started with `--unsafe`.
    pub r#unsafe: bool,
}

/// Bytes of `struct bt_envelope` and of `struct bt_statement`.
const ENVELOPE: usize = 24;
const STATEMENT: usize = 8;

/// Where in the xattr `script` of the grant is.
const SCRIPT: usize = ENVELOPE + STATEMENT + 4;

impl Granted {
    /// What the value of the xattr says; nothing if it is of no form that is known, or
    /// of a statement without a grant.
    pub fn read(xattr: &[u8]) -> Self {
        let number = |at: usize| {
            let bytes = xattr.get(at..at + 2)?;
            Some(u16::from_le_bytes(bytes.try_into().ok()?))
        };
        let known = xattr.starts_with(b"BPFT\x01\0") && number(6) != Some(STATEMENT as u16);
        let has_grant = number(ENVELOPE + 2).is_some_and(|size| size != 0);
        let bits = number(SCRIPT).filter(|_| known && has_grant).unwrap_or(0);
        Self {
            parameters: bits & 1 != 0,
            r#unsafe: bits & 2 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use bpftrust_signature::{Grant, Kind, Name, Requirements, Rights, ScriptRights, Statement};

    use super::*;

    fn xattr(statement: &Statement) -> Vec<u8> {
        let statement = statement.to_bytes();
        let mut bytes = b"BPFT\x01\0".to_vec();
        bytes.extend(u16::try_from(statement.len()).unwrap().to_le_bytes());
        bytes.resize(ENVELOPE, 0);
        bytes.extend(statement);
        bytes.extend([0xff; 100]);
        bytes
    }

    #[test]
    fn it_is_where_signatures_have_it() {
        for bits in 0..4 {
            let grant = Grant {
                name: Name::new("tool").unwrap(),
                version: u64::MAX >> 1,
                not_after: u64::MAX,
                rights: Rights::UNLIMITED,
                requires: Requirements::all(),
                script: ScriptRights::from_bits_retain(bits),
            };
            let value = xattr(&Statement::with_grant(Kind::Script, grant));
            let expected = Granted {
                parameters: bits & 1 != 0,
                r#unsafe: bits & 2 != 0,
            };
            assert_eq!(Granted::read(&value), expected);
            for length in 0..SCRIPT + 2 {
                assert_eq!(Granted::read(&value[..length]), Granted::default());
            }
        }
        let none = xattr(&Statement::new(Kind::Script));
        assert_eq!(Granted::read(&none), Granted::default());
        assert_eq!(Granted::read(&[0xff; 200]), Granted::default());
    }
}
