//! `bpftrust boot`: what the policy and the kernel's command line want of a boot.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use bpftrust_guard::{Error, Mode, Status};
use rustix::fs::statfs;
use rustix::mount::{MountFlags, mount};

use crate::cli::BootArgs;
use crate::guard_advice::{explain, load_policy};
use crate::output::{KernelLevel, Outcome, log_to_kernel, print, relay, warn};

/// What the kernel was told at boot (proc_cmdline(5)).
const COMMAND_LINE: &str = "/proc/cmdline";

const BPFFS: &str = "/sys/fs/bpf";

/// `f_type` of bpffs (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

pub fn run(args: &BootArgs) -> anyhow::Result<Outcome> {
    explain(bpftrust_guard::require_root())?;
    let result = if args.initramfs {
        mount_bpffs().and_then(|()| start(args))
    } else {
        match Status::read() {
            Ok(status) => keep(&status),
            Err(Error::NotEnforcing | Error::Incomplete { .. }) => start(args),
            Err(error) => explain(Err(error)),
        }
    };
    if let (Err(error), true) = (&result, args.initramfs) {
        log_to_kernel(KernelLevel::Error, &format!("{error:#}"));
        log_to_kernel(
            KernelLevel::Error,
            "nothing is enforced, and the boot goes on",
        );
    }
    result
}

/// What the initramfs started goes on.
fn keep(status: &Status) -> anyhow::Result<Outcome> {
    let doing = match status.mode {
        Mode::Enforce => "enforcing",
        Mode::Audit => "auditing",
    };
    print(&format!("{doing} since before\n"));
    if let Some(seal) = &status.seal {
        explain(bpftrust_guard::return_anchor(seal))?;
    }
    Ok(Outcome::Yes)
}

fn start(args: &BootArgs) -> anyhow::Result<Outcome> {
    let teller = Teller {
        initramfs: args.initramfs,
    };
    // First, or nobody could tell whether the way out is open.
    let policy = load_policy(None)?;
    let line = fs::read(COMMAND_LINE).with_context(|| format!("can't read {COMMAND_LINE}"))?;
    let plan = Plan::new(said(&line).as_deref(), policy.sealed_boot);
    if let Some(problem) = &plan.problem {
        teller.warn(problem);
    }
    if plan.action == Action::Off {
        teller.warn("the kernel's command line says bpftrust=off: nothing is enforced");
        return Ok(Outcome::No);
    }
    if plan.action == Action::Audit {
        teller.warn("the kernel's command line says bpftrust=audit: nothing is refused");
    }
    if !args.initramfs {
        teller.warn(
            "the initramfs did not start it: what was executed before now has no trust; \
             'update-initramfs -u' or 'dracut --force' puts it there",
        );
    }
    let begun = Instant::now();
    let outcome = teller.execute(&plan.words(args.initramfs))?;
    let took = begun.elapsed().as_millis();
    teller.tell(&format!("starting it took {took} ms"));
    Ok(outcome)
}

/// What the last `bpftrust=` says, if there is one; what is behind `--` is for init
/// (`kernel/params.c`, `parse_args`).
fn said(line: &[u8]) -> Option<String> {
    String::from_utf8_lossy(line)
        .split_whitespace()
        .map(|word| word.trim_matches('"'))
        .take_while(|word| *word != "--")
        .filter_map(|word| word.strip_prefix("bpftrust="))
        .last()
        .map(|value| value.trim_matches('"').to_owned())
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Off,
    Audit,
    /// What the policy's mode says.
    Policy,
    Seal,
}

/// What is to be done, and what of the command line is not.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    action: Action,
    problem: Option<String>,
}

impl Plan {
    fn new(said: Option<&str>, sealed: bool) -> Self {
        let (action, problem) = match (said, sealed) {
            (None, true) => (Action::Seal, None),
            (None, false) => (Action::Policy, None),
            (Some("off"), false) => (Action::Off, None),
            (Some("audit"), false) => (Action::Audit, None),
            (Some(value @ ("off" | "audit")), true) => (
                Action::Seal,
                Some(format!(
                    "bpftrust={value} on the kernel's command line is refused: the policy seals the boot"
                )),
            ),
            (Some(value), sealed) => (
                if sealed { Action::Seal } else { Action::Policy },
                Some(format!(
                    "bpftrust={} on the kernel's command line means nothing: it takes off or audit",
                    value.escape_debug()
                )),
            ),
        };
        Self { action, problem }
    }

