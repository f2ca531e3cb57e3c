//! `bpftrust sign --tree` and `install --tree`, as far as it goes without fs-verity.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{Place, Run};

/// Signs `tool` for the directory `signatures`.
fn signed(place: &Place) -> PathBuf {
    place.loader("tool");
    place
        .sign(["--detached", "--tree", "signatures", "tool"])
        .expect(0);
    in_tree(place, "tool")
}

/// The directory that `signatures` has for a file of this place.
fn in_tree(place: &Place, name: &str) -> PathBuf {
    let path = place.path("").canonicalize().unwrap().join(name);
    let inside = path.strip_prefix("/").unwrap();
    place.path("signatures").join(inside)
}

fn install(place: &Place, more: &[&str]) -> Run {
    let words = [
        "install",
        "--tree=signatures",
        "--certificate",
        "keys/certificate.pem",
    ];
    place.run(words.iter().chain(more))
}

fn has_verity(place: &Place) -> bool {
    place.loader("probe");
    place.sign(["probe"]).code == 0
}

#[test]
fn a_signature_has_its_files_path_and_its_digest() {
    let place = Place::new();
    let directory = signed(&place);
    let said = place.run(["digest", "tool"]).expect(0).out;
    let digest = said.split(' ').next().unwrap().replace(':', "-");
    assert!(directory.join(format!("{digest}.bpftrust-sig")).exists());
    // Another content, another signature beside it.
    let content = fs::read(place.path("tool")).unwrap();
    place.write("tool", &[&content[..], b"more"].concat());
    place
        .sign(["--detached", "--tree", "signatures", "tool"])
        .expect(0);
    assert_eq!(fs::read_dir(directory).unwrap().count(), 2);
}

#[test]
fn a_host_may_be_elsewhere() {
    let place = Place::new();
    place.loader("host/usr/sbin/tool");
    place.loader("beside");
    let tree = ["--detached", "--tree", "signatures", "--root", "host"];
    place.sign(tree.into_iter().chain(["host"])).expect(0);
    assert!(place.path("signatures/usr/sbin/tool").is_dir());
    place
        .sign(tree.into_iter().chain(["beside"]))
        .expect(2)
        .complains("it is not below");
}

#[test]
fn a_file_that_can_not_be_frozen_is_named() {
    let place = Place::new();
    if has_verity(&place) {
        return eprintln!("left out: this file system has fs-verity");
    }
    signed(&place);
    install(&place, &[])
        .expect(2)
        .complains("the file system has no fs-verity")
        .says("1 failed");
}

#[test]
fn what_is_not_installed_is_no_fault() {
    let place = Place::new();
    signed(&place);
    fs::remove_file(place.path("tool")).unwrap();
    install(&place, &[])
        .expect(0)
        .says("1 of files that are not installed");
}

#[test]
fn links_and_what_is_no_file_are_refused() {
    let place = Place::new();
    signed(&place);
    let tool = place.path("tool");
    fs::rename(&tool, place.path("elsewhere")).unwrap();
    symlink(place.path("elsewhere"), &tool).unwrap();
    install(&place, &[])
        .expect(2)
        .complains("a symbolic link is in its path")
        .complains("help: ");
    fs::remove_file(&tool).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &tool,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    install(&place, &[])
        .expect(2)
        .complains("it is a FIFO, not a regular file");
}

#[test]
fn what_is_no_signature_is_named_and_left_out() {
    let place = Place::new();
    place.write("signatures/README", b"text");
    // A path that leads out of the directory can't be written; a link can.
    fs::create_dir_all(place.path("signatures/usr")).unwrap();
    symlink("/etc", place.path("signatures/usr/etc")).unwrap();
    install(&place, &[])
        .expect(1)
        .complains("signatures/README: no place of a signature");
}

#[test]
fn without_certificates_nothing_is_put_on() {
    let place = Place::new();
    if Path::new("/etc/bpftrust/certificates").exists() {
        return eprintln!("left out: this machine has certificates");
    }
    signed(&place);
    place
        .run(["install", "--tree=signatures"])
        .expect(2)
        .complains("no certificate is there")
        .complains("help: put those of who signs into /etc/bpftrust/certificates");
}

#[test]
fn what_was_named_must_have_a_signature() {
    let place = Place::new();
    signed(&place);
    place.loader("other");
    install(&place, &["other"])
        .expect(2)
        .complains("installing on other: no signature in signatures is for it");
    place
        .run(["install", "--tree=nowhere", "tool"])
        .expect(2)
        .complains("nowhere is no directory of signatures");
}
