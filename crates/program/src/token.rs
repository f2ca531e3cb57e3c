//! Has a loader name a token in what it makes and loads, if who runs it has one.
//!
//! libbpf's generator knows no tokens: without one `kernel/bpf/syscall.c` asks for the
//! capability in the initial user namespace (`bpf_token_capable`), also of calls that a
//! loader makes by `bpf_sys_bpf`. Their arguments are in the metadata, without room for
//! a token. So before each such call that takes one, if bits 1 and up of the context's
//! flags (`skel_internal.h`, `struct bpf_loader_ctx`) are a descriptor, the arguments
//! are copied to a place at the end of the metadata and get the token there. Who gives
//! 0, as any light skeleton does, gets what the generator made.
//!
//! Which token that is no signature says, nor need it: it gives no right that whoever
//! runs the loader has not.

use bpftrust_signature::sha256;

use crate::{Error, Result};

/// Bytes of an instruction.
const SIZE: usize = 8;
/// Where the context has its flags. Bit 0 is `BPF_SKEL_KERNEL`.
pub(crate) const FLAGS: usize = 4;
/// `BPF_F_TOKEN_FD`
const TOKEN_FD: i32 = 1 << 16;
/// Below what the generator has on its stack (`struct loader_stack`).
const KEPT: i16 = -256;

/// Opcodes, named as in `linux/bpf.h`.
const LOAD_WIDE: u8 = 0x18;
const LOAD_32: u8 = 0x61;
const LOAD_64: u8 = 0x79;
const STORE_32: u8 = 0x63;
const STORE_64: u8 = 0x7b;
const SET: u8 = 0xb7;
const SHIFT_RIGHT: u8 = 0x77;
const OR: u8 = 0x47;
const IF_EQUAL: u8 = 0x15;
const CALL: u8 = 0x85;

/// `BPF_PSEUDO_MAP_IDX` and `BPF_PSEUDO_MAP_IDX_VALUE`, as a source register.
const MAP: u8 = 5;
const MAP_VALUE: u8 = 6;
const CONTEXT: u8 = 6;
const STACK: u8 = 10;

/// `BPF_FUNC_probe_read_kernel`, `BPF_FUNC_sys_bpf`
const PROBE_READ_KERNEL: i32 = 113;
const SYS_BPF: i32 = 166;

/// A command that takes a token, and where `union bpf_attr` has what about it.
struct Command {
    number: i32,
    flags: i16,
    token: i16,
    /// Bytes up to the end of the token.
    size: i32,
}

/// `BPF_MAP_CREATE`, `BPF_PROG_LOAD`, `BPF_BTF_LOAD`
const COMMANDS: [Command; 3] = [
    Command {
        number: 0,
        flags: 16,
        token: 76,
        size: 80,
    },
    Command {
        number: 5,
        flags: 44,
        token: 144,
        size: 148,
    },
    Command {
        number: 18,
        flags: 32,
        token: 36,
        size: 40,
    },
];

#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    value: i32,
}

