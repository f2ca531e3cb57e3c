//! `bpftrust-make`: much of what `cargo xtask scale` needs, made in one process. Apart from
//! the harness, for that is in the initramfs, where OpenSSL is not.
//!
//! - `files FILE DIRECTORY COUNT`: copies of a signed file, signed as it is
//! - `keys DIRECTORY FIRST END`: certificates of new keys, `more-NUMBER.pem`

use anyhow::{Context, Result, bail};
use bpftrust_signature::{Identity, KeyAlgorithm, XATTR};
use bpftrust_verity::Parameters;
use rustix::fs::{XattrFlags, getxattr, setxattr};
use std::fs::{self, File};
use std::path::Path;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["files", file, directory, count] => {
            files(Path::new(file), Path::new(directory), count.parse()?)
        }
        ["keys", directory, first, end] => keys(directory, first.parse()?, end.parse()?),
        _ => bail!("usage: bpftrust-make files FILE DIRECTORY COUNT | keys DIRECTORY FIRST END"),
    }
}

/// Their content is the same, so the signature is theirs, too.
fn files(file: &Path, directory: &Path, count: u32) -> Result<()> {
    let mut signature = vec![0; 65_536];
    let length = getxattr(file, XATTR, &mut signature[..]).context("no signature")?;
    let content = fs::read(file)?;
    fs::create_dir(directory)?;
    for number in 0..count {
        let path = directory.join(number.to_string());
        fs::write(&path, &content)?;
        setxattr(&path, XATTR, &signature[..length], XattrFlags::empty())?;
        bpftrust_verity::enable(File::open(&path)?, &Parameters::default())?;
    }
    rustix::fs::sync();
    Ok(())
}

fn keys(directory: &str, first: u32, end: u32) -> Result<()> {
    for number in first..end {
        let name = format!("more-{number}");
        let identity = Identity::generate(KeyAlgorithm::P256, &name, 100)?;
        fs::write(
            format!("{directory}/{name}.pem"),
            identity.certificate_pem()?,
        )?;
    }
    Ok(())
}
