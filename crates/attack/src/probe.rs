//! What is signed, copied and executed by the guest's tests and by the corpus of
//! attacks. It does what its arguments say, in order, and prints one line for
//! each: `bpf 11: ok`, or the error's name instead of `ok`.
//!
//! ```text
//! bpf N                  bpf(N) with attributes of zeros
//! fork [ … ]             the actions in a child; waits for it
//! orphan [ … ]           in a child, once its parent has exited
//! beside [ … ]           in a child; does not wait for it
//! wait                   waits for the child of `beside`
//! thread [ … ]           in a second thread; waits for it
//! share [ … ]            in a child that shares the memory; waits for it
//! vfork [ … ]            the same by CLONE_VFORK
//! userns [ … ]           in a child in a user namespace of its own
//! mntns [ … ]            in a child in a mount namespace of its own
//! delegate UID cmds=…,maps=…,progs=…,attachs=… [ … ]
//!                        as that user, root in a user namespace of its own, with
//!                        a bpffs on /sys/fs/bpf that delegates this
//! repeat N [ … ]         N times
//! exec PATH ARG…         and its like (fexec, memfd-exec, tmpfile-exec): the
//!                        rest of the line is the new program's
//! until FILE, touch FILE, say TEXT, sleep MS
//! anonymous-code, late-code, patched-code, memfd-code, self-mem, personality
//!                        memory that is code and nobody signed
//! memfd-code, shared-code, self-mem, file-code FILE, dlopen FILE
//!                        code of a file: in memory, System V's, the own one written
//!                        to, any, a library; mapped INODE: is that file mapped?
//! into FILE              what it says goes there from now on
//! script FILE, input FILE
//!                        maps it as a launcher does; makes it standard input
//! bind FROM:TO           mounts FROM over TO, not for other mount namespaces
//! exe-file PATH          /proc/self/exe becomes PATH
//! filter KIND            a seccomp filter, see `filter::install`
//! traceme                its parent may trace it
//! attach|seize|peek-mem|vm-write|steal-fd PID
//! madvise|madvise-dontneed|madvise-free PID
//!                        reaches into a process; `child` is that of `beside`;
//!                        seize goes on tracing, attach does not
//! signal-by-pipe PID     has the kernel send SIGKILL when a pipe can be read
//! bind-privately DIR     mounts /tmp over DIR and makes it private in one call
//! chroot DIR, setuid N, limit-processes N, secure, pid, threads, abort
//! clock SECONDS          sets the wall clock forward, or back
//! tai SECONDS            sets how far CLOCK_TAI is ahead of it
//! clear-keyring RING, add-key RING:FILE
//!                        a keyring by its number, and a certificate in DER;
//!                        clear-keyring-wide and -32 call the kernel in other ways
//! prctl N FILE           prctl(N) with the address of what the file holds and
//!                        its length in bytes; `-` for an address of nothing
//! hand-over N FILE ORDER prctl(N) with what two files hold
//!
//! map TYPE               makes a map; types as libbpf calls them
//! keep-map TYPE          the same, and it stays until the probe ends
//! fill-maps TYPE         the same, until no more can be had
//! map-in-map OUTER INNER makes a map of maps like one of type INNER
//! around OUTER           makes one of maps like the one that is held
//! struct-ops-map         makes a map for a congestion control of TCP
//! load KIND[:TARGET] [CALL]
//!                        loads a program: types as libbpf calls them, and
//!                        cgroup_skb_egress, xdp_unsaid, fentry, fexit,
//!                        fmod_ret, iter, tp_btf, lsm_cgroup; TARGET instead of
//!                        a harmless one
//! load-inner [CALL]      a program loads a kprobe program
//! with-signature RING:FILE, without-signature
//!                        offers a signature with each program from now on, to be
//!                        verified by that keyring; `-` for none, and a keyring
//! exclusive-maps SHA256, bind-maps SHA256
//!                        maps of programs are for the one alone whose instructions
//!                        have that hash, and frozen; bind-maps: signed with it
//! run-loader DIR:MAPS:PROGRAMS
//!                        runs a light skeleton whose caller has other content for
//!                        each map; says the first word in the map before the last,
//!                        and how many entries it has
//! instructions-to FILE   the next program is written there and not loaded
//! link-create ATTACH     attaches what was loaded last: types as libbpf calls
//! prog-attach ATTACH     them, to the own cgroup, `lo` or an event
//! raw-tracepoint-open NAME
//!                        or `-`, to what it was loaded for
//! perf-attach            by ioctl() on a perf event
//! socket-attach          by setsockopt() on a socket
//! xdp-netlink, tc-netlink
//!                        by netlink on `lo`; xdp-netlink-on leaves it there,
//!                        xdp-netlink-off takes off what is there
//!
//! hold-map TYPE[:NAME], hold-program, hold-link ATTACH
//!                        holds an object, to the end; these are about the last:
//! id, inherit, hand-down, pin PATH, serve SOCKET
//!                        says its number, or its descriptor, which an exec
//!                        leaves open; hand-down does that under a number that
//!                        `inherited` knows; lets others have it
//! obj-get PATH, map-by-id N, map-named NAME, program-by-id N, link-by-id N,
//! btf-by-id N, receive SOCKET, steal PID:FD, adopt FD, inherited
//!                        holds somebody else's
//! lookup, batch, change, freeze, map-memory, test-run, info, perf-attach-held,
//! socket-attach-held, reuseport-held, fanout-held, xt-bpf-held, tun-held,
//! tun-filter-held, kcm-held, tc-held, tunnel-held, detach, update
//!                        uses it; drop holds it no more
//! hold-token DIR         makes a BPF token of the bpffs there, and holds it
//! with-token, without-token
//!                        offers what is held last, or nothing, with what is made
//!                        from now on: maps, programs and BTF (`btf` makes some)
//! by-ring ACTION, by-poller ACTION
//!                        has a worker of io_uring do it, or a thread that polls a
//!                        ring: self-mem, peek-mem PID, receive SOCKET,
//!                        socket-attach-held
//! ring, poller           makes a ring, which what is executed can reach, too
//! ring-pass              puts what is held into the ring that was reached so
//! ring-take              holds what somebody put into the own ring
//! unpin PATH, rename-over PATH, link-from PATH, read PATH
//!                        what becomes of pins; PATH-new is renamed
//! ```
//!
//! Started as loaders are on scripts (`-- -`), it does what its standard input says, but
//! for lines that begin with `#`, and then what its parameters say.
//!
//! A CALL is one that the program makes before it returns: probe-write-user,
//! override-return, send-signal, send-signal-thread, sysctl-set-new-value,
//! bprm-opts-set, or `kfunc:NAME`; after `sub:` its second function makes it.
//!
//! What only groups others (fork and the like) prints a line only if it fails. A
//! path where an action should be is passed over: the kernel puts one there when
//! it executes the probe as the interpreter of a file.

