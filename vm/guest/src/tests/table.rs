//! Every command of `bpf()` has its row in the guard's table, and each row its
//! test here: refused to the unsigned, allowed to the signed.

use crate::fixture::{self, Events, UNSIGNED};
use crate::grant::Grant;
use crate::guest::Guest;
use crate::registry::{Group, RunsOn, Test};
use crate::test;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Signed once for all tests of the group.
const SIGNED: &str = "/work/table-probe";

/// Numbers of `enum bpf_cmd` with their names: [`NAMES`], and a test for each.
macro_rules! commands {
    ($($number:literal $name:ident)*) => {
        /// `enum bpf_cmd`, in small letters and without its prefix.
        const NAMES: &[(u32, &str)] = &[$(($number, stringify!($name))),*];

        $(
            fn $name(guest: &mut Guest) -> Result<()> {
                is_for_the_signed(guest, $number, stringify!($name))
            }
        )*

        const TESTS: &[Test] = &[
            test!(the_kernel_has_no_command_beside_these),
            test!(a_later_command_is_nobodys),
            test!(a_flag_beside_a_command_opens_nothing),
            $(test!($name)),*
        ];
    };
}

commands! {
    0 map_create
    1 map_lookup_elem
    2 map_update_elem
    3 map_delete_elem
    4 map_get_next_key
    5 prog_load
    6 obj_pin
    7 obj_get
    8 prog_attach
    9 prog_detach
    10 prog_test_run
    11 prog_get_next_id
    12 map_get_next_id
    13 prog_get_fd_by_id
    14 map_get_fd_by_id
    15 obj_get_info_by_fd
    16 prog_query
    17 raw_tracepoint_open
    18 btf_load
    19 btf_get_fd_by_id
    20 task_fd_query
    21 map_lookup_and_delete_elem
    22 map_freeze
    23 btf_get_next_id
    24 map_lookup_batch
    25 map_lookup_and_delete_batch
    26 map_update_batch
    27 map_delete_batch
    28 link_create
    29 link_update
    30 link_get_fd_by_id
    31 link_get_next_id
    32 enable_stats
    33 iter_create
    34 link_detach
    35 prog_bind_map
    36 token_create
    37 prog_stream_read_by_fd
    38 prog_assoc_struct_ops
}

pub const GROUP: Group = Group {
    name: "table",
    runs_on: RunsOn::Supported,
    setup: Some(setup),
    teardown: Some(fixture::release),
    tests: TESTS,
};

fn setup(guest: &mut Guest) -> Result<()> {
    fixture::enforce(guest)?;
    fs::copy(UNSIGNED, SIGNED).context("cannot copy the probe")?;
    // Tokens are in no default grant.
    fixture::sign_with_grant(
        guest,
        fixture::ACME,
        Path::new(SIGNED),
        &Grant::ALL.to_toml(),
    )
}

/// The unsigned probe's call is refused by the guard; the signed one's gets
/// past it, to whatever the kernel says to arguments that are all zero.
fn is_for_the_signed(guest: &mut Guest, number: u32, name: &str) -> Result<()> {
    let call = ["bpf", &number.to_string()];
    let name = name.replace('_', "-");
    let mark = Events::mark(guest)?;
    let unsigned = fixture::probe(Path::new(UNSIGNED), &call)?.success()?;
    let refused = format!("bpf {number}: EPERM");
    ensure!(unsigned.trim() == refused, "unsigned: {unsigned}");
    let signed = fixture::probe(Path::new(SIGNED), &call)?.success()?;
    ensure!(signed.starts_with(&format!("bpf {number}: ")), "{signed}");
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "denied"),
            ("reason", "no-signature"),
            ("command", &name),
            ("executable", UNSIGNED),
        ],
    )?;
    mark.expect(
        guest,
        &[
            ("action", "bpf"),
            ("outcome", "allowed"),
            ("command", &name),
            ("executable", SIGNED),
        ],
    )
    .with_context(|| format!("signed: {signed}"))?;
    Ok(())
}

/// What the running kernel's own `enum bpf_cmd` has: a kernel that learns a
/// command without this table learning it fails here.
fn the_kernel_has_no_command_beside_these(guest: &mut Guest) -> Result<()> {
    let dump = guest
        .shell(
            "bpftool btf dump file /sys/kernel/btf/vmlinux format raw \
             | sed -n \"/ENUM 'bpf_cmd'/,/^\\[/p\" | grep \"^[[:space:]]\"",
        )?
        .success()?;
    let mut kernel = BTreeMap::new();
    for line in dump.lines() {
        let (name, value) = line.trim().split_once(" val=").context("no value")?;
        kernel.insert(name.trim_matches('\''), value.trim().parse::<u32>()?);
    }
    let count = *kernel.get("__MAX_BPF_CMD").context("no __MAX_BPF_CMD")?;
    ensure!(count > 30, "only {count} commands: {dump}");
    for (name, value) in kernel.iter().filter(|(_, value)| **value < count) {
        // Another name of the same command.
        if *name == "BPF_PROG_RUN" {
            continue;
        }
        let short = name.strip_prefix("BPF_").context("another prefix")?;
        let wanted = (*value, &*short.to_lowercase());
        ensure!(NAMES.contains(&wanted), "no row for {name} = {value}");
    }
    Ok(())
}

/// To the signed as well: what it does is not known. The last two are the
/// largest without [`COMMON_ATTRIBUTES`].
fn a_later_command_is_nobodys(guest: &mut Guest) -> Result<()> {
    for program in [UNSIGNED, SIGNED] {
        for number in ["39", "40", "100", "65535", "2147418111", "4294901759"] {
            let mark = Events::mark(guest)?;
            let said = fixture::probe(Path::new(program), &["bpf", number])?.success()?;
            let refused = format!("bpf {number}: EPERM");
            ensure!(said.trim() == refused, "{program}: {said}");
            mark.expect(
                guest,
                &[
                    ("action", "bpf"),
                    ("outcome", "denied"),
                    ("reason", "unknown-command"),
                    ("executable", program),
                ],
            )
            .with_context(|| format!("{program}, {number}"))?;
        }
    }
    Ok(())
}

/// `BPF_COMMON_ATTRS` of 7.3, a flag in the command's number: two more
/// arguments follow, and the hook sees the number without it. Earlier kernels
/// have no such command.
const COMMON_ATTRIBUTES: u32 = 1 << 16;

/// The probe gives no such arguments, so that 7.3 may refuse the call for what
/// happens to be there, before it asks the guard.
fn a_flag_beside_a_command_opens_nothing(guest: &mut Guest) -> Result<()> {
    for (program, command) in [
        (UNSIGNED, 11),
        (UNSIGNED, 0x7ffe_ffff),
        (SIGNED, 39),
        (SIGNED, 0xfffe_ffff),
    ] {
        let number = (command | COMMON_ATTRIBUTES).to_string();
        let mark = Events::mark(guest)?;
        let said = fixture::probe(Path::new(program), &["bpf", &number])?.success()?;
        ensure!(!said.trim().ends_with(": ok"), "{program}: {said}");
        mark.expect_none(guest, &[("action", "bpf"), ("outcome", "allowed")])?;
        if said.trim().ends_with(": EPERM") {
            mark.expect(guest, &[("action", "bpf"), ("outcome", "denied")])?;
        }
    }
    Ok(())
}
