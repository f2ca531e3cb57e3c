//! One program of the kernel side by itself, for tests that ask it questions:
//! nothing is attached.

use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{OpenObject, ProgramInput, ProgramMut};

use crate::Result;
use crate::abi::{Shared, bytes_of, values_of};
use crate::enforce::kernel;
use crate::skeleton::{GuardSkel, GuardSkelBuilder};

/// Loads the program of this name, and no other, into `storage`; `what` it is says
/// the error.
///
/// # Errors
/// [`Error::Kernel`](crate::Error::Kernel).
pub(crate) fn load<'a>(
    storage: &'a mut MaybeUninit<OpenObject>,
    name: &str,
    what: &str,
) -> Result<GuardSkel<'a>> {
    let mut open = GuardSkelBuilder::default()
        .open(storage)
        .map_err(kernel("open", "the kernel side's object"))?;
    for mut program in open.open_object_mut().progs_mut() {
        program.set_autoload(program.name() == name);
    }
    open.load().map_err(kernel("load", what))
}

/// Has the program answer in what it is asked; with that what it returned.
///
/// # Errors
/// [`Error::Kernel`](crate::Error::Kernel).
pub(crate) fn ask<T: Shared>(program: &ProgramMut<'_>, asked: &T) -> Result<(T, u32)> {
    let mut context = bytes_of(asked).to_vec();
    let input = ProgramInput {
        context_in: Some(&mut context),
        ..ProgramInput::default()
    };
    let name = program.name().to_string_lossy();
    let output = program.test_run(input).map_err(kernel("run", name))?;
    let returned = output.return_value;
    let [answer] = values_of::<T>(&context)[..] else {
        unreachable!("as many bytes as before");
    };
    Ok((answer, returned))
}
