//! What is in the lab: copies of this program, signed or not, and a policy that
//! trusts some of them.

use crate::forge;
use crate::lab::Lab;
use anyhow::{Context, Result};
use bpftrust_verity::Parameters;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The policy's file.
pub const POLICY: &str = "policy.toml";
/// One that trusts the stranger, who is not in [`POLICY`].
pub const WEAKER_POLICY: &str = "weaker.toml";

/// The key that lifts the seal in the end.
pub const GOVERNOR: &str = "governor";

/// So that the corpus runs where libraries can't have fs-verity; [`crate::limits`]
/// says what that leaves open.
const LIBRARIES: &str = "libraries = \"any\"\n";

/// Nobody signed it.
pub const UNSIGNED: &str = "unsigned";
/// Signed, and may do everything but run code that was not signed.
pub const LOADER: &str = "loader";

/// Everything that a grant can give but most abilities.
const ALL: &str = "commands = \"all\"\nprograms = \"all\"\nattaches = \"all\"\nmaps = \"all\"\n\
                   abilities = [\"children\", \"delegate\"]\n";
const TIED: &str = "commands = \"all\"\nprograms = \"all\"\nattaches = \"all\"\nmaps = \"all\"\n\
                    abilities = [\"children\", \"delegate\"]\nrequire = \"token\"\n";
const VERIFYING: &str = "commands = \"all\"\nprograms = \"signed\"\nattaches = \"all\"\n\
                         maps = \"all\"\n";
const SCRIPTED: &str =
    "commands = \"all\"\nprograms = \"script\"\nattaches = \"all\"\nmaps = \"all\"\n";
const DELEGATING: &str = "commands = [\"map_create\", \"token_create\"]\nmaps = [\"hash\"]\n\
                          abilities = [\"children\", \"delegate\"]\n";
const NARROW: &str = "commands = [\"map_create\", \"prog_load\", \"prog_get_next_id\"]\n\
                      programs = [\"socket_filter\", \"kprobe\"]\nmaps = [\"array\"]\n";

/// Files that are signed as loaders: name, which is that of the grant; key; what
/// is granted.
const SIGNED: &[(&str, &str, &str)] = &[
    (LOADER, "acme", ALL),
    // Another owner.
    ("peer", "acme", ALL),
    ("narrow", "acme", NARROW),
    ("delegating", "acme", DELEGATING),
    // Must use a token.
    ("tied", "acme", TIED),
    // May load signed programs alone.
    ("verifying", "acme", VERIFYING),
    // Must run a signed script.
    ("scripted", "acme", SCRIPTED),
    ("refused", "acme", ALL),
    ("formers", "former", ALL),
    ("strangers", "stranger", ALL),
    // Whose signature attacks replace.
    ("forged", "acme", ALL),
];

/// Makes all that is in the lab; returns what stands for what in actions.
pub fn make(lab: &Lab) -> Result<Vec<(&'static str, String)>> {
    make_policies(lab)?;
    let unsigned = lab.path(UNSIGNED);
    copy_self(&unsigned)?;
    for (name, key, rights) in SIGNED {
        let file = lab.path(name);
        copy_self(&file)?;
        sign(
            lab,
            key,
            &file,
            &format!("name = {name:?}\nversion = 2\n{rights}"),
        )?;
    }
    forge::keep(&lab.path("forged"))?;
    make_lookalikes(lab)?;
    make_older(lab)?;
    let (linker, library) = (mapped("/ld-linux")?, mapped("/libgcc_s.so")?);
    let evil = lab.path("evil.so");
    fs::copy(&library, &evil).context("copying a library")?;
    // The same file under the name that the linker looks for.
    let libraries = lab.path("libraries");
    fs::create_dir(&libraries).context("making a directory")?;
    let name = Path::new(&library).file_name().context("a library")?;
    fs::hard_link(&evil, libraries.join(name)).context("linking a library")?;
    let inode = fs::metadata(&evil).context("looking at it")?.ino();
    make_libraries(lab, &linker)?;
    Ok(vec![
        ("%linker", linker),
        ("%library", library),
        ("%inode", inode.to_string()),
    ])
}

fn make_policies(lab: &Lab) -> Result<()> {
    let former = make_key(lab, "former")?;
    for name in ["acme", "stranger", GOVERNOR] {
        make_key(lab, name)?;
    }
    let publisher = |name: &str| {
        let certificate = lab.path(&format!("{name}/certificate.pem"));
        format!("[publisher.{name}]\ncertificates = [{certificate:?}]\n")
    };
    let governor = lab.path(&format!("{GOVERNOR}/certificate.pem"));
    let policy = format!(
        "{LIBRARIES}serial = 1\n[policy-keys]\ncertificates = [{governor:?}]\n{}{}[refused]\nnames = [\"refused\"]\nkeys = [{former:?}]\n",
        publisher("acme"),
        publisher("former")
    );
    fs::write(lab.path(POLICY), policy).context("writing the policy")?;
    let weaker = format!("{LIBRARIES}{}{}", publisher("acme"), publisher("stranger"));
    fs::write(lab.path(WEAKER_POLICY), weaker).context("writing the weaker policy")
}

