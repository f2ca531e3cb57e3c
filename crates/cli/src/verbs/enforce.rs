//! `bpftrust enforce`.

use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use anyhow::{anyhow, bail};
use bpftrust_guard::{Adopted, Mode, Stage};
use bpftrust_host::users::User;
use bpftrust_host::{Facts, Group, Root, State, evaluate, processes};

use crate::advice::advised;
use crate::anchor;
use crate::cli::EnforceArgs;
use crate::guard_advice::{explain, load_policy};
use crate::output::{Outcome, counted, escape_bytes, escaped, print, warn};
use crate::verbs::check::has_verity;

pub fn run(args: &EnforceArgs) -> anyhow::Result<Outcome> {
    // First, or an ordinary user would be told what he can't see.
    explain(bpftrust_guard::require_root())?;
    if args.seal && !args.anchor {
        return anchor::start();
    }
    let policy = load_policy(args.policy.as_deref())?;
    let mode = if args.audit { Mode::Audit } else { policy.mode };
    if args.seal && mode == Mode::Audit {
        return Err(advised(
            anyhow!(
                "the policy says mode = \"audit\", which refuses nothing: there is nothing to seal"
            ),
            "say mode = \"enforce\" in the policy, or leave --seal",
        ));
    }
    let adopted = adopt(&args.adopt)?;
    // Before the gate shuts: asking later who uses BPF still works, but who
    // was refused meanwhile may be gone.
    let facts = Facts::probe(&Root::host(), &[], &has_verity);
    require(&facts)?;
    let anchor = if args.seal {
        anchor::detach()?;
        let stage = match args.early {
            true => Stage::Initramfs,
            false => Stage::Root,
        };
        Some(explain(bpftrust_guard::seal(&policy, stage))?)
    } else {
        explain(bpftrust_guard::enforce(&policy, mode, &adopted))?;
        None
    };

    let keys = counted(policy.signers().count(), "key");
    let mut text = match mode {
        Mode::Enforce => format!("enforcing: {keys} may sign\n"),
        Mode::Audit => format!("auditing, nothing is refused: {keys} may sign\n"),
    };
    match facts.users {
        Ok(users) => text.push_str(&before(&users.processes, &adopted)),
        Err(error) => warn(&format!("can't tell who used BPF before: {error}")),
    }
    print(&text);
    if args.seal && policy.policy_keys.is_empty() {
        warn(
            "the policy names no policy key, so nothing changes it until the machine is started again",
        );
    }
    if !adopted.is_empty() {
        warn("adopted processes are trusted without evidence; restart them when you can");
    }
    if let Some(anchor) = anchor {
        print("sealed: it ends when the machine is rebooted\n");
        anchor::hold(anchor)?;
    }
    Ok(Outcome::Yes)
}

/// Refuses a kernel that can't, in words of ours: libbpf would say it by the
/// first thing that it misses.
fn require(facts: &Facts) -> anyhow::Result<()> {
    let missing: Vec<_> = evaluate(facts)
        .into_iter()
        .filter(|row| row.required && row.state == State::Absent)
        .filter(|row| matches!(row.group, Group::Kernel | Group::Kfuncs | Group::Hooks))
        // The guard says it better, with what to type.
        .filter(|row| row.id != "bpffs")
        .map(|row| row.id)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(advised(
        anyhow!(
            "this host can't enforce, for want of: {}",
            missing.join(", ")
        ),
        "type 'bpftrust check' to see what each of them is needed for",
    ))
}

/// The processes of the names that --adopt gave. A name that fits nothing is
/// an error: the admin counts on it.
fn adopt(names: &[String]) -> anyhow::Result<Vec<Adopted>> {
    let mut adopted = Vec::new();
    for name in names {
        let found = processes::named(&Root::host(), name.as_ref())
            .map_err(|error| anyhow!("can't look for running processes: {error}"))?;
        if found.is_empty() {
            bail!("no running process is called {name:?}: nothing to adopt");
        }
        adopted.extend(found.into_iter().map(|process| Adopted {
            pid: process.pid,
            comm: process.comm.as_bytes().to_vec(),
        }));
    }
    Ok(adopted)
}

/// Who holds BPF objects and will be refused until he executes again.
fn before(users: &[User], adopted: &[Adopted]) -> String {
    let mut text = String::new();
    let untrusted: Vec<_> = users
        .iter()
        .filter(|user| !adopted.iter().any(|process| process.pid == user.pid))
        .collect();
    if untrusted.is_empty() {
        return text;
    }
    text.push_str("running since before, so refused until they are restarted:\n");
    for user in untrusted {
        write!(
            text,
            "  {}[{}]",
            escape_bytes(user.comm.as_bytes()),
            user.pid
        )
        .expect("writing to a string can't fail");
        if let Some(executable) = &user.executable {
            write!(text, " {}", escaped(executable)).expect("writing to a string can't fail");
        }
        if let Some(restart) = user.restart() {
            write!(text, ": {restart}").expect("writing to a string can't fail");
        }
        text.push('\n');
    }
    text
}
