//! Claims about reading facts, from trees that play another host.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use bpftrust_host::{Facts, KernelTypes, Lockdown, ProgramSignatures, Root};

const MOUNTS: &str = "1 0 8:1 / / rw - ext4 /dev/vda rw
2 1 0:5 / /sys rw - sysfs sysfs rw
3 2 0:6 / /sys/kernel/security rw - securityfs securityfs rw
4 2 0:7 / /sys/fs/bpf rw - bpf bpf rw
5 2 0:8 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
";

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            tree.write(path, text.as_bytes());
        }
        tree
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn root(&self) -> Root {
        Root::at(self.0.path())
    }

    fn facts(&self) -> Facts {
        Facts::probe(&self.root(), &[], &|_| Ok(true))
    }
}

#[test]
fn facts_are_read_from_the_tree() {
    let tree = Tree::new(&[
        ("/proc/self/mountinfo", MOUNTS),
        ("/proc/sys/kernel/osrelease", "6.18.15+deb13-cloud-amd64\n"),
        ("/proc/sys/kernel/ftrace_enabled", "1\n"),
        ("/proc/sys/kernel/kexec_load_disabled", "0\n"),
        ("/proc/sys/net/core/bpf_jit_enable", "2\n"),
        ("/proc/modules", ""),
        ("/sys/kernel/security/lsm", "lockdown,capability,bpf"),
        (
            "/sys/kernel/security/lockdown",
            "none [integrity] confidentiality\n",
        ),
        ("/sys/module/module/parameters/sig_enforce", "N\n"),
        ("/sys/class/mem/mem/dev", "1:1\n"),
        ("/usr/bin/tool", "x"),
    ]);
    let facts = tree.facts();
    assert_eq!(facts.release.unwrap(), "6.18.15+deb13-cloud-amd64");
    let modules = facts.security_modules.unwrap().unwrap();
    assert_eq!(modules, ["lockdown", "capability", "bpf"]);
    assert_eq!(facts.types, Ok(None));
    assert_eq!(facts.jit, Ok(Some(2)));
    assert_eq!(facts.ftrace_enabled, Ok(Some(1)));
    assert_eq!(facts.bpffs, Ok(true));
    let posture = facts.posture;
    assert_eq!(posture.lockdown, Ok(Some(Lockdown::Integrity)));
    assert_eq!(posture.kexec_load_disabled, Ok(Some(0)));
    assert_eq!(posture.module_signatures, Ok(Some(false)));
    assert_eq!(posture.modules_disabled, Ok(None));
    assert_eq!(posture.secure_boot, Ok(None));
    assert_eq!(posture.dev_mem, Ok(true));
}

#[test]
fn unmounted_securityfs_is_unknown_and_a_mounted_one_without_the_file_is_no() {
    let tree = Tree::new(&[(
        "/proc/self/mountinfo",
        "1 0 8:1 / / rw - ext4 /dev/vda rw\n",
    )]);
    let unknown = tree.facts().security_modules.unwrap_err();
    assert!(
        unknown.to_string().contains("mount -t securityfs"),
        "{unknown}"
    );
    let tree = Tree::new(&[("/proc/self/mountinfo", MOUNTS)]);
    assert_eq!(tree.facts().security_modules, Ok(None));
}

#[test]
fn unreadable_values_are_unknown() {
    let tree = Tree::new(&[
        ("/proc/sys/kernel/ftrace_enabled", "yes"),
        ("/sys/kernel/security/lockdown", "[secrecy]"),
        (
            "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
            "abc",
        ),
    ]);
    tree.write("/sys/kernel/btf/vmlinux", b"no BTF at all");
    let facts = tree.facts();
    assert!(facts.ftrace_enabled.is_err());
    assert!(facts.types.is_err());
    assert!(facts.posture.lockdown.is_err());
    assert!(facts.posture.secure_boot.is_err());
}