    /// The command line of `bpftrust` that does it.
    fn words(&self, initramfs: bool) -> Vec<&'static str> {
        match (self.action, initramfs) {
            (Action::Off, _) => Vec::new(),
            (Action::Audit, _) => vec!["enforce", "--audit"],
            (Action::Policy, _) => vec!["enforce"],
            (Action::Seal, false) => vec!["enforce", "--seal"],
            (Action::Seal, true) => vec!["enforce", "--seal", "--early"],
        }
    }
}

/// Says what happens, in an initramfs to the kernel's log, too: nothing else of it is
/// kept.
struct Teller {
    initramfs: bool,
}

impl Teller {
    fn tell(&self, text: &str) {
        print(&format!("{text}\n"));
        self.log(KernelLevel::Notice, text);
    }

    fn warn(&self, text: &str) {
        warn(text);
        self.log(KernelLevel::Warning, text);
    }

    fn log(&self, level: KernelLevel, text: &str) {
        if self.initramfs {
            log_to_kernel(level, text);
        }
    }

    /// Runs this command once more, in a process whose output can be kept. What stays
    /// where it is sealed lets go of it (`anchor::hold`).
    fn execute(&self, words: &[&str]) -> anyhow::Result<Outcome> {
        let output = Command::new("/proc/self/exe")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("can't start 'bpftrust {}'", words.join(" ")))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            self.tell(line);
        }
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            relay(line);
            self.log(KernelLevel::Error, line);
        }
        if output.status.success() {
            return Ok(Outcome::Yes);
        }
        anyhow::bail!("'bpftrust {}' failed ({})", words.join(" "), output.status)
    }
}

/// Mounts bpffs where it belongs, with the options that systemd has
/// (`src/shared/mount-setup.c`), unless it is there.
fn mount_bpffs() -> anyhow::Result<()> {
    if statfs(BPFFS).is_ok_and(|stat| stat.f_type == BPF_FS_MAGIC) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("bpf", BPFFS, "bpf", flags, c"mode=0700")
        .map_err(std::io::Error::from)
        .with_context(|| format!("can't mount bpffs on {BPFFS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_before_inits_own_counts() {
        for (line, expected) in [
            ("root=/dev/vda quiet\n", None),
            ("bpftrust=off", Some("off")),
            ("bpftrust=off bpftrust=audit\n", Some("audit")),
            ("\"bpftrust=off\" x", Some("off")),
            ("bpftrust=\"off\"", Some("off")),
            ("bpftrust= x", Some("")),
            ("notbpftrust=off bpftrust.x=off", None),
            ("bpftrust=audit -- bpftrust=off", Some("audit")),
        ] {
            assert_eq!(said(line.as_bytes()).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn a_sealed_boot_has_no_way_out() {
        for said in [None, Some("off"), Some("audit"), Some("x")] {
            let plan = Plan::new(said, true);
            assert_eq!(plan.action, Action::Seal);
            assert_eq!(plan.problem.is_some(), said.is_some());
            assert_eq!(plan.words(true), ["enforce", "--seal", "--early"]);
            assert_eq!(plan.words(false), ["enforce", "--seal"]);
        }
    }

    #[test]
    fn otherwise_the_command_line_is_the_way_out() {
        for (said, action, has_problem) in [
            (None, Action::Policy, false),
            (Some("off"), Action::Off, false),
            (Some("audit"), Action::Audit, false),
            (Some("OFF"), Action::Policy, true),
            (Some(""), Action::Policy, true),
        ] {
            let plan = Plan::new(said, false);
            assert_eq!((plan.action, plan.problem.is_some()), (action, has_problem));
        }
    }
}
