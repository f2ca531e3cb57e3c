//! `bpftrust digest`: what `fsverity digest` prints.

use std::path::Path;

use anyhow::{Context, anyhow};
use bpftrust_verity::{Algorithm, Descriptor, Parameters};
use serde::Serialize;

use crate::cli::{DigestArgs, Hash};
use crate::input::open_regular;
use crate::output::{self, Outcome, escaped};
use crate::parallel;

pub fn run(args: &DigestArgs) -> anyhow::Result<Outcome> {
    let algorithm = match args.hash {
        Hash::Sha256 => Algorithm::Sha256,
        Hash::Sha512 => Algorithm::Sha512,
    };
    let salt = from_hex(&args.salt).ok_or_else(|| anyhow!("--salt: not hexadecimal digits"))?;
    let parameters = Parameters::new(algorithm, args.block_size, &salt)?;
    let mut outcome = Outcome::Yes;
    parallel::for_each(
        &args.files,
        |path| measure(path, &parameters),
        |_, result| match result {
            Ok(line) if args.json => output::print_json(&line),
            Ok(line) => output::print(&format!("{} {}\n", line.digest, line.path)),
            Err(error) => {
                output::report(&error);
                outcome = Outcome::Unknown;
            }
        },
    );
    Ok(outcome)
}

#[derive(Serialize)]
struct Line {
    path: String,
    digest: String,
    size: u64,
}

fn measure(path: &Path, parameters: &Parameters) -> anyhow::Result<Line> {
    let file = open_regular(path)?;
    let descriptor = Descriptor::of_file(&file, parameters).with_context(|| escaped(path))?;
    let digest = descriptor.digest().to_string();
    Ok(Line {
        path: escaped(path),
        digest,
        size: descriptor.data_size(),
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    let byte = |&[high, low]: &[u32; 2]| u8::try_from(high << 4 | low).ok();
    if rest.is_empty() {
        pairs.iter().map(byte).collect()
    } else {
        None
    }
}
