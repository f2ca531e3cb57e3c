//! What was seen of an attack, and what follows from it.

use serde::Serialize;

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It worked before, is refused now, the event says why, and the rightful
    /// loader still works.
    Held,
    /// It works in spite of enforcement.
    Open,
    /// It works, and the table of limits says why.
    CannotBeHeld,
    /// It did not work with enforcement off: that it fails proves nothing.
    BaselineFailed,
    /// It failed, but not as it should, or the rightful loader failed too.
    Unclear,
    /// The corpus does not try it.
    Untested,
}

impl Verdict {
    /// As the table shows it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Open => "OPEN",
            Self::CannotBeHeld => "can't be held",
            Self::BaselineFailed => "baseline failed",
            Self::Unclear => "unclear",
            Self::Untested => "not tried",
        }
    }
}

/// One attack, and what was seen of it.
#[derive(Debug, Serialize)]
pub struct Finding {
    pub number: &'static str,
    pub tried: &'static str,
    /// What happened with enforcement off and on.
    pub off: Option<String>,
    pub on: Option<String>,
    /// The reason in the event.
    pub reason: Option<String>,
    /// What happened to the rightful loader.
    pub rightful: Option<String>,
    pub verdict: Verdict,
    /// Why, where the verdict needs words.
    pub why: Option<String>,
}

/// What is seen of one attack.
#[derive(Debug, Default)]
pub struct Seen {
    pub worked_off: bool,
    pub worked_on: bool,
    /// Of its refusal there is an event with this reason, which is one that
    /// was expected.
    pub reason: Option<String>,
    /// No event is expected.
    pub silent: bool,
    pub rightful_works: bool,
}

/// The verdict, and what is to be said about it. `limit` is what the table of
/// limits says of the attack.
pub fn judge(seen: &Seen, limit: Option<&str>) -> (Verdict, Option<String>) {
    let say = |text: &str| Some(text.to_owned());
    if !seen.worked_off {
        let why = "it does not work with enforcement off either";
        return (Verdict::BaselineFailed, say(why));
    }
    if seen.worked_on {
        return match limit {
            Some(why) => (Verdict::CannotBeHeld, say(why)),
            None => (Verdict::Open, None),
        };
    }
    if seen.reason.is_none() && !seen.silent {
        let why = "it failed, but no event has the reason that it should have";
        return (Verdict::Unclear, say(why));
    }
    if !seen.rightful_works {
        let why = "the rightful loader is refused, too";
        return (Verdict::Unclear, say(why));
    }
    let note = limit.map(|_| "the table of limits says that this can't be held");
    (Verdict::Held, note.map(str::to_owned))
}

/// 0 if all is held or known not to be, 1 if something is open, 2 if of
/// something that can't be told.
pub fn exit_status(findings: &[Finding]) -> u8 {
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    if any(Verdict::Open) {
        1
    } else if any(Verdict::BaselineFailed) || any(Verdict::Unclear) {
        2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Seen {
        Seen {
            worked_off: true,
            worked_on: false,
            reason: Some("no-signature".to_owned()),
            silent: false,
            rightful_works: true,
        }
    }

    #[test]
    fn held_takes_all_four_observations() {
        assert_eq!(judge(&refused(), None).0, Verdict::Held);
        for (seen, verdict) in [
            (
                Seen {
                    worked_off: false,
                    ..refused()
                },
                Verdict::BaselineFailed,
            ),
            (
                Seen {
                    worked_on: true,
                    ..refused()
                },
                Verdict::Open,
            ),
            (
                Seen {
                    reason: None,
                    ..refused()
                },
                Verdict::Unclear,
            ),
            (
                Seen {
                    rightful_works: false,
                    ..refused()
                },
                Verdict::Unclear,
            ),
        ] {
            assert_eq!(judge(&seen, None).0, verdict, "{seen:?}");
        }
        let silent = Seen {
            reason: None,
            silent: true,
            ..refused()
        };
        assert_eq!(judge(&silent, None).0, Verdict::Held);
    }

    #[test]
    fn a_limit_excuses_what_works_and_nothing_else() {
        let works = Seen {
            worked_on: true,
            ..refused()
        };
        assert_eq!(judge(&works, Some("x")).0, Verdict::CannotBeHeld);
        let (verdict, note) = judge(&refused(), Some("x"));
        assert_eq!(verdict, Verdict::Held);
        assert!(note.is_some(), "a limit that is none is told");
        let no_baseline = Seen {
            worked_off: false,
            ..works
        };
        assert_eq!(judge(&no_baseline, Some("x")).0, Verdict::BaselineFailed);
    }

    #[test]
    fn the_worst_is_the_exit_status() {
        let finding = |verdict| Finding {
            number: "0.x",
            tried: "x",
            off: None,
            on: None,
            reason: None,
            rightful: None,
            verdict,
            why: None,
        };
        for (verdicts, status) in [
            (
                &[Verdict::Held, Verdict::CannotBeHeld, Verdict::Untested][..],
                0,
            ),
            (&[Verdict::Held, Verdict::Unclear], 2),
            (&[Verdict::Held, Verdict::BaselineFailed], 2),
            (&[Verdict::BaselineFailed, Verdict::Open], 1),
        ] {
            let findings: Vec<_> = verdicts.iter().copied().map(finding).collect();
            assert_eq!(exit_status(&findings), status, "{verdicts:?}");
        }
    }
}
