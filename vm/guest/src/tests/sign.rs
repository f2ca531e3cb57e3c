//! Signing on real fs-verity: wholly or not at all.

use crate::asker;
use crate::fixture::{self, ACME, ANY_COMMAND, ANY_LIBRARIES, STRANGER};
use crate::fixture::{expect_refused, expect_trusted, sign, signed_probe};
use crate::guest::Guest;
use crate::process::{Output, Program};
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "sign",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::configure),
    teardown: None,
    tests: &[
        test!(a_signed_file_measures_as_the_signature_says),
        test!(a_directory_is_signed_in_one_call),
        test!(many_files_are_on_disk_when_it_says_so),
        test!(a_file_open_for_writing_stays_as_it_was),
        test!(a_file_system_without_verity_is_named),
        test!(ext4_made_without_verity_is_told_how_to_get_it),
        test!(a_user_can_not_sign_what_he_may_not_write),
        test!(a_read_only_mount_is_named),
        test!(a_full_disk_leaves_the_file_as_it_was),
        test!(killed_at_any_moment_it_signed_wholly_or_not_at_all).within(120),
        test!(a_target_swapped_meanwhile_is_never_signed_wrongly).within(120),
        test!(a_detached_signature_is_installed),
        test!(what_fsverity_sign_wrote_is_installed_and_counts_where_the_policy_says),
        test!(a_hard_link_is_the_same_file),
        test!(another_key_replaces_the_signature),
    ],
};

const PROBE: &str = "/usr/bin/bpftrust-probe";

/// Runs `sign` with the trusted key.
fn signing(guest: &Guest, files: &[&str]) -> Result<Output> {
    let (key, certificate) = (ACME.private(), ACME.certificate());
    let words = [
        "bpftrust",
        "sign",
        "--key",
        &key,
        "--certificate",
        &certificate,
    ];
    guest.run(&[&words[..], files].concat())
}

fn verify(guest: &Guest, file: &str) -> Result<Output> {
    guest.run(&[
        "bpftrust",
        "verify",
        "--certificate",
        &ACME.certificate(),
        file,
    ])
}

fn has_verity(guest: &Guest, file: &str) -> Result<bool> {
    Ok(guest.run(&["fsverity", "measure", file])?.status == 0)
}

fn has_xattr(guest: &Guest, file: &str) -> Result<bool> {
    let words = ["getfattr", "--only-values", "-n", "user.bpftrust", file];
    Ok(guest.run(&words)?.status == 0)
}

/// The file carries nothing of ours, and its content is that of `like`.
fn expect_untouched(guest: &Guest, file: &str, like: &str) -> Result<()> {
    ensure!(!has_verity(guest, file)?, "{file} has fs-verity");
    ensure!(!has_xattr(guest, file)?, "{file} has the xattr");
    guest.run(&["cmp", file, like])?.success()?;
    Ok(())
}

/// `sign` refuses with these words in its complaint and its help line.
fn expect_no(output: &Output, error: &str, help: &str) -> Result<()> {
    ensure!(output.status == 2, "{output}");
    let (first, second) = output
        .stderr
        .split_once("\nhelp: ")
        .with_context(|| output.to_string())?;
    ensure!(first.contains(error), "no {error:?} in {output}");
    ensure!(second.contains(help), "no {help:?} in {output}");
    Ok(())
}

fn a_signed_file_measures_as_the_signature_says(guest: &mut Guest) -> Result<()> {
    guest.copy(PROBE, "probe")?;
    let computed = guest.run(&["fsverity", "digest", "probe"])?.success()?;
    let said = signing(guest, &["probe"])?.success()?;
    let measured = guest.run(&["fsverity", "measure", "probe"])?.success()?;
    ensure!(computed == measured, "{computed} became {measured}");
    let digest = measured.split(' ').next().context("a digest")?;
    ensure!(said.contains(digest), "{said}");
    let said = verify(guest, "probe")?.success()?;
    ensure!(said.starts_with("probe: yes, signed as loader"), "{said}");
    ensure!(
        fs::write("probe", "x").is_err(),
        "it can still be written to"
    );
    Ok(())
}

