//! `bpftrust program sign`: from an object to a signed light skeleton.

use anyhow::Context;
use bpftrust_program::{Generation, Package, generate};
use bpftrust_signature::{Signer, sign_program};

use crate::cli::{ProgramSignArgs, SignFor};
use crate::output::{Outcome, escaped, print};
use crate::replace::replace;
use crate::signer::read_signer;

pub fn run(args: &ProgramSignArgs) -> anyhow::Result<Outcome> {
    let signing = || format!("signing {}", escaped(&args.object));
    let object = super::read(&args.object).with_context(signing)?;
    let generations = match args.kernels {
        SignFor::Linux618 => &[Generation::Linux618][..],
        SignFor::Linux73 => &[Generation::Linux73],
        SignFor::Both => &Generation::ALL,
    };
    let content = generate(&object, generations).with_context(signing)?;
    let signer = read_signer(&args.key)?;
    let mut signatures = Vec::new();
    for (generation, _) in &content.loaders {
        let message = content.message(*generation).unwrap_or_default();
        signatures.push(sign_program(&signer, &message).with_context(signing)?);
    }
    let package = Package {
        content,
        signatures,
        signer: signer.certificate().key_hint(),
    };
    replace(&args.out, &package.to_bytes().with_context(signing)?)?;
    let names: Vec<&str> = generations.iter().map(|one| one.name()).collect();
    print(&format!(
        "{}: {} programs and {} maps of {}, signed by key {} for Linux {}\n",
        escaped(&args.out),
        package.content.programs.len(),
        package.content.maps.len(),
        escaped(&args.object),
        package.signer,
        names.join(" and ")
    ));
    Ok(Outcome::Yes)
}
