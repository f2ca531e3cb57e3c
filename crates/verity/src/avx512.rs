//! SHA-256 of sixteen messages at a time, one in each lane of AVX-512's vectors.
//!
//! What has to be computed is in FIPS 180-4; there, each operation on a word is one on
//! sixteen here, but for the words of a message, which have to be gathered. Tests hold
//! this against OpenSSL's function.
#![allow(
    unsafe_code,
    reason = "what needs a feature of the processor has no other call"
)]

use std::arch::x86_64::{
    __m512i, _mm_set_epi64x, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_ror_epi32,
    _mm512_set1_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32,
    _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};
use std::mem::transmute;

use crate::rounds::{INITIAL, ROUNDS};

/// Messages at a time.
pub(crate) const LANES: usize = 16;

/// Bytes that the function takes at a time.
const BLOCK: usize = 64;

/// The eight words of the state, of each message.
type States = [__m512i; 8];

/// Hashes sixteen messages of one length that begin with the same salt.
pub(crate) struct Sixteen {
    /// After the salt.
    states: States,
    /// Bytes of the salt.
    salt_size: usize,
}

impl Sixteen {
    /// `salt` is whole blocks of 64 bytes. `None` if this processor can't do it.
    pub(crate) fn new(salt: &[u8]) -> Option<Self> {
        let is_able = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        // SAFETY: this processor has all features that the function is compiled for.
        is_able.then(|| unsafe { Self::begin(salt) })
    }

    /// The hashes of salt and message, for messages that lie one after the other, each of
    /// whole blocks of 64 bytes.
    pub(crate) fn hash(&self, messages: &[u8]) -> [[u8; 32]; LANES] {
        // SAFETY: `new` makes a `Sixteen` only where the processor has all features that
        // the function is compiled for.
        unsafe { self.finish(messages) }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn begin(salt: &[u8]) -> Self {
        let mut states = INITIAL.map(|word| _mm512_set1_epi32(word.cast_signed()));
        for block in salt.as_chunks::<BLOCK>().0 {
            compress(&mut states, [block; LANES]);
        }
        Self {
            states,
            salt_size: salt.len(),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn finish(&self, messages: &[u8]) -> [[u8; 32]; LANES] {
        let size = messages.len() / LANES;
        assert!(messages.len() == LANES * size && size.is_multiple_of(BLOCK));
        let mut states = self.states;
        let (blocks, _) = messages.as_chunks::<BLOCK>();
        let of_each = size / BLOCK;
        for at in 0..of_each {
            compress(
                &mut states,
                std::array::from_fn(|lane| &blocks[lane * of_each + at]),
            );
        }
        let mut end = [0; BLOCK];
        end[0] = 0x80;
        let bits = 8 * (self.salt_size + size) as u64;
        end[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        compress(&mut states, [&end; LANES]);
        bytes(states)
    }
}

/// FIPS 180-4, 6.2.2. Of the 64 words of the schedule the last 16 are kept.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn compress(states: &mut States, blocks: [&[u8; BLOCK]; LANES]) {
    let mut schedule = words(blocks);
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *states;
    let (groups, _) = ROUNDS.as_flattened().as_chunks::<16>();
    for (group, constants) in groups.iter().enumerate() {
        for (at, &constant) in constants.iter().enumerate() {
            if group > 0 {
                let back = |by: usize| schedule[(at + LANES - by) % LANES];
                let (first, last) = (back(15), back(2));
                let sigma0 = xor(
                    _mm512_ror_epi32::<7>(first),
                    _mm512_ror_epi32::<18>(first),
                    _mm512_srli_epi32::<3>(first),
                );
                let sigma1 = xor(
                    _mm512_ror_epi32::<17>(last),
                    _mm512_ror_epi32::<19>(last),
                    _mm512_srli_epi32::<10>(last),
                );
                schedule[at] = add(add(schedule[at], sigma0), add(back(7), sigma1));
            }
            let sum1 = xor(
                _mm512_ror_epi32::<6>(e),
                _mm512_ror_epi32::<11>(e),
                _mm512_ror_epi32::<25>(e),
            );
            let sum0 = xor(
                _mm512_ror_epi32::<2>(a),
                _mm512_ror_epi32::<13>(a),
                _mm512_ror_epi32::<22>(a),
            );
            // The tables of Ch(e, f, g) and of Maj(a, b, c).
            let choice = _mm512_ternarylogic_epi32::<0xca>(e, f, g);
            let majority = _mm512_ternarylogic_epi32::<0xe8>(a, b, c);
            let input = add(schedule[at], _mm512_set1_epi32(constant.cast_signed()));
            let first = add(add(add(h, input), choice), sum1);
            (h, g, f, e) = (g, f, e, add(d, first));
            (d, c, b, a) = (c, b, a, add(add(first, sum0), majority));
        }
    }
    for (state, new) in states.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *state = add(*state, new);
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi32::<0x96>(a, b, c)
}

/// Vector `n` of the result has word `n` of each block.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn words(blocks: [&[u8; BLOCK]; LANES]) -> [__m512i; 16] {
    let swap = _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203));
    transpose(blocks.map(|block| _mm512_shuffle_epi8(vector(*block), swap)))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn vector(bytes: [u8; BLOCK]) -> __m512i {
    // SAFETY: both are 64 bytes, and all bits are valid in both.
    unsafe { transmute(bytes) }
}

/// The hashes that states stand for.
#[target_feature(enable = "avx512f")]
fn bytes(states: States) -> [[u8; 32]; LANES] {
    let words = states.map(|state| {
        // SAFETY: both are 64 bytes, and all bits are valid in both.
        unsafe { transmute::<__m512i, [u32; LANES]>(state) }
    });
    std::array::from_fn(|lane| {
        let mut hash = [0; 32];
        for (bytes, words) in hash.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *bytes = words[lane].to_be_bytes();
        }
        hash
    })
}

