//! What can go wrong.

use std::io;

use crate::Generation;

/// Why an object can't be signed, or a package not be read or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No ELF, or not of BPF.
    #[error("it is no BPF object: {0}")]
    NoObject(String),
    /// The kernel has the licence of each program from it.
    #[error("section license is missing or empty: every BPF program says its licence")]
    NoLicense,
    /// A map whose content or making is not the generator's.
    #[error("map {name}: {why}")]
    Map {
        /// Its name in the object.
        name: String,
        /// What about it.
        why: &'static str,
    },
    /// libbpf's generator does not take the object.
    #[error("libbpf's generator does not take it: {said}")]
    Generate {
        /// What libbpf said, and names.
        said: String,
    },
    /// Reads of the context that this version does not know how to end.
    #[error("the generated loader still reads {count} values of its caller")]
    Overrides {
        /// How many.
        count: usize,
    },
    /// A section of a package that is not there.
    #[error("section {0} is missing: no package of 'program sign', or truncated")]
    Missing(String),
    /// A section whose content makes no sense.
    #[error("section {section}: {why}")]
    Malformed {
        /// Its name.
        section: String,
        /// What about it.
        why: &'static str,
    },
    /// A program or map whose name is no file name.
    #[error("{0:?} is no name of a program or map")]
    Name(String),
    /// The package is not for this kernel.
    #[error("it has no form for this kernel, {0}")]
    NoForm(Generation),
    /// Its loader would make maps and load programs without the token.
    #[error("its loader names no token in what it loads")]
    NoToken,
    /// A call of `bpf()` failed.
    #[error("{doing}")]
    Call {
        /// What was being done.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pin could not be made.
    #[error("pinning {path}")]
    Pin {
        /// Where.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
}
