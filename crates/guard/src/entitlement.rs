//! What a good signature is worth under a policy: the kernel side's decision
//! (`bpf/verdict.h`), made here to be explained.

use bpftrust_signature::{Grant, KeyHint, Name, Requirements, Rights};
use bpftrust_verity::Digest;

use crate::{Policy, Publisher, Refused};

/// What is known of a file whose signature verified.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// Whose key it was.
    pub publisher: &'a Publisher,
    /// Which one.
    pub key: KeyHint,
    /// What was signed.
    pub digest: &'a Digest,
    /// What the signature grants; `None` for what the policy says.
    pub grant: Option<&'a Grant>,
}

/// What it may do, and which rule decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entitlement {
    /// What is left: never more than the grant, or the policy's default.
    pub rights: Rights,
    /// What the publisher's ceiling takes away.
    pub cut_by_publisher: Rights,
    /// What the policy's ceiling takes away; it may be the same.
    pub cut_by_policy: Rights,
    /// What each call takes besides: what grant, publisher or policy says.
    pub requires: Requirements,
}

/// Why it gives no trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// The policy refuses the key.
    #[error("the policy refuses the key {key}")]
    RefusedKey {
        /// The key.
        key: KeyHint,
    },
    /// The policy refuses the file.
    #[error("the policy refuses the digest {digest}")]
    RefusedDigest {
        /// The file's digest.
        digest: Digest,
    },
    /// The policy refuses the loader.
    #[error("the policy refuses the name {name}")]
    RefusedName {
        /// The loader's name.
        name: Name,
    },
    /// A newer version is wanted.
    #[error("it is version {version} of {name}, and the policy wants {minimum} or later")]
    TooOld {
        /// The loader's name.
        name: Name,
        /// What the grant says.
        version: u64,
        /// What the policy says.
        minimum: u64,
    },
    /// The publisher may not sign this name.
    #[error("publisher {publisher} may not sign {name}")]
    OtherName {
        /// The publisher.
        publisher: Name,
        /// The loader's name.
        name: Name,
    },
    /// The publisher may sign some names only, and there is none.
    #[error("publisher {publisher} may only sign certain names, and the signature has none")]
    NoName {
        /// The publisher.
        publisher: Name,
    },
    /// The grant's end has passed.
    #[error("the grant has ended")]
    Expired {
        /// Seconds since the epoch.
        not_after: u64,
    },
}

impl Denial {
    /// The same in the words of the events.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::RefusedKey { .. } | Self::RefusedDigest { .. } | Self::RefusedName { .. } => {
                "revoked"
            }
            Self::TooOld { .. } => "too-old",
            Self::OtherName { .. } | Self::NoName { .. } => "not-granted",
            Self::Expired { .. } => "expired",
        }
    }
}

impl Policy {
    /// What a file may do whose signature verified. `now` is in seconds since the
    /// epoch.
    ///
    /// # Errors
    /// The first rule that refuses it.
    pub fn entitle(&self, signed: &Signed<'_>, now: u64) -> Result<Entitlement, Denial> {
        self.admit(signed, now)?;
        let claimed = signed.grant.map_or(self.fallback, |grant| grant.rights);
        Ok(self.below_ceilings(signed, claimed, signed.publisher.requires))
    }

    /// The most that a script may do whose signature verified, whichever loader is
    /// started on it (`admit_script` in `bpf/entitle.h`): without a grant all that the
    /// loader may. A publisher with `loaders` may sign it, for his own loaders; what he
    /// requires he requires of loaders. `now` is in seconds since the epoch.
    ///
    /// # Errors
    /// The first rule that refuses it.
    pub fn entitle_script(&self, signed: &Signed<'_>, now: u64) -> Result<Entitlement, Denial> {
        self.admit_rules(signed)?;
        admit_time(signed, now)?;
        let claimed = signed.grant.map_or(Rights::UNLIMITED, |grant| grant.rights);
        Ok(self.below_ceilings(signed, claimed, Requirements::empty()))
    }

