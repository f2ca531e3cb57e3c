//! Starting and stopping the guard: all or nothing, whatever happens on the way.

use crate::fixture::{self, ACME, ANY_COMMAND, CONFIGURATION, Events};
use crate::fixture::{expect_refused, expect_trusted, signed_probe};
use crate::guest::Guest;
use crate::policy::status;
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

pub const GROUP: Group = Group {
    name: "enforce",
    runs_on: RunsOn::Supported,
    setup: Some(fixture::configure),
    teardown: Some(stop),
    tests: &[
        test!(a_second_enforce_changes_nothing),
        test!(enforcement_survives_who_started_it),
        test!(only_root_starts_and_stops_it),
        test!(a_policy_that_makes_no_sense_attaches_nothing),
        test!(a_certificate_that_is_none_attaches_nothing),
        test!(an_issuer_counts_only_where_the_policy_says_so),
        test!(a_certificate_that_the_kernel_refuses_attaches_nothing),
        test!(killed_at_any_moment_it_decides_or_refuses_nothing).within(300),
        test!(released_nothing_is_left),
        test!(status_says_what_there_is),
        test!(without_bpffs_it_says_what_to_mount),
        test!(a_keyring_that_is_gone_verifies_nothing_new),
        test!(a_cleared_keyring_is_a_no_and_release_still_works),
    ],
};

const PROBE: &str = "/usr/bin/bpftrust-probe";
const CALL: &[&str] = &["bpf", ANY_COMMAND];

fn is_enforcing(guest: &Guest) -> Result<bool> {
    Ok(guest.run(&["bpftrust", "status"])?.status == 0)
}

/// Whatever an earlier test left behind.
pub(super) fn stop(guest: &mut Guest) -> Result<()> {
    if Path::new("/sys/fs/bpf/bpftrust").exists() {
        fixture::release(guest)?;
    }
    expect_nothing_left(guest)
}

pub(super) fn start(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    Ok(())
}

/// Nothing is refused, and nothing of the guard is there: no pin, no program,
/// no keyring. The kernel takes its time to free the latter two.
pub(super) fn expect_nothing_left(guest: &Guest) -> Result<()> {
    let said = fixture::probe(Path::new(PROBE), CALL)?.success()?;
    ensure!(said == "bpf 11: ok\n", "{said}");
    let pins = Path::new("/sys/fs/bpf/bpftrust");
    ensure!(!pins.exists(), "{} is still there", pins.display());
    guest.wait_for(
        "the end of programs and keyrings",
        Duration::from_secs(60),
        || {
            let programs = guest.run(&["bpftool", "prog", "list"])?.success()?;
            let keys = fs::read_to_string("/proc/keys")?;
            Ok((!programs.contains("name bt_") && !keys.contains("bpftrust")).then_some(()))
        },
    )
}

pub(super) fn expect_unsigned_refused(guest: &Guest) -> Result<()> {
    expect_refused(guest, Path::new(PROBE), CALL, "no-signature")
}

fn a_second_enforce_changes_nothing(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let before = status(guest)?;
    for options in [
        &["bpftrust", "enforce"][..],
        &["bpftrust", "enforce", "--audit"],
    ] {
        let second = guest.run(options)?;
        ensure!(second.status == 2, "{second}");
        ensure!(second.stderr.contains("enforcing already"), "{second}");
        ensure!(second.stderr.contains("\nhelp: "), "{second}");
    }
    let after = status(guest)?;
    for field in ["mode", "started", "keys"] {
        ensure!(before[field] == after[field], "{before} became {after}");
    }
    expect_unsigned_refused(guest)?;
    expect_trusted(guest, &signed_probe(guest, "probe")?, CALL)
}

/// Its session and its keyrings end with it; the guard's own do not.
fn enforcement_survives_who_started_it(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    guest
        .shell("setsid --wait keyctl session - bpftrust enforce")?
        .success()?;
    let running = guest.shell("pgrep -x bpftrust")?;
    ensure!(running.status == 1, "{running}");
    expect_unsigned_refused(guest)?;
    expect_trusted(guest, &signed_probe(guest, "probe")?, CALL)?;
    stop(guest)
}

