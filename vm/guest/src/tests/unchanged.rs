//! Where bpftrust decides nothing, calls return what they return without it: everything
//! while it audits; all but `bpf()` while it enforces; and `bpf()` for who is trusted.

use crate::fixture::{self, ACME, UNSIGNED};
use crate::grant::Grant;
use crate::guest::{Guest, text};
use crate::process::Program;
use crate::registry::{Group, RunsOn};
use crate::test;
use crate::tests::probe::ATTACHES;
use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, sockopt,
};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

pub const GROUP: Group = Group {
    name: "unchanged",
    runs_on: RunsOn::Supported,
    setup: None,
    teardown: None,
    tests: &[test!(where_nothing_is_decided_no_result_changes).within(600)],
};

/// What the probe does with no BPF in it, a line each.
const ACTIONS: &[&str] = &[
    "fork [ say child ]",
    "vfork [ say child ]",
    "share [ say child ]",
    "thread [ say thread ]",
    "userns [ say root ]",
    "mntns [ bind /tmp:/mnt say bound ]",
    "exec /usr/bin/bpftrust-probe say again",
    "fexec /usr/bin/bpftrust-probe say again",
    "memfd-exec /usr/bin/bpftrust-probe say again",
    "tmpfile-exec /usr/bin/bpftrust-probe say again",
    "exec /usr/bin/nothing",
    "exec /etc/passwd",
    "anonymous-code",
    "late-code",
    "patched-code",
    "memfd-code",
    "shared-code",
    "self-mem",
    "personality",
    "file-code /usr/bin/cat",
    "file-code /usr/bin",
    "dlopen /usr/lib/x86_64-linux-gnu/libz.so.1",
    "exe-file /usr/bin/cat",
    "beside [ sleep 300 ] madvise child peek-mem child vm-write child steal-fd child wait",
    "beside [ sleep 300 ] attach child",
    "beside [ sleep 300 ] seize child",
    "fork [ traceme say traced ]",
    "filter errno-eperm secure",
    "limit-processes 4000 fork [ say child ]",
    "secure",
    "prctl 15 -",
    "prctl 99999 -",
];

/// What it does with BPF: with the numbers of its table of commands, but for those that
/// list what there is, for the guard's own objects are among that.
const BPF_ACTIONS: &[&str] = &[
    "bpf 0 bpf 1 bpf 2 bpf 3 bpf 4 bpf 5 bpf 6 bpf 7 bpf 8 bpf 9 bpf 10 bpf 13 bpf 14 bpf 15",
    "bpf 16 bpf 17 bpf 18 bpf 19 bpf 20 bpf 21 bpf 22 bpf 24 bpf 25 bpf 26 bpf 27 bpf 28",
    "bpf 29 bpf 33 bpf 34 bpf 35 bpf 37 bpf 38",
    // Alone: who was trusted and has asked for any link by its number only reads from then on.
    "bpf 30",
    "map hash",
    "map array",
    "map ringbuf",
    "map percpu_hash",
    "map lpm_trie",
    "map sockmap",
    "hold-map array lookup batch change freeze map-memory",
    "hold-map array pin /sys/fs/bpf/same obj-get /sys/fs/bpf/same lookup \
     unpin /sys/fs/bpf/same",
    "load xdp hold-program test-run",
    "load-inner",
    "btf",
];

