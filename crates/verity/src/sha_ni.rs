//! SHA-256 of two messages at a time, with the SHA extensions of x86 processors.
//!
//! A round waits for the one before it, so one message leaves much of the
//! processor's unit for them idle. The rounds of two messages do not wait for each
//! other and go in turns. What has to be computed is in FIPS 180-4, the instructions
//! in Intel's "Software Developer's Manual", volume 2 (`SHA256RNDS2`, `SHA256MSG1`,
//! `SHA256MSG2`). OpenSSL's function is the reference: tests hold this against it,
//! and it hashes wherever this can't.
#![allow(
    unsafe_code,
    reason = "what needs a feature of the processor has no other call"
)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32,
};

use crate::rounds::{INITIAL, ROUNDS};

/// Hashes pairs of messages of one length that begin with the same salt.
pub(crate) struct Pair {
    /// After the salt.
    states: States,
    /// Bytes of the salt.
    salt_size: usize,
}

/// Bytes that the function takes at a time.
const BLOCK: usize = 64;

/// The words of both messages, two vectors each, ordered as `SHA256RNDS2` takes
/// them: f e b a, and h g d c, from the lowest on.
type States = [[__m128i; 2]; 2];

impl Pair {
    /// `salt` is whole blocks of 64 bytes. `None` if this processor can't do it.
    pub(crate) fn new(salt: &[u8]) -> Option<Self> {
        let is_able = is_x86_feature_detected!("sha")
            && is_x86_feature_detected!("sse4.1")
            && is_x86_feature_detected!("ssse3");
        // SAFETY: this processor has all features that the function is compiled for.
        is_able.then(|| unsafe { Self::begin(salt) })
    }

