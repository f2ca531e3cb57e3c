//! `bpftrust program load`: the kernel verifies, and the loader loads.

use anyhow::{Context, bail};
use bpftrust_guard::{Error as GuardError, Status};
use bpftrust_host::{KernelTypes, ProgramSignatures, Root};
use bpftrust_program::{Generation, Package, load};

use crate::advice::{Advise, advised, quoted};
use crate::cli::ProgramLoadArgs;
use crate::guard_advice::explain;
use crate::output::{Outcome, escaped, print};

pub fn run(args: &ProgramLoadArgs) -> anyhow::Result<Outcome> {
    let loading = || format!("loading {}", escaped(&args.file));
    let package = super::read_package(&args.file).with_context(loading)?;
    let generation = generation()?;
    let keyring = match args.keyring {
        Some(serial) => serial,
        None => keyring(&package).with_context(loading)?,
    };
    let loaded = load(&package, generation, keyring)
        .advise(|| {
            "bpftrust events says whether the policy refused it, bpftrust program inspect what \
             is in it"
                .to_owned()
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

/// The serial of the policy's keyring for the key that the package names.
fn keyring(package: &Package) -> anyhow::Result<i32> {
    let key = package.signer;
    let status = match Status::read() {
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
