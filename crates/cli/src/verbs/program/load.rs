//! `bpftrust program load`: the kernel verifies, and the loader loads.

use std::env;
use std::os::fd::AsFd;

use anyhow::{Context, anyhow, bail};
use bpftrust_guard::{Error as GuardError, Status};
use bpftrust_host::{KernelTypes, ProgramSignatures, Root};
use bpftrust_program::{Error, Generation, Package, load};
use bpftrust_token::{TOKEN_PATH_VARIABLE, Token};

use crate::advice::{Advise, advised, quoted};
use crate::cli::ProgramLoadArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, escaped, print};

pub fn run(args: &ProgramLoadArgs) -> anyhow::Result<Outcome> {
    let loading = || format!("loading {}", escaped(&args.file));
    let package = super::read_package(&args.file).with_context(loading)?;
    let generation = generation()?;
    let token = token(args).with_context(loading)?;
    let keyring = match args.keyring {
        Some(serial) => serial,
        None => keyring(&package, token.is_some()).with_context(loading)?,
    };
    let loaded = load(
        &package,
        generation,
        keyring,
        token.as_ref().map(Token::as_fd),
    )
    .map_err(|error| {
        let next = match error {
            Error::NoToken => "sign its object again with bpftrust program sign",
            _ => {
                "bpftrust events says whether the policy refused it, bpftrust program inspect \
                 what is in it"
            }
        };
        advised(error, next)
    })
    .with_context(loading)?;
    let (programs, maps) = (loaded.programs.len(), loaded.maps.len());
    let pinned = match &args.pin {
        Some(directory) => {
            loaded
                .pin(directory)
                .advise(|| format!("ls {}", quoted(directory)))
                .with_context(loading)?;
            format!("pinned in {}", escaped(directory))
        }
        None => "not pinned, so that they end now".to_owned(),
    };
    print(&format!(
        "{}: verified by keyring {keyring}, {programs} programs and {maps} maps loaded, {pinned}\n",
        escaped(&args.file)
    ));
    Ok(Outcome::Yes)
}

/// The token that is asked for, or of `bpftrust run`.
fn token(args: &ProgramLoadArgs) -> anyhow::Result<Option<Token>> {
    let of_run = || env::var_os(TOKEN_PATH_VARIABLE).filter(|path| !path.is_empty());
    let Some(bpffs) = args.token.clone().or_else(|| of_run().map(Into::into)) else {
        return Ok(None);
    };
    match Token::create(bpffs) {
        Ok(token) => Ok(Some(token)),
        Err(error) => {
            let missing = error.missing();
            let error = anyhow!(error);
            Err(match missing {
                Some(missing) => advised(error, missing),
                None => error,
            })
        }
    }
}

/// What the running kernel verifies.
fn generation() -> anyhow::Result<Generation> {
    let types = KernelTypes::probe(&Root::host())
        .map_err(|unknown| anyhow::anyhow!("asking what this kernel verifies: {}", unknown.0))?;
    match types.map(|types| types.signatures) {
        Some(ProgramSignatures::Instructions) => Ok(Generation::Linux618),
        Some(ProgramSignatures::InstructionsAndMaps) => Ok(Generation::Linux73),
        _ => Err(advised(
            anyhow::anyhow!("this kernel verifies no signatures of programs"),
            "Linux 6.18 is the first that does; bpftrust check shows what this one has",
        )),
    }
}

/// The serial of the policy's keyring for the key that the package names. `confined`:
/// the bpffs in sight is not the host's.
fn keyring(package: &Package, confined: bool) -> anyhow::Result<i32> {
    let key = package.signer;
    let status = match Status::read() {
        Err(GuardError::NotEnforcing) if confined => {
            return Err(advised(
                anyhow!("which keyring the policy has for key {key} can't be seen from here"),
                "--keyring SERIAL names it, as bpftrust status --json shows it outside",
            ));
        }
        Err(GuardError::NotEnforcing) => {
            return Err(advised(
                anyhow::anyhow!(
                    "nothing is enforced, so no policy says which keyring to verify by"
                ),
                "--keyring SERIAL names one, as keyctl show @s lists them",
            ));
        }
        status => explain(status)?,
    };
    let Some(found) = status.keys.iter().find(|one| one.hint == key && !one.lost) else {
        return Err(advised(
            anyhow::anyhow!("key {key}, which signed it, is none of the policy's"),
            "bpftrust status lists the keys that may sign",
        ));
    };
    match (found.ring, found.keyring) {
        (Some(serial), _) => Ok(i32::try_from(serial)?),
        // include/linux/verification.h
        (None, Some("builtin")) => Ok(0),
        (None, Some("secondary")) => Ok(1),
        (None, Some("platform")) => Ok(2),
        _ => bail!("key {key} is in no keyring that a program can name"),
    }
}
