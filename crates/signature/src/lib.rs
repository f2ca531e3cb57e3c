//! Signatures of files: who made them, over what, and in which form.
//!
//! A signed file carries one xattr: an envelope, a [`Statement`] that says what
//! the file is, and a PKCS#7 signature over the file's fs-verity digest and the
//! statement ([`FileSignature`]). [`sign`] makes one with any [`Signer`],
//! [`verify`] judges one as the kernel side does.
//!
//! A policy key signs an [`Order`] for a sealed guard in the same form
//! ([`SignedOrder`]).
//!
//! Everything here is pure: bytes in, bytes out, no files and no system calls.

mod certificate;
mod elements;
mod envelope;
mod error;
mod file_signature;
mod generate;
mod grant;
mod key;
mod order;
mod signed_data;
mod signer;
mod statement;
mod verify;

pub use certificate::{Certificate, KeyHint, ParseKeyHintError, Validity};
pub use error::{Error, Malformed};
pub use file_signature::FileSignature;
pub use generate::Identity;
pub use grant::{Grant, Name, Requirements, Rights, ScriptRights, Set};
pub use key::{Hash, KeyAlgorithm};
pub use order::{Nonce, Order, ParseNonceError, SignedOrder};
pub use signed_data::{Scheme, SignedData};
pub use signer::{PemSigner, Signer, sign, sign_order, sign_program};
pub use statement::{Kind, Statement};
pub use verify::{Reason, Refusal, Verified, import, verify, verify_program};

/// Holds a passphrase and erases it from memory when it is dropped.
pub use zeroize::Zeroizing;

/// The name of the xattr that carries a signature.
pub const XATTR: &str = "user.bpftrust";

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    openssl::sha::sha256(bytes)
}

/// The largest xattr that is looked at, in bytes.
pub const MAX_SIZE: usize = 4096;
