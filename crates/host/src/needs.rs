//! What the policy needs of the kernel by name. One table: who adds a hook or a
//! kfunc to `bpf/` adds its row here.

/// What kind of function of the kernel it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A function of the kernel that a BPF program calls.
    Kfunc,
    /// A hook of the kernel's security framework that a BPF program attaches to.
    Hook,
    /// Another function that a BPF program attaches to.
    Function,
}

/// One function of the kernel that the policy stands on.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name; a hook's without the `bpf_lsm_` of its function.
    pub name: &'static str,
    /// Which.
    pub kind: Kind,
    /// The first kernel that has it, and the option that it is built with.
    pub since: &'static str,
    /// Which job of the policy uses it.
    pub job: &'static str,
    /// What is lost without it.
    pub cost: &'static str,
}

impl Need {
    /// The function of this name in the kernel's types.
    pub fn function(&self) -> String {
        match self.kind {
            Kind::Kfunc | Kind::Function => self.name.to_owned(),
            Kind::Hook => format!("bpf_lsm_{}", self.name),
        }
    }
}

const fn kfunc(
    name: &'static str,
    since: &'static str,
    job: &'static str,
    cost: &'static str,
) -> Need {
    Need {
        name,
        kind: Kind::Kfunc,
        since,
        job,
        cost,
    }
}

const fn hook(
    name: &'static str,
    since: &'static str,
    job: &'static str,
    cost: &'static str,
) -> Need {
    Need {
        name,
        kind: Kind::Hook,
        since,
        job,
        cost,
    }
}

const fn function(
    name: &'static str,
    since: &'static str,
    job: &'static str,
    cost: &'static str,
) -> Need {
    Need {
        name,
        kind: Kind::Function,
        since,
        job,
        cost,
    }
}

