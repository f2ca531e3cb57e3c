//! The Debian package: signatures of others' files are put on by dpkg's trigger, and what
//! upgrading, downgrading and purging do to the guard that runs.

use crate::asker::{self, Answer};
use crate::debs::{self, OURS, apt, install, ours_as, pack};
use crate::fixture::{self, ACME, ACME_NEXT, CONFIGURATION, Key, STRANGER, UNSIGNED};
use crate::fixture::{expect_refused, expect_trusted};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::policy::{CALL, status};
use crate::registry::{Group, RunsOn};
use crate::seal::expect_enforcing;
use crate::sealed;
use crate::test;
use crate::tests::propose::snoop;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

pub const GROUP: Group = Group {
    name: "package",
    runs_on: RunsOn::Dpkg,
    setup: Some(set_up),
    teardown: None,
    tests: &[
        test!(installed_it_enforces_nothing).within(300),
        test!(a_loader_is_upgraded_without_the_key).within(400),
        test!(a_package_asks_before_it_starts_its_loader).within(300),
        test!(signatures_that_do_not_fit_break_nothing).within(400),
        test!(what_was_signed_otherwise_stays).within(300),
        test!(upgraded_while_it_enforces_it_goes_on).within(400),
        test!(a_guard_of_another_version_is_told).within(300),
        test!(verity_comes_off_by_a_copy).within(300),
        test!(purged_it_leaves_the_host_as_it_was).within(400),
    ],
};

/// Nothing unseals a guest, but a permit.
pub const SEALED: Group = Group {
    name: "sealedpackage",
    runs_on: RunsOn::Dpkg,
    setup: Some(seal),
    teardown: None,
    tests: &[
        test!(a_sealed_host_takes_no_older_one).within(400),
        test!(a_sealed_host_keeps_it_until_a_permit).within(400),
    ],
};

/// Where packages have signatures.
const SIGNATURES: &str = "usr/lib/bpftrust/signatures";

/// The loader that a package brings.
const SNOOP: &str = "/usr/sbin/acme-snoop";

fn set_up(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    ACME_NEXT.make(guest)?;
    install(&[Path::new(OURS)]).map(drop)
}

fn installed_it_enforces_nothing(guest: &mut Guest) -> Result<()> {
    let said = guest.run(&["bpftrust", "status"])?;
    ensure!(said.status == 1, "{said}");
    ensure!(said.stdout.starts_with("not enforcing"), "{said}");
    for path in [
        "/etc/bpftrust/certificates",
        "/usr/lib/bpftrust/signatures",
        "/usr/share/man/man1/bpftrust-install.1.gz",
        "/usr/share/bash-completion/completions/bpftrust",
        "/usr/share/doc/bpftrust/examples/policy.toml",
    ] {
        ensure!(Path::new(path).exists(), "no {path}");
    }
    let changed = guest.run(&["dpkg", "--verify", "bpftrust"])?.success()?;
    ensure!(changed.is_empty(), "{changed}");
    let example = "/usr/share/doc/bpftrust/examples/policy.toml";
    let example = guest.copy(example, "example.toml")?;
    fs::create_dir_all("certificates")?;
    fs::copy(ACME.certificate(), "certificates/acme.pem")?;
    let check = ["bpftrust", "policy", "check", text(&example)?];
    guest.run(&check)?.success().map(drop)
}

/// A directory that has the loader, in a content of this version.
fn root_with_loader(guest: &Guest, version: u64) -> Result<PathBuf> {
    let root = guest.path(&format!("acme-snoop-{version}"));
    let path = root.join(SNOOP.trim_start_matches('/'));
    fs::create_dir_all(path.parent().context("a path with a directory")?)?;
    // What is behind its sections is not looked at.
    let mut content = fs::read("/usr/sbin/execsnoop-libbpf")?;
    content.extend(format!("version {version}").bytes());
    fs::copy("/usr/sbin/execsnoop-libbpf", &path)?;
    fs::write(&path, content)?;
    Ok(root)
}

