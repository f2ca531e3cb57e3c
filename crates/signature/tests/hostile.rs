//! Bytes that somebody else chose give an error, never a panic and never trust.

mod common;

use bpftrust_signature::{
    Certificate, FileSignature, KeyAlgorithm, Kind, Malformed, Reason, SignedData, Statement,
    import, sign, verify,
};
use bpftrust_verity::Digest;
use common::{digest_of, identity, signature_of};

const CONTENT: &[u8] = b"content";

#[test]
fn a_signature_cut_short_anywhere_is_malformed() {
    let (identity, signer) = identity(KeyAlgorithm::P256);
    let bytes = signature_of(CONTENT, &signer).to_bytes();
    assert_eq!(FileSignature::parse(&[]), Err(Malformed::Empty));
    for size in 1..bytes.len() {
        let cut = FileSignature::parse(&bytes[..size]);
        assert!(
            matches!(cut, Err(Malformed::CutShort { .. })),
            "{size}: {cut:?}"
        );
    }
    let pkcs7 = &bytes[24 + 8..];
    for size in 0..pkcs7.len() {
        assert!(SignedData::parse(&pkcs7[..size]).is_err(), "{size}");
        assert!(import(pkcs7[..size].to_vec(), &[identity.certificate().clone()]).is_err());
    }
}

#[test]
fn a_signature_with_any_bit_flipped_gives_no_trust() {
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Rsa2048] {
        let (identity, signer) = identity(algorithm);
        let certificates = [identity.certificate().clone()];
        let digest = digest_of(CONTENT);
        let good = signature_of(CONTENT, &signer).to_bytes();
        assert!(
            verify(
                &FileSignature::parse(&good).unwrap(),
                &digest,
                &certificates
            )
            .is_ok()
        );
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(signature) = FileSignature::parse(&bad) {
                    let verdict = verify(&signature, &digest, &certificates);
                    assert!(verdict.is_err(), "byte {at}, bit {bit}");
                }
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_are_malformed() {
    let (_, signer) = identity(KeyAlgorithm::P256);
    let signature = signature_of(CONTENT, &signer);
    let mut bytes = signature.to_bytes();
    bytes.push(0);
    assert_eq!(
        FileSignature::parse(&bytes),
        Err(Malformed::TrailingBytes { count: 1 })
    );
    let mut pkcs7 = signature.pkcs7().to_vec();
    pkcs7.extend([0; 3]);
    assert_eq!(
        SignedData::parse(&pkcs7),
        Err(Malformed::TrailingBytes { count: 3 })
    );
}

#[test]
fn random_bytes_are_refused_everywhere() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..2000 {
        let size = random.next() as usize % 600;
        let mut bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        // Half of them begin well, to come further.
        if round % 2 == 0 {
            let start = b"BPFT\x01\x00\x00\x00".len().min(size);
            bytes[..start].copy_from_slice(&b"BPFT\x01\x00\x00\x00"[..start]);
        }
        assert!(FileSignature::parse(&bytes).is_err());
        assert!(SignedData::parse(&bytes).is_err());
        assert!(Certificate::parse_all(&bytes).is_err());
        assert!(Statement::parse(&bytes).is_err());
    }
}

#[test]
fn a_mangled_pkcs7_never_verifies() {
    let (identity, signer) = identity(KeyAlgorithm::P256);
    let certificates = [identity.certificate().clone()];
    let digest = digest_of(CONTENT);
    let good = sign(&signer, &digest, None).unwrap();
    let mut random = Random(7);
    for _ in 0..5000 {
        let mut bad = good.pkcs7().to_vec();
        for _ in 0..random.next() % 3 + 1 {
            let at = random.next() as usize % bad.len();
            match random.next() % 3 {
                0 => bad[at] = random.next() as u8,
                1 => drop(bad.remove(at)),
                _ => bad.insert(at, random.next() as u8),
            }
        }
        if bad == good.pkcs7() {
            continue;
        }
        if let Ok(signature) = import(bad, &certificates) {
            assert!(verify(&signature, &digest, &certificates).is_err());
        }
    }
}

#[test]
fn large_input_is_refused_before_it_is_read() {
    let large = vec![0x30; 65536];
    let too_large = Err(Malformed::TooLarge {
        size: 65536,
        max: 3072,
    });
    assert_eq!(SignedData::parse(&large), too_large);
    let mut large = b"BPFT\x01\x00".to_vec();
    large.resize(65536, 0);
    let too_large = Err(Malformed::TooLarge {
        size: 65536,
        max: 4096,
    });
    assert_eq!(FileSignature::parse(&large), too_large);
    assert!(Certificate::parse_all(&large).is_err());
}

