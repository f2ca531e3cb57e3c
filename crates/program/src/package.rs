//! The file that `program sign` writes: an ELF object of BPF whose sections hold what
//! is signed and the signatures, so that `readelf` and `llvm-objcopy` show and
//! take out what is in it.
//!
//! | section | content |
//! |---|---|
//! | `loader.6.18`, `loader.7.3` | instructions of the loader for kernels that verify so |
//! | `signature.6.18` | PKCS#7 over `loader.6.18` |
//! | `signature.7.3` | PKCS#7 over `loader.7.3` and `metadata` |
//! | `metadata` | what the loader makes the maps and programs of |
//! | `maps`, `programs` | their names, each with a NUL behind it, in the loader's order |
//! | `signer` | which key to look for: 8 bytes, a hint and no evidence |
//!
//! Names and hint are not signed: they only say what things are called.

use std::fmt;

use bpftrust_signature::KeyHint;
use object::elf::FileHeader64;
use object::read::elf::ElfFile;
use object::write::{Object, StandardSegment};
use object::{
    Architecture, BinaryFormat, Endianness, Object as _, ObjectSection as _, SectionKind,
};

use crate::{Error, Result};

/// What kernels verify, by the first that does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// The instructions; the loader itself compares the metadata's hash.
    Linux618,
    /// Instructions and metadata.
    Linux73,
}

impl Generation {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::Linux618, Self::Linux73];

    /// The kernel's series.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux618 => "6.18",
            Self::Linux73 => "7.3",
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}", self.name())
    }
}

/// What an object becomes, before anybody has signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The loader for each generation.
    pub loaders: Vec<(Generation, Vec<u8>)>,
    /// The one value of the loader's map.
    pub metadata: Vec<u8>,
    /// The maps that it makes, in its order.
    pub maps: Vec<String>,
    /// The programs that it loads, in its order.
    pub programs: Vec<String>,
}

impl Content {
    /// What is signed for a generation; `None` if there is no loader for it.
    pub fn message(&self, generation: Generation) -> Option<Vec<u8>> {
        let (_, loader) = self.loaders.iter().find(|(of, _)| *of == generation)?;
        let mut message = loader.clone();
        if generation == Generation::Linux73 {
            message.extend(&self.metadata);
        }
        Some(message)
    }
}

/// A loader as one generation of kernels takes it.
#[derive(Clone, Copy, Debug)]
pub struct Form<'a> {
    /// Which.
    pub generation: Generation,
    /// Its instructions.
    pub loader: &'a [u8],
    /// PKCS#7 in DER.
    pub signature: &'a [u8],
}

/// A signed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// What was signed.
    pub content: Content,
    /// The signature of each of its loaders, in the same order.
    pub signatures: Vec<Vec<u8>>,
    /// Which key to look for.
    pub signer: KeyHint,
}

impl Package {
    /// What is for kernels of this generation.
    pub fn form(&self, generation: Generation) -> Option<Form<'_>> {
        let loaders = self.content.loaders.iter().zip(&self.signatures);
        let mut found = loaders.filter(|((of, _), _)| *of == generation);
        let ((_, loader), signature) = found.next()?;
        Some(Form {
            generation,
            loader,
            signature,
        })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the whole is too large for ELF.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let mut add = |name: &str, kind: SectionKind, content: &[u8]| {
            let segment = file.segment_name(StandardSegment::Data).to_vec();
            let section = file.add_section(segment, name.into(), kind);
            file.append_section_data(section, content, 8);
        };
        for ((generation, loader), signature) in self.content.loaders.iter().zip(&self.signatures) {
            let name = generation.name();
            add(&format!("loader.{name}"), SectionKind::Text, loader);
            add(&format!("signature.{name}"), SectionKind::Other, signature);
        }
        add("metadata", SectionKind::Other, &self.content.metadata);
        add("maps", SectionKind::Other, &joined(&self.content.maps));
        add(
            "programs",
            SectionKind::Other,
            &joined(&self.content.programs),
        );
        add("signer", SectionKind::Other, &self.signer.0);
        file.write().map_err(|_| Error::Malformed {
            section: "metadata".to_owned(),
            why: "too large",
        })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::NoObject`], or which section is missing or makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let file = ElfFile::<FileHeader64<Endianness>>::parse(bytes)
            .map_err(|error| Error::NoObject(error.to_string()))?;
        if file.architecture() != Architecture::Bpf {
            return Err(Error::NoObject("it is for another machine".to_owned()));
        }
        let find = |name: &str| -> Result<Option<&[u8]>> {
            let mut found = file.sections().filter(|one| one.name() == Ok(name));
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some(section), None) => section.data().map(Some).map_err(|_| Error::Malformed {
                    section: name.to_owned(),
                    why: "it goes beyond the end of the file, which is truncated",
                }),
                _ => Err(malformed(name, "it is there twice")),
            }
        };
        let section = |name: &str| find(name)?.ok_or_else(|| Error::Missing(name.to_owned()));
        let (mut loaders, mut signatures) = (Vec::new(), Vec::new());
        for generation in Generation::ALL {
            let name = format!("loader.{}", generation.name());
            let Some(loader) = find(&name)? else {
                continue;
            };
            if loader.is_empty() || loader.len() % 8 != 0 {
                return Err(malformed(&name, "no whole number of instructions"));
            }
            let signature = section(&format!("signature.{}", generation.name()))?;
            loaders.push((generation, loader.to_vec()));
            signatures.push(signature.to_vec());
        }
        if loaders.is_empty() {
            return Err(Error::Missing("loader.*".to_owned()));
        }
        let signer = section("signer")?;
        let signer = signer.try_into().map(KeyHint);
        Ok(Self {
            content: Content {
                loaders,
                metadata: section("metadata")?.to_vec(),
                maps: names("maps", section("maps")?)?,
                programs: names("programs", section("programs")?)?,
            },
            signatures,
            signer: signer.map_err(|_| malformed("signer", "it does not have 8 bytes"))?,
        })
    }
}

fn malformed(section: &str, why: &'static str) -> Error {
    Error::Malformed {
        section: section.to_owned(),
        why,
    }
}

fn joined(names: &[String]) -> Vec<u8> {
    names
        .iter()
        .flat_map(|name| [name, "\0"])
        .collect::<String>()
        .into()
}

/// Names are those of pins, too: none leads out of a directory.
fn names(section: &str, bytes: &[u8]) -> Result<Vec<String>> {
    let Some((0, bytes)) = bytes.split_last() else {
        return match bytes {
            [] => Ok(Vec::new()),
            _ => Err(malformed(section, "its last name has no end")),
        };
    };
    bytes
        .split(|byte| *byte == 0)
        .map(|name| {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let name = str::from_utf8(name).map_err(|_| malformed(section, "no text"))?;
            match !name.is_empty() && name.len() < 128 && name.bytes().all(|b| is_plain(&b)) {
                true => Ok(name.to_owned()),
                false => Err(Error::Name(name.to_owned())),
            }
        })
        .collect()
}
