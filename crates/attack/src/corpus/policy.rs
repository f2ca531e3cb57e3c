//! 25 to 29: the policy itself, and what was there before it. What each is for is
//! a `bpf()` call that works for who is not trusted.

use crate::attack::{Attack, CALL};
use crate::lab::{Lab, PATIENCE, Said};
use crate::loaders::{UNSIGNED, WEAKER_POLICY};
use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BPFFS: &str = "/sys/fs/bpf";
const PINS: &str = "/sys/fs/bpf/bpftrust";
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
/// Who is signed by a key that is in the weaker policy alone.
const STRANGER: &str = "strangers";

const BEFORE: &[&str] = &["before"];

pub const ATTACKS: &[Attack] = &[
    Attack::early(
        "29.process",
        "a signed loader that runs since before enforcement",
        "",
        CALL,
        BEFORE,
    ),
    Attack::early(
        "29.descriptor",
        "a map that was opened before enforcement",
        "hold-map array",
        "lookup",
        BEFORE,
    ),
    Attack::own(
        "27.add-key",
        "the stranger's key added to the policy's keyring",
        add_key,
    )
    .shows("bpf", &["unknown-key"]),
    Attack::own(
        "28.nobody-releases",
        "release by who has no privilege",
        |lab| {
            lab.tool_of_nobody(&["release"])?;
            call(lab, UNSIGNED)
        },
    )
    .shows("bpf", &["no-signature"]),
    Attack::own(
        "28.nobody-applies",
        "a weaker policy brought by who has no privilege",
        |lab| {
            let policy = weaker(lab)?;
            lab.tool_of_nobody(&["policy", "apply", &policy])?;
            call(lab, STRANGER)
        },
    )
    .shows("bpf", &["unknown-key"]),
    Attack::own(
        "28.second-guard",
        "enforce once more, with a weaker policy",
        second_guard,
    )
    .shows("bpf", &["unknown-key"])
    .breaks(),
    Attack::own(
        "25.mount-over",
        "something mounted over the pins",
        mount_over,
    )
    .shows("bpf", &["no-signature"])
    .breaks(),
    Attack::own("25.ftrace", "kernel.ftrace_enabled = 0", ftrace)
        .shows("bpf", &["no-signature"])
        .breaks(),
    Attack::own(
        "27.clear",
        "everything taken out of root's user keyring",
        |lab| {
            // KEY_SPEC_USER_KEYRING
            lab.act(UNSIGNED, "clear-keyring -4", None)?;
            call(lab, UNSIGNED)
        },
    )
    .shows("bpf", &["no-signature"])
    .breaks(),
    Attack::own("25.unlink", "the pins removed", |lab| {
        remove(Path::new(PINS))?;
        later_call(lab)
    })
    .shows("bpf", &["no-signature"])
    .breaks(),
    Attack::own(
        "25.rename-over",
        "a pin renamed over the gate's",
        rename_over,
    )
    .shows("bpf", &["no-signature"])
    .breaks(),
    Attack::own(
        "25.umount",
        "the file system of the pins unmounted lazily",
        umount,
    )
    .shows("bpf", &["no-signature"])
    .breaks(),
    Attack::own(
        "28.root-applies",
        "a weaker policy brought by root",
        |lab| {
            let policy = weaker(lab)?;
            lab.tool(&["policy", "apply", &policy])?;
            call(lab, STRANGER)
        },
    )
    .shows("bpf", &["unknown-key"])
    .breaks(),
    Attack::own("28.root-releases", "release by root", |lab| {
        lab.tool(&["release"])?;
        call(lab, UNSIGNED)
    })
    .shows("bpf", &["no-signature"])
    .breaks(),
];

fn call(lab: &Lab, program: &str) -> Result<Said> {
    lab.act(program, CALL, None)
}

/// The same once the kernel has let go of what was taken from it.
fn later_call(lab: &Lab) -> Result<Said> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let said = call(lab, UNSIGNED)?;
        if said.worked || Instant::now() > deadline {
            return Ok(said);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn weaker(lab: &Lab) -> Result<String> {
    let path = lab.path(WEAKER_POLICY);
    Ok(path.to_str().context("a path of ASCII")?.to_owned())
}

fn second_guard(lab: &mut Lab) -> Result<Said> {
    let policy = weaker(lab)?;
    lab.tool(&["enforce", "--policy", &policy])?;
    let said = call(lab, STRANGER);
    if !lab.enforces() {
        lab.release()?;
    }
    said
}

/// Removes what can be removed below a directory, and itself.
fn remove(dir: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(dir) else {
        // Nothing is enforced, or it is refused: the call will show.
        return Ok(());
    };
    for entry in entries {
        let path = entry.context("listing the pins")?.path();
        match path.is_dir() {
            true => remove(&path)?,
            // Refused, or gone: the call will show.
            false => drop(fs::remove_file(&path)),
        }
    }
    let _ = fs::remove_dir(dir);
    Ok(())
}

fn rename_over(lab: &mut Lab) -> Result<Said> {
    let hooks = Path::new(PINS).join("hooks");
    // Not there with enforcement off.
    let _ = fs::rename(hooks.join("bt_netlink"), hooks.join("bt_bpf"));
    later_call(lab)
}

fn mount_over(lab: &mut Lab) -> Result<Said> {
    // Refused: the call will show.
    let mounted = mount("none", BPFFS, "tmpfs", MountFlags::empty(), None);
    let said = later_call(lab);
    if mounted.is_ok() {
        unmount(BPFFS, UnmountFlags::empty()).context("unmounting it again")?;
    }
    said
}

fn umount(lab: &mut Lab) -> Result<Said> {
    let unmounted = unmount(BPFFS, UnmountFlags::DETACH);
    let said = later_call(lab);
    if unmounted.is_ok() {
        mount("bpf", BPFFS, "bpf", MountFlags::empty(), c"mode=700")
            .context("mounting bpffs again")?;
    }
    said
}

fn ftrace(lab: &mut Lab) -> Result<Said> {
    let old = fs::read_to_string(FTRACE).with_context(|| format!("reading {FTRACE}"))?;
    // Refused: the call will show.
    let _ = fs::write(FTRACE, "0");
    let said = call(lab, UNSIGNED);
    if fs::read_to_string(FTRACE).ok() != Some(old.clone()) {
        fs::write(FTRACE, old.trim_end()).with_context(|| format!("writing {FTRACE} back"))?;
    }
    said
}

fn add_key(lab: &mut Lab) -> Result<Said> {
    let certificate = lab.path("stranger/certificate.der");
    let mut command = Command::new("openssl");
    command
        .args(["x509", "-outform", "DER", "-in"])
        .arg(lab.path("stranger/certificate.pem"))
        .arg("-out")
        .arg(&certificate);
    let output = lab.run(&mut command, PATIENCE)?;
    ensure!(
        certificate.exists(),
        "openssl x509 failed: {}",
        output.stderr
    );
    for ring in rings(lab)? {
        let action = format!("add-key {ring}:{}", certificate.display());
        lab.act(UNSIGNED, &action, None)?;
    }
    call(lab, STRANGER)
}

/// The policy's keyrings.
fn rings(lab: &Lab) -> Result<Vec<u64>> {
    let said = lab.tool(&["status", "--json"])?.stdout;
    let status: Value = serde_json::from_str(&said).context("reading the status")?;
    let keys = status["keys"].as_array().cloned().unwrap_or_default();
    Ok(keys.iter().filter_map(|key| key["ring"].as_u64()).collect())
}
