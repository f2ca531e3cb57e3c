//! What a test and a group are, all of them, and which a run selects.

use crate::guest::Guest;
use crate::tests;
use anyhow::Result;
use bpftrust_vm::kernels::Kernel;
use bpftrust_vm::system::{BARE, BPFTRACE, DPKG, HOST, SYSTEMD, System, TRUSTED_SYSTEMD};
use std::time::Duration;

/// Every group of tests, in the order in which they run.
pub const GROUPS: &[&Group] = &[
    &tests::machine::GROUP,
    &tests::drift::GROUP,
    &tests::probe::GROUP,
    &tests::check::GROUP,
    &tests::check::UNSUPPORTED,
    &tests::sign::GROUP,
    &tests::enforce::GROUP,
    &tests::sealing::GROUP,
    &tests::before::GROUP,
    &tests::exec::GROUP,
    &tests::place::GROUP,
    &tests::signature::GROUP,
    &tests::bare::GROUP,
    &tests::keys::GROUP,
    &tests::table::GROUP,
    &tests::many::GROUP,
    &tests::storm::GROUP,
    &tests::starved::GROUP,
    &tests::cache::GROUP,
    &tests::launch::GROUP,
    &tests::process::GROUP,
    &tests::library::GROUP,
    &tests::library_rule::GROUP,
    &tests::reach::GROUP,
    &tests::grant::GROUP,
    &tests::ability::GROUP,
    &tests::owner::GROUP,
    &tests::ring::GROUP,
    &tests::run::GROUP,
    &tests::loader::GROUP,
    &tests::loader::WITHOUT_TOKENS,
    &tests::token::GROUP,
    &tests::required::GROUP,
    &tests::signedprograms::GROUP,
    &tests::skeleton::GROUP,
    &tests::bpftool::GROUP,
    &tests::script::GROUP,
    &tests::script_rule::GROUP,
    &tests::bpftrace::GROUP,
    &tests::policy::GROUP,
    &tests::forged::GROUP,
    &tests::change::GROUP,
    &tests::audited::GROUP,
    &tests::handover::GROUP,
    &tests::sealedpolicy::GROUP,
    &tests::permit::GROUP,
    &tests::latch::GROUP,
    &tests::version::GROUP,
    &tests::expiry::GROUP,
    &tests::bulk::GROUP,
    &tests::explain::GROUP,
    &tests::unchanged::GROUP,
    &tests::attack::GROUP,
    &tests::status::GROUP,
    &tests::events::AUDIT,
    &tests::events::GROUP,
    &tests::metrics::GROUP,
    &tests::propose::GROUP,
    &tests::package::GROUP,
    &tests::journal::GROUP,
    &tests::systemd::GROUP,
    &tests::sandbox::GROUP,
    &tests::sandbox::TRUSTED,
    &tests::host::GROUP,
    &tests::boot::GROUP,
    &tests::boot::OFF,
    &tests::boot::AUDIT,
    &tests::boot::SEALED,
    &tests::boot::BROKEN,
    &tests::boot::DRACUT,
    &tests::boot::DRACUT_PLAIN,
    &tests::package::SEALED,
    // Last: nothing unseals a guest.
    &tests::seal::GROUP,
];

/// What a test, or a part of a fixture, is written as.
pub type Run = fn(&mut Guest) -> Result<()>;

/// Tests that share a fixture.
///
/// A fixture is a state of the machine (files, mounts, an enforced policy), not
/// of a process: setup, each test and teardown run in processes of their own.
#[derive(Debug)]
pub struct Group {
    /// The first part of its tests' names.
    pub name: &'static str,
    /// Which guests it is for.
    pub runs_on: RunsOn,
    /// Makes the fixture, before the group's first test.
    pub setup: Option<Run>,
    /// Removes the fixture, after the group's last test; its failure is
    /// reported as that of a test `GROUP::teardown`.
    pub teardown: Option<Run>,
    /// The tests.
    pub tests: &'static [Test],
}

/// Which guests a group is for; without more, those that have least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    dead_code,
    reason = "a vocabulary for groups, some of which are yet to come"
)]
pub enum RunsOn {
    /// Every kernel that boots.
    Every,
    /// Those that bpftrust supports.
    Supported,
    /// Those that bpftrust must refuse.
    Unsupported,
    /// Those that bpftrust supports, with Debian's bpftrace.
    Bpftrace,
    /// Those that bpftrust supports, with dpkg and apt.
    Dpkg,
    /// Those that bpftrust supports, under systemd.
    Systemd,
    /// The same, of which bpftrust trusts systemd.
    TrustedSystemd,
    /// Those that bpftrust supports, as this one.
    Booted(&'static System),
    /// Those that bpftrust supports, as a host that it audits from its boot.
    Host,
}

impl RunsOn {
    fn is(self, kernel: &Kernel, system: &System) -> bool {
        let (kernels, its) = match self {
            Self::Every => (true, &BARE),
            Self::Supported => (kernel.supported, &BARE),
            Self::Unsupported => (!kernel.supported, &BARE),
            Self::Bpftrace => (kernel.supported, &BPFTRACE),
            Self::Dpkg => (kernel.supported, &DPKG),
            Self::Systemd => (kernel.supported, &SYSTEMD),
            Self::TrustedSystemd => (kernel.supported, &TRUSTED_SYSTEMD),
            Self::Booted(system) => (kernel.supported, system),
            Self::Host => (kernel.supported, &HOST),
        };
        kernels && its.name == system.name
    }
}

/// One test.
#[derive(Debug)]
pub struct Test {
    /// The second part of its name.
    pub name: &'static str,
    /// What it does.
    pub run: Run,
    /// Capabilities by which [`Kernel::cannot`] says what a kernel lacks.
    pub needs: &'static [&'static str],
    /// How long it may take.
    pub limit: Duration,
    /// For one that kills every process but PID 1: what is required then.
    pub after: Option<Run>,
}