fn only_root_starts_and_stops_it(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let expect_no = |verb| -> Result<()> {
        let output = Program::new("bpftrust").arg(verb).by_user().run()?;
        ensure!(output.status == 2, "{output}");
        ensure!(output.stderr.contains("only root"), "{output}");
        ensure!(output.stderr.contains("\nhelp: type 'sudo"), "{output}");
        Ok(())
    };
    expect_no("enforce")?;
    expect_nothing_left(guest)?;
    start(guest)?;
    expect_no("release")?;
    expect_unsigned_refused(guest)
}

/// A policy of this text in a directory of its own, with these certificates.
pub(super) fn policy(guest: &Guest, text: &str, certificates: &[(&str, &[u8])]) -> Result<String> {
    fs::create_dir_all(guest.path("certificates"))?;
    for (name, content) in certificates {
        guest.write(&format!("certificates/{name}"), content)?;
    }
    let path = guest.write("policy.toml", text)?;
    Ok(path.to_str().context("a path of ASCII")?.to_owned())
}

/// `enforce` with this policy fails with all of these words in its complaint,
/// and leaves nothing behind.
fn expect_rejected(guest: &Guest, path: &str, words: &[&str]) -> Result<()> {
    let output = guest.run(&["bpftrust", "enforce", "--policy", path])?;
    ensure!(output.status == 2, "{output}");
    for word in words {
        ensure!(output.stderr.contains(word), "no {word:?} in {output}");
    }
    ensure!(!output.stderr.contains("panicked"), "{output}");
    expect_nothing_left(guest)
}

fn a_policy_that_makes_no_sense_attaches_nothing(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let acme = fs::read(ACME.certificate())?;
    for (text, words) in [
        ("", &["policy.toml:1:1", "no publisher"][..]),
        ("# nobody\n", &["no publisher"]),
        ("[publisher.acme\n", &["policy.toml:1:"]),
        ("\u{0}\u{1}\n", &["policy.toml:1:"]),
        (
            "[publisher.acme]\ncertificates = [\"acme.pem\"]\nbear = 1\n",
            &["policy.toml:3:1: ", "unknown field `bear`"],
        ),
        (
            "[publishers.acme]\ncertificates = [\"acme.pem\"]\n",
            &["policy.toml:1:2: ", "unknown field `publishers`"],
        ),
        (
            "[publisher.acme]\ncertificates = \"acme.pem\"\n",
            &["policy.toml:2:16: ", "invalid type"],
        ),
        (
            "[publisher.acme]\ncertificates = [\"acme.pem\"]\nbare = \"all\"\n",
            &["policy.toml:3:8: ", "unknown variant `all`"],
        ),
        (
            "[publisher.acme]\ncertificates = []\n",
            &["policy.toml:2:16", "has no certificate"],
        ),
        (
            "[publisher.acme]\ncertificates = [\"acme.pem\", \"gone.pem\"]\n",
            &["policy.toml:2:29", "gone.pem", "No such file"],
        ),
        (
            "[publisher.\"a b\"]\ncertificates = [\"acme.pem\"]\n",
            &["policy.toml:1:12", "a name has"],
        ),
        (
            "[publisher.a]\ncertificates = [\"acme.pem\"]\n[publisher.b]\ncertificates = [\"acme.pem\"]\n",
            &["policy.toml:4:17", "has the key"],
        ),
    ] {
        let path = policy(guest, text, &[("acme.pem", &acme)])?;
        expect_rejected(guest, &path, words).with_context(|| format!("{text:?}"))?;
    }
    expect_rejected(guest, "/nonexistent.toml", &["can't read", "\nhelp: "])?;
    expect_rejected(guest, "/etc", &["can't read"])
}

const ONE: &str = "[publisher.acme]\ncertificates = [\"one.pem\"]\n";

fn a_certificate_that_is_none_attaches_nothing(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let key = fs::read(ACME.private())?;
    let acme = fs::read(ACME.certificate())?;
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, content) in [
        ("empty", &b""[..]),
        ("a private key", &key),
        ("cut off", &acme[..acme.len() / 2]),
        ("not DER", garbage.as_bytes()),
        ("zeros", &[0; 65536]),
    ] {
        let path = policy(guest, ONE, &[("one.pem", content)])?;
        expect_rejected(guest, &path, &["policy.toml:2:17", "one.pem"]).context(name)?;
    }
    Ok(())
}

