//! The table of what the policy needs is about the policy that there is.

use std::fs;
use std::path::Path;

use bpftrust_host::{Kind, NEEDS};

/// Kfuncs that come with another one which the table has.
const SIBLINGS: [&str; 3] = [
    "bpf_iter_task_next",
    "bpf_iter_task_destroy",
    "bpf_rcu_read_unlock",
];

/// The kernel side's sources as one text.
fn sources() -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bpf");
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_source = |path: &Path| path.extension().is_some_and(|end| end == "c" || end == "h");
    files
        .filter(|path| is_source(path))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// `SEC("lsm/NAME")` or `SEC("lsm.s/NAME")`, or `SEC("fentry/NAME")`: those that must
/// attach.
fn hooks<'a>(sources: &'a str, section: &str) -> Vec<&'a str> {
    sources
        .split(&format!("SEC(\"{section}"))
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.split_once('/'))
        .map(|(_, name)| name)
        .collect()
}

/// Declarations of functions that end in the section of kfuncs, and aren't weak.
fn kfuncs(sources: &str) -> Vec<&str> {
    sources
        .split(';')
        .filter(|statement| statement.contains("section(\".ksyms\")"))
        .filter(|statement| !statement.contains("weak"))
        .filter_map(|statement| {
            let start = statement.rfind("extern ")?;
            let declaration = statement[start..].split('(').next()?;
            declaration.split([' ', '*']).next_back()
        })
        .collect()
}

#[test]
fn every_hook_and_kfunc_of_the_policy_has_its_row() {
    let sources = sources();
    let found = [
        (Kind::Hook, hooks(&sources, "lsm"), 8),
        (Kind::Function, hooks(&sources, "fentry"), 1),
        (Kind::Kfunc, kfuncs(&sources), 8),
    ];
    for (kind, names, least) in found {
        assert!(names.len() >= least, "{kind:?}: {names:?}");
        for name in names {
            let is_listed = NEEDS
                .iter()
                .any(|need| need.kind == kind && need.name == name);
            assert!(is_listed || SIBLINGS.contains(&name), "{kind:?} {name}");
        }
    }
}