mod code;
mod delegate;
mod errno;
mod execute;
mod filter;
mod keyring;
mod namespace;
mod object;
mod ring;
mod script;
mod sys;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime, clock_settime};
use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

/// How long `until` and an orphan wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does what the words say; the exit status is 2 if they make no sense.
pub fn run(words: &[String]) -> ExitCode {
    let words = match script::of(words) {
        Ok(words) => words,
        Err(error) => {
            eprintln!("bpftrust-probe: standard input: {error}");
            return ExitCode::from(2);
        }
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match act_all(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Misuse(what)) => {
            eprintln!("bpftrust-probe: {what}");
            ExitCode::from(2)
        }
    }
}

/// A mistake in the command line.
struct Misuse(String);

/// Runs `words`, which are actions, to their end.
fn act_all<'a>(mut words: &'a [&'a str]) -> Result<(), Misuse> {
    while let Some((action, rest)) = words.split_first() {
        words = act(action, rest)?;
    }
    Ok(())
}

/// Runs one action and returns what follows it.
fn act<'a>(action: &str, rest: &'a [&'a str]) -> Result<&'a [&'a str], Misuse> {
    match action {
        "fork" | "beside" | "orphan" | "thread" | "share" | "vfork" | "userns" | "mntns" => {
            let (inner, rest) = bracket(action, rest)?;
            group(action, inner);
            Ok(rest)
        }
        "delegate" => {
            let (user, rest) = argument(action, rest)?;
            let (options, rest) = argument(action, rest)?;
            let (inner, rest) = bracket(action, rest)?;
            let user = number(user)?;
            if let Err(error) = delegate::run(&delegate::Delegation { user, options }, inner) {
                tell(action, Err(error));
            }
            Ok(rest)
        }
        "repeat" => {
            let (count, rest) = argument(action, rest)?;
            let (inner, rest) = bracket(action, rest)?;
            for _ in 0..number(count)? {
                act_all(inner)?;
            }
            Ok(rest)
        }
        "exec" | "fexec" | "memfd-exec" | "tmpfile-exec" => {
            let (path, _) = argument(action, rest)?;
            // It returns only if it failed.
            let Err(error) = execute::execute(action, path, rest);
            tell(&format!("{action} {path}"), Err(error));
            Ok(&[])
        }
        "anonymous-code" | "late-code" | "patched-code" | "personality" | "memfd-code"
        | "shared-code" | "self-mem" | "traceme" | "wait" => {
            tell(action, alone(action));
            Ok(rest)
        }
        "secure" => {
            say(&format!("secure: {}", u8::from(sys::is_secure())));
            Ok(rest)
        }
        "pid" => {
            say(&format!("pid: {}", std::process::id()));
            Ok(rest)
        }
        "threads" => {
            let threads = fs::read_dir("/proc/self/task").map_or(0, |threads| threads.count());
            say(&format!("threads: {threads}"));
            Ok(rest)
        }
        "abort" => std::process::abort(),
        "prctl" => {
            let (option, rest) = argument(action, rest)?;
            let (file, rest) = argument(action, rest)?;
            tell(&format!("{action} {option}"), prctl(number(option)?, file));
            Ok(rest)
        }
        "hand-over" => {
            let (option, rest) = argument(action, rest)?;
            let (file, rest) = argument(action, rest)?;
            let (order, rest) = argument(action, rest)?;
            let result = fs::read(file).and_then(|file| {
                sys::prctl_of_two(number(option).unwrap_or_default(), &file, &fs::read(order)?)
            });
            tell(&format!("{action} {option}"), result);
            Ok(rest)
        }
        path if path.starts_with('/') => Ok(rest),
        _ => {
            if let Some(result) = object::act(action, rest).or_else(|| ring::act(action, rest)) {
                return result;
            }
            let (argument, rest) = argument(action, rest)?;
            if action == "say" {
                say(argument);
            } else {
                tell(&format!("{action} {argument}"), with(action, argument)?);
            }
            Ok(rest)
        }
    }
}

/// One word after `action`.
fn argument<'a>(action: &str, rest: &'a [&'a str]) -> Result<(&'a str, &'a [&'a str]), Misuse> {
    let (word, rest) = rest
        .split_first()
        .ok_or_else(|| Misuse(format!("{action} of what?")))?;
    Ok((word, rest))
}

