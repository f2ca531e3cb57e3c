//! The tests, one file per group.

pub mod ability;
pub mod bare;
pub mod before;
pub mod cache;
pub mod change;
pub mod check;
pub mod drift;
pub mod enforce;
pub mod events;
pub mod exec;
pub mod forged;
pub mod grant;
pub mod handover;
pub mod keys;
pub mod launch;
pub mod machine;
pub mod many;
pub mod place;
pub mod policy;
pub mod probe;
pub mod process;
pub mod reach;
pub mod sign;
pub mod signature;
pub mod table;