    /// The hashes of salt and message, for two messages of one length, which is whole
    /// blocks of 64 bytes.
    pub(crate) fn hash(&self, messages: [&[u8]; 2]) -> [[u8; 32]; 2] {
        // SAFETY: `new` makes a `Pair` only where the processor has all features that
        // the function is compiled for.
        unsafe { self.finish(messages) }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn begin(salt: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h] = INITIAL;
        let (feba, hgdc) = (words([f, e, b, a]), words([h, g, d, c]));
        let mut states = [[feba, hgdc]; 2];
        update(&mut states, [salt, salt]);
        Self {
            states,
            salt_size: salt.len(),
        }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn finish(&self, messages: [&[u8]; 2]) -> [[u8; 32]; 2] {
        let size = messages[0].len();
        assert!(size == messages[1].len() && size.is_multiple_of(BLOCK));
        let mut states = self.states;
        update(&mut states, messages);
        let mut end = [0; BLOCK];
        end[0] = 0x80;
        let bits = 8 * (self.salt_size + size) as u64;
        end[BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        compress(&mut states, [&end, &end]);
        [bytes(states[0]), bytes(states[1])]
    }
}

/// Takes whole blocks in.
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn update(states: &mut States, messages: [&[u8]; 2]) {
    let (first, _) = messages[0].as_chunks::<BLOCK>();
    let (second, _) = messages[1].as_chunks::<BLOCK>();
    for pair in first.iter().zip(second) {
        compress(states, pair.into());
    }
}

/// FIPS 180-4, 6.2.2, four rounds at a time. Of the 64 words of the schedule the last
/// 16 are kept, as four vectors: the vector of four rounds is made in place of the one
/// that those 16 rounds before took.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn compress(states: &mut States, blocks: [&[u8; BLOCK]; 2]) {
    let before = *states;
    let mut schedules = [[_mm_setzero_si128(); 4]; 2];
    for (schedule, block) in schedules.iter_mut().zip(blocks) {
        let (parts, _) = block.as_chunks::<16>();
        for (vector, part) in schedule.iter_mut().zip(parts) {
            *vector = big_endian(part);
        }
    }
    for (group, &constants) in ROUNDS.iter().enumerate() {
        let [at, next, third, last] = [0, 1, 2, 3].map(|ahead| (group + ahead) % 4);
        let constants = words(constants);
        let input = [0, 1].map(|of| _mm_add_epi32(schedules[of][at], constants));
        for ([feba, hgdc], input) in states.iter_mut().zip(input) {
            *hgdc = _mm_sha256rnds2_epu32(*hgdc, *feba, input);
        }
        for ([feba, hgdc], input) in states.iter_mut().zip(input) {
            *feba = _mm_sha256rnds2_epu32(*feba, *hgdc, _mm_shuffle_epi32(input, 0b1110));
        }
        if group + 4 < ROUNDS.len() {
            for schedule in &mut schedules {
                let seven_back = _mm_alignr_epi8(schedule[last], schedule[third], 4);
                let sum = _mm_add_epi32(
                    _mm_sha256msg1_epu32(schedule[at], schedule[next]),
                    seven_back,
                );
                schedule[at] = _mm_sha256msg2_epu32(sum, schedule[last]);
            }
        }
    }
    for (state, before) in states.iter_mut().flatten().zip(before.iter().flatten()) {
        *state = _mm_add_epi32(*state, *before);
    }
}

/// A vector of four words, the lowest first.
#[target_feature(enable = "sse4.1")]
#[inline]
fn words([first, second, third, fourth]: [u32; 4]) -> __m128i {
    _mm_set_epi32(
        fourth.cast_signed(),
        third.cast_signed(),
        second.cast_signed(),
        first.cast_signed(),
    )
}

/// Four words of a message.
#[target_feature(enable = "sse4.1,ssse3")]
#[inline]
fn big_endian(bytes: &[u8; 16]) -> __m128i {
    let [low, high] = [0, 8].map(|at| {
        let half = bytes[at..at + 8].try_into().expect("8 of 16 bytes");
        i64::from_le_bytes(half)
    });
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    _mm_shuffle_epi8(_mm_set_epi64x(high, low), swap)
}

/// The hash that a state stands for.
#[target_feature(enable = "sse4.1")]
fn bytes([feba, hgdc]: [__m128i; 2]) -> [u8; 32] {
    let words = [
        _mm_extract_epi32(feba, 3),
        _mm_extract_epi32(feba, 2),
        _mm_extract_epi32(hgdc, 3),
        _mm_extract_epi32(hgdc, 2),
        _mm_extract_epi32(feba, 1),
        _mm_extract_epi32(feba, 0),
        _mm_extract_epi32(hgdc, 1),
        _mm_extract_epi32(hgdc, 0),
    ];
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::rand::rand_bytes;
    use openssl::sha::Sha256;

    fn pair(salt: &[u8]) -> Option<Pair> {
        let pair = Pair::new(salt);
        if pair.is_none() {
            eprintln!("left out: this processor has no SHA extensions");
        }
        pair
    }

    fn plain(salt: &[u8], message: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(salt);
        hash.update(message);
        hash.finish()
    }

    /// Every length up to 5000 bytes, and those of fs-verity's blocks; both messages
    /// and the salt are random.
    #[test]
    fn two_at_a_time_are_what_each_is_alone() {
        let mut salt = [0; BLOCK];
        rand_bytes(&mut salt).unwrap();
        for salt in [&[][..], &salt] {
            let Some(pair) = pair(salt) else { return };
            let lengths = (0..5000).step_by(BLOCK);
            for length in lengths.chain([8192, 16384, 32768, 65536]) {
                let (mut first, mut second) = (vec![0; length], vec![0; length]);
                rand_bytes(&mut first).unwrap();
                rand_bytes(&mut second).unwrap();
                assert_eq!(
                    pair.hash([&first, &second]),
                    [plain(salt, &first), plain(salt, &second)],
                    "{length} bytes"
                );
            }
        }
    }

    /// Of nothing (FIPS 180-4 examples), and of 64 zeros.
    #[test]
    fn hashes_are_those_of_fips_180() {
        let Some(pair) = pair(&[]) else { return };
        let hex = |hash: [u8; 32]| hash.map(|byte| format!("{byte:02x}")).concat();
        let [first, second] = pair.hash([&[], &[]]).map(hex);
        assert_eq!(first, second);
        assert_eq!(
            first,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        let [first, second] = pair.hash([&[0; BLOCK], &[0; BLOCK]]).map(hex);
        assert_eq!(first, second);
        assert_eq!(
            first,
            "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"
        );
    }
}
