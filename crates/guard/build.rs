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

/// What calling each of the kernel's functions takes, beside the C sources.
const KFUNCS: &str = "kfuncs.txt";

/// Where else the C sources are; for the mutation run, which breaks them.
const SOURCE_VARIABLE: &str = "BPFTRUST_BPF_DIR";

/// The enumerations whose names user space prints, and what their constants
/// begin with.
const NAMED: [(&str, &str, &str); 7] = [
    ("bt_reason", "BT_REASON_", "REASONS"),
    ("bt_action", "BT_ACTION_", "ACTIONS"),
    ("bt_outcome", "BT_OUTCOME_", "OUTCOMES"),
    ("bt_command", "BT_COMMAND_", "COMMANDS"),
    ("bt_ability", "BT_ABILITY_", "ABILITIES"),
    ("bt_ring", "BT_RING_", "RINGS"),
    ("bt_libraries", "BT_LIBRARIES_", "LIBRARIES"),
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
    let btf = Btf::from_path(&object).context("reading the object's BTF")?;
    fs::write(out.join("names.rs"), names(&btf)?).context("writing names.rs")?;
    let list = source.join(KFUNCS);
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let kfuncs = kfuncs(&text, &btf).with_context(|| format!("making sense of {KFUNCS}"))?;
    fs::write(out.join("kfuncs.rs"), kfuncs).context("writing kfuncs.rs")
}

/// A table of (value, kebab-case name) for each enumeration of [`NAMED`].
fn names(btf: &Btf<'_>) -> Result<String> {
    let mut text = String::new();
    for (name, prefix, table) in NAMED {
        writeln!(text, "pub(crate) const {table}: &[(u32, &str)] = &[")?;
        for (value, short) in enumerators(btf, name, prefix)? {
            writeln!(text, "    ({value}, {short:?}),")?;
        }
        writeln!(text, "];")?;
    }
    Ok(text)
}

/// A table of (kernel function, bits of the abilities that calling it takes).
fn kfuncs(list: &str, btf: &Btf<'_>) -> Result<String> {
    let abilities = enumerators(btf, "bt_ability", "BT_ABILITY_")?;
    let mut text = "pub(crate) const KFUNCS: &[(&str, u64)] = &[\n".to_owned();
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (name, ability) = line
            .split_once(' ')
            .with_context(|| format!("{line:?} has no ability"))?;
        let ability = ability.trim();
        let bits = if ability == "-" {
            0
        } else {
            let number = abilities.iter().find(|(_, name)| name == ability);
            let (number, _) = number.with_context(|| format!("no ability is called {ability}"))?;
            1_u64 << number
        };
        writeln!(text, "    ({name:?}, {bits}),")?;
    }
    text.push_str("];\n");
    Ok(text)
}

/// The values and kebab-case names of an enumeration, without how many there
/// are (`COUNT`).
fn enumerators(btf: &Btf<'_>, name: &str, prefix: &str) -> Result<Vec<(i64, String)>> {
    let Some(enumeration) = btf.type_by_name::<Enum<'_>>(name) else {
        bail!("the object's BTF has no enum {name}");
    };
    let mut all = Vec::new();
    for variant in enumeration.iter() {
        let constant = variant
            .name
            .context("an enumerator has a name")?
            .to_string_lossy();
        let short = constant
            .strip_prefix(prefix)
            .with_context(|| format!("{constant} begins with {prefix}"))?;
        if short != "COUNT" {
            all.push((variant.value, short.to_lowercase().replace('_', "-")));
        }
    }
    Ok(all)
}
