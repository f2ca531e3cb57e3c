//! Builds the kernel side and, from its BTF, the types and names that both
//! sides share.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use libbpf_cargo::SkeletonBuilder;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Enum;

/// One version everywhere: what the verifier of an old kernel accepts depends
/// on the compiler.
const CLANG: &str = "clang-19";

/// Where else the C sources are; for the mutation run, which breaks them.
const SOURCE_VARIABLE: &str = "BPFTRUST_BPF_DIR";

/// The enumerations whose names user space prints, and what their constants
/// begin with.
const NAMED: [(&str, &str, &str); 5] = [
    ("bt_reason", "BT_REASON_", "REASONS"),
    ("bt_action", "BT_ACTION_", "ACTIONS"),
    ("bt_outcome", "BT_OUTCOME_", "OUTCOMES"),
    ("bt_command", "BT_COMMAND_", "COMMANDS"),
    ("bt_ability", "BT_ABILITY_", "ABILITIES"),
];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is set by cargo")?);
    // Not env!(): two clones may share a target directory, and so this binary.
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?;
    let source = env::var_os(SOURCE_VARIABLE)
        .map_or_else(|| Path::new(&manifest).join("../../bpf"), PathBuf::from);
    println!("cargo:rerun-if-env-changed={SOURCE_VARIABLE}");
    println!("cargo:rerun-if-changed={}", source.display());

    let object = out.join("guard.bpf.o");
    SkeletonBuilder::new()
        .source(source.join("guard.bpf.c"))
        .obj(&object)
        .clang(CLANG)
        .clang_args([
            "-mcpu=v3",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused-parameter",
        ])
        .build_and_generate(out.join("guard.skel.rs"))
        .with_context(|| format!("building {} with {CLANG}", source.display()))?;
    let names = names(&object)?;
    fs::write(out.join("names.rs"), names).context("writing names.rs")
}

/// A table of (value, kebab-case name) for each enumeration of [`NAMED`].
fn names(object: &Path) -> Result<String> {
    let btf = Btf::from_path(object).context("reading the object's BTF")?;
    let mut text = String::new();
    for (name, prefix, table) in NAMED {
        let Some(enumeration) = btf.type_by_name::<Enum<'_>>(name) else {
            bail!("the object's BTF has no enum {name}");
        };
        writeln!(text, "pub(crate) const {table}: &[(u32, &str)] = &[")?;
        for variant in enumeration.iter() {
            let constant = variant
                .name
                .context("an enumerator has a name")?
                .to_string_lossy();
            let short = constant
                .strip_prefix(prefix)
                .with_context(|| format!("{constant} begins with {prefix}"))?;
            // How many there are is no name.
            if short == "COUNT" {
                continue;
            }
            writeln!(
                text,
                "    ({}, {:?}),",
                variant.value,
                short.to_lowercase().replace('_', "-")
            )?;
        }
        writeln!(text, "];")?;
    }
    Ok(text)
}
