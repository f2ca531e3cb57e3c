//! Loading: the kernel verifies the loader, and the loader makes the rest.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bpftrust_signature::sha256;

use crate::instructions::{CONTEXT_HEAD, MAP_DESCRIPTION, PROGRAM_DESCRIPTION};
use crate::token::{FLAGS, flags};
use crate::{Error, Generation, Package, Result, sys, takes_token};

/// What a package has become. Without a pin it ends with this value.
#[derive(Debug)]
pub struct Loaded {
    /// The maps, by name.
    pub maps: Vec<(String, OwnedFd)>,
    /// The programs, by name.
    pub programs: Vec<(String, OwnedFd)>,
}

/// Has the kernel, which is of this generation, verify a package's loader by the
/// keyring of that serial, and runs it: all by this token, if there is one.
///
/// # Errors
/// [`Error::NoForm`], [`Error::NoToken`], [`Error::Call`]: `EKEYREJECTED` if the signature is not over what
/// is in the package, `ENOKEY` if the keyring does not hold its key.
pub fn load(
    package: &Package,
    generation: Generation,
    keyring: i32,
    token: Option<BorrowedFd<'_>>,
) -> Result<Loaded> {
    let form = package.form(generation).ok_or(Error::NoForm(generation))?;
    if token.is_some() && !takes_token(form.loader) {
        return Err(Error::NoToken);
    }
    let bound = generation == Generation::Linux73;
    let content = &package.content;
    let map = sys::metadata_map(&content.metadata, &sha256(form.loader), token)
        .map_err(call("making the loader's map"))?;
    if !bound {
        sys::hash(&map).map_err(call("hashing the loader's map"))?;
    }
    let loader = sys::load(form.loader, &map, bound, form.signature, keyring, token)
        .map_err(call("loading the loader"))?;
    let size = CONTEXT_HEAD
        + MAP_DESCRIPTION * content.maps.len()
        + PROGRAM_DESCRIPTION * content.programs.len();
    let mut context = vec![0; size];
    context[..4].copy_from_slice(&(size as u32).to_ne_bytes());
    let named = flags(token.map(|token| token.as_raw_fd()));
    context[FLAGS..FLAGS + 4].copy_from_slice(&named.to_ne_bytes());
    sys::run(&loader, &mut context).map_err(call("running the loader"))?;
    let (_, descriptions) = context.split_at(CONTEXT_HEAD);
    let (maps, programs) = descriptions.split_at(MAP_DESCRIPTION * content.maps.len());
    Ok(Loaded {
        maps: take(&content.maps, maps.chunks_exact(MAP_DESCRIPTION))?,
        programs: take(
            &content.programs,
            programs.chunks_exact(PROGRAM_DESCRIPTION),
        )?,
    })
}

fn call(doing: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Call { doing, source }
}

/// Descriptors come first in each description.
fn take<'a>(
    names: &[String],
    descriptions: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<(String, OwnedFd)>> {
    let fds = descriptions.map(|description| {
        let mut fd = [0; 4];
        fd.copy_from_slice(&description[..4]);
        i32::from_ne_bytes(fd)
    });
    names
        .iter()
        .zip(fds)
        .map(|(name, fd)| {
            let object = sys::take(fd).map_err(call("reading what the loader made"))?;
            Ok((name.clone(), object))
        })
        .collect()
}

impl Loaded {
    /// Pins all in a directory of a bpffs, which is made if it isn't there: programs by
    /// their names, maps by theirs behind `map_`. If one can't be, none is.
    ///
    /// # Errors
    /// [`Error::Pin`]
    pub fn pin(&self, directory: &Path) -> Result<()> {
        let at = |path: &Path| path.display().to_string();
        fs::create_dir_all(directory).map_err(|source| Error::Pin {
            path: at(directory),
            source,
        })?;
        let programs = self.programs.iter().map(|(name, fd)| (name.clone(), fd));
        let maps = self
            .maps
            .iter()
            .map(|(name, fd)| (format!("map_{name}"), fd));
        let mut made = Vec::new();
        for (name, object) in programs.chain(maps) {
            let path = directory.join(name);
            let pinned = CString::new(path.as_os_str().as_bytes())
                .map_err(std::io::Error::from)
                .and_then(|path| sys::pin(object, &path));
            if let Err(source) = pinned {
                for pin in made {
                    // What can't be removed is the kernel's to say at its next use.
                    let _ = fs::remove_file(pin);
                }
                return Err(Error::Pin {
                    path: at(&path),
                    source,
                });
            }
            made.push(path);
        }
        Ok(())
    }
}