/// What this process does itself, in its own directory.
type Operation = (&'static str, fn(&Path) -> Result<String, Errno>);

const OPERATIONS: &[Operation] = &[
    ("open", |at| {
        let file = rustix::fs::open(at.join("file"), OFlags::RDONLY, Mode::empty())?;
        said(rustix::io::read(file, &mut [0; 16])?)
    }),
    ("open of nothing", |at| {
        rustix::fs::open(at.join("none"), OFlags::RDONLY, Mode::empty()).map(drop)?;
        said(())
    }),
    ("open of own memory", |_| {
        rustix::fs::open("/proc/self/mem", OFlags::RDWR, Mode::empty()).map(drop)?;
        said(())
    }),
    ("open of PID 1's memory", |_| {
        rustix::fs::open("/proc/1/mem", OFlags::RDWR, Mode::empty()).map(drop)?;
        said(())
    }),
    ("link, rename, unlink", |at| {
        let (file, one, two) = (at.join("file"), at.join("one"), at.join("two"));
        rustix::fs::link(&file, &one)?;
        let again = rustix::fs::link(&file, &one);
        rustix::fs::link(&file, &two)?;
        rustix::fs::rename(&one, &two)?;
        rustix::fs::unlink(&two)?;
        said((again, rustix::fs::unlink(&two), rustix::fs::unlink(&one)))
    }),
    ("directories of bpffs", |_| {
        let (one, two) = ("/sys/fs/bpf/one", "/sys/fs/bpf/two");
        rustix::fs::mkdir(one, Mode::RWXU)?;
        rustix::fs::rename(one, two)?;
        let none = rustix::fs::rename(one, two);
        rustix::fs::rmdir(two)?;
        said((none, rustix::fs::unlink(two)))
    }),
    ("xattrs", |at| {
        let file = at.join("file");
        let mut results = Vec::new();
        for name in ["user.other", "user.bpftrust", "security.other", "wrong"] {
            results.push((
                rustix::fs::setxattr(&file, name, b"junk", XattrFlags::empty()),
                rustix::fs::getxattr(&file, name, &mut [0; 8]).map(|_| ()),
                rustix::fs::removexattr(&file, name),
                rustix::fs::removexattr(&file, name),
            ));
        }
        said(results)
    }),
    ("ioctl", |at| {
        let file = rustix::fs::open(at.join("file"), OFlags::RDONLY, Mode::empty())?;
        let (output, _input) = rustix::pipe::pipe()?;
        said((
            rustix::io::ioctl_fionread(&file),
            rustix::io::ioctl_fionread(&output),
            rustix::fs::ioctl_getflags(&file),
            rustix::fs::ioctl_getflags(&output).map(drop),
        ))
    }),
    ("setsockopt", |at| {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        let file = rustix::fs::open(at.join("file"), OFlags::RDONLY, Mode::empty())?;
        sockopt::set_socket_broadcast(&socket, true)?;
        said((
            sockopt::socket_broadcast(&socket)?,
            sockopt::set_socket_broadcast(&file, true),
            sockopt::set_tcp_nodelay(&socket, true),
        ))
    }),
    ("netlink", |_| {
        // NETLINK_ROUTE is protocol 0.
        let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
        let mut types = Vec::new();
        // Of interfaces 1 and 99, and a request that there is not.
        for (kind, interface) in [(18u16, 1u32), (18, 99), (9999, 1)] {
            let mut request = [0; 32];
            request[..4].copy_from_slice(&32u32.to_ne_bytes());
            request[4..6].copy_from_slice(&kind.to_ne_bytes());
            request[6..8].copy_from_slice(&1u16.to_ne_bytes());
            request[20..24].copy_from_slice(&interface.to_ne_bytes());
            let mut answer = [0; 8192];
            rustix::net::send(&socket, &request, SendFlags::empty())?;
            rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
            types.push((answer[4], answer[5], answer[16..20].to_vec()));
        }
        said(types)
    }),
    ("a file over a socket", |at| {
        let file = rustix::fs::open(at.join("file"), OFlags::RDONLY, Mode::empty())?;
        let (here, there) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::empty(),
            None,
        )?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut sent = SendAncillaryBuffer::new(&mut space);
        let files = [file.as_fd()];
        sent.push(SendAncillaryMessage::ScmRights(&files));
        let (none, bytes) = (SendFlags::empty(), [IoSlice::new(b"x")]);
        rustix::net::sendmsg(&here, &bytes, &mut sent, none)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut received = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let message = rustix::net::recvmsg(&there, &mut bytes, &mut received, RecvFlags::empty())?;
        said((message.flags, received.drain().count()))
    }),
    ("kill", |_| {
        let own = rustix::process::getpid();
        let none = rustix::process::Pid::from_raw(i32::MAX).ok_or(Errno::INVAL)?;
        said((
            rustix::process::test_kill_process(own),
            rustix::process::test_kill_process(rustix::process::Pid::INIT),
            rustix::process::test_kill_process(none),
        ))
    }),
    ("limits", |_| {
        let core = rustix::process::Resource::Core;
        let limit = rustix::process::getrlimit(core);
        said((rustix::process::setrlimit(core, limit), limit.maximum))
    }),
    ("prctl", |_| {
        said((
            rustix::process::dumpable_behavior().map(|_| ()),
            rustix::thread::set_name(c"unchanged"),
        ))
    }),
    ("mounts", |at| {
        let place = at.join("mount");
        rustix::fs::mkdir(&place, Mode::RWXU)?;
        rustix::mount::mount("none", &place, "tmpfs", MountFlags::empty(), None)?;
        let busy = rustix::fs::rmdir(&place);
        let pivot = rustix::process::pivot_root("/", "/");
        rustix::mount::unmount(&place, UnmountFlags::empty())?;
        let again = rustix::mount::unmount(&place, UnmountFlags::empty());
        said((busy, pivot, again, rustix::fs::rmdir(&place)))
    }),
    ("sysctl", |_| {
        let place = "/proc/sys/kernel/panic_on_oops";
        let kept = fs::read(place).map_err(|_| Errno::IO)?;
        let wrong = fs::write(place, "wrong").map_err(|error| error.raw_os_error());
        fs::write(place, &kept).map_err(|_| Errno::IO)?;
        said((wrong, kept))
    }),
];

