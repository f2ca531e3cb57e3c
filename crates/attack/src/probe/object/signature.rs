//! Signatures of programs: what is signed, and what is offered with what is loaded.

use super::bpf::Attributes;
use super::instruction::{Instruction, bytes};
use std::fs;
use std::io;
use std::sync::Mutex;

/// What is offered from now on: the keyring that is named, and the signature.
static OFFERED: Mutex<Option<(i32, Vec<u8>)>> = Mutex::new(None);
/// Which program maps are for, and whether they are signed with it.
static BOUND: Mutex<Option<([u8; 32], bool)>> = Mutex::new(None);
/// Where the next program's instructions go, instead of being loaded.
static WANTED: Mutex<Option<String>> = Mutex::new(None);

/// Offers what is in a file with each program that is loaded, to be verified by that
/// keyring. `-` for no signature, with the keyring named all the same.
pub fn offer(keyring: i32, file: &str) -> io::Result<()> {
    let signature = match file {
        "-" => Vec::new(),
        _ => fs::read(file)?,
    };
    *lock(&OFFERED)? = Some((keyring, signature));
    Ok(())
}

/// Offers none any more.
pub fn withdraw() -> io::Result<()> {
    *lock(&OFFERED)? = None;
    Ok(())
}

/// Has the next program written to a file.
pub fn want(file: &str) -> io::Result<()> {
    *lock(&WANTED)? = Some(file.to_owned());
    Ok(())
}

/// Writes the instructions of a program if they are wanted, and what its map holds
/// beside them; whether they were.
pub fn written(code: &[Instruction], map: &[u8]) -> io::Result<bool> {
    let Some(file) = lock(&WANTED)?.take() else {
        return Ok(false);
    };
    if !map.is_empty() {
        fs::write(format!("{file}.map"), map)?;
    }
    fs::write(file, bytes(code)).map(|()| true)
}

/// The maps of programs from now on are for the one alone whose instructions have
/// this SHA-256, and frozen; `signed`: its signature covers them, as 7.3 has it.
pub fn bind_maps(hash: &str, signed: bool) -> io::Result<()> {
    let bad = || io::Error::other("no SHA-256");
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        let digits = hash.get(at..at + 2).ok_or_else(bad)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
    }
    *lock(&BOUND)? = Some((bytes, signed));
    Ok(())
}

/// The program that maps are for, if they are for one.
pub fn user_of_maps() -> io::Result<Option<[u8; 32]>> {
    Ok(lock(&BOUND)?.map(|(program, _)| program))
}

/// Are maps signed with their program?
pub fn covers_maps() -> io::Result<bool> {
    Ok(lock(&BOUND)?.is_some_and(|(_, signed)| signed))
}

/// The signature that is offered, to be named in the attributes of a load.
pub struct Offer(Option<(i32, Vec<u8>)>);

impl Offer {
    pub fn now() -> io::Result<Self> {
        Ok(Self(lock(&OFFERED)?.clone()))
    }

    pub fn with<'a>(&'a self, attributes: Attributes<'a>) -> Attributes<'a> {
        let Some((keyring, signature)) = &self.0 else {
            return attributes;
        };
        let attributes = attributes.word(164, keyring.cast_unsigned());
        match signature.len() as u32 {
            0 => attributes,
            size => attributes.input(152, signature).word(160, size),
        }
    }
}

fn lock<T>(place: &Mutex<T>) -> io::Result<std::sync::MutexGuard<'_, T>> {
    place
        .lock()
        .map_err(|_| io::Error::other("the lock is lost"))
}
