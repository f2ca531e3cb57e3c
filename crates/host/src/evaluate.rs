//! From facts to rows. Pure: what it says depends on [`Facts`] alone.

mod posture;
#[cfg(test)]
mod tests;

use crate::facts::Facts;
use crate::file_system::FileSystem;
use crate::keyring::Support;
use crate::mounts::Mount;
use crate::needs::{Kind, NEEDS, Need};
use crate::posture::Lockdown;
use crate::rows::{Group, Row, State, known};
use crate::types::{KernelTypes, ProgramSignatures};
use crate::users::Users;

/// The oldest series whose kernels are tested.
const OLDEST_TESTED: (u32, u32) = (6, 12);

/// Every row, by group.
pub fn evaluate(facts: &Facts) -> Vec<Row> {
    let mut rows = kernel(facts);
    rows.extend(NEEDS.iter().map(|need| need_row(facts, need)));
    rows.extend(file_systems(facts));
    rows.extend(users(facts));
    rows.extend(posture::rows(&facts.posture));
    rows.sort_by_key(|row| row.group);
    rows
}

fn kernel(facts: &Facts) -> Vec<Row> {
    let row = |id, found, cost| Row::new(Group::Kernel, id, found, cost);
    vec![
        row(
            "release",
            release(facts),
            "an untested kernel: its verifier may refuse the policy",
        ),
        row(
            "lsm",
            bpf_lsm(facts),
            "BPF programs can't decide on security hooks",
        )
        .required(),
        row(
            "btf",
            btf(facts),
            "the policy can't be fitted to this kernel's data",
        )
        .required(),
        row("jit", jit(facts), "BPF programs can't call kfuncs").required(),
        row(
            "ftrace",
            ftrace(facts),
            "attached security programs don't run while kernel.ftrace_enabled is 0",
        )
        .required(),
        row(
            "kernel-reads",
            kernel_reads(facts),
            "the policy can't follow kernel pointers",
        )
        .required(),
        row(
            "keyrings",
            keyrings(facts),
            "no place for the certificates to verify with",
        )
        .required(),
        row(
            "bpffs",
            bpffs(facts),
            "enforcement would end with the process that starts it",
        )
        .required(),
        row(
            "static-calls",
            static_calls(facts),
            "each hook costs an indirect call",
        ),
        row(
            "tokens",
            tokens(facts),
            "loaders can't be given BPF without privileges",
        ),
        row(
            "program-signatures",
            program_signatures(facts),
            "who must load signed programs ('signed-programs') loads none at all",
        ),
    ]
}

fn release(facts: &Facts) -> (State, String) {
    known(&facts.release, |release| match series(release) {
        Some(series) if series >= OLDEST_TESTED => (State::Present, release.clone()),
        Some(_) => {
            let (major, minor) = OLDEST_TESTED;
            (
                State::Absent,
                format!("{release}; tested from {major}.{minor} on"),
            )
        }
        None => (
            State::Unknown,
            format!("{release}: no version to be seen in it"),
        ),
    })
}