/// The words between "[" and its "]", and those after it.
fn bracket<'a>(
    action: &str,
    rest: &'a [&'a str],
) -> Result<(&'a [&'a str], &'a [&'a str]), Misuse> {
    let mut depth = 0_usize;
    for (index, word) in rest.iter().enumerate() {
        match *word {
            "[" => depth += 1,
            "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            if index == 0 {
                break;
            }
            return Ok((&rest[1..index], &rest[index + 1..]));
        }
    }
    Err(Misuse(format!("{action} needs [ ACTIONS ]")))
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, Misuse> {
    word.parse()
        .map_err(|_| Misuse(format!("{word:?} is not a number")))
}

/// The child of the last `beside`.
static BESIDE: AtomicI32 = AtomicI32::new(0);

fn process(word: &str) -> Result<i32, Misuse> {
    match word {
        "child" => Ok(BESIDE.load(Ordering::Relaxed)),
        _ => number(word),
    }
}

/// Prints a line past every buffer: a child that shares the memory would share
/// the buffer and its lock, one that is killed would leave it unwritten.
fn say(line: &str) {
    let line = format!("{line}\n");
    let mut rest = line.as_bytes();
    while let Ok(written @ 1..) = rustix::io::write(rustix::stdio::stdout(), rest) {
        rest = &rest[written..];
    }
}

