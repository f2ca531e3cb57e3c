//! The rows: tools, and with what arguments they see something and end by themselves.

use super::text;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian has the tools of `libbpf-tools`, and what their names end in.
const TOOLS: &str = "/usr/sbin";
const SUFFIX: &str = "-libbpf";

/// One second, once: what the tools that sum up take.
const ONCE: &str = "1 1";

/// What a tool of `libbpf-tools` is run with so that it ends.
const ENDING: &[(&str, &str)] = &[
    ("bcachefsdist", ONCE),
    ("biolatency", ONCE),
    ("biopattern", ONCE),
    ("biostacks", "2"),
    ("biotop", "-C 1 1"),
    ("bitesize", ONCE),
    ("btrfsdist", ONCE),
    ("cachestat", ONCE),
    ("cpudist", ONCE),
    ("cpufreq", "-d 1"),
    ("ext4dist", ONCE),
    ("f2fsdist", ONCE),
    ("filetop", "-C 1 1"),
    ("fsdist", "-t ext4 1 1"),
    ("funclatency", "-d 1 vfs_read"),
    ("futexctn", ONCE),
    ("hardirqs", ONCE),
    ("klockstat", "-d 1 -n 1"),
    ("llcstat", "1"),
    ("memleak", ONCE),
    ("nfsdist", ONCE),
    ("offcputime", "1"),
    ("profile", "-K 1"),
    ("runqlat", ONCE),
    ("runqlen", ONCE),
    ("slabratetop", "-C 1 1"),
    ("softirqs", ONCE),
    ("syscount", "-d 1"),
    ("tcprtt", "-i 1 -d 2"),
    ("tcpsynbl", ONCE),
    ("tcptop", "-C 1 1"),
    ("vfsstat", ONCE),
    ("wakeuptime", "1"),
    ("xfsdist", ONCE),
];

/// Those that go on until they are interrupted, as do all that are in neither list.
const ENDLESS: &[(&str, &str)] = &[
    ("bcachefsslower", "-m 0"),
    ("btrfsslower", "-m 0"),
    ("ext4slower", "-m 0"),
    ("f2fsslower", "-m 0"),
    ("fsslower", "-t ext4 -m 0"),
    ("ksnoop", "trace vfs_read"),
    ("nfsslower", "-m 0"),
    ("runqslower", "100"),
    ("xfsslower", "-m 0"),
];

/// Its own check wants uid 0 (`check_is_root()`).
const BPFTRACE: &str = "/usr/bin/bpftrace";

/// Rows of programs that are told what to do: each of these, if it is there.
const TOLD: &[(&str, &[&str])] = &[
    ("/usr/sbin/bpftool", &["version"]),
    ("/usr/sbin/bpftool", &["prog", "list"]),
    ("/usr/sbin/bpftool", &["map", "list"]),
    ("/usr/sbin/bpftool", &["link", "list"]),
    ("/usr/sbin/bpftool", &["btf", "list"]),
    ("/usr/sbin/bpftool", &["feature", "probe", "kernel"]),
    (
        "/usr/sbin/bpftool",
        &[
            "map", "create", MAP, "type", "hash", "key", "4", "value", "4", "entries", "8", "name",
            "made",
        ],
    ),
    ("/usr/sbin/bpftool", &["prog", "load", OBJECT, PROGRAM]),
    (BPFTRACE, &["-e", "BEGIN { printf(\"%d\\n\", 1); exit(); }"]),
    (
        BPFTRACE,
        &["-e", "fentry:vfs_read { printf(\"%d\\n\", pid); exit(); }"],
    ),
    (
        BPFTRACE,
        &[
            "-e",
            "rawtracepoint:sched_switch { printf(\"%d\\n\", pid); exit(); }",
        ],
    ),
    (
        BPFTRACE,
        &[
            "-e",
            "tracepoint:sched:sched_switch { printf(\"%d\\n\", pid); exit(); }",
        ],
    ),
    (
        BPFTRACE,
        &["-e", "kprobe:vfs_read { printf(\"%d\\n\", pid); exit(); }"],
    ),
    (
        BPFTRACE,
        &["-e", "interval:ms:100 { printf(\"%d\\n\", 1); exit(); }"],
    ),
];

/// Where `bpftool` pins, once as root and, under a token, in a bpffs of its own.
const MAP: &str = "/sys/fs/bpf/map";
const PROGRAM: &str = "/sys/fs/bpf/program";

/// A socket filter that takes every packet; the host built it.
const OBJECT: &str = "/usr/share/bpftrust/pass.bpf.o";

/// What is run.
pub struct Row {
    /// As the table calls it.
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Whether it ends by itself.
    pub ends: bool,
    /// Whether it insists on root, and so is to be root of its namespace.
    pub as_root: bool,
}

/// The tools that the guest has, by name, and what others are told to do.
pub fn rows() -> Result<Vec<Row>> {
    let mut tools = Vec::new();
    for entry in fs::read_dir(TOOLS).with_context(|| format!("cannot list {TOOLS}"))? {
        let program = entry.context("cannot read a directory")?.path();
        let name = text(Path::new(program.file_name().context("a file")?))?;
        if let Some(name) = name.strip_suffix(SUFFIX) {
            tools.push(name.to_owned());
        }
    }
    tools.sort();
    let tools = tools.into_iter().map(|name| {
        let of = |list: &[(&str, &'static str)]| {
            let found = list.iter().find(|(tool, _)| *tool == name);
            found.map(|(_, words)| *words)
        };
        let ends = of(ENDING);
        Row {
            program: Path::new(TOOLS).join(format!("{name}{SUFFIX}")),
            arguments: ends
                .or_else(|| of(ENDLESS))
                .iter()
                .flat_map(|words| words.split(' ').map(str::to_owned))
                .collect(),
            ends: ends.is_some(),
            as_root: false,
            name,
        }
    });
    let told = TOLD
        .iter()
        .filter(|(program, _)| Path::new(program).exists())
        .map(|(program, words)| Row {
            name: format!(
                "{} {}",
                program.rsplit('/').next().unwrap_or(program),
                words.join(" ")
            ),
            program: PathBuf::from(program),
            arguments: words.iter().map(|word| (*word).to_owned()).collect(),
            ends: true,
            as_root: *program == BPFTRACE,
        });
    Ok(tools.chain(told).collect())
}
