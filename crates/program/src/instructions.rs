//! The loader's instructions, as far as they say what its caller can choose.
//!
//! libbpf's generator lets the caller of a light skeleton replace the first content of
//! each map that has one, and the number of entries of each map, by way of the context
//! that the loader runs on (`gen_loader.c`, `bpf_gen__map_update_elem` and
//! `bpf_gen__map_create`). No signature covers that context.

/// Bytes of `struct bpf_loader_ctx` (`skel_internal.h`): what comes behind it in the
/// context is about maps and programs.
pub(crate) const CONTEXT_HEAD: usize = 24;
/// Bytes of `struct bpf_map_desc`.
pub(crate) const MAP_DESCRIPTION: usize = 16;
/// Bytes of `struct bpf_prog_desc`.
pub(crate) const PROGRAM_DESCRIPTION: usize = 4;

/// Bytes of an instruction.
const SIZE: usize = 8;
/// Where the generator keeps the context (`bpf_gen__init`).
const CONTEXT: u8 = 6;
/// `BPF_ALU64 | BPF_MOV | BPF_K`
const SET: u8 = 0xb7;
/// `BPF_LDX`, a class.
const LOAD: u8 = 0x01;
/// `BPF_LD | BPF_DW | BPF_IMM`: of two instructions.
const LOAD_WIDE: u8 = 0x18;

/// How many values of its caller a loader takes for maps.
pub fn takes_overrides(instructions: &[u8]) -> usize {
    let mut count = 0;
    each_override(&mut instructions.to_vec(), |_| count += 1);
    count
}

/// Has the loader read 0 instead, which means that the caller gave nothing.
pub(crate) fn end_overrides(instructions: &mut [u8]) {
    each_override(instructions, |instruction| {
        let register = instruction[1] & 0x0f;
        instruction.copy_from_slice(&[SET, register, 0, 0, 0, 0, 0, 0]);
    });
}

fn each_override(instructions: &mut [u8], mut act: impl FnMut(&mut [u8])) {
    let mut second_half = false;
    for instruction in instructions.chunks_exact_mut(SIZE) {
        if second_half {
            second_half = false;
            continue;
        }
        let offset = i16::from_le_bytes([instruction[2], instruction[3]]);
        second_half = instruction[0] == LOAD_WIDE;
        if instruction[0] & 0x07 == LOAD
            && instruction[1] >> 4 == CONTEXT
            && usize::try_from(offset).is_ok_and(|offset| offset >= CONTEXT_HEAD)
        {
            act(instruction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_the_context_behind_its_head_become_zeros() {
        // r3 = *(u64 *)(r6 + 32); r0 = *(u32 *)(r6 + 8); r0 = *(u32 *)(r7 + 32);
        // a wide constant whose second half looks like the first.
        let override_of_r3 = [0x79, 0x63, 32, 0, 0, 0, 0, 0];
        let others = [
            [0x61, 0x60, 8, 0, 0, 0, 0, 0],
            [0x61, 0x70, 32, 0, 0, 0, 0, 0],
            [0x18, 0x01, 0, 0, 0, 0, 0, 0],
            override_of_r3,
        ];
        let mut code = [vec![override_of_r3], others.to_vec()].concat().concat();
        assert_eq!(takes_overrides(&code), 1);
        end_overrides(&mut code);
        assert_eq!(takes_overrides(&code), 0);
        assert_eq!(code[..8], [0xb7, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(code[8..], others.concat());
    }
}
