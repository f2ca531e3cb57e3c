//! 3 to 9: ways to execute something under the name, or in the place, of a
//! signed loader.

use crate::attack::{Attack, CALL};
use crate::lab::{Lab, PATIENCE, Said};
use crate::loaders::{self, UNSIGNED};
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

const NO_SIGNATURE: &[&str] = &["no-signature"];

pub const ATTACKS: &[Attack] = &[
    Attack::run(
        "3.memfd",
        "the loader's content executed from a memfd",
        "unsigned",
        "memfd-exec @/loader act bpf 11",
        NO_SIGNATURE,
    ),
    Attack::run(
        "3.tmpfile",
        "the loader's content executed from a file without a name",
        "unsigned",
        "tmpfile-exec @/loader act bpf 11",
        NO_SIGNATURE,
    ),
    Attack::run(
        "3.fexecve",
        "an unsigned file executed by its descriptor",
        "loader",
        "fexec @/unsigned act bpf 11",
        NO_SIGNATURE,
    ),
    Attack::run(
        "3.rename",
        "an unsigned file renamed over a signed one",
        "renamed",
        CALL,
        NO_SIGNATURE,
    )
    .before(rename_over),
    Attack::run(
        "3.bind-mount",
        "an unsigned file mounted over a signed one",
        "unsigned",
        "mntns [ bind @/unsigned:@/loader exec @/loader act bpf 11 ]",
        NO_SIGNATURE,
    ),
    Attack::run(
        "3.exe-file",
        "PR_SET_MM_EXE_FILE: /proc/self/exe says that it is a signed loader",
        "unsigned",
        "exe-file @/loader bpf 11",
        NO_SIGNATURE,
    ),
    Attack::run(
        "4.script",
        "a script whose interpreter is a signed loader",
        "unsigned",
        "exec @/script bpf 11",
        &["unsigned-script"],
    ),
    Attack::own(
        "5.crowd",
        "signed and unsigned programs executed at the same time",
        crowd,
    )
    .shows("bpf", NO_SIGNATURE),
    Attack::run(
        "6.exec",
        "a trusted loader executes something unsigned",
        "loader",
        "exec @/unsigned act bpf 11",
        NO_SIGNATURE,
    ),
    Attack::run(
        "6.vfork-exec",
        "the same in a child that shared its memory",
        "loader",
        "vfork [ exec @/unsigned act bpf 11 ]",
        NO_SIGNATURE,
    ),
    Attack::own(
        "7.set-uid",
        "an unsigned set-uid root copy, by nobody",
        set_uid,
    )
    .shows("bpf", NO_SIGNATURE),
    Attack::run(
        "7.mount-namespace",
        "an unsigned loader in a mount namespace of its own",
        "unsigned",
        "mntns [ bpf 11 ]",
        NO_SIGNATURE,
    ),
    Attack::run(
        "7.chroot",
        "an unsigned loader in a chroot",
        "unsigned",
        "chroot @ bpf 11",
        NO_SIGNATURE,
    ),
    Attack::own(
        "8.core-pattern",
        "the kernel executes a signed loader with arguments of root's choice, by core_pattern",
        core_pattern,
    )
    .shows("bpf", &["kernel-started"]),
    Attack::run(
        "9.traced",
        "a signed loader executed by who asked to be traced",
        "unsigned",
        "fork [ traceme exec @/loader act bpf 11 ]",
        &["traced"],
    ),
    filtered(
        "9.notifier",
        "under a seccomp filter that asks a supervisor",
        "filter notifier exec @/loader act bpf 11",
    ),
    filtered(
        "9.errno-0",
        "under a seccomp filter that says success without the call",
        "filter errno-0 exec @/loader act bpf 11",
    ),
    filtered(
        "9.trace-filter",
        "under a seccomp filter that asks a tracer",
        "filter trace exec @/loader act bpf 11",
    ),
];

const fn filtered(number: &'static str, tried: &'static str, actions: &'static str) -> Attack {
    Attack::run(number, tried, "unsigned", actions, &["filtered"])
}

/// The signed file `renamed` is another file by the time that it is executed.
fn rename_over(lab: &Lab) -> Result<()> {
    let (place, other) = (lab.path("renamed"), lab.path("renamed.new"));
    if !place.exists() {
        loaders::copy_self(&place)?;
        let grant = "name = \"renamed\"\ncommands = \"all\"\n";
        loaders::sign(lab, "acme", &place, grant)?;
        lab.act("renamed", CALL, None)?;
    }
    loaders::copy_self(&other)?;
    fs::rename(&other, &place).context("renaming a file")
}

/// Worked, if one of the unsigned got what the signed ones get.
fn crowd(lab: &mut Lab) -> Result<Said> {
    const PAIRS: usize = 8;
    let mut running = Vec::new();
    for _ in 0..PAIRS {
        for program in [UNSIGNED, loaders::LOADER] {
            running.push((program, lab.background(program, "pid", CALL)?));
        }
    }
    let mut said = Said {
        worked: false,
        text: format!("{CALL}: EPERM, {PAIRS} times"),
    };
    for (program, process) in running {
        let answer = process.end()?;
        match program {
            UNSIGNED if answer.worked => said = answer,
            loaders::LOADER if !answer.worked => {
                said.text = format!("a signed one is refused: {}", answer.text);
            }
            _ => {}
        }
    }
    Ok(said)
}

fn set_uid(lab: &mut Lab) -> Result<Said> {
    const NOBODY: u32 = 65534;
    let mut command = lab.probe("set-uid", CALL, None);
    Ok(lab.run(command.uid(NOBODY).gid(NOBODY), PATIENCE)?.said())
}

fn core_pattern(lab: &mut Lab) -> Result<Said> {
    const SETTING: &str = "/proc/sys/kernel/core_pattern";
    let place = lab.path("core");
    // What another attempt left.
    let _ = fs::remove_file(&place);
    let loader = lab.path(loaders::LOADER);
    let pattern = format!("|{} act into {} {CALL}", loader.display(), place.display());
    let old = fs::read_to_string(SETTING).context("reading core_pattern")?;
    fs::write(SETTING, &pattern).context("writing core_pattern")?;
    let crashed = lab.act(UNSIGNED, "fork [ abort ]", None);
    let deadline = Instant::now() + PATIENCE;
    let mut text = String::new();
    while !text.contains(CALL) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
        text = fs::read_to_string(&place).unwrap_or_default();
    }
    fs::write(SETTING, old.trim_end()).context("writing core_pattern back")?;
    crashed?;
    Ok(Said {
        worked: text.trim_end().ends_with(": ok"),
        text: match text.lines().last() {
            None => "the kernel started nothing".to_owned(),
            Some(line) => line.to_owned(),
        },
    })
}
