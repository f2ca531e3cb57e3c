//! One file per verb, each with `run(&Args) -> anyhow::Result<Outcome>`.

pub mod attack;
pub mod boot;
pub mod check;
pub mod digest;
pub mod enforce;
pub mod events;
pub mod explain;
pub mod generate;
pub mod inspect;
pub mod install;
pub mod keygen;
pub mod metrics;
pub mod objects;
pub mod permit;
pub mod policy;
pub mod program;
pub mod propose;
pub mod release;
pub mod replay;
pub mod report;
pub mod run;
pub mod script;
pub mod sign;
pub mod status;
pub mod verify;