/// Vector `n` of the result has word `n` of each vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    // Within each quarter of the vectors first, by words and pairs of words; then quarters.
    let (mut from, mut to) = (rows, rows);
    for at in (0..16).step_by(2) {
        to[at] = _mm512_unpacklo_epi32(from[at], from[at + 1]);
        to[at + 1] = _mm512_unpackhi_epi32(from[at], from[at + 1]);
    }
    for at in (0..16).step_by(4) {
        from[at] = _mm512_unpacklo_epi64(to[at], to[at + 2]);
        from[at + 1] = _mm512_unpackhi_epi64(to[at], to[at + 2]);
        from[at + 2] = _mm512_unpacklo_epi64(to[at + 1], to[at + 3]);
        from[at + 3] = _mm512_unpackhi_epi64(to[at + 1], to[at + 3]);
    }
    for at in [0, 1, 2, 3, 8, 9, 10, 11] {
        to[at] = _mm512_shuffle_i32x4::<0x88>(from[at], from[at + 4]);
        to[at + 4] = _mm512_shuffle_i32x4::<0xdd>(from[at], from[at + 4]);
    }
    for at in 0..4 {
        from[at] = _mm512_shuffle_i32x4::<0x88>(to[at], to[at + 8]);
        from[at + 8] = _mm512_shuffle_i32x4::<0xdd>(to[at], to[at + 8]);
        from[at + 4] = _mm512_shuffle_i32x4::<0x88>(to[at + 4], to[at + 12]);
        from[at + 12] = _mm512_shuffle_i32x4::<0xdd>(to[at + 4], to[at + 12]);
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::rand::rand_bytes;
    use openssl::sha::Sha256;

    /// Every length up to 5000 bytes, and those of fs-verity's blocks; messages and salt
    /// are random.
    #[test]
    fn sixteen_at_a_time_are_what_each_is_alone() {
        let mut salt = [0; BLOCK];
        rand_bytes(&mut salt).unwrap();
        for salt in [&[][..], &salt] {
            let Some(sixteen) = Sixteen::new(salt) else {
                return eprintln!("left out: this processor has no AVX-512");
            };
            let lengths = (BLOCK..5000).step_by(BLOCK);
            for length in lengths.chain([8192, 16384, 32768, 65536]) {
                let mut messages = vec![0; LANES * length];
                rand_bytes(&mut messages).unwrap();
                let hashes = sixteen.hash(&messages);
                for (message, hash) in messages.chunks(length).zip(hashes) {
                    let mut plain = Sha256::new();
                    plain.update(salt);
                    plain.update(message);
                    assert_eq!(hash, plain.finish(), "{length} bytes");
                }
            }
        }
    }
}