fn a_directory_is_signed_in_one_call(guest: &mut Guest) -> Result<()> {
    fs::create_dir_all(guest.path("tree/deep/er"))?;
    for number in 0..12 {
        let place = ["tree", "tree/deep", "tree/deep/er"][number % 3];
        let name = format!("{place}/program-{number}");
        guest.copy("/usr/bin/true", &name)?;
        // So that no two are the same.
        guest
            .shell(&format!("echo {number} >> {name}"))?
            .success()?;
    }
    guest.write("tree/text", "no program")?;
    guest.shell("ln -s /usr/bin/cat tree/link")?.success()?;
    let said = signing(guest, &["tree"])?.success()?;
    ensure!(said.matches(": signed as loader").count() == 12, "{said}");
    let found = guest.shell("find tree -name 'program-*'")?.success()?;
    for file in found.lines() {
        verify(guest, file)?.success()?;
    }
    ensure!(!has_verity(guest, "tree/text")?, "the text was signed");
    ensure!(!has_verity(guest, "/usr/bin/cat")?, "the link was followed");
    // Once more changes nothing and is no error.
    signing(guest, &["tree"])?.success()?;
    verify(guest, "tree/program-0")?.success()?;
    Ok(())
}

fn a_file_open_for_writing_stays_as_it_was(guest: &mut Guest) -> Result<()> {
    guest.copy(PROBE, "probe")?;
    let writer = fs::OpenOptions::new().append(true).open("probe")?;
    let output = signing(guest, &["probe"])?;
    expect_no(&output, "probe", "fuser -v probe")?;
    expect_untouched(guest, "probe", PROBE)?;
    drop(writer);
    signing(guest, &["probe"])?.success()?;
    verify(guest, "probe")?.success()?;
    Ok(())
}

fn a_file_system_without_verity_is_named(guest: &mut Guest) -> Result<()> {
    fs::copy(PROBE, "/tmp/sign-probe")?;
    let output = signing(guest, &["/tmp/sign-probe"])?;
    expect_no(
        &output,
        "/tmp/sign-probe",
        "tmpfs has none: move the file to ext4",
    )?;
    expect_untouched(guest, "/tmp/sign-probe", PROBE)
}

/// A small file system of its own, while `run` runs.
fn on_ext4(
    guest: &Guest,
    features: &str,
    size: &str,
    run: impl FnOnce(PathBuf) -> Result<()>,
) -> Result<()> {
    guest
        .shell(&format!(
            "modprobe loop && truncate -s {size} image && mkfs.ext4 -q -b 4096 -O {features} image && mkdir mounted && \
             mount -o loop image mounted"
        ))?
        .success()?;
    let result = run(guest.path("mounted"));
    guest.shell("umount mounted")?.success()?;
    result
}

/// So many that they are brought to disk together: as if the machine had stopped when it
/// said so.
fn many_files_are_on_disk_when_it_says_so(guest: &mut Guest) -> Result<()> {
    const FILES: usize = 100;
    on_ext4(guest, "verity", "48M", |directory| {
        fs::create_dir(directory.join("tree"))?;
        for number in 0..FILES {
            let name = number.to_string();
            asker::write(&directory.join("tree").join(&name), &name)?;
        }
        let said = signing(guest, &["mounted/tree"])?.success()?;
        // What the kernel has written of the mounted one, and nothing else.
        guest
            .shell("cp image stopped && mkdir found && mount -o loop stopped found")?
            .success()?;
        let signed = said.matches(": signed as loader").count();
        ensure!(signed == FILES, "{signed} are signed: {said}");
        let certificate = ACME.certificate();
        let verify = format!("bpftrust verify --certificate {certificate} found/tree/*");
        let verdict = guest.shell(&verify)?;
        guest.shell("umount found")?.success()?;
        let good = verdict.success()?;
        ensure!(good.lines().count() == FILES, "{good}");
        Ok(())
    })
}

fn ext4_made_without_verity_is_told_how_to_get_it(guest: &mut Guest) -> Result<()> {
    on_ext4(guest, "^verity", "16M", |directory| {
        fs::copy(PROBE, directory.join("probe"))?;
        let output = signing(guest, &["mounted/probe"])?;
        expect_no(&output, "mounted/probe", "tune2fs -O verity /dev/loop")?;
        expect_untouched(guest, "mounted/probe", PROBE)
    })
}

