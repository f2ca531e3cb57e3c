//! What several tests need.
#![allow(dead_code, reason = "each test uses a part of this")]

use std::io::ErrorKind;
use std::process::{Command, Output};

use bpftrust_signature::{
    FileSignature, Identity, KeyAlgorithm, Kind, PemSigner, Statement, Zeroizing, sign,
};
use bpftrust_verity::{Descriptor, Digest, Parameters};

pub fn digest_of(content: &[u8]) -> Digest {
    Descriptor::compute(content, &Parameters::default())
        .unwrap()
        .digest()
}

pub fn identity(algorithm: KeyAlgorithm) -> (Identity, PemSigner) {
    let identity = Identity::generate(algorithm, "test key", 30).unwrap();
    let pem = identity.key_pem(None).unwrap();
    let signer = PemSigner::new(&pem, identity.certificate().clone(), no_passphrase).unwrap();
    (identity, signer)
}

pub fn no_passphrase() -> std::io::Result<Zeroizing<String>> {
    panic!("asked for a passphrase without need")
}

/// A good signature of `content` as a loader.
pub fn signature_of(content: &[u8], signer: &PemSigner) -> FileSignature {
    sign(
        signer,
        &digest_of(content),
        Some(Statement::new(Kind::Loader)),
    )
    .unwrap()
}

/// Runs a tool that made the golden values; `None` if it isn't installed.
pub fn run(command: &mut Command) -> Option<Output> {
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!(
                "left out: {} is not installed",
                command.get_program().display()
            );
            None
        }
        output => Some(output.unwrap()),
    }
}