/// Names a test after its function: `test!(digest_is_stable)`, or with more:
/// `test!(signed_programs_load).needs(&["program-signature"])`.
#[macro_export]
macro_rules! test {
    ($function:ident) => {
        $crate::registry::Test::new(stringify!($function), $function)
    };
}

#[allow(
    dead_code,
    reason = "a vocabulary for tests, some of which are yet to come"
)]
impl Test {
    /// A test that needs nothing and takes less than a minute.
    pub const fn new(name: &'static str, run: Run) -> Self {
        Self {
            name,
            run,
            needs: &[],
            limit: Duration::from_secs(180),
            after: None,
        }
    }

    /// Leaves it out on kernels whose row in the table lacks one of these.
    pub const fn needs(mut self, needs: &'static [&'static str]) -> Self {
        self.needs = needs;
        self
    }

    /// It kills every process but PID 1, and this is required afterwards.
    pub const fn kills_all_but(mut self, after: Run) -> Self {
        self.after = Some(after);
        self
    }

    /// Gives it this many seconds.
    pub const fn within(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }
}

/// The tests of a run.
#[derive(Debug)]
pub struct Selection {
    /// Groups of which at least one test is selected.
    pub groups: Vec<SelectedGroup>,
}

/// The tests of one group of a run.
#[derive(Debug)]
pub struct SelectedGroup {
    /// The group.
    pub group: &'static Group,
    /// Its selected tests.
    pub tests: Vec<SelectedTest>,
}

/// One test of a run.
#[derive(Debug)]
pub struct SelectedTest {
    /// The test.
    pub test: &'static Test,
    /// Why this kernel cannot run it.
    pub left_out: Option<&'static str>,
}

/// Selects the tests that are for `kernel` and `system` and whose name `GROUP::TEST`
/// contains one of the filters, if there are any.
pub fn select(kernel: &Kernel, system: &System, filters: &[&str]) -> Selection {
    let groups = GROUPS
        .iter()
        .filter(|group| group.runs_on.is(kernel, system))
        .map(|group| SelectedGroup {
            group,
            tests: group
                .tests
                .iter()
                .filter(|test| {
                    let name = full_name(group, test.name);
                    filters.is_empty() || filters.iter().any(|filter| name.contains(filter))
                })
                .map(|test| SelectedTest {
                    test,
                    left_out: test.needs.iter().find_map(|need| kernel.lacks(need)),
                })
                .collect(),
        })
        .filter(|selected| !selected.tests.is_empty())
        .collect();
    Selection { groups }
}

impl Selection {
    /// The names that a run of this selection reports a result for.
    pub fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for SelectedGroup { group, tests } in &self.groups {
            names.extend(tests.iter().map(|test| full_name(group, test.test.name)));
            if group.teardown.is_some() {
                names.push(full_name(group, TEARDOWN));
            }
        }
        names
    }
}

/// What a group's teardown is called among its tests.
pub const TEARDOWN: &str = "teardown";

/// `GROUP::TEST`.
pub fn full_name(group: &Group, test: &str) -> String {
    format!("{}::{test}", group.name)
}

/// The group of that name.
pub fn group(name: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| group.name == name).copied()
}

/// The test of that full name.
pub fn test(name: &str) -> Option<&'static Test> {
    let (group_name, test_name) = name.split_once("::")?;
    let tests = group(group_name)?.tests;
    tests.iter().find(|test| test.name == test_name)
}

#[cfg(test)]
mod unit_tests {
    use super::*;
    use bpftrust_vm::kernels::KERNELS;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_lead_to_their_tests() {
        let mut seen = HashSet::new();
        for group in GROUPS {
            for each in group.tests {
                let name = full_name(group, each.name);
                assert_ne!(each.name, TEARDOWN);
                assert!(test(&name).is_some(), "{name}");
                assert!(seen.insert(name.clone()), "{name} is there twice");
            }
        }
    }

    #[test]
    fn every_need_is_one_that_some_kernel_lacks() {
        for need in GROUPS
            .iter()
            .flat_map(|group| group.tests)
            .flat_map(|test| test.needs)
        {
            assert!(
                KERNELS.iter().any(|kernel| kernel.lacks(need).is_some()),
                "no kernel lacks {need:?}: a misspelling?"
            );
        }
    }

    #[test]
    fn filters_select_by_part_of_the_name() {
        for kernel in KERNELS {
            assert!(select(kernel, &BARE, &["no such test"]).names().is_empty());
            let all = select(kernel, &BARE, &[]).names();
            let machine = select(kernel, &BARE, &["machine::"]).names();
            assert!(!machine.is_empty() && machine.len() <= all.len());
            assert!(machine.iter().all(|name| name.starts_with("machine::")));
        }
    }
}
