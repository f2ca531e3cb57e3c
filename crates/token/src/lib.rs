#![doc = include_str!("../README.md")]

mod delegation;
mod enter;
mod error;
#[cfg(feature = "libbpf-rs")]
pub mod libbpf;
mod privileges;
mod sets;
mod sys;
mod token;
mod words;

pub use delegation::Delegation;
pub use enter::{BPFFS, TOKEN_PATH_VARIABLE, User, enter};
#[cfg(feature = "libbpf-rs")]
pub use error::Loading;
pub use error::{Error, Step};
pub use privileges::drop_privileges;
pub use token::{Lack, Token};
pub use words::{AttachTypes, Commands, MapTypes, ProgramTypes};