#[test]
fn secure_boot_is_the_fifth_byte() {
    const NAME: &str = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    for (bytes, expected) in [([6, 0, 0, 0, 1], true), ([6, 0, 0, 0, 0], false)] {
        let tree = Tree::new(&[]);
        tree.write(NAME, &bytes);
        assert_eq!(tree.facts().posture.secure_boot, Ok(Some(expected)));
    }
}

#[test]
fn usual_paths_on_one_mount_are_looked_at_once() {
    let mounts = "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 8:2 / /opt rw - ext4 /dev/vdb rw\n";
    let tree = Tree::new(&[
        ("/proc/self/mountinfo", mounts),
        ("/usr/local/bin/tool", "x"),
        ("/opt/tool", "x"),
    ]);
    let paths: Vec<_> = tree
        .facts()
        .file_systems
        .into_iter()
        .map(|found| found.path)
        .collect();
    assert_eq!(paths, [Path::new("/usr"), Path::new("/opt")]);
}

#[test]
fn paths_without_a_file_to_ask_about_are_unknown() {
    let tree = Tree::new(&[("/proc/self/mountinfo", MOUNTS)]);
    fs::create_dir_all(tree.root().path("/empty")).unwrap();
    tree.link("/loop", "loop");
    for path in ["/empty", "/loop", "/absent", "/proc/self/mountinfo/below"] {
        let facts = Facts::probe(&tree.root(), &[path.into()], &|_| Ok(true));
        assert!(facts.file_systems[0].can_hold_signed().is_err(), "{path}");
    }
}

#[test]
fn processes_that_hold_bpf_objects_are_listed_with_their_unit() {
    let tree = Tree::new(&[
        ("/proc/42/comm", "agent\n"),
        ("/proc/42/cgroup", "0::/system.slice/agent.service\n"),
        (
            "/proc/42/fdinfo/3",
            "pos:\t0\nprog_type:\t29\nprog_id:\t7\n",
        ),
        ("/proc/42/fdinfo/4", "map_type:\t27\nmap_id:\t8\n"),
        (
            "/proc/42/fdinfo/5",
            "link_type:\ttracing\nlink_id:\t9\nprog_id:\t7\n",
        ),
        ("/proc/42/fdinfo/6", "btf_id:\t1\n"),
        ("/proc/43/comm", "shell\n"),
        ("/proc/notes/comm", "no process\n"),
    ]);
    for (fd, target) in [
        ("3", "anon_inode:bpf-prog"),
        ("4", "anon_inode:bpf-map"),
        ("5", "anon_inode:bpf_link"),
        ("6", "anon_inode:btf"),
        ("7", "anon_inode:bpf-map"),
        ("8", "/dev/null"),
    ] {
        tree.link(&format!("/proc/42/fd/{fd}"), target);
    }
    tree.link("/proc/42/exe", "/usr/bin/agent");
    tree.link("/proc/43/fd/0", "/dev/null");
    let users = tree.facts().users.unwrap();
    assert_eq!(users.totals(), (1, 1, 1));
    assert_eq!(users.hidden, 0);
    let [user] = &users.processes[..] else {
        panic!("{users:?}")
    };
    assert_eq!(
        user.to_string(),
        "agent (pid 42, agent.service, /usr/bin/agent): 1 program, 1 map, 1 link, 2 others"
    );
    assert_eq!(user.restart().unwrap(), "systemctl restart agent.service");
    let link = user.links.first().unwrap();
    assert_eq!((link.kind.as_str(), link.program), ("tracing", Some(7)));
}

/// One type of BTF, by the layouts of `include/uapi/linux/btf.h`.
#[derive(Clone)]
enum Type {
    Function(&'static str),
    Enum(&'static str, Vec<&'static str>),
    Struct(&'static str, Vec<(&'static str, u32)>),
    Union(&'static str, Vec<(&'static str, u32)>),
}

