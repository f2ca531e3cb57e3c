//! 24: programs that nobody signed, given to a loader that may load signed ones alone.
//!
//! Where a kernel verifies signatures of programs there are more ways: keyrings of
//! one's own, the form of another kernel. The guest tests `signedprograms` and
//! `skeleton` try those.

use crate::attack::Attack;

const UNSIGNED_PROGRAM: &[&str] = &["unsigned-program"];

pub const ATTACKS: &[Attack] = &[
    Attack::run(
        "24.unsigned",
        "a program without a signature",
        "verifying",
        "load socket_filter",
        UNSIGNED_PROGRAM,
    )
    .rightful("map hash"),
    Attack::run(
        "24.skeleton",
        "a program that loads another, as light skeletons do",
        "verifying",
        "load-inner",
        UNSIGNED_PROGRAM,
    )
    .rightful("map array"),
    Attack::run(
        "24.thread",
        "the same by a thread",
        "verifying",
        "thread [ load xdp ]",
        UNSIGNED_PROGRAM,
    )
    .rightful("btf"),
];
