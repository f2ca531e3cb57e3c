//! What bpftrust asks of the host it runs on: keyrings, and the facts about the
//! kernel that decide whether enforcement is possible and what its promise
//! rests on.
//!
//! [`Facts::probe`] reads, [`evaluate`] judges: the first changes nothing and
//! the second touches nothing, so that any host can be played in a test.

mod error;
mod evaluate;
mod facts;
mod file_system;
pub mod keyring;
mod mounts;
mod needs;
mod posture;
pub mod processes;
mod root;
mod rows;
mod types;
pub mod users;

pub use error::{Error, Result};
pub use evaluate::evaluate;
pub use facts::Facts;
pub use file_system::{AskVerity, FileSystem, USUAL_PATHS};
pub use mounts::{Mount, Mounts};
pub use needs::{Kind, NEEDS, Need};
pub use posture::{Lockdown, Posture};
pub use root::{Root, Unknown};
pub use rows::{Answer, Colour, Group, Row, State};
pub use types::{KernelTypes, ProgramSignatures};