#[test]
fn a_certificate_cut_short_anywhere_is_refused() {
    let (identity, _) = identity(KeyAlgorithm::P256);
    let der = identity.certificate().der();
    assert_eq!(
        Certificate::parse(der).unwrap().key_hint(),
        identity.certificate().key_hint()
    );
    for size in 0..der.len() {
        assert!(Certificate::parse(&der[..size]).is_err(), "{size}");
    }
    for at in 0..der.len() {
        let mut bad = der.to_vec();
        bad[at] ^= 0x55;
        let _ = Certificate::parse(&bad); // whatever it says, it returns
    }
}

#[test]
fn a_signature_counts_for_its_own_file_key_and_kind_only() {
    let (identity, signer) = identity(KeyAlgorithm::P256);
    let (stranger, _) = common::identity(KeyAlgorithm::P256);
    let digest = digest_of(CONTENT);
    let signature = signature_of(CONTENT, &signer);
    let ours = [identity.certificate().clone()];
    let theirs = [stranger.certificate().clone()];
    let reason = |signature: &FileSignature, digest: &Digest, certificates: &[Certificate]| {
        verify(signature, digest, certificates)
            .unwrap_err()
            .reason()
    };

    assert_eq!(
        verify(&signature, &digest, &ours).unwrap().kind,
        Some(Kind::Loader)
    );
    assert_eq!(
        reason(&signature, &digest_of(b"other"), &ours),
        Reason::BadSignature
    );
    assert_eq!(reason(&signature, &digest, &theirs), Reason::UnknownKey);
    assert_eq!(reason(&signature, &digest, &[]), Reason::UnknownKey);

    // Kind changed, statement taken away, statement put on a bare signature.
    let mut library = signature.to_bytes();
    library[24] = 2;
    let library = FileSignature::parse(&library).unwrap();
    assert_eq!(library.statement().unwrap().kind(), Kind::Library);
    assert_eq!(reason(&library, &digest, &ours), Reason::BadSignature);
    let stripped = import(signature.pkcs7().to_vec(), &ours).unwrap();
    assert_eq!(reason(&stripped, &digest, &ours), Reason::BadSignature);
    let mut dressed = sign(&signer, &digest, None).unwrap().to_bytes();
    dressed[6] = 8;
    dressed.splice(24..24, Statement::new(Kind::Loader).to_bytes());
    let dressed = FileSignature::parse(&dressed).unwrap();
    assert_eq!(reason(&dressed, &digest, &ours), Reason::BadSignature);

    // A hint that points to another key proves nothing.
    let mut misled = signature.to_bytes();
    misled[16..24].copy_from_slice(&stranger.certificate().key_hint().0);
    let misled = FileSignature::parse(&misled).unwrap();
    assert_eq!(reason(&misled, &digest, &ours), Reason::UnknownKey);
    assert_eq!(reason(&misled, &digest, &theirs), Reason::UnknownKey);
}

#[test]
fn fields_of_the_envelope_are_judged_one_by_one() {
    let (_, signer) = identity(KeyAlgorithm::P256);
    let good = signature_of(CONTENT, &signer).to_bytes();
    for (at, value, expected) in [
        (0, b'X', Malformed::Magic),
        (4, 2, Malformed::Form { form: 2 }),
        (7, 0x10, Malformed::StatementSize),
        (6, 7, Malformed::TrailingBytes { count: 1 }),
        (11, 1, Malformed::TooLarge { size: 0, max: 3072 }),
        (12, 1, Malformed::Reserved),
        (24, 9, Malformed::Kind { kind: 9 }),
        (26, 1, Malformed::StatementSize),
        (28, 1, Malformed::Reserved),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        let error = FileSignature::parse(&bad).unwrap_err();
        match (&error, &expected) {
            (Malformed::TooLarge { .. }, Malformed::TooLarge { .. }) => {}
            _ => assert_eq!(error, expected),
        }
    }
    let mut hollow = good[..24].to_vec();
    hollow[6..12].fill(0);
    assert_eq!(FileSignature::parse(&hollow), Err(Malformed::NoSignedData));
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
