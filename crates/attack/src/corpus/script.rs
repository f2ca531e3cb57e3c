//! 23: what a loader is told that runs signed scripts alone.

use crate::attack::{Attack, CALL};

const UNSIGNED_SCRIPT: &[&str] = &["unsigned-script"];

pub const ATTACKS: &[Attack] = &[
    Attack::run(
        "23.arguments",
        "a loader for signed scripts is told what to do by its arguments",
        "scripted",
        CALL,
        UNSIGNED_SCRIPT,
    ),
    Attack::run(
        "23.input",
        "a trusted loader, which is no launcher, gives it a script as one does",
        "loader",
        "script @/script input @/script exec @/scripted act bpf 11",
        UNSIGNED_SCRIPT,
    ),
    Attack::run(
        "23.interpreter",
        "the same by a program that nobody signed",
        "unsigned",
        "script @/script input @/script exec @/scripted act bpf 11",
        UNSIGNED_SCRIPT,
    ),
];