fn a_user_can_not_sign_what_he_may_not_write(guest: &mut Guest) -> Result<()> {
    guest.copy(PROBE, "probe")?;
    guest
        .shell(&format!(
            "cp -r {} /tmp/user-key && chmod -R a+rX /tmp/user-key",
            "/etc/bpftrust/acme"
        ))?
        .success()?;
    let words = [
        "--key",
        "/tmp/user-key/key.pem",
        "--certificate",
        "/tmp/user-key/certificate.pem",
    ];
    guest.shell("chown -R user:user /tmp/user-key")?.success()?;
    let output = Program::new("bpftrust")
        .arg("sign")
        .args(words)
        .arg("probe")
        .by_user()
        .run()?;
    expect_no(&output, "no right to write", "run this as root")?;
    expect_untouched(guest, "probe", PROBE)?;
    // His own he may sign: fs-verity asks for no more.
    guest
        .shell("chown user:user probe && chmod u+w probe")?
        .success()?;
    Program::new("bpftrust")
        .arg("sign")
        .args(words)
        .arg("probe")
        .by_user()
        .run()?
        .success()?;
    verify(guest, "probe")?.success()?;
    Ok(())
}

fn a_read_only_mount_is_named(guest: &mut Guest) -> Result<()> {
    fs::create_dir_all(guest.path("files"))?;
    guest.copy(PROBE, "files/probe")?;
    guest
        .shell("mount --bind files files && mount -o remount,bind,ro files")?
        .success()?;
    let output = signing(guest, &["files/probe"]);
    guest.shell("umount files")?.success()?;
    expect_no(&output?, "read-only", "mount -o remount,rw")?;
    expect_untouched(guest, "files/probe", PROBE)
}

/// The Merkle tree of a large file has no room any more.
fn a_full_disk_leaves_the_file_as_it_was(guest: &mut Guest) -> Result<()> {
    on_ext4(guest, "verity", "48M", |directory| {
        fs::copy(PROBE, directory.join("probe"))?;
        guest
            .shell("head -c 20000000 /dev/zero >> mounted/probe && cp mounted/probe copy")?
            .success()?;
        // Fills it to the last block, also the share that is root's: 7.3 gives up
        // where there is less than it would write at once.
        guest
            .shell(
                "cat /dev/zero > mounted/rest; sync; \
                 dd if=/dev/zero of=mounted/rest bs=4k oflag=append conv=notrunc; sync; true",
            )?
            .success()?;
        let output = signing(guest, &["mounted/probe"])?;
        expect_no(&output, "mounted/probe", "df ")?;
        expect_untouched(guest, "mounted/probe", "copy")?;
        fs::remove_file(directory.join("rest"))?;
        signing(guest, &["mounted/probe"])?.success()?;
        verify(guest, "mounted/probe")?.success()?;
        Ok(())
    })
}

fn killed_at_any_moment_it_signed_wholly_or_not_at_all(guest: &mut Guest) -> Result<()> {
    // Large, so that enabling fs-verity takes its time.
    guest.copy(PROBE, "large")?;
    guest
        .shell("head -c 8000000 /dev/urandom >> large")?
        .success()?;
    let (key, certificate) = (ACME.private(), ACME.certificate());
    let (mut signed, mut unsigned) = (0, 0);
    for round in 0..10_u64 {
        guest.copy("large", "file")?;
        let words = ["sign", "--key", &key, "--certificate", &certificate, "file"];
        let signer = guest.start(Program::new("bpftrust").args(words))?;
        std::thread::sleep(Duration::from_millis(round * round * 20));
        signer.stop()?;
        guest.run(&["cmp", "file", "large"])?.success()?;
        // The kernel may still be at work on what a dying process began.
        let verdict = verify(guest, "file")?;
        ensure!(verdict.status < 2, "round {round}: {verdict}");
        if verdict.status == 0 {
            signed += 1;
        } else {
            unsigned += 1;
            // Without fs-verity a signature counts for nothing, and fs-verity
            // is enabled when all else is done.
            ensure!(
                !has_verity(guest, "file")?,
                "round {round}: frozen, and {verdict}"
            );
        }
        signing(guest, &["file"])?
            .success()
            .with_context(|| format!("round {round}"))?;
        verify(guest, "file")?.success()?;
        fs::remove_file("file")?;
    }
    println!("signed {signed} times, unsigned {unsigned} times");
    ensure!(unsigned > 0, "never killed in time");
    Ok(())
}

