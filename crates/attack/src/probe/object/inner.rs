//! A program that loads a program, as light skeletons do.

use super::bpf::{self, Attributes};
use super::instruction::{Instruction, call_helper, exit, set, store, value_of_first};
use super::{map, program, signature};
use std::io;

/// Bytes of the map's one value.
const SIZE: u32 = 4096;
/// Where in it the licence is, after the attributes.
const LICENSE: usize = 256;
/// Where in it the instructions are.
const CODE: usize = 264;

const _: () = assert!(bpf::SIZE <= LICENSE && LICENSE + program::LICENSE.len() <= CODE);

/// Has a program load a kprobe program with that call, and returns what the
/// kernel answered to the inner load; a descriptor stays open.
pub fn load(call: Option<program::Call<'_>>) -> io::Result<()> {
    let value = value_for(&program::kprobe(call)?);
    if signature::written(&loader(), &value)? {
        return Ok(());
    }
    let map = match signature::user_of_maps()? {
        Some(hash) => map::exclusive_array(SIZE, &hash)?,
        None => map::array(SIZE)?,
    };
    let mut update = Attributes::new()
        .file(0, &map)
        .input(8, &[0; 4])
        .input(16, &value);
    bpf::call(bpf::MAP_UPDATE_ELEM, &mut update)?;
    if signature::user_of_maps()?.is_some() {
        bpf::call(bpf::MAP_FREEZE, &mut Attributes::new().file(0, &map))?;
    }
    let loader = program::load_with(&program::SYSCALL, None, &loader(), Some(&map))?;
    let mut run = Attributes::new().file(0, &loader);
    bpf::call(bpf::PROG_TEST_RUN, &mut run)?;
    match run.answer(4).cast_signed() {
        0.. => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// What the map holds for the inner call, but for addresses.
fn value_for(code: &[u8]) -> Vec<u8> {
    let attributes = Attributes::new()
        .word(0, program::KPROBE_TYPE)
        .word(4, (code.len() / size_of::<Instruction>()) as u32);
    let mut value = vec![0; SIZE as usize];
    for (at, bytes) in [
        (0, attributes.bytes()),
        (LICENSE, program::LICENSE),
        (CODE, code),
    ] {
        value[at..at + bytes.len()].copy_from_slice(bytes);
    }
    value
}

/// Puts the addresses into the attributes, which are the map's value, and calls
/// `bpf()` with them.
fn loader() -> Vec<Instruction> {
    let mut code = Vec::new();
    code.extend(value_of_first(6, 0));
    for (field, at) in [(8, CODE), (16, LICENSE)] {
        code.extend(value_of_first(7, at as i32));
        code.push(store(6, field, 7));
    }
    code.push(set(1, bpf::PROG_LOAD as i32));
    code.extend(value_of_first(2, 0));
    code.push(set(3, bpf::SIZE as i32));
    // bpf_sys_bpf
    code.extend([call_helper(166), exit()]);
    code
}
