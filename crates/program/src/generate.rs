//! From an object file to loader and metadata, by libbpf's own generator.

use std::sync::{Mutex, PoisonError};

use libbpf_rs::{AsRawLibbpf, MapType, ObjectBuilder, OpenObject, PrintLevel, set_print};
use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::{Architecture, Endianness, Object as _, ObjectSection as _};

use crate::instructions::{end_overrides, takes_overrides};
use crate::token::name_token;
use crate::{Content, Error, Generation, Result, sys};

/// What libbpf has said since `said()` was last asked.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Makes loaders and metadata of an object file for these generations of kernels. It
/// asks nothing of the kernel that runs here.
///
/// The loaders take no content of maps from who runs them: see [`takes_overrides`]. They
/// name his token, if he has one: see [`takes_token`](crate::takes_token).
///
/// # Errors
/// [`Error::NoObject`], [`Error::NoLicense`], [`Error::Map`], [`Error::Generate`]: what
/// the object has that can't be signed.
///
/// [`takes_overrides`]: crate::takes_overrides
pub fn generate(object: &[u8], generations: &[Generation]) -> Result<Content> {
    require_license(object)?;
    let mut content: Option<Content> = None;
    for generation in generations {
        let next = generate_one(object, *generation)?;
        match &mut content {
            None => content = Some(next),
            Some(content) if content.metadata == next.metadata => {
                content.loaders.extend(next.loaders);
            }
            Some(_) => {
                return Err(Error::Generate {
                    said: "two runs of it made two kinds of metadata".to_owned(),
                });
            }
        }
    }
    content.ok_or_else(|| Error::Missing("loader.*".to_owned()))
}

fn require_license(object: &[u8]) -> Result<()> {
    let file = ElfFile::<FileHeader64<Endianness>>::parse(object)
        .map_err(|error| Error::NoObject(error.to_string()))?;
    if file.architecture() != Architecture::Bpf || file.endianness() != object::Endianness::Little {
        return Err(Error::NoObject("it is for another machine".to_owned()));
    }
    let license = file.section_by_name("license");
    let license = license.and_then(|section| section.data().ok());
    match license {
        Some([first, ..]) if *first != 0 => Ok(()),
        _ => Err(Error::NoLicense),
    }
}

fn generate_one(object: &[u8], generation: Generation) -> Result<Content> {
    /// libbpf has one place to say things to.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = set_print(Some((PrintLevel::Warn, |_, line| {
        SAID.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    })));
    let content = open_and_generate(object, generation);
    set_print(before);
    content
}

fn open_and_generate(object: &[u8], generation: Generation) -> Result<Content> {
    said();
    let open = ObjectBuilder::default()
        .name("signed")
        .and_then(|builder| builder.open_memory(object))
        .map_err(|error| failed(&error.to_string()))?;
    let maps = maps(&open)?;
    let programs = open
        .progs()
        .filter(|program| program.autoload())
        .map(|program| program.name().to_string_lossy().into_owned())
        .collect();
    let hashed = generation == Generation::Linux618;
    let (mut loader, mut metadata) = sys::generate(open.as_libbpf_object(), hashed)
        .map_err(|error| failed(&error.to_string()))?;
    end_overrides(&mut loader);
    name_token(&mut loader, &mut metadata)?;
    match takes_overrides(&loader) {
        0 => Ok(Content {
            loaders: vec![(generation, loader)],
            metadata,
            maps,
            programs,
        }),
        count => Err(Error::Overrides { count }),
    }
}

/// The names of all maps, none of which is of a kind that the generator passes over.
fn maps(open: &OpenObject) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for map in open.maps() {
        let name = map.name().to_string_lossy().into_owned();
        let why = match map.map_type() {
            MapType::StructOps => Some("of type struct_ops, which a light skeleton can't fill in"),
            MapType::Arena => Some("of type arena, whose content a light skeleton can't fill in"),
            _ if name.ends_with(".kconfig") => {
                Some("values of the kernel's configuration would be those of this machine")
            }
            _ if sys::is_pinned_by_name(map.as_libbpf_object()) => {
                Some("it is pinned by name, which a light skeleton does not do")
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(Error::Map { name, why });
        }
        names.push(name.replace('.', "_"));
    }
    Ok(names)
}

fn said() -> Vec<String> {
    std::mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What libbpf has said, which names the section or symbol; else its error.
fn failed(error: &str) -> Error {
    let lines: Vec<String> = said()
        .iter()
        .map(|line| line.trim().trim_start_matches("libbpf: ").to_owned())
        .collect();
    let said = match lines.is_empty() {
        true => error.to_owned(),
        false => lines.join("; "),
    };
    Error::Generate { said }
}