/// Signs the loader in `root`, for a package whose files are in `signatures`.
fn sign_for_package(
    guest: &Guest,
    key: Key,
    root: &Path,
    signatures: &Path,
    version: u64,
) -> Result<()> {
    let grant = Grant::ALL.of("acme-snoop", version);
    let grant = guest.write("acme-snoop.toml", grant)?;
    let tree = signatures.join(SIGNATURES);
    let file = root.join(SNOOP.trim_start_matches('/'));
    let options = ["--detached", "--tree", text(&tree)?, "--root", text(root)?];
    let grant = ["--grant", text(&grant)?];
    fixture::sign_as(guest, key, &file, &[&options[..], &grant].concat())
}

fn a_loader_is_upgraded_without_the_key(guest: &mut Guest) -> Result<()> {
    let signatures = guest.path("acme-signatures");
    let mut loaders = Vec::new();
    for version in [1, 2] {
        let root = root_with_loader(guest, version)?;
        sign_for_package(guest, ACME, &root, &signatures, version)?;
        loaders.push(pack(guest, &root, "acme-snoop", &version.to_string())?);
    }
    let signatures = pack(guest, &signatures, "acme-signatures", "1")?;
    // The key is elsewhere.
    let (key, away) = (ACME.private(), "/root/acme.pem");
    fs::rename(&key, away)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    let upgraded = (|| {
        // The signatures first, then what they are for, then a newer one.
        install(&[&signatures])?;
        for (deb, version) in loaders.iter().zip(["1", "2"]) {
            let said = install(&[deb])?;
            let expected = format!("{SNOOP}: signed as loader acme-snoop version {version}, ");
            ensure!(said.contains(&expected), "{said}");
            ensure!(debs::version(guest, "acme-snoop")? == version);
            snoop(guest, SNOOP).with_context(|| format!("version {version}"))?;
        }
        // A package again that both are in at once, and what is signed stays so.
        let said = install(&[&signatures, &loaders[0]])?;
        ensure!(
            said.contains(": signed as loader acme-snoop version 1, "),
            "{said}"
        );
        let again = guest.run(&["bpftrust", "install", "--tree"])?.success()?;
        ensure!(
            again.starts_with("signatures: 0 put on, 1 there already"),
            "{again}"
        );
        Ok(())
    })();
    guest.run(&["bpftrust", "release"])?.success()?;
    fs::rename(away, key)?;
    upgraded
}

/// dpkg runs the trigger at its end, and the package's own script before that.
fn a_package_asks_before_it_starts_its_loader(guest: &mut Guest) -> Result<()> {
    let root = root_with_loader(guest, 7)?;
    fs::copy(UNSIGNED, root.join(SNOOP.trim_start_matches('/')))?;
    let signatures = guest.path("acme-early");
    sign_for_package(guest, ACME, &root, &signatures, 7)?;
    install(&[&pack(guest, &signatures, "acme-early", "1")?])?;
    fs::create_dir_all(root.join("DEBIAN"))?;
    let script = format!(
        "#!/bin/sh\necho \"before, $({SNOOP} bpf 11)\"\nbpftrust install --tree {SNOOP}\n\
         echo \"after, $({SNOOP} bpf 11)\"\n"
    );
    guest.script("acme-snoop-7/DEBIAN/postinst", &script)?;
    let loader = pack(guest, &root, "acme-snoop", "7")?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    let said = install(&[&loader]);
    guest.run(&["bpftrust", "release"])?.success()?;
    let said = said?;
    for wanted in ["before, bpf 11: EPERM", "after, bpf 11: ok"] {
        // apt has dpkg write to a terminal.
        let found = said.lines().any(|line| line.trim_end() == wanted);
        ensure!(found, "no {wanted:?} in {said}");
    }
    Ok(())
}