impl Instruction {
    fn new(code: u8, to: u8, from: u8, offset: i16, value: i32) -> Self {
        Self {
            code,
            to,
            from,
            offset,
            value,
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let [code, registers, o0, o1, v0, v1, v2, v3] = bytes.try_into().unwrap_or_default();
        Self {
            code,
            to: registers & 0x0f,
            from: registers >> 4,
            offset: i16::from_le_bytes([o0, o1]),
            value: i32::from_le_bytes([v0, v1, v2, v3]),
        }
    }

    fn bytes(self) -> [u8; SIZE] {
        let [o0, o1] = self.offset.to_le_bytes();
        let [v0, v1, v2, v3] = self.value.to_le_bytes();
        [self.code, self.from << 4 | self.to, o0, o1, v0, v1, v2, v3]
    }

    fn is(self, code: u8, to: u8, from: u8) -> bool {
        (self.code, self.to, self.from) == (code, to, from)
    }

    /// Has it an offset to another instruction? All jumps but calls, the end and
    /// those with a long offset, which the generator makes none of.
    fn jumps(self) -> bool {
        matches!(self.code & 0x07, 0x05 | 0x06) && !matches!(self.code & 0xf0, 0x80 | 0x90)
    }
}

/// Changes loader and metadata so that a token is named.
///
/// # Errors
/// [`Error::Generate`] if the instructions are not such as libbpf 1.7 makes, or get too
/// many for its jumps.
pub(crate) fn name_token(loader: &mut Vec<u8>, metadata: &mut Vec<u8>) -> Result<()> {
    let old: Vec<_> = loader.chunks_exact(SIZE).map(Instruction::parse).collect();
    let places = add_places(metadata)?;
    let mut new = Vec::with_capacity(old.len());
    // Where each has gone, and what was put before it.
    let mut moved = Vec::with_capacity(old.len() + 1);
    let mut jumps = Vec::new();
    let mut second_half = false;
    for (at, &instruction) in old.iter().enumerate() {
        moved.push(new.len());
        if !second_half && instruction.code == CALL && instruction.value == SYS_BPF {
            new.extend(before_call(&old[..at], &places)?);
        }
        if !second_half && instruction.jumps() {
            jumps.push((at, new.len()));
        }
        second_half = !second_half && instruction.code == LOAD_WIDE;
        new.push(instruction);
    }
    moved.push(new.len());
    for (at, now) in jumps {
        let target = (at + 1).checked_add_signed(old[at].offset.into());
        let target = target.and_then(|target| moved.get(target));
        let target = target.ok_or_else(|| unknown("a jump that leads out of it"))?;
        new[now].offset = i16::try_from(*target as i64 - now as i64 - 1)
            .map_err(|_| unknown("more instructions than its jumps can pass over"))?;
    }
    compare_with(&mut new, &sha256(metadata));
    *loader = new.into_iter().flat_map(Instruction::bytes).collect();
    Ok(())
}

/// Does this loader name the token that its context has?
pub fn takes_token(loader: &[u8]) -> bool {
    let code: Vec<_> = loader.chunks_exact(SIZE).map(Instruction::parse).collect();
    code.windows(2).any(|two| {
        two[0].is(LOAD_32, 4, CONTEXT)
            && two[0].offset == FLAGS as i16
            && two[1].is(SHIFT_RIGHT, 4, 0)
    })
}

/// What a loader that [takes a token](takes_token) finds in its flags.
pub(crate) fn flags(token: Option<i32>) -> u32 {
    token.map_or(0, |token| token.cast_unsigned() << 1)
}

fn unknown(what: &str) -> Error {
    Error::Generate {
        said: format!("the loader has {what}"),
    }
}

/// Makes room for the arguments of each command; the offset of each.
fn add_places(metadata: &mut Vec<u8>) -> Result<[i32; COMMANDS.len()]> {
    let mut places = [0; COMMANDS.len()];
    for (place, command) in places.iter_mut().zip(&COMMANDS) {
        metadata.resize(metadata.len().next_multiple_of(8), 0);
        *place = i32::try_from(metadata.len()).map_err(|_| unknown("too much metadata"))?;
        metadata.resize(metadata.len() + command.size as usize, 0);
    }
    metadata.resize(metadata.len().next_multiple_of(8), 0);
    Ok(places)
}

/// What comes between `code`, which ends in a call's arguments, and that call.
fn before_call(code: &[Instruction], places: &[i32]) -> Result<Vec<Instruction>> {
    // As `emit_sys_bpf` of `gen_loader.c` sets them.
    let [.., number, attributes, offset, size] = code else {
        return Err(unknown("a call without arguments"));
    };
    if !number.is(SET, 1, 0) || !attributes.is(LOAD_WIDE, 2, MAP_VALUE) || !size.is(SET, 3, 0) {
        return Err(unknown("a call with arguments that are not known here"));
    }
    let mut takes = COMMANDS.iter().zip(places);
    let Some((command, &place)) = takes.find(|(command, _)| command.number == number.value) else {
        return Ok(Vec::new());
    };
    if size.value > command.token.into() {
        return Err(unknown("a call that has room for a token"));
    }
    let address = |to, offset| {
        [
            Instruction::new(LOAD_WIDE, to, MAP_VALUE, 0, 0),
            Instruction::new(0, 0, 0, 0, offset),
        ]
    };
    let name = [
        vec![Instruction::new(STORE_64, STACK, 4, KEPT, 0)],
        address(1, place).to_vec(),
        vec![Instruction::new(SET, 2, 0, 0, size.value)],
        address(3, offset.value).to_vec(),
        vec![Instruction::new(CALL, 0, 0, 0, PROBE_READ_KERNEL)],
        address(2, place).to_vec(),
        vec![
            Instruction::new(LOAD_64, 4, STACK, KEPT, 0),
            Instruction::new(STORE_32, 2, 4, command.token, 0),
            Instruction::new(LOAD_32, 4, 2, command.flags, 0),
            Instruction::new(OR, 4, 0, 0, TOKEN_FD),
            Instruction::new(STORE_32, 2, 4, command.flags, 0),
            Instruction::new(SET, 1, 0, 0, command.number),
            Instruction::new(SET, 3, 0, 0, command.size),
        ],
    ]
    .concat();
    let mut sequence = vec![
        Instruction::new(LOAD_32, 4, CONTEXT, FLAGS as i16, 0),
        Instruction::new(SHIFT_RIGHT, 4, 0, 0, 1),
        Instruction::new(IF_EQUAL, 4, 0, name.len() as i16, 0),
    ];
    sequence.extend(name);
    Ok(sequence)
}

/// Has the loader compare its metadata with this hash, if it compares
/// (`gen_loader.c`, `emit_signature_match`).
fn compare_with(code: &mut [Instruction], hash: &[u8; 32]) {
    for at in 3..code.len().saturating_sub(1) {
        let (before, rest) = code.split_at_mut(at);
        let [.., map, _, part] = before else { continue };
        let is_comparison =
            map.is(LOAD_WIDE, 1, MAP) && part.is(LOAD_64, 2, 1) && rest[0].is(LOAD_WIDE, 3, 0);
        let wanted = usize::try_from(part.offset)
            .ok()
            .and_then(|at| hash.get(at..at + 8));
        let (true, Some(wanted)) = (is_comparison, wanted) else {
            continue;
        };
        for (half, bytes) in rest.iter_mut().zip(wanted.chunks_exact(4)) {
            half.value = i32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
    }
}