/// What a kernel with these types shows. Type 1 is `int` and 2 is `void ()`;
/// those given here begin with 3.
fn btf(types: &[Type]) -> Vec<u8> {
    let mut strings = vec![0];
    let mut known = BTreeMap::from([("", 0)]);
    let mut name = |text: &'static str| {
        *known.entry(text).or_insert_with(|| {
            let offset = u32::try_from(strings.len()).unwrap();
            strings.extend(text.as_bytes());
            strings.push(0);
            offset
        })
    };
    let info = |kind: u32, count: usize| (kind << 24) | u32::try_from(count).unwrap();
    let mut words = vec![name("int"), info(1, 0), 4, 32, 0, info(13, 0), 0];
    for kind in types {
        match kind {
            Type::Function(text) => words.extend([name(text), info(12, 1), 2]),
            Type::Enum(text, values) => {
                words.extend([name(text), info(6, values.len()), 4]);
                words.extend(values.iter().flat_map(|value| [name(value), 0]));
            }
            Type::Struct(text, members) => {
                words.extend([name(text), info(4, members.len()), 8]);
                words.extend(
                    members
                        .iter()
                        .flat_map(|member| [name(member.0), member.1, 0]),
                );
            }
            Type::Union(text, members) => {
                words.extend([name(text), info(5, members.len()), 8]);
                words.extend(
                    members
                        .iter()
                        .flat_map(|member| [name(member.0), member.1, 0]),
                );
            }
        }
    }
    let size = u32::try_from(words.len() * 4).unwrap();
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    let header = [24, 0, size, size, u32::try_from(strings.len()).unwrap()];
    bytes.extend(header.into_iter().chain(words).flat_map(u32::to_le_bytes));
    bytes.extend(strings);
    bytes
}

fn types(types: &[Type]) -> KernelTypes {
    let tree = Tree::new(&[]);
    tree.write("/sys/kernel/btf/vmlinux", &btf(types));
    KernelTypes::probe(&tree.root()).unwrap().unwrap()
}

#[test]
fn functions_and_marks_of_a_kernel_are_found_in_its_types() {
    let found = types(&[
        Type::Function("bpf_get_file_xattr"),
        Type::Function("bpf_lsm_bpf"),
        Type::Function("vfs_read"),
        Type::Struct("lsm_static_calls_table", vec![]),
        Type::Enum("bpf_cmd", vec!["BPF_MAP_CREATE", "BPF_TOKEN_CREATE"]),
    ]);
    let functions: Vec<_> = found.functions.iter().map(String::as_str).collect();
    assert_eq!(functions, ["bpf_get_file_xattr", "bpf_lsm_bpf"]);
    assert!(found.static_calls && found.tokens);
    assert_eq!(types(&[Type::Function("vfs_read")]), KernelTypes::default());
}

#[test]
fn names_count_only_as_the_kind_of_thing_they_should_be() {
    let found = types(&[
        Type::Struct("bpf_get_file_xattr", vec![]),
        Type::Function("lsm_static_calls_table"),
        Type::Enum("some_enum", vec!["BPF_TOKEN_CREATE"]),
        Type::Struct("bpf_attr", vec![("signature", 1)]),
    ]);
    assert_eq!(found, KernelTypes::default());
}

#[test]
fn form_of_program_signatures_is_told_by_the_members_of_two_types() {
    let load = Type::Struct("", vec![("insns", 1), ("signature", 1)]);
    let attr = Type::Union("bpf_attr", vec![("map_type", 1), ("", 3)]);
    let old_load = Type::Struct("", vec![("insns", 1)]);
    let named = Type::Union("bpf_attr", vec![("map_type", 1), ("inner", 3)]);
    let aux = Type::Struct("bpf_prog_aux", vec![("id", 1)]);
    let new_aux = Type::Struct("bpf_prog_aux", vec![("id", 1), ("sig", 1)]);
    for (given, expected) in [
        ([&old_load, &attr, &aux], ProgramSignatures::None),
        ([&load, &named, &aux], ProgramSignatures::None),
        ([&old_load, &attr, &new_aux], ProgramSignatures::None),
        ([&load, &attr, &aux], ProgramSignatures::Instructions),
        (
            [&load, &attr, &new_aux],
            ProgramSignatures::InstructionsAndMaps,
        ),
    ] {
        assert_eq!(types(&given.map(Clone::clone)).signatures, expected);
    }
}