/// Whatever a name leads to at each moment: a file that has a signature has
/// that of its own content.
fn a_target_swapped_meanwhile_is_never_signed_wrongly(guest: &mut Guest) -> Result<()> {
    for number in 0..8 {
        guest.copy(PROBE, &format!("file-{number}"))?;
        guest
            .shell(&format!("echo {number} >> file-{number}"))?
            .success()?;
    }
    guest.shell("ln file-0 target")?.success()?;
    let swap = "while [ ! -e enough ]; do for n in 0 1 2 3 4 5 6 7; do \
                ln file-$n next && mv -f next target; done; done";
    let swapper = guest.start(Program::new("sh").args(["-c", swap]))?;
    for _ in 0..20 {
        // An error or success, both are right; what counts is what is left.
        signing(guest, &["target"])?;
    }
    guest.write("enough", "")?;
    swapper.stop()?;
    let mut signed = 0;
    for number in 0..8 {
        let file = format!("file-{number}");
        let verdict = verify(guest, &file)?;
        ensure!(verdict.status < 2, "{verdict}");
        signed += usize::from(verdict.status == 0);
        ensure!(
            verdict.status == 0 || !has_verity(guest, &file)?,
            "{verdict}"
        );
    }
    ensure!(signed > 0, "nothing was signed at all");
    Ok(())
}

fn a_detached_signature_is_installed(guest: &mut Guest) -> Result<()> {
    guest.copy(PROBE, "probe")?;
    signing(guest, &["--detached", "probe"])?.success()?;
    expect_untouched(guest, "probe", PROBE)?;
    guest.run(&["bpftrust", "install", "probe"])?.success()?;
    verify(guest, "probe")?.success()?;
    // That of another file is refused before the file is touched.
    let other = guest.copy("/usr/bin/true", "other")?;
    let words = ["install", "--signature", "probe.bpftrust-sig", "other"];
    let output = Program::new("bpftrust").args(words).run()?;
    ensure!(output.status == 2, "{output}");
    expect_untouched(guest, "other", "/usr/bin/true")?;
    ensure!(other.exists(), "the file is gone");
    Ok(())
}

fn what_fsverity_sign_wrote_is_installed_and_counts_where_the_policy_says(
    guest: &mut Guest,
) -> Result<()> {
    let file = guest.copy(PROBE, "probe")?;
    let (key, certificate) = (ACME.private(), ACME.certificate());
    guest
        .shell(&format!(
            "fsverity sign probe probe.sig --key={key} --cert={certificate}"
        ))?
        .success()?;
    let install = [
        "install",
        "--signature",
        "probe.sig",
        "--certificate",
        &certificate,
    ];
    Program::new("bpftrust")
        .args(install)
        .arg("probe")
        .run()?
        .success()?;
    verify(guest, "probe")?.success()?;
    fs::create_dir_all(guest.path("certificates"))?;
    guest.copy(&certificate, "certificates/acme.pem")?;
    let call = ["bpf", ANY_COMMAND];
    for (bare, reason) in [
        ("", Some("wrong-kind")),
        ("library", Some("wrong-kind")),
        ("loader", None),
    ] {
        let line = if bare.is_empty() {
            String::new()
        } else {
            format!("bare = \"{bare}\"\n")
        };
        let policy =
            format!("{ANY_LIBRARIES}[publisher.acme]\ncertificates = [\"acme.pem\"]\n{line}");
        guest.write("policy.toml", policy)?;
        guest
            .run(&["bpftrust", "enforce", "--policy", "policy.toml"])?
            .success()?;
        let result = match reason {
            Some(reason) => expect_refused(guest, &file, &call, reason),
            None => expect_trusted(guest, &file, &call),
        };
        fixture::release(guest)?;
        result.with_context(|| format!("bare is {bare:?}"))?;
    }
    Ok(())
}

fn a_hard_link_is_the_same_file(guest: &mut Guest) -> Result<()> {
    signed_probe(guest, "probe")?;
    fs::hard_link("probe", "link")?;
    verify(guest, "link")?.success()?;
    guest.copy(PROBE, "later")?;
    fs::hard_link("later", "link-2")?;
    signing(guest, &["link-2"])?.success()?;
    verify(guest, "later")?.success()?;
    Ok(())
}

fn another_key_replaces_the_signature(guest: &mut Guest) -> Result<()> {
    let file = signed_probe(guest, "probe")?;
    sign(guest, STRANGER, &file)?;
    let verdict = verify(guest, "probe")?;
    ensure!(verdict.status == 1, "{verdict}");
    let stranger = STRANGER.certificate();
    guest
        .run(&["bpftrust", "verify", "--certificate", &stranger, "probe"])?
        .success()?;
    sign(guest, ACME, Path::new("probe"))?;
    verify(guest, "probe")?.success()?;
    Ok(())
}
