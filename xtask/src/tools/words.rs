//! What the document says beside figures, and which check of the kernel is behind
//! which complaint.

pub const HEAD: &str = "\
# Debian's BPF tools under a token

What each tool of Debian's `libbpf-tools`, and `bpftool` and `bpftrace`, needs to work
as an ordinary user ([token.md](token.md)). Written by `cargo xtask tools` from what it
found in its guests, while bpftrust enforced and each tool was signed with all rights:

";

pub const VERDICTS: &str = "
Each ran as root for reference, without a token, then by `bpftrust run --user nobody`,
with the least that made it end with the same status and, if the reference had figures,
with figures. `bpftrace` insists on uid 0, and so was run with `--as-root`, which gives it
that number and no more:

| verdict | beside the token it was given |
|---|---|
| `token` | nothing: no capability in the initial user namespace, no file, no group |
| `+ preload` | `LD_PRELOAD=libbpftrust_preload.so`: nothing, too, but a library that names the token in calls that don't ([token.md](token.md#loaders-that-do-not-name-their-token)) |
| `+ tracefs` | its group reads tracefs (`mount -o remount,gid=GROUP,mode=750 /sys/kernel/tracing`) |
| `+ perf` | `sysctl kernel.perf_event_paranoid=0`: every user of the machine may count and sample all processes and the kernel |
| `+ probes` | its group writes `kprobe_events` and `uprobe_events` of tracefs, and a tmpfs hides `/sys/bus/event_source/devices/kprobe` and `uprobe` from libbpf, which then makes probes there. Whoever may write these files reads the kernel's memory: about as much as `CAP_PERFMON` |
| `no` | all of these, and it did not work |
| `not here` | not asked: it does not work as root in this guest either |
| `*` | the reference had no figures (nothing of that kind happened): it starts and ends as there |

A capability of the initial namespace can't be the one more thing: a process in a user
namespace of its own holds none there. Only a helper outside could make the call and
pass the descriptor on; bpftrust has none.
";

pub const CHECKS_HEAD: &str = "
## What stood in the way

| check | tools | which |
|---|---|---|
";

pub const TAIL: &str = "
A tool counts at each check that refused it in one of its runs.
";

const CHECKS: &[(&[&str], &str)] = &[
    (
        &["create kprobe", "create kretprobe"],
        "a kprobe by `perf_event_open(2)`: `perf_kprobe_event_init()` in `kernel/events/core.c` wants `CAP_PERFMON` in the initial namespace, whatever the sysctl",
    ),
    (
        &["create uprobe", "create uretprobe"],
        "a uprobe by `perf_event_open(2)`: `perf_uprobe_event_init()` in `kernel/events/core.c`, likewise",
    ),
    (
        &["perf event ID: Permission denied"],
        "a tracepoint's number is in a file of tracefs that root's group alone reads (`TRACE_MODE_READ` in `kernel/trace/trace.h`)",
    ),
    (
        &[
            "perf_event_open() failed: Permission denied",
            "perf sampling: Permission denied",
            "perf buffer event on cpu",
        ],
        "`perf_event_open(2)` for all processes of a CPU, as for tracepoints, samples and the buffers of `BPF_MAP_TYPE_PERF_EVENT_ARRAY`: `perf_allow_cpu()` and `perf_allow_kernel()` in `kernel/events/core.c`, and Debian's level 3, want `CAP_PERFMON` or a lower `kernel.perf_event_paranoid`",
    ),
    (
        &["can't get next"],
        "objects by number: `bpf_obj_get_next_id()` in `kernel/bpf/syscall.c` wants `CAP_SYS_ADMIN` in the initial namespace",
    ),
    (
        &["map create failed: Operation not permitted"],
        "it names no token: `map_create()` in `kernel/bpf/syscall.c` wants `CAP_BPF`",
    ),
    (
        &["only supports running as the root user"],
        "its own: bpftrace asks whether its effective user id is 0 (`check_is_root()`)",
    ),
    (
        &["missing CAP_SYS_ADMIN"],
        "its own: `bpftool feature` asks whether it has `CAP_SYS_ADMIN`",
    ),
];

/// The checks that this complaint is of.
pub fn checks(said: &str) -> impl Iterator<Item = &'static str> {
    let of = |(parts, _): &&(&[&str], &'static str)| parts.iter().any(|part| said.contains(part));
    let found: Vec<_> = CHECKS.iter().filter(of).map(|(_, check)| *check).collect();
    found.into_iter()
}