/// The file is as dpkg left it.
fn expect_untouched(guest: &Guest, file: &str) -> Result<()> {
    let measured = guest.run(&["fsverity", "measure", file])?;
    ensure!(measured.status != 0, "{file} has fs-verity");
    let value = guest.run(&["getfattr", "-n", "user.bpftrust", file])?;
    ensure!(value.status != 0, "{file} has a signature");
    Ok(())
}

fn signatures_that_do_not_fit_break_nothing(guest: &mut Guest) -> Result<()> {
    let loader = root_with_loader(guest, 3)?;
    let loader = pack(guest, &loader, "acme-snoop", "3")?;
    install(&[&loader])?;
    for (name, complaint) in [
        ("other-content", "no signature is for what it holds"),
        (
            "other-key",
            "its signature can't be checked: no certificate is of the key",
        ),
        ("garbage", "the signature is malformed"),
        ("links", "a symbolic link is in its path"),
        ("special", "it is a FIFO, not a regular file"),
        ("directory", "it is a directory, not a regular file"),
    ] {
        let package = guest.path(name);
        let tree = package.join(SIGNATURES);
        fs::create_dir_all(&tree)?;
        let place = |path: &str| -> Result<()> {
            let directory = tree.join(path);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join("one.bpftrust-sig"), "garbage")?;
            Ok(())
        };
        match name {
            "other-content" => {
                let other = root_with_loader(guest, 4)?;
                sign_for_package(guest, ACME, &other, &package, 4)?;
            }
            "other-key" => {
                let same = root_with_loader(guest, 3)?;
                sign_for_package(guest, STRANGER, &same, &package, 3)?;
            }
            "garbage" => place(SNOOP.trim_start_matches('/'))?,
            "links" => {
                symlink(SNOOP, "/usr/sbin/acme-link")?;
                place("usr/sbin/acme-link")?;
            }
            "special" => {
                guest.run(&["mkfifo", "/usr/sbin/acme-fifo"])?.success()?;
                place("usr/sbin/acme-fifo")?;
            }
            _ => place("etc")?,
        }
        let deb = pack(guest, &package, &format!("bad-{name}"), "1")?;
        let said = install(&[&deb])?;
        ensure!(said.contains(complaint), "{name}: {said}");
        ensure!(
            said.contains("later type 'bpftrust install --tree'"),
            "{name}: {said}"
        );
        expect_untouched(guest, SNOOP).context(name)?;
        apt(&["purge", &format!("bad-{name}")])?.success()?;
    }
    for path in ["/usr/sbin/acme-link", "/usr/sbin/acme-fifo"] {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Of another key of this host's, or of a higher version.
fn what_was_signed_otherwise_stays(guest: &mut Guest) -> Result<()> {
    let certificate = format!("{CONFIGURATION}/certificates/acme-next.pem");
    fs::copy(ACME_NEXT.certificate(), &certificate)?;
    let file = Path::new(SNOOP);
    for (key, version, complaint) in [
        (ACME_NEXT, 1, "it keeps the good signature of key"),
        (ACME, 9, "it keeps version 9 that it is signed as"),
    ] {
        let root = root_with_loader(guest, 5)?;
        let loader = pack(guest, &root, "acme-snoop", &format!("5.{version}"))?;
        install(&[&loader])?;
        let grant = Grant::ALL.of("acme-snoop", version);
        fixture::sign_with_grant(guest, key, file, &grant)?;
        let before = fs::read(guest.copy(SNOOP, "before")?)?;
        let value = guest.shell(&format!("getfattr -e hex -n user.bpftrust {SNOOP}"))?;
        let value = value.success()?;
        let signatures = guest.path(&format!("acme-others-{version}"));
        sign_for_package(guest, ACME, &root, &signatures, 5)?;
        let signatures = pack(guest, &signatures, "acme-others", &version.to_string())?;
        let said = install(&[&signatures])?;
        ensure!(said.contains(complaint), "{said}");
        let after = guest.shell(&format!("getfattr -e hex -n user.bpftrust {SNOOP}"))?;
        ensure!(after.success()? == value, "it has another signature");
        ensure!(fs::read(SNOOP)? == before, "it has another content");
    }
    apt(&["purge", "acme-others"])?.success()?;
    fs::remove_file(certificate)?;
    Ok(())
}

/// Has somebody without a signature call `bpf()` for as long as `during` takes, without
/// a pause, and requires that each call is refused.
fn refused_at_each_moment(guest: &Guest, during: impl FnOnce() -> Result<()>) -> Result<usize> {
    let plain = guest.path("plain");
    asker::write(&plain, "plain")?;
    let done = AtomicBool::new(false);
    let ask = || -> Result<usize> {
        let mut asked = 0;
        while !done.load(Ordering::Relaxed) {
            let status = Command::new(&plain).status()?;
            let answers = asker::answers(status.code().context("a signal ended it")?, false)?;
            ensure!(answers == [Answer::Refused], "call {asked} was let through");
            asked += 1;
        }
        Ok(asked)
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(ask);
        let result = during();
        done.store(true, Ordering::Relaxed);
        let asked = asking
            .join()
            .ok()
            .context("the thread that asked panicked")?;
        result.and(asked)
    })
}

