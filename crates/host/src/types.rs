//! What the kernel's own type information (BTF) says that the kernel has.
//!
//! That a function is there is necessary for a program that uses it, and not
//! sufficient: the verifier also decides from where it may be called. Loading
//! the policy is the last word.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;

use libbpf_rs::btf::types::{Composite, Enum, Enum64, Func, Struct, Union};
use libbpf_rs::btf::{Btf, BtfType};

use crate::{Root, Unknown};

/// Where the kernel shows its types (`CONFIG_DEBUG_INFO_BTF`).
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The part of the kernel's types that decides anything here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelTypes {
    /// The kernel's functions whose name begins with `bpf_`: among them the
    /// kfuncs, and `bpf_lsm_NAME` for each security hook.
    pub functions: BTreeSet<String>,
    /// Security hooks are static calls (6.12 on; `security/security.c`).
    pub static_calls: bool,
    /// BPF tokens exist (6.9 on; `kernel/bpf/token.c`).
    pub tokens: bool,
    /// What a signature of a BPF program covers.
    pub signatures: ProgramSignatures,
}

/// What the kernel verifies when a BPF program is loaded with a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramSignatures {
    /// The kernel verifies no signatures of programs.
    #[default]
    None,
    /// The instructions (6.18; `kernel/bpf/syscall.c:bpf_prog_verify_signature`).
    Instructions,
    /// The instructions and the frozen maps that they come with, and the
    /// program remembers by which key (7.3; `struct bpf_prog_aux.sig`).
    InstructionsAndMaps,
}

impl KernelTypes {
    /// Reads the running kernel's types; `None` if it shows none.
    ///
    /// # Errors
    /// [`Unknown`] if they are there and can't be read or understood.
    pub fn probe(root: &Root) -> Result<Option<Self>, Unknown> {
        let path = root.path(VMLINUX);
        match std::fs::File::open(&path) {
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Unknown::new(VMLINUX, &error)),
        }
        match Btf::from_path(&path) {
            Ok(btf) => Ok(Some(Self::read(&btf))),
            Err(error) => Err(Unknown(format!("{VMLINUX}: {error:#}"))),
        }
    }

    fn read(btf: &Btf<'_>) -> Self {
        let functions = btf
            .type_by_kind::<Func<'_>>()
            .filter_map(|function| function.name()?.to_str())
            .filter(|name| name.starts_with("bpf_"))
            .map(str::to_owned)
            .collect();
        Self {
            functions,
            static_calls: structure(btf, "lsm_static_calls_table").is_some(),
            tokens: has_command(btf, "BPF_TOKEN_CREATE"),
            signatures: signatures(btf),
        }
    }
}

fn structure<'a>(btf: &'a Btf<'_>, name: &str) -> Option<Struct<'a>> {
    btf.type_by_kind::<Struct<'_>>()
        .find(|candidate| candidate.name() == Some(OsStr::new(name)))
}

fn has_command(btf: &Btf<'_>, name: &str) -> bool {
    let named = |found: Option<&OsStr>, name: &str| found == Some(OsStr::new(name));
    btf.type_by_kind::<Enum<'_>>()
        .filter(|commands| named(commands.name(), "bpf_cmd"))
        .any(|commands| commands.iter().any(|command| named(command.name, name)))
        || btf
            .type_by_kind::<Enum64<'_>>()
            .filter(|commands| named(commands.name(), "bpf_cmd"))
            .any(|commands| commands.iter().any(|command| named(command.name, name)))
}

fn signatures(btf: &Btf<'_>) -> ProgramSignatures {
    let accepts = btf
        .type_by_kind::<Union<'_>>()
        .filter(|union| union.name() == Some(OsStr::new("bpf_attr")))
        .any(|union| has_member(btf, union.into(), "signature"));
    if !accepts {
        return ProgramSignatures::None;
    }
    match structure(btf, "bpf_prog_aux") {
        Some(aux) if has_member(btf, aux.into(), "sig") => ProgramSignatures::InstructionsAndMaps,
        _ => ProgramSignatures::Instructions,
    }
}

/// Whether C code could name this member: directly, or inside a struct or union
/// that has no name of its own. One level down is where `union bpf_attr` has
/// the fields of a command; a type that contains itself can't lead astray.
fn has_member(btf: &Btf<'_>, composite: Composite<'_>, name: &str) -> bool {
    let named = |composite: Composite<'_>| {
        composite
            .iter()
            .any(|member| member.name == Some(OsStr::new(name)))
    };
    named(composite)
        || composite
            .iter()
            .filter(|member| member.name.is_none())
            .filter_map(|member| btf.type_by_id::<BtfType<'_>>(member.ty))
            .filter_map(|inner| Composite::try_from(inner).ok())
            .any(named)
}
