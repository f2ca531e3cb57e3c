//! The private key that the command line names.

use anyhow::Context;
use bpftrust_signature::{Error, PemSigner};

use crate::advice::{advised, quoted};
use crate::cli::KeyArgs;
use crate::input::{ask_passphrase, read_certificate, read_key, read_passphrase, without_terminal};
use crate::output::escaped;

/// Reads the key and its certificate; asks for the passphrase if it takes one.
pub fn read_signer(args: &KeyArgs) -> anyhow::Result<PemSigner> {
    let certificate = read_certificate(&args.certificate, args.allow_issuer)?;
    let pem = read_key(&args.key)?;
    let passphrase = args
        .passphrase_file
        .as_deref()
        .map(read_passphrase)
        .transpose()?;
    let given = passphrase.is_some();
    let ask = || match passphrase {
        Some(passphrase) => Ok(passphrase),
        None => ask_passphrase(&format!("Passphrase of {}: ", escaped(&args.key))),
    };
    PemSigner::new(&pem, certificate, ask)
        .map_err(|error| match error {
            Error::AskPassphrase { .. } if !given => without_terminal(error),
            Error::KeyMismatch => advised(
                error,
                format!(
                    "openssl x509 -noout -pubkey -in {}",
                    quoted(&args.certificate)
                ),
            ),
            error => error.into(),
        })
        .with_context(|| format!("key {}", escaped(&args.key)))
}