fn upgraded_while_it_enforces_it_goes_on(guest: &mut Guest) -> Result<()> {
    let own = debs::version(guest, "bpftrust")?;
    let newer = ours_as(guest, "9.1")?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    let upgraded = (|| {
        let asked = refused_at_each_moment(guest, || {
            let said = install(&[&newer])?;
            let expected = format!("the guard that runs was started by version {own}");
            ensure!(said.contains(&expected), "{said}");
            // Without a seal an older one may come, too.
            install(&[Path::new(OURS)]).map(drop)
        })?;
        ensure!(asked > 10, "asked {asked} times only");
        ensure!(debs::version(guest, "bpftrust")? == own);
        expect_enforcing(guest)
    })();
    guest.run(&["bpftrust", "release"])?.success()?;
    upgraded
}

/// The same program with another number in it.
fn of_another_version(guest: &Guest) -> Result<(PathBuf, String)> {
    let said = guest.run(&["bpftrust", "--version"])?.success()?;
    let own = said.trim().rsplit(' ').next().context("no version")?;
    let other = own.replacen(|one: char| one.is_ascii_digit(), "9", 1);
    let copy = guest.copy("/usr/bin/bpftrust", "other-bpftrust")?;
    let mut bytes = fs::read(&copy)?;
    let length = own.len();
    let last = bytes.len().saturating_sub(length);
    for at in 0..=last {
        if &bytes[at..at + length] == own.as_bytes() {
            bytes[at..at + length].copy_from_slice(other.as_bytes());
        }
    }
    fs::write(&copy, bytes)?;
    Ok((copy, other))
}

fn a_guard_of_another_version_is_told(guest: &mut Guest) -> Result<()> {
    let (program, version) = of_another_version(guest)?;
    let started_by = |program: &str| -> Result<(Value, String)> {
        guest.run(&[program, "enforce"])?.success()?;
        let said = status(guest);
        let text = guest.run(&["bpftrust", "status"]);
        guest.run(&["bpftrust", "release"])?.success()?;
        Ok((said?, text?.success()?))
    };
    let told = format!("version {version} of bpftrust started what is in the kernel");
    let (said, text) = started_by(text(&program)?)?;
    ensure!(said["version"] == version.as_str(), "{said:#}");
    let attention = said["attention"].to_string();
    ensure!(attention.contains(&told), "{attention}");
    ensure!(
        text.contains(&format!("attention: {told}")) && text.contains("type 'bpftrust release'"),
        "{text}"
    );
    let (said, text) = started_by("bpftrust")?;
    ensure!(!text.contains("started what is in the kernel"), "{said:#}");
    Ok(())
}

