//! The answer to "can this host enforce": rows, and what they add up to.

use serde::Serialize;

use crate::Unknown;

/// One thing that a host has or lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// A stable name for scripts. What follows a colon is a path or a pid.
    pub id: String,
    /// What it is about.
    pub group: Group,
    /// Whether it is there.
    pub state: State,
    /// Enforcement is impossible without it.
    pub required: bool,
    /// What it means for the promise; only for rows of [`Group::Posture`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posture: Option<Colour>,
    /// The evidence. May hold names that others chose: escape it for a terminal.
    pub detail: String,
    /// What is lost without it.
    pub cost: String,
}

/// Rows that belong together, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Group {
    /// What the kernel is and how it is set up.
    Kernel,
    /// Functions of the kernel that the policy calls.
    Kfuncs,
    /// Security hooks that the policy attaches to.
    Hooks,
    /// Where signed files can be.
    FileSystems,
    /// Who uses BPF now.
    BpfUsers,
    /// What the promise rests on.
    Posture,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is.
    Present,
    /// It isn't.
    Absent,
    /// Could not tell; the detail says why.
    Unknown,
}

/// How well the promise holds, as far as one fact decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// This door is shut.
    Green,
    /// A door that takes more than uid 0 to walk through, or that could not be
    /// looked at.
    Yellow,
    /// uid 0 can change the running kernel by this door.
    Red,
}

/// What all rows say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This host can enforce.
    Yes,
    /// Something that is required is absent.
    No,
    /// Nothing that is required is known to be absent, but not all is known.
    Unknown,
}

impl Answer {
    /// One absent row that is required is a no, whatever isn't known.
    pub fn of(rows: &[Row]) -> Self {
        let any = |state| rows.iter().any(|row| row.required && row.state == state);
        if any(State::Absent) {
            Self::No
        } else if any(State::Unknown) {
            Self::Unknown
        } else {
            Self::Yes
        }
    }
}

impl Colour {
    /// The worst of them: the promise is as good as its weakest side.
    pub fn of(rows: &[Row]) -> Option<Self> {
        rows.iter().filter_map(|row| row.posture).max()
    }
}

impl State {
    /// There or not there.
    pub(crate) fn when(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

impl Row {
    pub(crate) fn new(
        group: Group,
        id: impl Into<String>,
        (state, detail): (State, String),
        cost: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            group,
            state,
            required: false,
            posture: None,
            detail,
            cost: cost.into(),
        }
    }

    /// A row of [`Group::Posture`] about something that is no fact of the kernel:
    /// what is so and, if that gives something up, what. `Err` is "could not tell".
    pub fn posture(id: &str, fact: Result<String, Unknown>, gives_up: Option<&str>) -> Self {
        let found = known(&fact, |text| {
            (State::when(gives_up.is_none()), text.to_owned())
        });
        let cost = gives_up.unwrap_or("code of files that nobody signed, in trusted processes");
        Self::new(Group::Posture, format!("posture.{id}"), found, cost).or_else(Colour::Yellow)
    }

    pub(crate) fn required(self) -> Self {
        Self {
            required: true,
            ..self
        }
    }

    /// `absent` is how bad it is that the fact is absent.
    pub(crate) fn or_else(self, absent: Colour) -> Self {
        let colour = match self.state {
            State::Present => Colour::Green,
            State::Absent => absent,
            // What can't be looked at is not green, and not proven red.
            State::Unknown => Colour::Yellow,
        };
        Self {
            posture: Some(colour),
            ..self
        }
    }
}

/// The row's state and detail where a fact is known, or why it isn't.
pub(crate) fn known<T>(
    fact: &Result<T, Unknown>,
    judge: impl FnOnce(&T) -> (State, String),
) -> (State, String) {
    match fact {
        Ok(fact) => judge(fact),
        Err(unknown) => (State::Unknown, unknown.to_string()),
    }
}
