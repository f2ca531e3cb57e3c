//! What an attacker's process can do, one system call at a time.
//!
//! [`probe`] is the library of it: `bpftrust-attack` runs its corpus with it, and
//! the guest's tests use it as `bpftrust-probe`.

pub mod probe;
