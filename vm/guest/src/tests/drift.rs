//! What user space says of rights and kernel functions is what the kernel side
//! makes of them; what the kernel makes of its programs is what is committed.

use crate::guest::Guest;
use crate::registry::{Group, RunsOn};
use crate::test;
use anyhow::{Context, Result, ensure};
use bpftrust_vm::figures::{self, Table, measured};
use std::collections::{BTreeMap, BTreeSet};

pub const GROUP: Group = Group {
    name: "drift",
    runs_on: RunsOn::Supported,
    setup: None,
    teardown: None,
    tests: &[
        test!(both_sides_answer_every_question_alike),
        test!(the_kernel_side_hashes_as_fips_180_says),
        test!(every_function_that_programs_may_call_is_classified),
        test!(the_verifier_has_no_more_to_do),
    ],
};

fn both_sides_answer_every_question_alike(guest: &mut Guest) -> Result<()> {
    let said = guest.run(&["bpftrust-drift"])?.success()?;
    ensure!(said == "960 questions, no answer differs\n", "{said}");
    Ok(())
}

/// NIST's vectors, and every length up to ten blocks.
fn the_kernel_side_hashes_as_fips_180_says(guest: &mut Guest) -> Result<()> {
    let said = guest.run(&["bpftrust-drift", "sha256"])?.success()?;
    ensure!(said == "656 messages, no hash differs\n", "{said}");
    Ok(())
}

/// The list, as the guard was built with it.
const KFUNCS: &str = include_str!("../../../../bpf/kfuncs.txt");

/// The kernel's own, without those of modules: a kernel that gains one without
/// the list gaining it fails here. To the guard it is unknown, so nobody may
/// call it without `other-kfuncs`.
fn every_function_that_programs_may_call_is_classified(guest: &mut Guest) -> Result<()> {
    let listed: BTreeSet<&str> = KFUNCS
        .lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
        .collect();
    // "[12] FUNC 'name' …", and "[34] DECL_TAG 'bpf_kfunc' type_id=12 …".
    let dump = guest
        .shell(
            "bpftool btf dump file /sys/kernel/btf/vmlinux format raw \
             | grep -e \"] FUNC '\" -e \"DECL_TAG 'bpf_kfunc'\"",
        )?
        .success()?;
    let mut names = BTreeMap::new();
    let mut tagged = Vec::new();
    for line in dump.lines() {
        let (head, rest) = line.split_once('\'').context("no name")?;
        let (name, rest) = rest.split_once('\'').context("no end of the name")?;
        if head.ends_with("FUNC ") {
            let (id, _) = head.split_once(']').context("no id")?;
            names.insert(id.trim_start_matches('['), name);
        } else {
            let (_, id) = rest.split_once("type_id=").context("no function")?;
            tagged.push(id.split(' ').next().unwrap_or_default());
        }
    }
    let count = tagged.len();
    for id in tagged {
        let name = names.get(id).with_context(|| format!("no function {id}"))?;
        ensure!(listed.contains(name), "{name} is not in bpf/kfuncs.txt");
    }
    ensure!(count > 100, "only {count} functions");
    Ok(())
}

/// What `cargo xtask verifier` writes.
const VERIFIER: &str = include_str!("../../../../docs/verifier.md");

fn the_verifier_has_no_more_to_do(guest: &mut Guest) -> Result<()> {
    let said = guest.run(&["bpftrust-drift", "verifier"])?.success()?;
    let release = guest.run(&["uname", "-r"])?.success()?;
    let grown = Table::parse(VERIFIER)?.grown(&figures::VERIFIER, &release, &measured(&said)?)?;
    ensure!(
        grown.is_empty(),
        "{grown:#?}: if it has to be, type `cargo xtask verifier` and commit the table"
    );
    Ok(())
}
