//! BPF programs as publishers sign them and kernels verify them.
//!
//! Kernels verify a signature over instructions as they are when they are loaded, and
//! those of an object file are not: maps, BTF and CO-RE change them. So what is signed
//! is a *loader*: a program of type `syscall` that libbpf's generator makes of an
//! object (`gen_loader.c`, as for `bpftool gen skeleton -L`), and that makes the maps
//! and loads the programs out of its *metadata*. [`generate()`] makes both,
//! [`Package`] is the file that they and their signatures are kept in, [`load()`] has
//! the kernel verify and run the loader.

mod error;
mod generate;
mod instructions;
mod load;
mod package;
mod sys;
mod token;

pub use error::Error;
pub use generate::generate;
pub use instructions::takes_overrides;
pub use load::{Loaded, load};
pub use package::{Content, Form, Generation, Package};
pub use token::takes_token;

/// What functions here return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