fn an_issuer_counts_only_where_the_policy_says_so(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    guest
        .shell(
            "openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca \
             -addext basicConstraints=critical,CA:TRUE 2>&1",
        )?
        .success()?;
    let issuer = fs::read(guest.path("ca.pem"))?;
    let path = policy(guest, ONE, &[("one.pem", &issuer)])?;
    expect_rejected(guest, &path, &["policy.toml:2:17", "one.pem", "issue"])?;
    let path = policy(guest, &format!("{ONE}allow-issuer = true\n"), &[])?;
    guest
        .run(&["bpftrust", "enforce", "--policy", &path])?
        .success()?;
    expect_unsigned_refused(guest)?;
    stop(guest)
}

/// Its self-signature is wrong: only the kernel looks at that.
fn a_certificate_that_the_kernel_refuses_attaches_nothing(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let acme = ACME.certificate();
    guest
        .shell(&format!(
            "openssl x509 -in {acme} -outform DER -out c.der && size=$(stat -c %s c.der) && \
             head -c $((size - 3)) c.der > broken.der && printf '\\1\\2\\3' >> broken.der && \
             openssl x509 -inform DER -in broken.der -out broken.pem"
        ))?
        .success()?;
    let broken = fs::read(guest.path("broken.pem"))?;
    let path = policy(guest, ONE, &[("one.pem", &broken)])?;
    expect_rejected(guest, &path, &["certificate", "acme"])?;
    start(guest)?;
    expect_trusted(guest, &signed_probe(guest, "probe")?, CALL)
}

fn killed_at_any_moment_it_decides_or_refuses_nothing(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let signed = signed_probe(guest, "probe")?;
    let (mut decided, mut open) = (0, 0);
    for delay in [0, 60, 150, 300, 500, 800, 1200, 2000] {
        let starter = guest.start(Program::new("bpftrust").arg("enforce"))?;
        std::thread::sleep(Duration::from_millis(delay));
        starter.stop()?;
        if is_enforcing(guest)? {
            decided += 1;
            expect_unsigned_refused(guest)?;
            expect_trusted(guest, &signed, CALL)?;
        } else {
            open += 1;
            let said = fixture::probe(Path::new(PROBE), CALL)?.success()?;
            ensure!(said == "bpf 11: ok\n", "after {delay} ms: {said}");
            guest
                .run(&["bpftrust", "enforce"])?
                .success()
                .with_context(|| format!("after one that was killed after {delay} ms"))?;
            expect_unsigned_refused(guest)?;
            expect_trusted(guest, &signed, CALL)?;
        }
        stop(guest).with_context(|| format!("after {delay} ms"))?;
    }
    println!("decided {decided} times, open {open} times");
    Ok(())
}

fn released_nothing_is_left(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let signed = signed_probe(guest, "probe")?;
    expect_trusted(guest, &signed, CALL)?;
    let said = guest.run(&["bpftrust", "release"])?.success()?;
    ensure!(said.starts_with("released"), "{said}");
    expect_nothing_left(guest)?;
    for (verb, json) in [("release", false), ("status", false), ("status", true)] {
        let words = ["bpftrust", verb, "--json"];
        let again = guest.run(&words[..if json { 3 } else { 2 }])?;
        ensure!(again.status == 1, "{again}");
        ensure!(again.stderr.is_empty(), "{again}");
        ensure!(!json || again.stdout == "{\"mode\":\"off\"}\n", "{again}");
    }
    let events = guest.run(&["bpftrust", "events"])?;
    ensure!(
        events.status == 2 && events.stderr.contains("not enforcing"),
        "{events}"
    );
    Ok(())
}