/// Commands whose status and output are looked at.
const COMMANDS: &[&str] = &[
    "echo \"#!/bin/cat\" > script; chmod +x script; ./script",
    "cp /usr/bin/true copy; fsverity enable copy; ./copy; fsverity measure copy",
    "keyctl newring same @u > ring; keyctl padd user key $(cat ring) < script > key; \
     keyctl print $(cat key); keyctl unlink $(cat key) $(cat ring); keyctl clear $(cat ring)",
    "strace -f -o trace /usr/bin/true",
    "unshare --user --map-root-user --mount --pid --fork mount -t tmpfs none /mnt",
    "ls /sys/fs/bpf/nothing",
    "kill -TERM $$",
];

/// What was returned, as text.
fn said(value: impl Debug) -> Result<String, Errno> {
    Ok(format!("{value:?}"))
}

/// By what was done: what came of it.
type Results = BTreeMap<String, String>;

/// Has the probe at `path` do this.
fn probe(path: &Path, line: &str, results: &mut Results) -> Result<()> {
    let output = fixture::probe(path, &fixture::words(line))?;
    let result = format!("{} {} {}", output.status, output.stdout, output.stderr);
    ensure!(
        output.status != 2,
        "the probe does not know {line}: {result}"
    );
    results.insert(line.to_owned(), result);
    Ok(())
}

/// All of BPF, by the probe at `path`.
fn run_bpf(path: &Path) -> Result<Results> {
    let mut results = Results::new();
    for line in BPF_ACTIONS {
        probe(path, line, &mut results)?;
    }
    for (kind, attach) in ATTACHES {
        probe(path, &format!("load {kind} {attach}"), &mut results)?;
    }
    Ok(results)
}

/// All of it but BPF, in a directory that is made for it.
fn run_all(guest: &Guest, path: &Path) -> Result<Results> {
    let mut results = Results::new();
    for line in ACTIONS {
        probe(path, line, &mut results)?;
    }
    let place = guest.path("place");
    fs::create_dir(&place).context("cannot make a directory")?;
    fs::write(place.join("file"), "content").context("cannot write a file")?;
    for (name, operation) in OPERATIONS {
        results.insert((*name).to_owned(), format!("{:?}", operation(&place)));
    }
    for command in COMMANDS {
        for user in [false, true] {
            let directory = guest.path(if user { "users" } else { "roots" });
            fs::create_dir_all(&directory)
                .and_then(|()| fs::set_permissions(&directory, Permissions::from_mode(0o777)))
                .with_context(|| format!("cannot make {}", directory.display()))?;
            let line = format!("cd {} && {{ {command}; }}", directory.display());
            let program = Program::new("/bin/sh").args(["-c", &line]);
            let output = if user { program.by_user() } else { program }.run()?;
            let result = format!("{} {} {}", output.status, output.stdout, output.stderr);
            results.insert(format!("{command}, by a user: {user}"), result);
        }
    }
    fs::remove_dir_all(&place).context("cannot remove a directory")?;
    for directory in ["users", "roots"] {
        fs::remove_dir_all(guest.path(directory)).context("cannot remove a directory")?;
    }
    Ok(results)
}

/// Requires the same results; what differs is in the error.
fn same(what: &str, before: &Results, now: &Results) -> Result<()> {
    let differs = |(name, result): &(&String, &String)| before.get(*name) != Some(*result);
    let different: Vec<String> = now
        .iter()
        .filter(differs)
        .map(|(name, result)| format!("{name}: {:?}, then {result:?}", before.get(name)))
        .collect();
    ensure!(different.is_empty(), "{what}: {}", different.join("\n"));
    Ok(())
}

/// Every operation with and without the guard.
fn where_nothing_is_decided_no_result_changes(guest: &mut Guest) -> Result<()> {
    fixture::configure(guest)?;
    let unsigned = Path::new(UNSIGNED);
    let signed = guest.copy(UNSIGNED, "signed")?;
    let without = run_all(guest, unsigned)?;
    let bpf = run_bpf(unsigned)?;
    // What differs from run to run by itself would say nothing.
    same("without it, twice", &without, &run_all(guest, unsigned)?)?;
    same("without it, twice", &bpf, &run_bpf(unsigned)?)?;
    let works = |result: &&String| result.contains(": ok");
    let working = bpf.values().filter(works).count();
    ensure!(working * 2 > bpf.len(), "BPF does not work here: {bpf:#?}");
    guest.run(&["bpftrust", "enforce", "--audit"])?.success()?;
    same("while it audits", &without, &run_all(guest, unsigned)?)?;
    same("while it audits", &bpf, &run_bpf(unsigned)?)?;
    fixture::release(guest)?;
    guest.run(&["bpftrust", "enforce"])?.success()?;
    same("while it enforces", &without, &run_all(guest, unsigned)?)?;
    let grant = guest.write("grant.toml", Grant::ALL.of("signed", 1))?;
    fixture::sign_as(guest, ACME, &signed, &["--grant", text(&grant)?])?;
    same("by who is trusted", &bpf, &run_bpf(&signed)?)?;
    fixture::release(guest)
}