/// The first two numbers of a release such as `6.12.41+deb13-amd64`.
fn series(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn bpf_lsm(facts: &Facts) -> (State, String) {
    // Without this function there is nothing that lsm= could turn on.
    let built_in = |types: &KernelTypes| types.functions.contains("bpf_lsm_bpf");
    if let Ok(Some(types)) = &facts.types
        && !built_in(types)
    {
        let why = "this kernel was built without CONFIG_BPF_LSM";
        return (State::Absent, why.to_owned());
    }
    known(&facts.security_modules, |modules| match modules {
        None => (
            State::Absent,
            "this kernel has no security modules".to_owned(),
        ),
        Some(modules) => {
            let list = modules.join(",");
            if modules.iter().any(|name| name == "bpf") {
                (State::Present, format!("active: {list}"))
            } else {
                let advice = format!("active: {list}; boot with lsm={list},bpf");
                (State::Absent, advice)
            }
        }
    })
}

fn btf(facts: &Facts) -> (State, String) {
    known(&facts.types, |types| match types {
        Some(_) => (State::Present, "/sys/kernel/btf/vmlinux".to_owned()),
        None => {
            let why = "no /sys/kernel/btf/vmlinux (CONFIG_DEBUG_INFO_BTF)";
            (State::Absent, why.to_owned())
        }
    })
}

fn jit(facts: &Facts) -> (State, String) {
    known(&facts.jit, |jit| match jit {
        Some(0) => {
            let advice = "off: sysctl net.core.bpf_jit_enable=1";
            (State::Absent, advice.to_owned())
        }
        Some(_) => (State::Present, "net.core.bpf_jit_enable is on".to_owned()),
        // Other network namespaces than the first don't have this file.
        None => {
            let why = "no net.core.bpf_jit_enable here (container, or no CONFIG_BPF_JIT)";
            (State::Unknown, why.to_owned())
        }
    })
}

fn ftrace(facts: &Facts) -> (State, String) {
    known(&facts.ftrace_enabled, |enabled| match enabled {
        Some(0) => (
            State::Absent,
            "off: sysctl kernel.ftrace_enabled=1".to_owned(),
        ),
        Some(_) => (State::Present, "kernel.ftrace_enabled is on".to_owned()),
        None => (
            State::Present,
            "no ftrace that could be switched off".to_owned(),
        ),
    })
}

/// `kernel/bpf/helpers.c:bpf_base_func_proto` takes `bpf_probe_read_kernel` away.
fn kernel_reads(facts: &Facts) -> (State, String) {
    known(&facts.posture.lockdown, |lockdown| match lockdown {
        Some(Lockdown::Confidentiality) => {
            let why = "lockdown=confidentiality denies bpf_probe_read_kernel";
            (State::Absent, why.to_owned())
        }
        _ => (
            State::Present,
            "lockdown allows bpf_probe_read_kernel".to_owned(),
        ),
    })
}

fn keyrings(facts: &Facts) -> (State, String) {
    let (state, detail) = match facts.keyrings {
        Support::Certificates => (State::Present, "the kernel takes certificates"),
        Support::KeyringsOnly => (State::Absent, "no CONFIG_ASYMMETRIC_KEY_TYPE"),
        Support::Nothing => (State::Absent, "no CONFIG_KEYS"),
        Support::Unknown => (State::Unknown, "we are not allowed to make a keyring"),
    };
    (state, detail.to_owned())
}

fn bpffs(facts: &Facts) -> (State, String) {
    known(&facts.bpffs, |mounted| {
        let detail = if *mounted {
            "mounted on /sys/fs/bpf"
        } else {
            "not mounted: mount -t bpf bpf /sys/fs/bpf"
        };
        (State::when(*mounted), detail.to_owned())
    })
}

fn static_calls(facts: &Facts) -> (State, String) {
    in_types(facts, |types| {
        let detail = if types.static_calls {
            "struct lsm_static_calls_table"
        } else {
            "no struct lsm_static_calls_table (came with 6.12)"
        };
        (State::when(types.static_calls), detail.to_owned())
    })
}

fn tokens(facts: &Facts) -> (State, String) {
    in_types(facts, |types| {
        let detail = if types.tokens {
            "BPF_TOKEN_CREATE"
        } else {
            "no BPF_TOKEN_CREATE (came with 6.9)"
        };
        (State::when(types.tokens), detail.to_owned())
    })
}

fn program_signatures(facts: &Facts) -> (State, String) {
    in_types(facts, |types| {
        let (state, detail) = match types.signatures {
            ProgramSignatures::None => (State::Absent, "none (came with 6.18)"),
            ProgramSignatures::Instructions => {
                (State::Present, "6.18 form: instructions, not maps")
            }
            ProgramSignatures::InstructionsAndMaps => {
                (State::Present, "7.3 form: instructions and maps")
            }
        };
        (state, detail.to_owned())
    })
}

fn need_row(facts: &Facts, need: &Need) -> Row {
    let (group, prefix) = match need.kind {
        Kind::Kfunc => (Group::Kfuncs, "kfunc"),
        Kind::Hook => (Group::Hooks, "hook"),
        Kind::Function => (Group::Hooks, "function"),
    };
    let found = in_types(facts, |types| {
        let present = types.functions.contains(&need.function());
        let detail = if present {
            format!("in BTF: {}", need.job)
        } else {
            format!("not in BTF (takes Linux {}): {}", need.since, need.job)
        };
        (State::when(present), detail)
    });
    Row::new(group, format!("{prefix}.{}", need.name), found, need.cost).required()
}

/// What the kernel's types say, if there are any.
fn in_types(facts: &Facts, judge: impl FnOnce(&KernelTypes) -> (State, String)) -> (State, String) {
    known(&facts.types, |types| match types {
        Some(types) => judge(types),
        None => (State::Unknown, "no BTF to look it up in".to_owned()),
    })
}

/// Paths that the user named are each required. Of the usual ones one will do.
fn file_systems(facts: &Facts) -> Vec<Row> {
    let cost = "files there can't be signed";
    let mut rows: Vec<Row> = facts
        .file_systems
        .iter()
        .map(|file_system| {
            let id = format!("files:{}", file_system.path.display());
            let found = file_system_state(facts, file_system);
            let row = Row::new(Group::FileSystems, id, found, cost);
            if facts.paths_given {
                row.required()
            } else {
                row
            }
        })
        .collect();
    if !facts.paths_given {
        let any = |state| rows.iter().any(|row| row.state == state);
        let (state, detail) = if any(State::Present) {
            (
                State::Present,
                "at least one of these can hold signed files",
            )
        } else if any(State::Unknown) || rows.is_empty() {
            (State::Unknown, "name a PATH that is to hold signed files")
        } else {
            (State::Absent, "none of these can hold signed files")
        };
        let found = (state, detail.to_owned());
        let cost = "no executable can be signed";
        rows.insert(
            0,
            Row::new(Group::FileSystems, "files", found, cost).required(),
        );
    }
    rows
}

fn file_system_state(facts: &Facts, file_system: &FileSystem) -> (State, String) {
    let what = match &file_system.mount {
        Ok(mount) => {
            let point = mount.point.display();
            let read_only = if mount.read_only { ", read-only" } else { "" };
            format!("{} on {point}{read_only}", mount.kind)
        }
        Err(unknown) => return (State::Unknown, unknown.to_string()),
    };
    match (&file_system.verity, &file_system.attributes) {
        (Ok(true), Ok(true)) => (State::Present, format!("{what}: fs-verity and xattrs")),
        (Ok(false), _) => (
            State::Absent,
            format!("{what}: {}", no_verity(facts, file_system)),
        ),
        (_, Ok(false)) => (State::Absent, format!("{what}: no user.* xattrs")),
        (Err(unknown), _) | (_, Err(unknown)) => (State::Unknown, format!("{what}: {unknown}")),
    }
}

/// Why there is no fs-verity, as far as it can be helped.
fn no_verity(facts: &Facts, file_system: &FileSystem) -> String {
    match (&file_system.mount, &facts.ext4_verity) {
        (Ok(Mount { kind, source, .. }), Ok(true)) if kind == "ext4" => {
            let device = source.display();
            format!("no fs-verity; this turns it on: tune2fs -O verity {device}")
        }
        (Ok(Mount { kind, .. }), Ok(false)) if kind == "ext4" => {
            "this kernel was built without CONFIG_FS_VERITY".to_owned()
        }
        _ => "no fs-verity".to_owned(),
    }
}

fn users(facts: &Facts) -> Vec<Row> {
    let summary = known(&facts.users, users_state);
    let cost = "what runs before enforcement is refused bpf() until it is signed and restarted";
    let mut rows = vec![Row::new(Group::BpfUsers, "users", summary, cost)];
    let processes = facts.users.iter().flat_map(|users| &users.processes);
    rows.extend(processes.map(|user| {
        let cost = match user.restart() {
            Some(command) => format!("sign it, then: {command}"),
            None => "sign it, then start it again".to_owned(),
        };
        let found = (State::Present, user.to_string());
        Row::new(Group::BpfUsers, format!("user:{}", user.pid), found, cost)
    }));
    rows
}

fn users_state(users: &Users) -> (State, String) {
    let (programs, maps, links) = users.totals();
    let count = users.processes.len();
    let held = format!("processes: {count}, programs: {programs}, maps: {maps}, links: {links}");
    if users.hidden > 0 {
        let hidden = users.hidden;
        let detail = format!("{held}; {hidden} more are hidden from us: run this as root");
        return (State::Unknown, detail);
    }
    (State::when(count > 0), held)
}
