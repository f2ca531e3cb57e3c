//! The tests, one file per group.

pub mod launch;
pub mod machine;
pub mod process;
pub mod reach;
pub mod refused;
