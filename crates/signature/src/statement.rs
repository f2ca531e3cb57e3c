//! What a signature says about a file: `struct bt_statement` of `bpf/abi.h`.

use std::fmt;

use crate::{Grant, Malformed};

/// What a file is. The kind is part of what is signed, so that a file of one
/// kind never passes as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// An executable that calls `bpf()`.
    Loader,
    /// A shared object that a loader maps.
    Library,
    /// A script for a generic loader.
    Script,
    /// A policy of a sealed host.
    Policy,
    /// A permit.
    Permit,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Loader,
        Self::Library,
        Self::Script,
        Self::Policy,
        Self::Permit,
    ];

    /// Its number, `enum bt_kind`.
    pub fn number(self) -> u16 {
        match self {
            Self::Loader => 1,
            Self::Library => 2,
            Self::Script => 3,
            Self::Policy => 4,
            Self::Permit => 5,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loader => "loader",
            Self::Library => "library",
            Self::Script => "script",
            Self::Policy => "policy",
            Self::Permit => "permit",
        }
    }

    fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is signed besides the digest: the kind of the file and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    kind: Kind,
    grant: Option<Grant>,
}

impl Statement {
    /// The largest grant, `BT_GRANT_MAX`, in bytes.
    pub const MAX_GRANT: usize = 512;

    /// Bytes of `struct bt_statement`.
    pub(crate) const HEADER: usize = 8;

    /// The largest statement, `BT_STATEMENT_MAX`, in bytes.
    pub(crate) const MAX: usize = Self::HEADER + Self::MAX_GRANT;

    /// A statement without a grant.
    pub fn new(kind: Kind) -> Self {
        Self { kind, grant: None }
    }

    /// A statement with one.
    pub fn with_grant(kind: Kind, grant: Grant) -> Self {
        Self {
            kind,
            grant: Some(grant),
        }
    }

    /// What the file is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it may do; `None` for the policy's default.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// The bytes that are signed and stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let grant = self.grant.as_ref().map(Grant::to_bytes);
        let grant = grant.as_ref().map_or(&[][..], |grant| grant);
        let grant_size = u16::try_from(grant.len()).expect("a grant has 104 bytes");
        let mut bytes = Vec::with_capacity(Self::HEADER + grant.len());
        bytes.extend(self.kind.number().to_le_bytes());
        bytes.extend(grant_size.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(grant);
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) writes, and nothing else.
    ///
    /// # Errors
    /// What is wrong with `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (header, grant) = bytes
            .split_first_chunk::<{ Self::HEADER }>()
            .ok_or(Malformed::StatementSize)?;
        let &[kind0, kind1, size0, size1, reserved @ ..] = header;
        let grant_size = usize::from(u16::from_le_bytes([size0, size1]));
        if grant.len() != grant_size || grant_size > Self::MAX_GRANT {
            return Err(Malformed::StatementSize);
        }
        if reserved != [0; 4] {
            return Err(Malformed::Reserved);
        }
        let number = u16::from_le_bytes([kind0, kind1]);
        let kind = Kind::from_number(number).ok_or(Malformed::Kind { kind: number })?;
        let grant = match grant {
            [] => None,
            grant => Some(Grant::parse(grant)?),
        };
        Ok(Self { kind, grant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Name, Rights};

    #[test]
    fn bytes_are_those_of_the_abi() {
        for (kind, number) in Kind::ALL.into_iter().zip(1..) {
            let bytes = [number, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(Statement::new(kind).to_bytes(), bytes);
            assert_eq!(Statement::parse(&bytes).unwrap().kind(), kind);
        }
        let grant = Grant {
            name: Name::new("loader").unwrap(),
            version: 1,
            not_after: 0,
            rights: Rights::NONE,
            requires: crate::Requirements::empty(),
            script: crate::ScriptRights::PARAMETERS,
        };
        let statement = Statement::with_grant(Kind::Script, grant.clone());
        let bytes = statement.to_bytes();
        assert_eq!(bytes[..8], [3, 0, 104, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[8..], grant.to_bytes());
        assert_eq!(Statement::parse(&bytes), Ok(statement));
    }

    #[test]
    fn other_bytes_are_refused() {
        for (bytes, error) in [
            (&[][..], Malformed::StatementSize),
            (&[1, 0, 0, 0, 0, 0, 0], Malformed::StatementSize),
            (&[1, 0, 1, 0, 0, 0, 0, 0], Malformed::StatementSize),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], Malformed::StatementSize),
            (&[1, 0, 0, 0, 0, 0, 0, 1], Malformed::Reserved),
            (&[0, 0, 0, 0, 0, 0, 0, 0], Malformed::Kind { kind: 0 }),
            (&[6, 0, 0, 0, 0, 0, 0, 0], Malformed::Kind { kind: 6 }),
            (&[1, 1, 0, 0, 0, 0, 0, 0], Malformed::Kind { kind: 257 }),
            (
                &[1, 0, 1, 0, 0, 0, 0, 0, 9],
                Malformed::GrantSize { size: 1 },
            ),
        ] {
            assert_eq!(Statement::parse(bytes), Err(error), "{bytes:?}");
        }
        let mut large = vec![1, 0, 1, 2, 0, 0, 0, 0]; // 513
        large.resize(8 + 513, 0);
        assert_eq!(Statement::parse(&large), Err(Malformed::StatementSize));
    }
}
