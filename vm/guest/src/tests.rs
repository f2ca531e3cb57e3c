//! The tests, one file per group.

pub mod before;
pub mod cache;
pub mod check;
pub mod enforce;
pub mod events;
pub mod machine;
pub mod sign;