fn tell(what: &str, result: io::Result<()>) {
    match result {
        Ok(()) => say(&format!("{what}: ok")),
        Err(error) => say(&format!("{what}: {}", errno::name(&error))),
    }
}

/// Runs actions somewhere else than here.
fn group(action: &str, words: &[&str]) {
    let child = || {
        if let Err(Misuse(what)) = act_all(words) {
            say(&format!("bpftrust-probe: {what}"));
        }
    };
    let result = match action {
        "thread" => std::thread::scope(|scope| {
            std::thread::Builder::new()
                .spawn_scoped(scope, child)?
                .join()
                .map_err(|_| io::Error::other("the thread panicked"))
        }),
        "share" => sys::share(child, false),
        "vfork" => sys::share(child, true),
        "orphan" => {
            let parent = std::process::id();
            sys::fork(|| {
                let deadline = Instant::now() + PATIENCE;
                while std::os::unix::process::parent_id() == parent && Instant::now() < deadline {
                    pause();
                }
                child();
            })
            .map(drop)
        }
        "beside" => sys::fork(child).map(|child| BESIDE.store(child.pid(), Ordering::Relaxed)),
        "userns" => in_namespace(namespace::own_user_namespace, child),
        "mntns" => in_namespace(namespace::own_mount_namespace, child),
        _ => sys::fork(child).and_then(sys::Child::wait),
    };
    if let Err(error) = result {
        tell(action, Err(error));
    }
}

fn in_namespace(enter: fn() -> io::Result<()>, child: impl FnOnce()) -> io::Result<()> {
    sys::fork(|| match enter() {
        Ok(()) => child(),
        Err(error) => tell("unshare", Err(error)),
    })?
    .wait()
}

fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

/// Actions without an argument.
fn alone(action: &str) -> io::Result<()> {
    match action {
        "anonymous-code" => sys::anonymous_code(),
        "late-code" => sys::late_code(),
        "patched-code" => sys::patched_code(&fs::File::open("/proc/self/exe")?),
        "memfd-code" => code::in_memory(),
        "shared-code" => sys::shared_memory_as_code(),
        "self-mem" => code::write_own(),
        "personality" => sys::memory_as_code_by_personality(),
        "wait" => sys::Child::new(BESIDE.load(Ordering::Relaxed)).wait(),
        _ => sys::trace_me(),
    }
}