fn status_says_what_there_is(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let signed = signed_probe(guest, "probe")?;
    expect_unsigned_refused(guest)?;
    let ready = guest.path("ready").display().to_string();
    let words = ["bpf", ANY_COMMAND, "touch", &ready, "until", "end"];
    let waiting = guest.start(Program::new(&signed).args(words))?;
    guest.wait_for("a running loader", Duration::from_secs(20), || {
        Ok(Path::new(&ready).exists().then_some(()))
    })?;
    let status = status(guest)?;
    ensure!(status["mode"] == "enforce", "{status}");
    ensure!(
        status["started"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{status}"
    );
    ensure!(
        status["lost_events"] == 0 && status["starved"] == 0,
        "{status}"
    );
    ensure!(
        status["refusals"]["no-signature"].as_u64() >= Some(1),
        "{status}"
    );
    let key = &status["keys"][0];
    ensure!(
        key["publisher"] == "acme" && key["lost"] == false,
        "{status}"
    );
    let images = status["images"].as_array().context("images")?;
    let image = images
        .iter()
        .find(|image| image["pid"] == waiting.pid())
        .with_context(|| format!("not listed: {status}"))?;
    ensure!(image["comm"] == "probe" && image["tasks"] == 1, "{image}");
    ensure!(
        image["key"] == key["key"] && image["adopted"] == false,
        "{image}"
    );
    ensure!(image["lost_trust"].is_null(), "{image}");
    let digest = guest.shell("bpftrust digest probe")?.success()?;
    let measured = image["digest"].as_str().context("a digest")?;
    ensure!(digest.contains(measured), "{digest} is not that of {image}");
    let text = guest.run(&["bpftrust", "status"])?.success()?;
    for words in ["enforcing, for", "acme", "probe[", "no-signature"] {
        ensure!(text.contains(words), "no {words:?} in {text}");
    }
    waiting.stop()?;
    guest.wait_for("the end of its record", Duration::from_secs(20), || {
        let status = self::status(guest)?;
        Ok((status["images"] == Value::Array(Vec::new())).then_some(()))
    })
}

fn without_bpffs_it_says_what_to_mount(guest: &mut Guest) -> Result<()> {
    stop(guest)?;
    let output = guest.shell("unshare -m sh -c 'umount /sys/fs/bpf && bpftrust enforce'")?;
    ensure!(output.status == 2, "{output}");
    ensure!(
        output.stderr.contains("is not a BPF file system"),
        "{output}"
    );
    ensure!(
        output.stderr.contains("help: type 'mount -t bpf"),
        "{output}"
    );
    expect_nothing_left(guest)
}

/// The kept verdict of a file outlives the ring; a new one can't be had.
fn a_keyring_that_is_gone_verifies_nothing_new(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let kept = signed_probe(guest, "kept")?;
    let fresh = signed_probe(guest, "fresh")?;
    let later = signed_probe(guest, "later")?;
    expect_trusted(guest, &kept, CALL)?;
    guest
        .shell("keyctl unlink $(keyctl search @u keyring bpftrust.1) @u")?
        .success()?;
    guest.wait_for("the end of the keyring", Duration::from_secs(20), || {
        let keys = fs::read_to_string("/proc/keys")?;
        Ok((!keys.contains("bpftrust")).then_some(()))
    })?;
    expect_refused(guest, &fresh, CALL, "unknown-key")?;
    let said = guest.run(&["bpftrust", "status"])?.success()?;
    ensure!(
        said.contains("LOST") && said.contains("attention: a keyring is gone"),
        "{said}"
    );
    ensure!(status(guest)?["keys"][0]["lost"] == true, "{said}");
    // Served from the record of its first exec.
    expect_trusted(guest, &kept, CALL)?;
    // Another ring of the same name and content is not the one of the policy.
    guest
        .shell(&format!(
            "ring=$(keyctl newring bpftrust.1 @u) && openssl x509 -in {} -outform DER | \
             keyctl padd asymmetric acme $ring",
            ACME.certificate()
        ))?
        .success()?;
    expect_refused(guest, &later, CALL, "unknown-key")?;
    expect_unsigned_refused(guest)?;
    start(guest)?;
    expect_trusted(guest, &later, CALL)
}

fn a_cleared_keyring_is_a_no_and_release_still_works(guest: &mut Guest) -> Result<()> {
    start(guest)?;
    let signed = signed_probe(guest, "probe")?;
    let mark = Events::mark(guest)?;
    guest.shell("keyctl clear @u")?.success()?;
    guest.wait_for("the end of the keyring", Duration::from_secs(20), || {
        let keys = fs::read_to_string("/proc/keys")?;
        Ok((!keys.contains("bpftrust")).then_some(()))
    })?;
    expect_refused(guest, &signed, CALL, "unknown-key")?;
    mark.expect(
        guest,
        &[
            ("action", "exec"),
            ("outcome", "denied"),
            ("reason", "unknown-key"),
        ],
    )?;
    expect_unsigned_refused(guest)?;
    stop(guest)?;
    ensure!(Path::new(CONFIGURATION).exists(), "the configuration stays");
    start(guest)?;
    expect_trusted(guest, &signed, CALL)
}