    fn below_ceilings(
        &self,
        signed: &Signed<'_>,
        claimed: Rights,
        requires: Requirements,
    ) -> Entitlement {
        let publisher = &signed.publisher.ceiling;
        let own = signed.grant.map(|grant| grant.requires);
        Entitlement {
            rights: claimed.intersection(publisher).intersection(&self.ceiling),
            cut_by_publisher: claimed.difference(publisher),
            cut_by_policy: claimed.difference(&self.ceiling),
            requires: self.requires | requires | own.unwrap_or(Requirements::empty()),
        }
    }

    fn admit(&self, signed: &Signed<'_>, now: u64) -> Result<(), Denial> {
        self.admit_rules(signed)?;
        let loaders = signed.publisher.loaders.as_ref();
        let publisher = || signed.publisher.name.clone();
        match (loaders, signed.grant) {
            (Some(_), None) => {
                return Err(Denial::NoName {
                    publisher: publisher(),
                });
            }
            (Some(loaders), Some(grant)) if !loaders.contains(&grant.name) => {
                return Err(Denial::OtherName {
                    publisher: publisher(),
                    name: grant.name.clone(),
                });
            }
            _ => {}
        }
        admit_time(signed, now)
    }

    /// What the policy refuses by key, digest, name or version.
    fn admit_rules(&self, signed: &Signed<'_>) -> Result<(), Denial> {
        let key = signed.key;
        if self.refused.keys.contains(&key) {
            return Err(Denial::RefusedKey { key });
        }
        if self
            .refused
            .digests
            .contains(&Refused::prefix(signed.digest))
        {
            return Err(Denial::RefusedDigest {
                digest: *signed.digest,
            });
        }
        let Some(grant) = signed.grant else {
            return Ok(());
        };
        let name = || grant.name.clone();
        if self.refused.names.contains(&grant.name) {
            return Err(Denial::RefusedName { name: name() });
        }
        match self.minimum_versions.get(&grant.name) {
            Some(&minimum) if grant.version < minimum => Err(Denial::TooOld {
                name: name(),
                version: grant.version,
                minimum,
            }),
            _ => Ok(()),
        }
    }
}