/// Makes a key, and returns what policies call it.
fn make_key(lab: &Lab, name: &str) -> Result<String> {
    let dir = lab.path(name);
    let dir = dir.to_str().context("a path of ASCII")?;
    // No kernel needs a module for these.
    let kind = ["keygen", "--algorithm", "rsa-2048"];
    let words = [&kind[..], &["--name", name, "--out", dir]].concat();
    let said = lab.tool_must(&words)?;
    let (_, rest) = said.split_once("of key ").context("keygen named no key")?;
    let hint = rest.split(',').next().context("keygen named no key")?;
    Ok(hint.to_owned())
}

/// A copy of this very program, which is not the file of any other.
pub fn copy_self(to: &Path) -> Result<()> {
    copy("/proc/self/exe", to)
}

fn copy(from: &str, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying to {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("setting the mode of {}", to.display()))
}

/// Signs a file as a loader with this grant.
pub fn sign(lab: &Lab, key: &str, file: &Path, grant: &str) -> Result<()> {
    let place = lab.path("grant.toml");
    fs::write(&place, grant).context("writing a grant")?;
    let place = place.to_str().context("a path of ASCII")?;
    sign_as(lab, key, file, &["--grant", place])
}

fn sign_as(lab: &Lab, key: &str, file: &Path, options: &[&str]) -> Result<()> {
    let part = |name| lab.path(&format!("{key}/{name}")).display().to_string();
    let (private, certificate) = (part("key.pem"), part("certificate.pem"));
    let file = file.to_str().context("a path of ASCII")?;
    let words = ["sign", "--key", &private, "--certificate", &certificate];
    lab.tool_must(&[&words[..], options, &[file]].concat())
        .context("if the file system has no fs-verity, choose another with --dir")
        .map(drop)
}

/// Files that have the loader's signature and are not the loader.
fn make_lookalikes(lab: &Lab) -> Result<()> {
    let signature = forge::read(&lab.path(LOADER))?;
    let open_to_change = lab.path("no-verity");
    copy_self(&open_to_change)?;
    forge::write(&open_to_change, &signature)?;

    let changed = lab.path("changed");
    copy_self(&changed)?;
    let mut content = fs::read(&changed).context("reading a copy")?;
    // In no instruction: it must run.
    content.push(0);
    fs::write(&changed, content).context("changing a copy")?;
    freeze(&changed)?;
    forge::write(&changed, &signature)?;

    // The set-uid copy is of nobody's use but to get uid 0.
    let set_uid = lab.path("set-uid");
    copy_self(&set_uid)?;
    fs::set_permissions(&set_uid, fs::Permissions::from_mode(0o4755))
        .context("making a copy set-uid")?;

    let script = lab.path("script");
    fs::write(&script, format!("#!{} act\n", lab.path(LOADER).display()))
        .context("writing a script")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))
        .context("making a script executable")
}

/// Enables fs-verity, as `bpftrust sign` would.
fn freeze(file: &Path) -> Result<()> {
    let open = File::open(file).with_context(|| format!("opening {}", file.display()))?;
    bpftrust_verity::enable(&open, &Parameters::default())
        .with_context(|| format!("enabling fs-verity on {}", file.display()))
}

/// One file with two statements by the same key, the older one kept beside it.
fn make_older(lab: &Lab) -> Result<()> {
    let file = lab.path("older");
    copy_self(&file)?;
    // Its own content: versions are remembered by content.
    let mut content = fs::read(&file).context("reading a copy")?;
    content.extend(b"older");
    fs::write(&file, content).context("changing a copy")?;
    for version in [1, 2] {
        let grant = format!("name = \"older\"\nversion = {version}\n{ALL}");
        sign(lab, "acme", &file, &grant)?;
        if version == 1 {
            forge::keep(&file)?;
        }
    }
    Ok(())
}

/// What is signed as a library and executed all the same.
fn make_libraries(lab: &Lab, linker: &str) -> Result<()> {
    let program = lab.path("as-library");
    copy_self(&program)?;
    let own_linker = lab.path("linker");
    copy(linker, &own_linker)?;
    for file in [program, own_linker] {
        sign_as(lab, "acme", &file, &["--kind", "library"])?;
    }
    Ok(())
}

/// A file that this program has mapped, by a part of its path.
fn mapped(part: &str) -> Result<String> {
    let maps = fs::read_to_string("/proc/self/maps").context("reading /proc/self/maps")?;
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains(part));
    let path: PathBuf = path
        .with_context(|| format!("nothing like {part} is mapped"))?
        .into();
    Ok(path.display().to_string())
}
