//! Claims about the judgement, on hosts that are made up here.

#![expect(
    clippy::type_complexity,
    reason = "tables of cases are read where they are"
)]

use std::ffi::OsString;

use super::*;
use crate::posture::Posture;
use crate::rows::{Answer, Colour};
use crate::{Mounts, Root, Unknown};

/// A host that has everything.
fn good() -> Facts {
    Facts {
        release: Ok("6.18.15+deb13-cloud-amd64".to_owned()),
        security_modules: Ok(Some(vec!["capability".to_owned(), "bpf".to_owned()])),
        types: Ok(Some(KernelTypes {
            functions: NEEDS.iter().map(Need::function).collect(),
            static_calls: true,
            tokens: true,
            signatures: ProgramSignatures::Instructions,
        })),
        jit: Ok(Some(1)),
        ftrace_enabled: Ok(Some(1)),
        keyrings: Support::Certificates,
        bpffs: Ok(true),
        file_systems: vec![file_system("/usr", Ok(true), Ok(true))],
        paths_given: false,
        ext4_verity: Ok(true),
        users: Ok(Users::default()),
        posture: Posture {
            lockdown: Ok(Some(Lockdown::Integrity)),
            modules: Ok(true),
            modules_disabled: Ok(Some(0)),
            module_signatures: Ok(Some(true)),
            kexec_load_disabled: Ok(Some(1)),
            unprivileged_bpf_disabled: Ok(Some(1)),
            kptr_restrict: Ok(Some(1)),
            dev_mem: Ok(false),
            secure_boot: Ok(Some(true)),
        },
    }
}

fn file_system(
    path: &str,
    verity: Result<bool, Unknown>,
    attributes: Result<bool, Unknown>,
) -> FileSystem {
    let mount = Mount {
        id: 1,
        point: "/".into(),
        kind: "ext4".to_owned(),
        source: OsString::from("/dev/vda"),
        read_only: false,
    };
    FileSystem {
        path: path.into(),
        mount: Ok(mount),
        verity,
        attributes,
    }
}

/// The good host with something changed.
fn host(change: impl FnOnce(&mut Facts)) -> Vec<Row> {
    let mut facts = good();
    change(&mut facts);
    evaluate(&facts)
}

fn without(name: &str) -> impl FnOnce(&mut Facts) {
    move |facts: &mut Facts| {
        let Ok(Some(types)) = &mut facts.types else {
            unreachable!()
        };
        assert!(types.functions.remove(name), "{name}");
    }
}

/// The rows that are required and in this state.
fn required(rows: &[Row], state: State) -> Vec<&str> {
    let wanted = rows.iter().filter(|row| row.required && row.state == state);
    wanted.map(|row| row.id.as_str()).collect()
}

fn row<'a>(rows: &'a [Row], id: &str) -> &'a Row {
    rows.iter()
        .find(|row| row.id == id)
        .unwrap_or_else(|| panic!("no row {id}"))
}

fn unknown<T>() -> Result<T, Unknown> {
    Err(Unknown("for the test".to_owned()))
}

#[test]
fn host_with_everything_can_enforce_and_is_green() {
    let rows = evaluate(&good());
    assert_eq!(Answer::of(&rows), Answer::Yes);
    assert_eq!(Colour::of(&rows), Some(Colour::Green));
    for row in &rows {
        assert!(!row.detail.is_empty() && !row.cost.is_empty(), "{row:?}");
    }
}

