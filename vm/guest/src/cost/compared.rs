//! What bpftrust is compared with: other ways to have the kernel execute and map only
//! files that somebody knows. Each is set up so that it lets the benchmark's files
//! through, and is shown to refuse others before anything is counted.

use super::{BENCH, KEY, PLACE, in_place};
use crate::guest::{Guest, text};
use crate::process::{Background, Program};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// How IMA knows a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appraisal {
    /// By its hash in `security.ima`.
    Hash,
    /// By the signature there.
    Signature,
}

/// Executables that rows start or are.
const PROGRAMS: &[&str] = &["static", "static-signed", "dynamic", "dynamic-signed"];

/// A program that nobody signs.
const STRANGER: &str = "/usr/bin/busybox";

/// IMA's appraisal of all that is executed or mapped to execute
/// (Documentation/ABI/testing/ima_policy). Nothing is measured or audited.
pub fn ima(guest: &Guest, appraisal: Appraisal) -> Result<()> {
    let private = KEY.private();
    let sign: &[&str] = match appraisal {
        Appraisal::Hash => &["evmctl", "ima_hash", "--hashalgo", "sha256"],
        Appraisal::Signature => &[
            "evmctl",
            "ima_sign",
            "--hashalgo",
            "sha256",
            "--key",
            &private,
        ],
    };
    for file in files(guest)? {
        guest.run(&[sign, &[text(&file)?]].concat())?.success()?;
    }
    let kind = match appraisal {
        Appraisal::Hash => "",
        Appraisal::Signature => {
            // Without CONFIG_INTEGRITY_TRUSTED_KEYRING it is a keyring that any process
            // of root's may make (security/integrity/digsig.c, integrity_keyring_from_id).
            guest.run(&["keyctl", "newring", "_ima", "@u"])?.success()?;
            add_certificate(guest, "%keyring:_ima")?;
            " appraise_type=imasig"
        }
    };
    let policy =
        format!("appraise func=BPRM_CHECK{kind}\nappraise func=MMAP_CHECK mask=MAY_EXEC{kind}\n");
    fs::write("/sys/kernel/security/ima/policy", policy).context("cannot load IMA's policy")?;
    refuses(Path::new(PLACE))
}

/// The policy of IPE, signed on the host (`xtask/src/bench/compared.rs`).
const IPE_POLICY: &str = "ipe.p7b";

/// IPE with a policy that executes what has a signature of fs-verity's own
/// (Documentation/admin-guide/LSM/ipe.rst).
pub fn ipe(guest: &Guest) -> Result<()> {
    add_certificate(guest, "%keyring:.fs-verity")?;
    let options = [
        format!("--key={}", KEY.private()),
        format!("--cert={}", KEY.certificate()),
    ];
    let signature = guest.path("signature");
    for file in files(guest)? {
        let words = ["fsverity", "sign", text(&file)?, text(&signature)?];
        Program::new(words[0])
            .args(&words[1..])
            .args(&options)
            .run()?
            .success()?;
        let given = format!("--signature={}", signature.display());
        guest
            .run(&["fsverity", "enable", text(&file)?, &given])?
            .success()?;
    }
    let policy = fs::read(in_place(IPE_POLICY)).context("cannot read IPE's policy")?;
    let ipe = Path::new("/sys/kernel/security/ipe");
    fs::write(ipe.join("new_policy"), policy).context("the kernel does not take IPE's policy")?;
    fs::write(ipe.join("policies/bench/active"), "1").context("cannot activate IPE's policy")?;
    refuses(Path::new(PLACE))
}

/// Systemd's own test of `RestrictFileSystemAccess=`
/// (systemd, src/test/test-bpf-restrict-fsaccess.c): it attaches the programs, says their
/// numbers, and holds them until it ends.
const RESTRICT: &str = "/usr/lib/systemd/tests/unit-tests/manual/test-bpf-restrict-fsaccess";

/// What systemd's `RestrictFileSystemAccess=exec` attaches, which executes and maps as code
/// files of signed dm-verity devices and of the initramfs alone. The disk counts as the
/// initramfs here.
pub fn systemd(guest: &mut Guest) -> Result<Background> {
    files(guest)?;
    let mut held = guest.start(Program::new(RESTRICT).arg("attach"))?;
    guest.wait_until_says(&mut held, "LINK_IDS=")?;
    refuses(Path::new("/tmp"))?;
    Ok(held)
}

/// Adds the benchmark's certificate to a keyring.
fn add_certificate(guest: &Guest, ring: &str) -> Result<()> {
    let der = guest.path("certificate.der");
    let words = ["openssl", "x509", "-outform", "der", "-in"];
    let certificate = KEY.certificate();
    let out = ["-out", text(&der)?];
    guest
        .run(&[&words[..], &[&certificate], &out].concat())?
        .success()?;
    Program::new("keyctl")
        .args(["padd", "asymmetric", "", ring])
        .input(fs::read(&der).context("cannot read the certificate")?)
        .run()?
        .success()
        .map(drop)
}

/// All that rows execute, and the libraries of that.
fn files(guest: &Guest) -> Result<BTreeSet<PathBuf>> {
    let mut programs = vec![PathBuf::from(BENCH)];
    fs::copy(in_place("dynamic-of-signed"), in_place("dynamic-signed"))
        .and_then(|_| fs::copy(in_place("static"), in_place("static-signed")))
        .context("cannot copy programs")?;
    programs.extend(PROGRAMS.iter().map(|name| in_place(name)));
    let mut files = BTreeSet::new();
    for program in programs {
        // It fails for a static one, which has none.
        let said = guest.run(&["ldd", text(&program)?])?;
        for word in said.stdout.split_whitespace() {
            if word.starts_with('/') {
                let path = fs::canonicalize(word).with_context(|| format!("no file {word}"))?;
                files.insert(path);
            }
        }
        files.insert(program);
    }
    Ok(files)
}

/// Requires that what nobody signed is not executed in this directory.
fn refuses(directory: &Path) -> Result<()> {
    let stranger = directory.join("stranger");
    fs::copy(STRANGER, &stranger)
        .and_then(|_| fs::set_permissions(&stranger, fs::Permissions::from_mode(0o755)))
        .context("cannot copy a program")?;
    let run = std::process::Command::new(&stranger).arg("true").status();
    let refused = run
        .as_ref()
        .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    ensure!(refused, "{} ran: {run:?}", stranger.display());
    Ok(())
}
