//! The kernel side's hash function by itself, for tests: it must be SHA-256.

use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{OpenObject, ProgramInput};

use crate::abi::{bt_hash, bytes_of, values_of};
use crate::enforce::{kernel, limit};
use crate::skeleton::{GuardSkel, GuardSkelBuilder};
use crate::{Error, Result};

/// The kernel side's hash function, loaded by itself: nothing is attached.
pub struct Hasher<'a> {
    guard: GuardSkel<'a>,
}

impl<'a> Hasher<'a> {
    /// Loads it into `storage`.
    ///
    /// # Errors
    /// [`Error::Kernel`].
    pub fn load(storage: &'a mut MaybeUninit<OpenObject>) -> Result<Self> {
        let mut open = GuardSkelBuilder::default()
            .open(storage)
            .map_err(kernel("open", "the kernel side's object"))?;
        for mut program in open.open_object_mut().progs_mut() {
            program.set_autoload(program.name() == "bt_sha256");
        }
        let guard = open
            .load()
            .map_err(kernel("load", "the kernel side's hash function"))?;
        Ok(Self { guard })
    }

    /// Hashes `message`, `times` one behind the other.
    ///
    /// # Errors
    /// [`Error::TooMany`] for more than 640 bytes, [`Error::Kernel`].
    pub fn hash(&self, message: &[u8], times: u32) -> Result<[u8; 32]> {
        let mut asked = bt_hash {
            size: 0,
            times,
            digest: [0; 32],
            message: [0; 640],
        };
        limit("bytes of a message", message.len(), asked.message.len())?;
        asked.size = u32::try_from(message.len()).expect("just limited");
        asked.message[..message.len()].copy_from_slice(message);
        let mut context = bytes_of(&asked).to_vec();
        let input = ProgramInput {
            context_in: Some(&mut context),
            ..ProgramInput::default()
        };
        let output = self
            .guard
            .progs
            .bt_sha256
            .test_run(input)
            .map_err(kernel("run", "bt_sha256"))?;
        if output.return_value != 0 {
            return Err(Error::NotHashed {
                answer: output.return_value,
            });
        }
        let [answer] = values_of::<bt_hash>(&context)[..] else {
            unreachable!("as many bytes as before");
        };
        Ok(answer.digest)
    }
}