fn admit_time(signed: &Signed<'_>, now: u64) -> Result<(), Denial> {
    match signed.grant {
        Some(grant) if grant.not_after != 0 && now > grant.not_after => Err(Denial::Expired {
            not_after: grant.not_after,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bpftrust_signature::{ScriptRights, Set};
    use bpftrust_verity::Algorithm;

    use super::*;
    use crate::{Keys, Libraries, Mode};

    const NOW: u64 = 1000;
    const KEY: KeyHint = KeyHint([1; 8]);

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn digest() -> Digest {
        Digest::new(Algorithm::Sha512, &[[7; 32], [8; 32]].concat()).unwrap()
    }

    fn programs(numbers: &[u32]) -> Rights {
        Rights {
            programs: numbers.iter().copied().collect(),
            ..Rights::NONE
        }
    }

    fn below(numbers: &[u32]) -> Rights {
        Rights {
            programs: numbers.iter().copied().collect(),
            ..Rights::UNLIMITED
        }
    }

    fn policy() -> Policy {
        Policy {
            mode: Mode::Enforce,
            serial: 0,
            sealed_boot: false,
            policy_keys: Vec::new(),
            libraries: Libraries::Any,
            requires: Requirements::empty(),
            ceiling: Rights::UNLIMITED,
            fallback: programs(&[9]),
            publishers: vec![Publisher {
                name: name("acme"),
                ceiling: Rights::UNLIMITED,
                loaders: None,
                bare: None,
                requires: Requirements::empty(),
                keys: Keys::Certificates(Vec::new()),
            }],
            minimum_versions: BTreeMap::new(),
            refused: Refused::default(),
        }
    }

    fn grant() -> Grant {
        Grant {
            name: name("x"),
            version: 3,
            not_after: NOW,
            rights: programs(&[1, 2, 3]),
            requires: Requirements::empty(),
            script: ScriptRights::empty(),
        }
    }

    fn judge(policy: &Policy, grant: Option<&Grant>) -> Result<Entitlement, Denial> {
        judge_as(Policy::entitle, policy, grant)
    }

    type Judge = fn(&Policy, &Signed<'_>, u64) -> Result<Entitlement, Denial>;

    fn judge_as(
        judge: Judge,
        policy: &Policy,
        grant: Option<&Grant>,
    ) -> Result<Entitlement, Denial> {
        let signed = Signed {
            publisher: &policy.publishers[0],
            key: KEY,
            digest: &digest(),
            grant,
        };
        judge(policy, &signed, NOW)
    }

    fn reason(policy: &Policy, grant: Option<&Grant>) -> &'static str {
        judge(policy, grant).map_or_else(|denial| denial.reason(), |_| "trusted")
    }

    #[test]
    fn a_right_is_what_grant_and_both_ceilings_allow() {
        let mut policy = policy();
        policy.ceiling = below(&[2, 3, 4]);
        policy.publishers[0].ceiling = below(&[1, 3, 5]);
        let found = judge(&policy, Some(&grant())).unwrap();
        assert_eq!(found.rights, programs(&[3]));
        assert_eq!(found.cut_by_publisher, programs(&[2]));
        assert_eq!(found.cut_by_policy, programs(&[1]));
    }

    #[test]
    fn grant_publisher_and_policy_may_each_require_a_token() {
        let requires = |policy: &Policy, grant: Option<&Grant>| {
            judge(policy, grant).unwrap().requires == Requirements::TOKEN
        };
        assert!(!requires(&policy(), Some(&grant())) && !requires(&policy(), None));
        let tied = Grant {
            requires: Requirements::TOKEN,
            ..grant()
        };
        assert!(requires(&policy(), Some(&tied)));
        for rule in [
            (|p| p.requires = Requirements::TOKEN) as fn(&mut Policy),
            |p| p.publishers[0].requires = Requirements::TOKEN,
        ] {
            let mut policy = policy();
            rule(&mut policy);
            assert!(requires(&policy, Some(&grant())) && requires(&policy, None));
        }
    }

    #[test]
    fn without_a_grant_the_default_counts_below_the_ceilings() {
        let mut policy = policy();
        assert_eq!(judge(&policy, None).unwrap().rights, programs(&[9]));
        policy.ceiling.programs = Set::EMPTY;
        let found = judge(&policy, None).unwrap();
        assert_eq!(found.rights, Rights::NONE);
        assert_eq!(found.cut_by_policy, programs(&[9]));
    }

    #[test]
    fn a_grant_takes_nothing_from_the_default() {
        let mut policy = policy();
        policy.fallback = Rights::UNLIMITED;
        let found = judge(&policy, Some(&grant())).unwrap();
        assert_eq!(found.rights, programs(&[1, 2, 3]));
    }

    #[test]
    fn each_rule_refuses_what_it_names_and_nothing_else() {
        let check = |rule: fn(&mut Policy), with_grant: &str, without: &str| {
            let mut policy = policy();
            rule(&mut policy);
            assert_eq!(reason(&policy, Some(&grant())), with_grant);
            assert_eq!(reason(&policy, None), without);
        };
        check(|_| {}, "trusted", "trusted");
        check(|p| p.refused.keys = [KEY].into(), "revoked", "revoked");
        check(
            |p| p.refused.keys = [KeyHint([2; 8])].into(),
            "trusted",
            "trusted",
        );
        check(
            |p| p.refused.digests = [[7; 32]].into(),
            "revoked",
            "revoked",
        );
        check(
            |p| p.refused.digests = [[8; 32]].into(),
            "trusted",
            "trusted",
        );
        check(
            |p| p.refused.names = [name("x")].into(),
            "revoked",
            "trusted",
        );
        check(
            |p| p.refused.names = [name("y")].into(),
            "trusted",
            "trusted",
        );
        check(
            |p| p.minimum_versions = [(name("x"), 4)].into(),
            "too-old",
            "trusted",
        );
        check(
            |p| p.minimum_versions = [(name("x"), 3)].into(),
            "trusted",
            "trusted",
        );
        check(
            |p| p.minimum_versions = [(name("y"), 4)].into(),
            "trusted",
            "trusted",
        );
        check(
            |p| p.publishers[0].loaders = Some([name("x")].into()),
            "trusted",
            "not-granted",
        );
        check(
            |p| p.publishers[0].loaders = Some([name("y")].into()),
            "not-granted",
            "not-granted",
        );
    }

    #[test]
    fn a_script_has_its_grant_below_the_ceilings() {
        let script = |policy: &Policy, grant: Option<&Grant>| {
            judge_as(Policy::entitle_script, policy, grant)
        };
        let mut policy = policy();
        policy.ceiling = below(&[2, 3, 4]);
        policy.publishers[0].ceiling = below(&[1, 3, 5]);
        policy.publishers[0].loaders = Some([name("y")].into());
        policy.publishers[0].requires = Requirements::TOKEN;
        policy.requires = Requirements::SCRIPT;
        let found = script(&policy, Some(&grant())).unwrap();
        assert_eq!(found.rights, programs(&[3]));
        assert_eq!(found.cut_by_publisher, programs(&[2]));
        assert_eq!(found.cut_by_policy, programs(&[1]));
        assert_eq!(found.requires, Requirements::SCRIPT);
        // Without one it is not the default that counts.
        let found = script(&policy, None).unwrap();
        assert_eq!(found.rights, below(&[3]));
        let late = Grant {
            not_after: NOW - 1,
            ..grant()
        };
        let reason =
            |policy: &Policy, grant: Option<&Grant>| script(policy, grant).unwrap_err().reason();
        assert_eq!(reason(&policy, Some(&late)), "expired");
        policy.minimum_versions = [(name("x"), 4)].into();
        assert_eq!(reason(&policy, Some(&grant())), "too-old");
        policy.refused.names = [name("x")].into();
        assert_eq!(reason(&policy, Some(&grant())), "revoked");
        policy.refused.digests = [[7; 32]].into();
        assert_eq!(reason(&policy, None), "revoked");
    }

    #[test]
    fn a_grant_counts_up_to_its_last_second() {
        let at = |not_after| Grant {
            not_after,
            ..grant()
        };
        for (not_after, expected) in [
            (0, "trusted"),
            (NOW - 1, "expired"),
            (NOW, "trusted"),
            (u64::MAX, "trusted"),
        ] {
            assert_eq!(reason(&policy(), Some(&at(not_after))), expected);
        }
    }

    #[test]
    fn the_first_rule_in_order_gives_the_reason() {
        let mut policy = policy();
        let mut grant = grant();
        grant.not_after = NOW - 1;
        let denial = |policy: &Policy| judge(policy, Some(&grant)).unwrap_err();
        let mut denials = vec![denial(&policy)];
        policy.publishers[0].loaders = Some([name("y")].into());
        denials.push(denial(&policy));
        policy.minimum_versions = [(name("x"), 4)].into();
        denials.push(denial(&policy));
        policy.refused.names = [name("x")].into();
        denials.push(denial(&policy));
        policy.refused.digests = [[7; 32]].into();
        denials.push(denial(&policy));
        policy.refused.keys = [KEY].into();
        denials.push(denial(&policy));
        assert!(matches!(
            denials[..],
            [
                Denial::Expired { .. },
                Denial::OtherName { .. },
                Denial::TooOld { .. },
                Denial::RefusedName { .. },
                Denial::RefusedDigest { .. },
                Denial::RefusedKey { .. },
            ]
        ));
    }
}
