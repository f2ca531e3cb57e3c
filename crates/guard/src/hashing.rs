//! The kernel side's hash function by itself, for tests: it must be SHA-256.

use std::mem::MaybeUninit;

use libbpf_rs::OpenObject;

use crate::abi::bt_hash;
use crate::enforce::limit;
use crate::skeleton::GuardSkel;
use crate::{Error, Result, alone};

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
        let what = "the kernel side's hash function";
        alone::load(storage, "bt_sha256", what).map(|guard| Self { guard })
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
        match alone::ask(&self.guard.progs.bt_sha256, &asked)? {
            (hashed, 0) => Ok(hashed.digest),
            (_, answer) => Err(Error::NotHashed { answer }),
        }
    }
}