/// As docs/package.md has it.
fn verity_comes_off_by_a_copy(guest: &mut Guest) -> Result<()> {
    let file = guest.copy(UNSIGNED, "frozen")?;
    fixture::sign(guest, ACME, &file)?;
    let content = fs::read(&file)?;
    ensure!(
        fs::write(&file, "other").is_err(),
        "a frozen file was written"
    );
    let name = text(&file)?;
    guest
        .shell(&format!(
            "cp --preserve=mode,ownership,timestamps {name} {name}.new && mv {name}.new {name}"
        ))?
        .success()?;
    expect_untouched(guest, name)?;
    ensure!(fs::read(&file)? == content, "it has another content");
    guest.run(&[name, "say", "works"])?.success()?;
    fs::write(&file, "other").context("it is frozen still")
}

/// Every path that packages could leave something at, but what dpkg and apt keep of
/// themselves.
fn paths(guest: &Guest) -> Result<String> {
    let find = "find /etc /opt /usr /var /sys/fs/bpf -xdev \
                -not -path '/var/lib/dpkg*' -not -path '/var/log*' -not -path '/var/cache*' \
                -not -path '/var/lib/apt*' | sort";
    guest.shell(find)?.success()
}

fn purged_it_leaves_the_host_as_it_was(guest: &mut Guest) -> Result<()> {
    let unsigned = [UNSIGNED, "bpf", "11"];
    apt(&["purge", "bpftrust"])?.success()?;
    let before = paths(guest)?;
    install(&[Path::new(OURS)])?;
    fixture::enforce(guest)?;
    let signed = fixture::signed_probe(guest, "signed")?;
    expect_trusted(guest, &signed, CALL)?;
    expect_refused(guest, Path::new(UNSIGNED), CALL, "no-signature")?;
    let said = apt(&["purge", "bpftrust"])?.success()?;
    ensure!(said.contains("released: bpf() is open"), "{said}");
    let after = paths(guest)?;
    ensure!(before == after, "before:\n{before}\nafter:\n{after}");
    let said = guest.run(&unsigned)?.success()?;
    ensure!(said.ends_with("bpf 11: ok\n"), "{said}");
    // What was signed is a file as any other.
    guest.run(&[text(&signed)?, "say", "works"])?.success()?;
    ensure!(fs::read(&signed)? == fs::read(UNSIGNED)?);
    Ok(())
}

fn seal(guest: &mut Guest) -> Result<()> {
    let newer = ours_as(guest, "9.1")?;
    install(&[&newer])?;
    sealed::seal(guest)
}

fn a_sealed_host_takes_no_older_one(guest: &mut Guest) -> Result<()> {
    let older = ["install", OURS];
    let complaint = "the guard is sealed, so version 9.1 does not give way to the older";
    debs::expect_refused(guest, &older, "bpftrust", complaint)?;
    expect_enforcing(guest)?;
    // A newer one is no less.
    let newer = ours_as(guest, "9.2")?;
    refused_at_each_moment(guest, || install(&[&newer]).map(drop))?;
    ensure!(debs::version(guest, "bpftrust")? == "9.2");
    expect_enforcing(guest)
}

fn a_sealed_host_keeps_it_until_a_permit(guest: &mut Guest) -> Result<()> {
    let complaint = "not removed while it can't be released; if it is sealed, use a permit";
    debs::expect_refused(guest, &["purge", "bpftrust"], "bpftrust", complaint)?;
    expect_enforcing(guest)?;
    let permit = sealed::permit(guest, fixture::GOVERNOR, 60)?;
    sealed::use_permit(guest, &permit)?.success()?;
    install(&[Path::new(OURS)]).context("an older one, with a permit")?;
    let permit = sealed::permit(guest, fixture::GOVERNOR, 60)?;
    sealed::use_permit(guest, &permit)?.success()?;
    apt(&["purge", "bpftrust"])?.success()?;
    ensure!(!Path::new("/sys/fs/bpf/bpftrust").exists(), "it goes on");
    ensure!(!Path::new(CONFIGURATION).exists(), "its files are there");
    Ok(())
}
