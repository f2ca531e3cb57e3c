//! What an attack is.

use crate::lab::{Lab, Said};
use anyhow::Result;

/// One way round bpftrust.
///
/// In the texts of actions `@` is the lab's directory, `%pid`, `%id` and
/// `%inherit` are what the victim says of itself; [`Lab::fill`] knows the others.
#[derive(Debug)]
pub struct Attack {
    /// The number of its kind in the project's list, and a name: `3.memfd`.
    pub number: &'static str,
    /// What is tried.
    pub tried: &'static str,
    /// Another process that it is about, of this loader, which does this and
    /// then waits.
    pub victim: Option<(&'static str, &'static str)>,
    /// Makes ready what this attack alone needs.
    pub before: Option<fn(&Lab) -> Result<()>>,
    pub how: How,
    /// How a refusal shows.
    pub shows: Shows,
    /// What the signed loader must still be able to do.
    pub rightful: &'static str,
    /// The guard is made anew afterwards: this would take it down.
    pub breaks: bool,
}

/// How it is done. Each way ends in something that is either done or refused.
#[derive(Debug)]
pub enum How {
    /// A program of the lab runs these actions; the last one counts.
    Run(&'static str, &'static str),
    /// What a program says before enforcement starts and does when told to.
    Early(&'static str, &'static str),
    /// By code of its own.
    Own(fn(&mut Lab) -> Result<Said>),
}

/// How a refusal shows.
#[derive(Debug, Clone, Copy)]
pub enum Shows {
    /// By an event with this action (`*`: any) and one of these reasons.
    Event(&'static str, &'static [&'static str]),
    /// By nothing but that it had no effect.
    Nothing,
}

/// What any process is asked to do that is only to be trusted or refused.
pub const CALL: &str = "bpf 11";

impl Attack {
    const fn new(number: &'static str, tried: &'static str, how: How, shows: Shows) -> Self {
        Self {
            number,
            tried,
            victim: None,
            before: None,
            how,
            shows,
            rightful: CALL,
            breaks: false,
        }
    }

    /// `program` runs `actions`; the last is refused in `bpf()` for one of `reasons`.
    pub const fn run(
        number: &'static str,
        tried: &'static str,
        program: &'static str,
        actions: &'static str,
        reasons: &'static [&'static str],
    ) -> Self {
        let shows = Shows::Event("bpf", reasons);
        Self::new(number, tried, How::Run(program, actions), shows)
    }

    /// The same of one that runs since before enforcement.
    pub const fn early(
        number: &'static str,
        tried: &'static str,
        first: &'static str,
        then: &'static str,
        reasons: &'static [&'static str],
    ) -> Self {
        let shows = Shows::Event("bpf", reasons);
        Self::new(number, tried, How::Early(first, then), shows)
    }

    /// By code of its own, which must have no effect.
    pub const fn own(
        number: &'static str,
        tried: &'static str,
        own: fn(&mut Lab) -> Result<Said>,
    ) -> Self {
        Self::new(number, tried, How::Own(own), Shows::Nothing)
    }

    /// Shows by an event with another action than `bpf`.
    pub const fn shows(self, action: &'static str, reasons: &'static [&'static str]) -> Self {
        Self {
            shows: Shows::Event(action, reasons),
            ..self
        }
    }

    pub const fn victim(self, program: &'static str, actions: &'static str) -> Self {
        Self {
            victim: Some((program, actions)),
            ..self
        }
    }

    pub const fn before(self, before: fn(&Lab) -> Result<()>) -> Self {
        Self {
            before: Some(before),
            ..self
        }
    }

    pub const fn rightful(self, rightful: &'static str) -> Self {
        Self { rightful, ..self }
    }

    pub const fn breaks(self) -> Self {
        Self {
            breaks: true,
            ..self
        }
    }
}
