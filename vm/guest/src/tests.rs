//! The tests, one file per group.

pub mod machine;
pub mod refused;
