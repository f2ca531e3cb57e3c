//! The tests, one file per group.

pub mod machine;