/// Actions with one argument.
fn with(action: &str, argument: &str) -> Result<io::Result<()>, Misuse> {
    Ok(match action {
        "bpf" => bpf(number(argument)?),
        "until" => until(Path::new(argument)),
        "into" => fs::File::create(argument).and_then(|file| Ok(rustix::stdio::dup2_stdout(file)?)),
        "bind" => bind(argument),
        "mapped" => mapped(argument),
        "clear-keyring" => keyring::clear(number(argument)?),
        "clear-keyring-wide" => keyring::clear_wide(number(argument)?),
        "clear-keyring-32" => keyring::clear_32(number(argument)?),
        "add-key" => {
            let Some((ring, file)) = argument.split_once(':') else {
                return Err(Misuse(format!("{argument:?} is not RING:FILE")));
            };
            let ring = number(ring)?;
            fs::read(file).and_then(|certificate| keyring::add(ring, &certificate))
        }
        "touch" => fs::write(argument, ""),
        "sleep" => {
            std::thread::sleep(Duration::from_millis(number(argument)?));
            Ok(())
        }
        "file-code" => fs::File::open(argument).and_then(|file| sys::file_as_code(&file)),
        "script" => fs::File::open(argument).and_then(|file| sys::file_as_script(&file)),
        "input" => fs::File::open(argument).and_then(|file| Ok(rustix::stdio::dup2_stdin(file)?)),
        "dlopen" => CString::new(argument)
            .map_err(io::Error::from)
            .and_then(|path| sys::open_library(&path)),
        "filter" => match filter::install(argument) {
            Some(result) => result,
            None => return Err(Misuse(format!("no filter is called {argument:?}"))),
        },
        "exe-file" => fs::File::open(argument).and_then(|file| sys::claim_executable(&file)),
        "attach" => sys::attach(process(argument)?, false),
        "seize" => sys::attach(process(argument)?, true),
        "peek-mem" => fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/mem", process(argument)?))
            .map(drop),
        "vm-write" => sys::write_memory(process(argument)?),
        "signal-by-pipe" => sys::signal_by_pipe(process(argument)?),
        "bind-privately" => sys::bind_privately(argument),
        "steal-fd" => sys::steal_descriptor(process(argument)?),
        "madvise" => sys::advise(process(argument)?, libc::MADV_COLD),
        "madvise-dontneed" => sys::advise(process(argument)?, libc::MADV_DONTNEED),
        "madvise-free" => sys::advise(process(argument)?, libc::MADV_FREE),
        "chroot" => rustix::process::chroot(argument)
            .and_then(|()| rustix::process::chdir("/"))
            .map_err(io::Error::from),
        "setuid" => sys::set_uid(number(argument)?),
        "limit-processes" => limit(Resource::Nproc, number(argument)?),
        "clock" => move_clock(number(argument)?),
        "tai" => sys::set_tai_offset(number(argument)?),
        _ => return Err(Misuse(format!("cannot {action}"))),
    })
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// `FROM:TO`: FROM takes the place of TO, for who is in the same mount
/// namespace; first it is kept from all others.
fn bind(argument: &str) -> io::Result<()> {
    use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
    let (from, to) = argument
        .split_once(':')
        .ok_or_else(|| io::Error::other("not FROM:TO"))?;
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    Ok(mount_bind(from, to)?)
}

/// Has this process mapped the file with that inode number?
fn mapped(inode: &str) -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let found = maps
        .lines()
        .any(|line| line.split_whitespace().nth(4) == Some(inode));
    match found {
        true => Ok(()),
        false => Err(io::Error::from_raw_os_error(libc::ENOENT)),
    }
}

/// `BPF_PROG_GET_NEXT_ID` says ENOENT where no program is: as good.
fn bpf(command: u32) -> io::Result<()> {
    const PROG_GET_NEXT_ID: u32 = 11;
    match object::bpf::call(command, &mut object::bpf::Attributes::new()).map(drop) {
        Err(error) if command == PROG_GET_NEXT_ID && error.raw_os_error() == Some(libc::ENOENT) => {
            Ok(())
        }
        result => result,
    }
}

fn prctl(option: i32, file: &str) -> io::Result<()> {
    match file {
        "-" => sys::prctl_of_nothing(option),
        _ => sys::prctl(option, fs::read(file)?),
    }
}

fn move_clock(seconds: i64) -> io::Result<()> {
    let mut now = clock_gettime(ClockId::Realtime);
    now.tv_sec += seconds;
    Ok(clock_settime(ClockId::Realtime, now)?)
}

fn until(file: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !file.exists() {
        if Instant::now() > deadline {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        pause();
    }
    Ok(())
}
