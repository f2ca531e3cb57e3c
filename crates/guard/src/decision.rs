//! Questions about rights, and the kernel side's own function that answers them,
//! so that what is said of a policy can be held against what is decided.

use std::mem::MaybeUninit;

use bpftrust_signature::Rights;
use libbpf_rs::OpenObject;

use crate::abi::{self, bt_question};
use crate::apply::rights;
use crate::skeleton::GuardSkel;
use crate::{Result, Vocabulary, alone};

/// May a loader with this grant, under these ceilings, have this?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// What was signed.
    pub grant: Rights,
    /// The publisher's ceiling.
    pub publisher: Rights,
    /// The policy's ceiling.
    pub policy: Rights,
    /// Whose numbers `number` is of.
    pub object: Vocabulary,
    /// What is asked for.
    pub number: u32,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `none` for yes, else why not.
    pub reason: &'static str,
    /// What the loader may do in all.
    pub effective: Rights,
}

impl Question {
    /// Every question about three numbers of each kind, with every grant and
    /// every ceiling over them: the lowest, the highest that has a bit, and the
    /// first that has none.
    pub fn all() -> impl Iterator<Item = Self> {
        Vocabulary::ALL.into_iter().flat_map(|object| {
            let asked = [0, object.end() - 1, object.end()];
            // What has no bit is in no set, so two numbers make all sets.
            (0..4 * 4 * 4 * asked.len()).map(move |index| {
                let set = |place: usize| {
                    let mut rights = Rights::NONE;
                    for (bit, &number) in asked.iter().take(2).enumerate() {
                        if index >> (2 * place + bit) & 1 == 1 {
                            object.insert(&mut rights, number);
                        }
                    }
                    rights
                };
                Self {
                    grant: set(0),
                    publisher: set(1),
                    policy: set(2),
                    object,
                    number: asked[index / 64],
                }
            })
        })
    }

    /// What user space says: grant ∩ publisher's ceiling ∩ policy's ceiling.
    pub fn answer(&self) -> Answer {
        let effective = self
            .grant
            .intersection(&self.publisher)
            .intersection(&self.policy);
        let known = self.object != Vocabulary::Commands || abi::command(self.number).is_some();
        let reason = match (self.object.contains(&effective, self.number), known) {
            (true, _) => "none",
            (false, true) => "not-granted",
            (false, false) => "unknown-command",
        };
        Answer { reason, effective }
    }
}

/// The kernel side's function that decides about rights, loaded by itself:
/// nothing is attached.
pub struct Decider<'a> {
    guard: GuardSkel<'a>,
}

impl<'a> Decider<'a> {
    /// Loads it into `storage`.
    ///
    /// # Errors
    /// [`Error::Kernel`](crate::Error::Kernel).
    pub fn load(storage: &'a mut MaybeUninit<OpenObject>) -> Result<Self> {
        let what = "the kernel side's deciding function";
        alone::load(storage, "bt_decide", what).map(|guard| Self { guard })
    }

    /// Has it answer.
    ///
    /// # Errors
    /// [`Error::Kernel`](crate::Error::Kernel).
    pub fn ask(&self, question: &Question) -> Result<Answer> {
        let asked = bt_question {
            grant: rights(&question.grant),
            publisher: rights(&question.publisher),
            policy: rights(&question.policy),
            object: abi::object_of(question.object),
            number: question.number,
            // No reason that there is: it must be written.
            reason: u32::MAX,
            ..bt_question::default()
        };
        let (answer, _) = alone::ask(&self.guard.progs.bt_decide, &asked)?;
        Ok(Answer {
            reason: u8::try_from(answer.reason).map_or("unknown", abi::reason),
            effective: abi::rights(&answer.effective),
        })
    }
}

#[cfg(test)]
mod tests {
    use bpftrust_signature::Set;

    use super::*;

    fn question(grant: &[u32], publisher: &[u32], policy: &[u32], number: u32) -> Question {
        let commands = |numbers: &[u32]| Rights {
            commands: numbers.iter().copied().collect::<Set<1>>(),
            ..Rights::NONE
        };
        Question {
            grant: commands(grant),
            publisher: commands(publisher),
            policy: commands(policy),
            object: Vocabulary::Commands,
            number,
        }
    }

    #[test]
    fn a_right_takes_all_three() {
        for (grant, publisher, policy, reason) in [
            (&[5][..], &[5][..], &[5][..], "none"),
            (&[], &[5], &[5], "not-granted"),
            (&[5], &[], &[5], "not-granted"),
            (&[5], &[5], &[], "not-granted"),
            (&[6], &[5, 6], &[5, 6], "not-granted"),
        ] {
            let question = question(grant, publisher, policy, 5);
            assert_eq!(question.answer().reason, reason, "{question:?}");
        }
        assert_eq!(question(&[63], &[63], &[63], 63).answer().reason, "none");
        assert_eq!(
            question(&[], &[], &[], 63).answer().reason,
            "unknown-command"
        );
    }

    #[test]
    fn nothing_ever_widens() {
        let mut count = 0;
        for question in Question::all() {
            let Question {
                grant,
                publisher,
                policy,
                object,
                number,
            } = question;
            let answer = question.answer();
            for set in [grant, publisher, policy] {
                assert_eq!(answer.effective.intersection(&set), answer.effective);
            }
            let everywhere = [grant, publisher, policy]
                .iter()
                .all(|set| object.contains(set, number));
            assert_eq!(answer.reason == "none", everywhere, "{question:?}");
            count += 1;
        }
        assert_eq!(count, 5 * 3 * 64);
    }
}
