//! The tests, one file per group.

pub mod bare;
pub mod exec;
pub mod keys;
pub mod launch;
pub mod machine;
pub mod many;
pub mod place;
pub mod process;
pub mod reach;
pub mod refused;
pub mod signature;
pub mod table;