/// All of them are required: enforcement attaches everything or nothing.
pub const NEEDS: &[Need] = &[
    kfunc(
        "bpf_get_fsverity_digest",
        "6.8 and CONFIG_FS_VERITY",
        "exec: what the file is",
        "a signature can't be tied to the content of the executable",
    ),
    kfunc(
        "bpf_get_file_xattr",
        "6.8",
        "exec: its signature",
        "the signature can't be read from the executable",
    ),
    kfunc(
        "bpf_lookup_user_key",
        "6.1 and CONFIG_KEYS",
        "exec: the keyring of the publisher",
        "no key to verify with",
    ),
    kfunc(
        "bpf_lookup_system_key",
        "6.1 and CONFIG_KEYS",
        "exec: the kernel's own keyrings",
        "no key of the kernel's own to verify with",
    ),
    kfunc(
        "bpf_key_put",
        "6.1 and CONFIG_KEYS",
        "exec: the keyring of the publisher",
        "no key to verify with",
    ),
    kfunc(
        "bpf_verify_pkcs7_signature",
        "6.1 and CONFIG_SYSTEM_DATA_VERIFICATION",
        "exec: the verdict",
        "no signature can be verified in the kernel",
    ),
    kfunc(
        "bpf_get_task_exe_file",
        "6.12",
        "events: the executable of a process",
        "a refusal can't name who was refused",
    ),
    kfunc(
        "bpf_put_file",
        "6.12",
        "events: the executable of a process",
        "a refusal can't name who was refused",
    ),
    kfunc(
        "bpf_path_d_path",
        "6.12",
        "events: the path of the executable",
        "a refusal can't name who was refused",
    ),
    kfunc(
        "bpf_iter_task_new",
        "6.7",
        "start: the processes that run already",
        "what ran before enforcement could pass as trusted",
    ),
    kfunc(
        "bpf_rcu_read_lock",
        "6.2",
        "start: the processes that run already",
        "what ran before enforcement could pass as trusted",
    ),
    hook(
        "bprm_committed_creds",
        "5.7 and CONFIG_BPF_LSM",
        "exec: the verdict on the new image",
        "nobody could become trusted",
    ),
    hook(
        "task_alloc",
        "5.7 and CONFIG_BPF_LSM",
        "fork: the child's copy of the verdict",
        "a trusted process's children would be refused",
    ),
    hook(
        "task_free",
        "5.7 and CONFIG_BPF_LSM",
        "exit: forgetting the verdict",
        "the verdict of a dead process could pass to another",
    ),
    hook(
        "bpf",
        "5.7 and CONFIG_BPF_LSM",
        "every command of bpf(2)",
        "nobody would be refused",
    ),
    hook(
        "bpf_map_create",
        "6.9 and CONFIG_BPF_LSM",
        "rights by type of map, and who made it",
        "a loader could make maps that its signature does not grant",
    ),
    hook(
        "bpf_prog_load",
        "6.9 and CONFIG_BPF_LSM",
        "rights by type and content of a program, and who loaded it",
        "a loader could load programs that its signature does not grant",
    ),
    hook(
        "bpf_map_free",
        "6.9 and CONFIG_BPF_LSM",
        "forgetting who made a map",
        "a map could pass as another's",
    ),
    hook(
        "bpf_prog_free",
        "6.9 and CONFIG_BPF_LSM",
        "forgetting who loaded a program",
        "a program could pass as another's",
    ),
    hook(
        "bpf_map",
        "4.15 and CONFIG_BPF_LSM",
        "who gets a descriptor of a map",
        "a loader could reach another's maps",
    ),
    hook(
        "bpf_prog",
        "4.15 and CONFIG_BPF_LSM",
        "who gets a descriptor of a program",
        "a loader could reach another's programs",
    ),
    hook(
        "bpf_token_create",
        "6.9 and CONFIG_BPF_LSM",
        "what a token delegates, and who made it",
        "a loader could delegate more than it was granted",
    ),
    hook(
        "bpf_token_cmd",
        "6.9 and CONFIG_BPF_LSM",
        "who uses a token, and for which command",
        "a loader could use another's token",
    ),
    hook(
        "bpf_token_capable",
        "6.9 and CONFIG_BPF_LSM",
        "who uses the capabilities of a token",
        "who lost trust could go on with a token",
    ),
    hook(
        "bpf_token_free",
        "6.9 and CONFIG_BPF_LSM",
        "forgetting who made a token",
        "a token could pass as another's",
    ),
    hook(
        "file_receive",
        "5.7 and CONFIG_BPF_LSM",
        "descriptors that one process passes to another",
        "a loader could be handed another's objects",
    ),
    hook(
        "file_open",
        "5.7 and CONFIG_BPF_LSM",
        "pins that are read as files",
        "what a map holds could be read from its pin",
    ),
    hook(
        "socket_setsockopt",
        "5.7 and CONFIG_BPF_LSM",
        "programs attached to sockets",
        "an inherited program could be used without bpf()",
    ),
    hook(
        "file_ioctl",
        "5.7 and CONFIG_BPF_LSM",
        "programs attached to perf events",
        "a program could be attached without bpf()",
    ),
    hook(
        "file_ioctl_compat",
        "6.8 and CONFIG_BPF_LSM",
        "programs attached to perf events by 32-bit processes",
        "a program could be attached without bpf()",
    ),
    hook(
        "netlink_send",
        "5.7 and CONFIG_BPF_LSM",
        "XDP and tc programs attached by netlink",
        "a program could be attached without bpf()",
    ),
    hook(
        "task_prctl",
        "5.7 and CONFIG_BPF_LSM",
        "a policy that takes the place of another",
        "the policy could not be changed while it is enforced",
    ),
    hook(
        "mmap_file",
        "5.7 and CONFIG_BPF_LSM",
        "unsigned or writable code loses trust",
        "a trusted process could be made to run unsigned code",
    ),
    hook(
        "file_mprotect",
        "5.7 and CONFIG_BPF_LSM",
        "memory that turns into code loses trust",
        "a trusted process could be made to run unsigned code",
    ),
    hook(
        "ptrace_access_check",
        "5.7 and CONFIG_BPF_LSM",
        "reaching into a trusted process",
        "a debugger could act through a trusted process",
    ),
    hook(
        "ptrace_traceme",
        "5.7 and CONFIG_BPF_LSM",
        "a trusted process that asks to be traced",
        "a debugger could act through a trusted process",
    ),
    hook(
        "inode_post_setxattr",
        "5.7 and CONFIG_BPF_LSM",
        "a changed signature drops the kept verdict",
        "a verdict would outlive the signature it is about",
    ),
    hook(
        "inode_post_removexattr",
        "6.9 and CONFIG_BPF_LSM",
        "a removed signature drops the kept verdict",
        "a verdict would outlive the signature it is about",
    ),
    hook(
        "inode_unlink",
        "5.7 and CONFIG_BPF_LSM",
        "pins of others, and under a seal the guard's own, stay",
        "a loader's links, or the guard's, could be taken away",
    ),
    hook(
        "inode_rmdir",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the pins and what they are mounted on stay",
        "root could detach the mount of the pins, and the guard with it",
    ),
    hook(
        "inode_rename",
        "5.7 and CONFIG_BPF_LSM",
        "nothing takes the place of another's pin",
        "a loader's links, or the guard's, could be taken away",
    ),
    hook(
        "inode_link",
        "5.7 and CONFIG_BPF_LSM",
        "nobody makes another pin of another's object",
        "a loader's objects could be kept when it lets go of them",
    ),
    hook(
        "sb_umount",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the mount of the pins stays",
        "root could unmount the pins, and the guard with them",
    ),
    hook(
        "sb_mount",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the mount of the pins stays, and stays in sight",
        "root could move or hide the pins",
    ),
    hook(
        "move_mount",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the mount of the pins stays, and stays in sight",
        "root could move or hide the pins",
    ),
    hook(
        "sb_pivotroot",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the mount of the pins stays",
        "root could move the pins",
    ),
    hook(
        "task_kill",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the process that holds links and keyrings lives",
        "root could take the second hold on the guard away",
    ),
    hook(
        "file_send_sigiotask",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the process that holds links and keyrings lives",
        "root could take the second hold on the guard away",
    ),
    hook(
        "task_setrlimit",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the process that holds links and keyrings lives",
        "root could take the second hold on the guard away",
    ),
    hook(
        "key_permission",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the keyrings stay",
        "root could destroy the keyrings, and no signature would be good",
    ),
    hook(
        "key_alloc",
        "5.7 and CONFIG_BPF_LSM",
        "a seal: the keyrings stay",
        "root could put others in their place, and no signature would be good",
    ),
    function(
        "bpf_prog_test_run_syscall",
        "5.14",
        "who signed the program that loads others",
        "a loader could pass one signer's programs for another's",
    ),
];
