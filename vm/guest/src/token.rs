//! Loaders that live by BPF tokens, started as a broker does it: in a user namespace
//! of their own, as uid 1000 outside of it.

use crate::fixture::{self, ACME, Events, GLOBEX, UNSIGNED, words};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::owner::{expect_answer, expect_event};
use crate::policy::{Running, acme, apply, loader, publisher};
use crate::process::{Background, Program};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What a loader is granted that lives by a token.
pub const GRANT: Grant<'_> = Grant {
    commands: "map_create prog_load btf_load link_create map_update_elem map_lookup_elem \
               token_create",
    programs: "xdp cgroup_skb",
    attaches: "xdp cgroup_inet_ingress",
    maps: "array hash",
    abilities: "delegate children",
};

/// Exactly that, as far as a token goes.
pub const AS_GRANTED: &str = "cmds=map_create:prog_load:btf_load:link_create,maps=array:hash,\
                          progs=xdp:cgroup_skb,attachs=xdp:cgroup_inet_ingress";

/// Everything.
pub const ANY: &str = "cmds=any,maps=any,progs=any,attachs=any";

/// Makes a token and goes on with it.
pub const TOKEN: &str = "hold-token /sys/fs/bpf with-token";

pub fn setup(guest: &mut Guest) -> Result<()> {
    GLOBEX.make(guest)?;
    fixture::enforce(guest)?;
    apply(guest, &policy(""))
}

/// Two publishers, and more.
pub fn policy(more: &str) -> String {
    acme(&format!("{}{more}", publisher("globex", &[GLOBEX])))
}

/// The loader of this name with that grant.
pub fn holder(guest: &Guest, name: &str) -> Result<PathBuf> {
    loader(guest, name, ACME, &GRANT.of("agent", 1))
}

/// The same, and it must use a token.
pub fn tied(guest: &Guest, name: &str) -> Result<PathBuf> {
    let grant = format!("{}require = \"token\"\n", GRANT.of("agent", 1));
    loader(guest, name, ACME, &grant)
}

/// What has a broker start `program` with a bpffs that delegates this.
pub fn under(options: &str, program: &Path, actions: &str) -> String {
    format!(
        "delegate 1000 {options} [ exec {} {actions} ]",
        program.display()
    )
}

/// Requires this answer to the last action of a program that a broker started.
pub fn answers(options: &str, program: &Path, actions: &str, answer: &str) -> Result<()> {
    let line = under(options, program, actions);
    expect_answer(Path::new(UNSIGNED), &line, answer)
}

/// Requires that the last action is refused for this reason.
pub fn refused(
    guest: &Guest,
    options: &str,
    program: &Path,
    actions: &str,
    reason: &str,
    fields: &[(&str, &str)],
) -> Result<()> {
    let mark = Events::mark(guest)?;
    answers(options, program, actions, "EPERM")?;
    expect_event(guest, &mark, program, reason, fields).with_context(|| actions.to_owned())
}

/// A program that a broker started, which calls when it is told to.
pub struct Called {
    running: Running,
    program: PathBuf,
}

impl Called {
    pub fn start(guest: &mut Guest, program: &Path, first: &str, call: &str) -> Result<Self> {
        let steps = format!("{}.step", program.display());
        let line = under(AS_GRANTED, program, &Running::actions(&steps, first, call)?);
        let broker = Program::new(UNSIGNED).args(words(&line));
        Ok(Self {
            running: Running::started(guest, broker, steps)?,
            program: program.to_owned(),
        })
    }

    pub fn expect_ok(&mut self, guest: &Guest) -> Result<()> {
        self.running.expect_trusted(guest)
    }

    pub fn expect_refused(
        &mut self,
        guest: &Guest,
        reason: &str,
        fields: &[(&str, &str)],
    ) -> Result<()> {
        let mark = Events::mark(guest)?;
        let answer = self.running.call(guest)?;
        ensure!(answer == "EPERM", "{answer}");
        expect_event(guest, &mark, &self.program, reason, fields)
    }
}

/// Starts `program` with a broker; it makes a token and lets others have it. The
/// socket is in a place where uid 1000 may make it.
pub fn serving(guest: &mut Guest, program: &Path, options: &str) -> Result<(Background, String)> {
    let place = guest.path("sockets");
    fs::create_dir_all(&place)?;
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777))?;
    let socket = place.join("token").display().to_string();
    let _ = fs::remove_file(&socket);
    let actions = format!("{TOKEN} serve {socket} say ready until never");
    let line = under(options, program, &actions);
    let mut process = guest.start(Program::new(UNSIGNED).args(words(&line)))?;
    guest.wait_until_says(&mut process, "ready")?;
    let said = process.said();
    ensure!(!said.contains("EPERM"), "{said}");
    Ok((process, socket))
}
