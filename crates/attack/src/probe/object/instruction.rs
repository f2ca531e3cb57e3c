//! BPF instructions, as many as the probe's programs need.

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
pub struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The frame pointer.
pub const FRAME: u8 = 10;

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}

/// `to = value`
pub const fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, value)
}

/// `to = from`
pub const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

/// `to += value`
pub const fn add(to: u8, value: i32) -> Instruction {
    instruction(0x07, to, 0, 0, value)
}

/// `to = *(u64 *)(from + offset)`
pub const fn load(to: u8, from: u8, offset: i16) -> Instruction {
    instruction(0x79, to, from, offset, 0)
}

/// `*(u64 *)(to + offset) = from`
pub const fn store(to: u8, offset: i16, from: u8) -> Instruction {
    instruction(0x7b, to, from, offset, 0)
}

/// `*(u64 *)(to + offset) = 0`
pub const fn clear(to: u8, offset: i16) -> Instruction {
    instruction(0x7a, to, 0, offset, 0)
}

/// `to = address of the first value of the program's first map + offset`
pub fn value_of_first(to: u8, offset: i32) -> [Instruction; 2] {
    const MAP_IDX_VALUE: u8 = 6;
    [
        instruction(0x18, to, MAP_IDX_VALUE, 0, 0),
        instruction(0, 0, 0, 0, offset),
    ]
}

/// Calls a helper (`enum bpf_func_id`).
pub const fn call_helper(number: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, number)
}

/// Calls the function of this program that begins `distance` after the next
/// instruction.
pub const fn call_own(distance: i32) -> Instruction {
    instruction(0x85, 0, 1, 0, distance)
}

/// Calls the kernel's function of that number in its BTF.
pub const fn call_kernel(number: u32) -> Instruction {
    instruction(0x85, 0, 2, 0, number.cast_signed())
}

/// Returns register 0.
pub const fn exit() -> Instruction {
    instruction(0x95, 0, 0, 0, 0)
}

/// Instructions as the kernel reads them.
pub fn parse(bytes: &[u8]) -> Vec<Instruction> {
    bytes
        .chunks_exact(size_of::<Instruction>())
        .map(|each| {
            let offset = i16::from_ne_bytes([each[2], each[3]]);
            let immediate = i32::from_ne_bytes([each[4], each[5], each[6], each[7]]);
            instruction(each[0], each[1] & 15, each[1] >> 4, offset, immediate)
        })
        .collect()
}

/// As the kernel reads them.
pub fn bytes(instructions: &[Instruction]) -> Vec<u8> {
    instructions
        .iter()
        .flat_map(|each| {
            let [a, b] = each.offset.to_ne_bytes();
            let [c, d, e, f] = each.immediate.to_ne_bytes();
            [each.code, each.registers, a, b, c, d, e, f]
        })
        .collect()
}
