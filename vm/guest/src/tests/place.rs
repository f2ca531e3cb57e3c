//! What a signature means to other users, in namespaces and on other file
//! systems (attack 7): trust and capability are separate, and both are needed.

use crate::envelope;
use crate::fixture::{self, ANY_COMMAND, Events, expect_refused, expect_trusted, signed_probe};
use crate::guest::{Guest, text};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::tests::exec::{CALL, PROBE, expect, expect_no, expect_yes};
use anyhow::Result;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub const GROUP: Group = Group {
    name: "place",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::enforce),
    teardown: Some(fixture::release),
    tests: &[
        test!(a_set_uid_loader_has_trust_and_capability),
        test!(trust_is_no_capability),
        test!(a_user_namespace_gives_no_capability_and_no_trust),
        test!(a_mount_namespace_changes_nothing),
        test!(a_chroot_changes_nothing),
        test!(a_file_that_its_user_may_not_read_is_not_judged),
        test!(overlayfs_has_no_verity),
        test!(tmpfs_has_no_verity),
    ],
};

fn a_set_uid_loader_has_trust_and_capability(guest: &mut Guest) -> Result<()> {
    let set_uid = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o4755));
    let signed = signed_probe(guest, "probe")?;
    set_uid(&signed)?;
    let by_user = |path: &Path| Program::new(path).args(CALL).by_user();
    let allowed = [("outcome", "allowed"), ("uid", "1000")];
    expect(guest, by_user(&signed), "ok", &allowed)?;
    let unsigned = guest.copy(PROBE, "unsigned")?;
    set_uid(&unsigned)?;
    expect_no(guest, by_user(&unsigned), "no-signature")
}

/// The kernel asks the guard first, and then for the capability: the event
/// tells whose "no" it was.
fn trust_is_no_capability(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let by_user = |path: &Path| Program::new(path).args(CALL).by_user();
    let allowed = [("outcome", "allowed"), ("uid", "1000")];
    let mark = Events::mark(guest)?;
    expect(guest, by_user(&signed), "EPERM", &allowed)?;
    mark.expect_none(guest, &[("action", "bpf"), ("outcome", "denied")])?;
    expect_no(guest, by_user(Path::new(PROBE)), "no-signature")?;
    expect_trusted(guest, &signed, CALL)
}

fn a_user_namespace_gives_no_capability_and_no_trust(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let inside = |program: &Path, actions: &[&str]| {
        Program::new(program)
            .args(["userns", "["])
            .args(actions)
            .arg("]")
    };
    let execute = ["exec", text(&signed)?, "bpf", ANY_COMMAND];
    let allowed = [("outcome", "allowed"), ("executable", text(&signed)?)];
    // Trusted, and without privilege over the machine.
    expect(guest, inside(&signed, CALL), "EPERM", &allowed)?;
    let unsigned = Path::new(PROBE);
    expect(guest, inside(unsigned, &execute), "EPERM", &allowed)?;
    // Without trust, whatever it may there.
    expect_no(guest, inside(unsigned, CALL), "no-signature")
}

fn a_mount_namespace_changes_nothing(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let inside = |program: &Path, actions: &[&str]| {
        Program::new(program)
            .args(["mntns", "["])
            .args(actions)
            .arg("]")
    };
    let execute = ["exec", text(&signed)?, "bpf", ANY_COMMAND];
    let unsigned = Path::new(PROBE);
    expect_yes(guest, inside(&signed, CALL), &signed)?;
    expect_yes(guest, inside(unsigned, &execute), &signed)?;
    expect_no(guest, inside(unsigned, CALL), "no-signature")?;
    let unsigned = ["exec", PROBE, "bpf", ANY_COMMAND];
    expect_no(guest, inside(&signed, &unsigned), "no-signature")
}

fn a_chroot_changes_nothing(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let root = guest.path("root");
    fs::create_dir(&root)?;
    guest.run(&["mount", "--bind", "/", "root"])?.success()?;
    let inside = |program: &Path, target: &Path| {
        Program::new(program)
            .arg("chroot")
            .arg(&root)
            .arg("exec")
            .arg(target)
            .args(CALL)
    };
    let unsigned = Path::new(PROBE);
    // The event's path is as the process itself sees it.
    let result = expect_yes(guest, inside(unsigned, &signed), &signed)
        .and_then(|()| expect_yes(guest, inside(&signed, &signed), &signed))
        .and_then(|()| expect_no(guest, inside(&signed, unsigned), "no-signature"));
    guest.run(&["umount", "root"])?.success()?;
    result
}

/// The kernel lets the guard read an xattr only as far as the process may read
/// the file (fs/bpf_fs_kfuncs.c).
fn a_file_that_its_user_may_not_read_is_not_judged(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    fs::set_permissions(&signed, fs::Permissions::from_mode(0o711))?;
    let mark = Events::mark(guest)?;
    expect_no(
        guest,
        Program::new(&signed).args(CALL).by_user(),
        "unreadable",
    )?;
    mark.expect(guest, &[("action", "exec"), ("reason", "unreadable")])?;
    // That was not kept, and root may read it; whether the verdict of root's
    // exec is kept for the user is no matter: it is true of the content.
    expect_trusted(guest, &signed, CALL)
}

/// The lower file's verity can't be seen through it: a known limit.
fn overlayfs_has_no_verity(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(guest.path(name))?;
    }
    let lower: PathBuf = guest.path("lower").join("probe");
    fs::rename(&signed, &lower)?;
    guest.run(&["modprobe", "overlay"])?.success()?;
    let options = "lowerdir=lower,upperdir=upper,workdir=work";
    let mount = ["mount", "-t", "overlay", "-o", options, "overlay", "merged"];
    guest.run(&mount)?.success()?;
    let merged = guest.path("merged").join("probe");
    let result = expect_refused(guest, &merged, CALL, "no-verity");
    guest.run(&["umount", "merged"])?.success()?;
    result?;
    expect_trusted(guest, &lower, CALL)
}

fn tmpfs_has_no_verity(guest: &mut Guest) -> Result<()> {
    let signed = signed_probe(guest, "probe")?;
    let copy = Path::new("/dev/shm/exec-probe");
    fs::copy(&signed, copy)?;
    expect_refused(guest, copy, CALL, "no-signature")?;
    envelope::write(copy, &envelope::read(&signed)?)?;
    expect_refused(guest, copy, CALL, "no-verity")?;
    fs::remove_file(copy)?;
    expect_trusted(guest, &signed, CALL)
}
