//! A light skeleton whose caller wants everything otherwise than it was signed.

use super::bpf::{self, Attributes};
use super::{held, instruction, map, program, signature};
use std::fs;
use std::io;
use std::path::Path;

/// Bytes of `struct bpf_loader_ctx` (`skel_internal.h`), and what it has of each map
/// and program.
const HEAD: usize = 24;
const OF_A_MAP: usize = 16;
const OF_A_PROGRAM: usize = 4;

/// What the caller has instead of each map's content, and of its number of entries.
const CONTENT: [u8; 4096] = [0xff; 4096];
const ENTRIES: u32 = 3;

/// Bytes of `struct bpf_map_info`; where in it the hash's address and size are.
const INFO: usize = 104;
const HASH_AT: usize = 88;

/// `DIR:MAPS:PROGRAMS`: loads the loader in `DIR/loader` with the map that
/// `DIR/metadata` is, by the signature that is offered, and runs it; as many maps and
/// programs are in it. Returns the first word of the map before the last, and its
/// number of entries.
pub fn run(word: &str) -> io::Result<(u32, u32)> {
    let bad = || io::Error::other("not DIR:MAPS:PROGRAMS");
    let mut parts = word.split(':');
    let mut next = || parts.next().ok_or_else(bad);
    let (dir, maps, programs) = (next()?, next()?, next()?);
    let count = |word: &str| word.parse::<usize>().map_err(io::Error::other);
    let (maps, programs) = (count(maps)?, count(programs)?);
    let code = instruction::parse(&fs::read(Path::new(dir).join("loader"))?);
    let metadata = fs::read(Path::new(dir).join("metadata"))?;
    let user = signature::user_of_maps()?.ok_or_else(|| io::Error::other("no bind-maps"))?;
    let data = map::exclusive_array(metadata.len() as u32, &user)?;
    let mut update = Attributes::new()
        .file(0, &data)
        .input(8, &[0; 4])
        .input(16, &metadata);
    bpf::call(bpf::MAP_UPDATE_ELEM, &mut update)?;
    bpf::call(bpf::MAP_FREEZE, &mut Attributes::new().file(0, &data))?;
    hash(&data)?;
    let loader = program::load_with(&program::SYSCALL, None, &code, Some(&data))?;

    let mut context = vec![0; HEAD + OF_A_MAP * maps + OF_A_PROGRAM * programs];
    let size = context.len() as u32;
    context[..4].copy_from_slice(&size.to_ne_bytes());
    for map in context[HEAD..].chunks_exact_mut(OF_A_MAP).take(maps) {
        map[4..8].copy_from_slice(&ENTRIES.to_ne_bytes());
        map[8..].copy_from_slice(&(CONTENT.as_ptr().addr() as u64).to_ne_bytes());
    }
    let mut run = Attributes::new()
        .file(0, &loader)
        .word(40, size)
        .output(48, &mut context);
    bpf::call(bpf::PROG_TEST_RUN, &mut run)?;
    let answer = run.answer(4).cast_signed();
    if answer < 0 {
        return Err(io::Error::from_raw_os_error(-answer));
    }
    let at = HEAD + OF_A_MAP * maps.checked_sub(2).ok_or_else(bad)?;
    let [a, b, c, d] = [0, 1, 2, 3].map(|byte| context[at + byte]);
    let map = super::sys::inherited(i32::from_ne_bytes([a, b, c, d]))?;
    Ok((held::first_word(&map)?, held::entries(&map)?))
}

/// Has the kernel hash the map, for loaders that compare that.
fn hash(map: &std::os::fd::OwnedFd) -> io::Result<()> {
    let mut hash = [0; 32];
    let mut info = [0; INFO];
    info[HASH_AT..HASH_AT + 8].copy_from_slice(&(hash.as_mut_ptr().addr() as u64).to_ne_bytes());
    info[HASH_AT + 8..HASH_AT + 12].copy_from_slice(&32_u32.to_ne_bytes());
    let mut attributes = Attributes::new()
        .file(0, map)
        .word(4, INFO as u32)
        .output(8, &mut info);
    bpf::call(bpf::OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}