#[test]
fn every_name_is_given_once() {
    let mut ids: Vec<_> = evaluate(&good()).into_iter().map(|row| row.id).collect();
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn each_function_that_the_policy_needs_is_missed() {
    for need in NEEDS {
        let rows = host(without(&need.function()));
        let absent = required(&rows, State::Absent);
        assert_eq!(Answer::of(&rows), Answer::No, "{}", need.name);
        assert!(
            absent.iter().any(|id| id.ends_with(need.name)),
            "{absent:?}"
        );
    }
}

#[test]
fn each_of_these_alone_makes_enforcement_impossible() {
    let changes: [(&str, fn(&mut Facts)); 9] = [
        ("lsm", |facts| {
            facts.security_modules = Ok(Some(vec!["capability".to_owned()]))
        }),
        ("lsm", |facts| facts.security_modules = Ok(None)),
        ("btf", |facts| facts.types = Ok(None)),
        ("jit", |facts| facts.jit = Ok(Some(0))),
        ("ftrace", |facts| facts.ftrace_enabled = Ok(Some(0))),
        ("kernel-reads", |facts| {
            facts.posture.lockdown = Ok(Some(Lockdown::Confidentiality));
        }),
        ("keyrings", |facts| facts.keyrings = Support::KeyringsOnly),
        ("bpffs", |facts| facts.bpffs = Ok(false)),
        ("files", |facts| {
            facts.file_systems = vec![file_system("/usr", Ok(false), Ok(true))];
        }),
    ];
    for (id, change) in changes {
        let rows = host(change);
        assert_eq!(required(&rows, State::Absent), [id]);
        assert_eq!(Answer::of(&rows), Answer::No, "{id}");
    }
}

#[test]
fn what_cannot_be_read_is_neither_yes_nor_no() {
    let changes: [(&str, fn(&mut Facts)); 6] = [
        ("lsm", |facts| facts.security_modules = unknown()),
        ("jit", |facts| facts.jit = unknown()),
        ("ftrace", |facts| facts.ftrace_enabled = unknown()),
        ("keyrings", |facts| facts.keyrings = Support::Unknown),
        ("bpffs", |facts| facts.bpffs = unknown()),
        ("files", |facts| facts.file_systems.clear()),
    ];
    for (id, change) in changes {
        let rows = host(change);
        assert_eq!(required(&rows, State::Unknown), [id]);
        assert_eq!(Answer::of(&rows), Answer::Unknown, "{id}");
    }
    let rows = host(|facts| facts.types = unknown());
    assert_eq!(Answer::of(&rows), Answer::Unknown, "all of BTF");
}

#[test]
fn one_no_outweighs_what_is_unknown() {
    let rows = host(|facts| {
        facts.security_modules = unknown();
        facts.bpffs = Ok(false);
    });
    assert_eq!(Answer::of(&rows), Answer::No);
}

/// Debian 12: `lsm=` has bpf, and the kernel knows neither fs-verity's kfunc
/// nor the later hooks.
#[test]
fn linux_6_1_lacks_kfuncs_and_says_which() {
    let rows = host(|facts| {
        facts.release = Ok("6.1.0-41-amd64".to_owned());
        let Ok(Some(types)) = &mut facts.types else {
            unreachable!()
        };
        types.functions.retain(|name| {
            let need = NEEDS.iter().find(|need| need.function() == *name).unwrap();
            need.since.starts_with("5.7") || need.since.starts_with("6.1 ")
        });
        types.static_calls = false;
        types.tokens = false;
        types.signatures = ProgramSignatures::None;
    });
    assert_eq!(Answer::of(&rows), Answer::No);
    let absent = required(&rows, State::Absent);
    for name in ["kfunc.bpf_get_fsverity_digest", "kfunc.bpf_get_file_xattr"] {
        assert!(absent.contains(&name), "{absent:?}");
    }
    assert!(
        !absent.contains(&"kfunc.bpf_verify_pkcs7_signature"),
        "{absent:?}"
    );
    let digest = row(&rows, "kfunc.bpf_get_fsverity_digest");
    assert!(digest.detail.contains("takes Linux 6.8"), "{digest:?}");
    for id in ["release", "static-calls", "tokens", "program-signatures"] {
        assert_eq!(row(&rows, id).state, State::Absent, "{id}");
    }
}

#[test]
fn kernel_without_bpf_lsm_is_known_by_its_types_alone() {
    let rows = host(|facts| {
        facts.security_modules = unknown();
        let Ok(Some(types)) = &mut facts.types else {
            unreachable!()
        };
        types.functions.retain(|name| !name.starts_with("bpf_lsm_"));
    });
    assert_eq!(row(&rows, "lsm").state, State::Absent);
    assert!(row(&rows, "lsm").detail.contains("CONFIG_BPF_LSM"));
}

#[test]
fn inactive_bpf_lsm_comes_with_what_to_boot_with() {
    let modules = vec!["lockdown".to_owned(), "yama".to_owned()];
    let rows = host(|facts| facts.security_modules = Ok(Some(modules)));
    assert!(row(&rows, "lsm").detail.contains("lsm=lockdown,yama,bpf"));
}

#[test]
fn of_the_usual_paths_one_will_do_and_of_given_ones_all_count() {
    let mixed = || {
        vec![
            file_system("/usr", Ok(false), Ok(true)),
            file_system("/opt", Ok(true), Ok(true)),
        ]
    };
    let rows = host(|facts| facts.file_systems = mixed());
    assert_eq!(Answer::of(&rows), Answer::Yes);
    let rows = host(|facts| {
        facts.file_systems = mixed();
        facts.paths_given = true;
    });
    assert_eq!(required(&rows, State::Absent), ["files:/usr"]);
}

#[test]
fn file_system_says_why_it_cannot_hold_signed_files() {
    for (verity, attributes, ext4_verity, state, reason) in [
        (
            Ok(true),
            Ok(true),
            Ok(true),
            State::Present,
            "fs-verity and xattrs",
        ),
        (
            Ok(false),
            Ok(true),
            Ok(true),
            State::Absent,
            "tune2fs -O verity /dev/vda",
        ),
        (
            Ok(false),
            Ok(true),
            Ok(false),
            State::Absent,
            "CONFIG_FS_VERITY",
        ),
        (
            Ok(false),
            unknown(),
            unknown(),
            State::Absent,
            "no fs-verity",
        ),
        (
            Ok(true),
            Ok(false),
            Ok(true),
            State::Absent,
            "no user.* xattrs",
        ),
        (
            Ok(true),
            unknown(),
            Ok(true),
            State::Unknown,
            "for the test",
        ),
        (
            unknown(),
            Ok(true),
            Ok(true),
            State::Unknown,
            "for the test",
        ),
    ] {
        let rows = host(|facts| {
            facts.ext4_verity = ext4_verity;
            facts.file_systems = vec![file_system("/usr", verity, attributes)];
        });
        let found = row(&rows, "files:/usr");
        assert_eq!(found.state, state, "{found:?}");
        assert!(found.detail.contains(reason), "{found:?}");
    }
}

#[test]
fn posture_is_the_worst_of_its_rows_and_decides_nothing_else() {
    let changes: [(&str, Colour, fn(&mut Posture)); 7] = [
        ("posture.lockdown", Colour::Red, |p| {
            p.lockdown = Ok(Some(Lockdown::None))
        }),
        ("posture.lockdown", Colour::Red, |p| p.lockdown = Ok(None)),
        ("posture.lockdown", Colour::Yellow, |p| {
            p.lockdown = unknown()
        }),
        ("posture.secure-boot", Colour::Yellow, |p| {
            p.secure_boot = Ok(None)
        }),
        ("posture.unprivileged-bpf", Colour::Yellow, |p| {
            p.unprivileged_bpf_disabled = Ok(Some(0));
        }),
        ("posture.kernel-addresses", Colour::Yellow, |p| {
            p.kptr_restrict = Ok(Some(0))
        }),
        ("posture.kernel-addresses", Colour::Yellow, |p| {
            p.kptr_restrict = unknown()
        }),
    ];
    for (id, colour, change) in changes {
        let rows = host(|facts| change(&mut facts.posture));
        assert_eq!(row(&rows, id).posture, Some(colour), "{id}");
        assert_eq!(Colour::of(&rows), Some(colour), "{id}");
        let answer = Answer::of(&rows);
        assert!(
            answer == Answer::Yes || id == "posture.lockdown",
            "{id}: {answer:?}"
        );
    }
}

#[test]
fn without_lockdown_each_door_is_looked_at() {
    let doors: [(&str, Colour, fn(&mut Posture)); 7] = [
        ("posture.modules", Colour::Red, |p| {
            p.module_signatures = Ok(Some(false))
        }),
        ("posture.modules", Colour::Red, |p| {
            p.module_signatures = Ok(None)
        }),
        ("posture.modules", Colour::Green, |p| {
            p.module_signatures = Ok(Some(false));
            p.modules_disabled = Ok(Some(1));
        }),
        ("posture.modules", Colour::Green, |p| {
            p.module_signatures = Ok(None);
            p.modules = Ok(false);
        }),
        ("posture.dev-mem", Colour::Yellow, |p| p.dev_mem = Ok(true)),
        ("posture.kexec", Colour::Yellow, |p| {
            p.kexec_load_disabled = Ok(Some(0))
        }),
        ("posture.kexec", Colour::Green, |p| {
            p.kexec_load_disabled = Ok(None)
        }),
    ];
    for (id, colour, change) in doors {
        for lockdown in [Lockdown::None, Lockdown::Integrity] {
            let rows = host(|facts| {
                facts.posture.lockdown = Ok(Some(lockdown));
                change(&mut facts.posture);
            });
            let expected = match lockdown {
                Lockdown::None => colour,
                _ => Colour::Green,
            };
            assert_eq!(
                row(&rows, id).posture,
                Some(expected),
                "{id} with {lockdown:?}"
            );
        }
    }
}

#[test]
fn hidden_processes_make_the_list_of_users_incomplete() {
    let rows = host(|facts| {
        facts.users = Ok(Users {
            processes: Vec::new(),
            hidden: 3,
        })
    });
    assert_eq!(row(&rows, "users").state, State::Unknown);
    assert_eq!(Answer::of(&rows), Answer::Yes, "and that is no obstacle");
}

#[test]
fn releases_are_compared_by_number() {
    for (release, expected) in [
        ("6.12.41+deb13-amd64", Some((6, 12))),
        ("6.9.0", Some((6, 9))),
        ("7.3-rc1", Some((7, 3))),
        ("linux", None),
        ("6", None),
        ("", None),
    ] {
        assert_eq!(series(release), expected, "{release:?}");
    }
}

#[test]
fn empty_tree_is_unknown_everywhere_and_never_a_yes() {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    assert!(Mounts::probe(&root).is_err());
    let rows = evaluate(&Facts::probe(&root, &[], &|_| Ok(true)));
    assert_ne!(Answer::of(&rows), Answer::Yes);
}
