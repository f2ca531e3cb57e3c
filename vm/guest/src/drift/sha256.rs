//! The kernel side's hash function: is it SHA-256?

use bpftrust_guard::Hasher;
use bpftrust_signature::sha256;
use std::error::Error;
use std::fmt::Write as _;
use std::mem::MaybeUninit;

/// What is hashed how often, one behind the other, and the hash.
type Vector = (&'static [u8], u32, &'static str);

/// NIST's: the examples of FIPS 180-4, "additional test vectors" about padding and
/// several blocks (SHA256_Additional.pdf), and short messages of the CAVP.
const VECTORS: &[Vector] = &[
    (
        b"",
        0,
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    (
        b"abc",
        1,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    (
        b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
        1,
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ),
    (
        b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr\
          lmnopqrsmnopqrstnopqrstu",
        1,
        "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ),
    (
        &[b'a'; 500],
        2000,
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
    ),
    (
        &[0xbd],
        1,
        "68325720aabd7c82f30f554b313d0570c95accbb7dc4b5aae11204c08ffe732b",
    ),
    (
        &[0xd3],
        1,
        "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
    ),
    (
        &[0xc9, 0x8c, 0x8e, 0x55],
        1,
        "7abc22c0ae5af26ce93dbb94433a0e0b2e119d014f8e7f65bd56c61ccccd9504",
    ),
    (
        &[0; 55],
        1,
        "02779466cdec163811d078815c633f21901413081449002f24aa3e80f0b88ef7",
    ),
    (
        &[0; 56],
        1,
        "d4817aa5497628e7c77e6b606107042bbba3130888c5f47a375e6179be789fbb",
    ),
    (
        &[0; 57],
        1,
        "65a16cb7861335d5ace3c60718b5052e44660726da4cd13bb745381b235a1785",
    ),
    (
        &[0; 64],
        1,
        "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b",
    ),
    (
        &[0; 500],
        2,
        "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53",
    ),
    (
        &[0x41; 500],
        2,
        "c2e686823489ced2017f6059b8b239318b6364f6dcd835d0a519105a1eadd6e4",
    ),
    (
        &[0x55; 335],
        3,
        "f4d62ddec0f3dd90ea1380fa16a5ff8dc4c54b21740650f24afc4120903552b0",
    ),
];

/// The longest message that can be handed over, in bytes.
const LONGEST: usize = 640;

/// The number of messages of which both sides make the same, if that is all.
pub fn compare() -> Result<usize, Box<dyn Error>> {
    let mut storage = MaybeUninit::uninit();
    let hasher = Hasher::load(&mut storage)?;
    let mut count = 0;
    for &(message, times, expected) in VECTORS {
        let said = hex(&hasher.hash(message, times)?);
        if said != expected {
            return Err(format!("{times} times {message:?}: {said}, not {expected}").into());
        }
        count += 1;
    }
    // Every place where a block, or the padding, can end.
    for length in 0..=LONGEST {
        let message: Vec<u8> = (0..length).map(|place| (place % 251) as u8).collect();
        let (here, there) = (sha256(&message), hasher.hash(&message, 1)?);
        if here != there {
            return Err(format!("{length} bytes: {}, not {}", hex(&there), hex(&here)).into());
        }
        count += 1;
    }
    Ok(count)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string can't fail");
        text
    })
}
