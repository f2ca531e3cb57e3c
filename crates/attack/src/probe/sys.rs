//! The system calls of the probe.
#![allow(
    unsafe_code,
    reason = "the probe does what no safe library offers: clone with shared memory, code in data, \
              other processes' memory, seccomp, ptrace"
)]

use libc::{c_char, c_int, c_void};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};

pub const PAGE: usize = 4096;

/// What a system call that returns -1 on error says.
pub fn check(result: impl Into<i64>) -> io::Result<i64> {
    match result.into() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// A child to wait for.
pub struct Child(libc::pid_t);

impl Child {
    /// The child with that number.
    pub fn new(pid: libc::pid_t) -> Self {
        Self(pid)
    }

    /// Its number.
    pub fn pid(&self) -> libc::pid_t {
        self.0
    }

    /// Waits for its end; one that a signal ended is an error. One that stops
    /// because it is traced goes on, traced no more.
    pub fn wait(self) -> io::Result<()> {
        let mut status = 0;
        loop {
            // SAFETY: `status` outlives the call.
            check(unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) })?;
            if !libc::WIFSTOPPED(status) {
                break;
            }
            let none = null_mut::<c_void>();
            // SAFETY: no memory is involved.
            check(unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, none, none) })?;
        }
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            return Err(io::Error::other(format!("signal {signal}")));
        }
        Ok(())
    }
}

/// Runs `child` in a child, which then ends.
pub fn fork(child: impl FnOnce()) -> io::Result<Child> {
    // SAFETY: the probe forks only while it has one thread, or from a thread
    // while the others wait in a system call and hold no lock that the child
    // may want.
    match check(unsafe { libc::fork() })? {
        0 => {
            child();
            // SAFETY: ends the process without the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        pid => Ok(Child(pid as libc::pid_t)),
    }
}

/// Runs `child` in a process that shares this one's memory but is no thread of
/// it, and waits for its end.
///
/// The child has a stack of its own and the caller's thread-local storage,
/// which is sound for this reason: the caller stays in a system call (clone
/// with CLONE_VFORK, or waitpid) until the child has ended or executed, so that
/// the child is like a call of `child` on another stack.
pub fn share<F: FnOnce()>(child: F, as_vfork: bool) -> io::Result<()> {
    const STACK: usize = 512 * 1024;

    extern "C" fn run<F: FnOnce()>(child: *mut c_void) -> c_int {
        // SAFETY: `share` passes a pointer to its `Some(child)`, which outlives
        // this process, and touches it no more.
        let child = unsafe { &mut *child.cast::<Option<F>>() };
        if let Some(child) = child.take() {
            child();
        }
        0
    }

    let stack = map(libc::PROT_READ | libc::PROT_WRITE, -1, STACK)?;
    let vfork = if as_vfork { libc::CLONE_VFORK } else { 0 };
    let mut child = Some(child);
    // SAFETY: the stack is fresh memory of that size, 16-byte aligned at its
    // upper end, and is unmapped only after the child's end. For the rest see
    // above. glibc's clone() ends the child by exit(2) alone when `run` returns.
    let pid = check(unsafe {
        libc::clone(
            run::<F>,
            stack.cast::<u8>().add(STACK).cast(),
            libc::CLONE_VM | vfork | libc::SIGCHLD,
            (&raw mut child).cast(),
        )
    });
    let result = pid.and_then(|pid| Child(pid as libc::pid_t).wait());
    // SAFETY: nobody uses the child's stack any more.
    check(unsafe { libc::munmap(stack, STACK) })?;
    result
}

/// Private memory, of a file unless `file` is -1.
fn map(protection: c_int, file: c_int, size: usize) -> io::Result<*mut c_void> {
    let anonymous = if file < 0 { libc::MAP_ANONYMOUS } else { 0 };
    // SAFETY: at an address of the kernel's choice: no memory in use changes.
    let at = unsafe {
        libc::mmap(
            null_mut(),
            size,
            protection,
            libc::MAP_PRIVATE | anonymous,
            file,
            0,
        )
    };
    match at {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        at => Ok(at),
    }
}

/// Maps memory that is writable and code at once.
pub fn anonymous_code() -> io::Result<()> {
    map(
        libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        -1,
        PAGE,
    )
    .map(drop)
}

/// Maps memory that is code only after it was written.
pub fn late_code() -> io::Result<()> {
    let page = map(libc::PROT_READ | libc::PROT_WRITE, -1, PAGE)?;
    write_and_make_code(page)
}

/// Writes to a private copy of a file's first page, and makes that code.
pub fn patched_code(file: &File) -> io::Result<()> {
    let page = map(libc::PROT_READ | libc::PROT_WRITE, file.as_raw_fd(), PAGE)?;
    write_and_make_code(page)
}

/// Maps a file's first page as code.
pub fn file_as_code(file: &File) -> io::Result<()> {
    map(libc::PROT_READ | libc::PROT_EXEC, file.as_raw_fd(), PAGE).map(drop)
}

/// Maps a file as a launcher does the script that it starts a loader on: its first
/// byte, shared and executable.
pub fn file_as_script(file: &File) -> io::Result<()> {
    // SAFETY: the kernel chooses a free place, and nobody uses it.
    let place = unsafe {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        libc::mmap(
            null_mut(),
            1,
            protection,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Attaches System V shared memory as code.
pub fn shared_memory_as_code() -> io::Result<()> {
    // SAFETY: a new segment, at an address that the kernel chooses; nothing that
    // exists is touched.
    unsafe {
        let id = libc::shmget(libc::IPC_PRIVATE, PAGE, 0o700);
        check(id)?;
        let address = libc::shmat(id, null(), libc::SHM_EXEC);
        check(libc::shmctl(id, libc::IPC_RMID, null_mut()))?;
        if address as isize == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Opens a library as a plug-in is, for good.
pub fn open_library(path: &CStr) -> io::Result<()> {
    // SAFETY: a string that ends; the tests' libraries do nothing when opened.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
    if handle.is_null() {
        return Err(io::Error::from_raw_os_error(libc::ELIBBAD));
    }
    Ok(())
}

fn write_and_make_code(page: *mut c_void) -> io::Result<()> {
    // SAFETY: the callers have just mapped this page and nobody else knows it.
    check(unsafe {
        page.cast::<u8>().write_volatile(0xc3);
        libc::mprotect(page, PAGE, libc::PROT_READ | libc::PROT_EXEC)
    })
    .map(drop)
}

/// Maps memory that is data, and code only by READ_IMPLIES_EXEC.
pub fn memory_as_code_by_personality() -> io::Result<()> {
    // SAFETY: changes what later mappings allow, nothing about existing ones.
    check(unsafe { libc::personality(libc::READ_IMPLIES_EXEC as libc::c_ulong) })?;
    map(libc::PROT_READ | libc::PROT_WRITE, -1, PAGE).map(drop)
}

/// Makes /proc/self/exe lead to `file`.
///
/// The kernel refuses while the old one is mapped (replace_mm_exe_file), so
/// anonymous copies take the place of its mappings first, at the same
/// addresses and with the same content.
pub fn claim_executable(file: &File) -> io::Result<()> {
    let own = fs::read_link("/proc/self/exe")?;
    let own = own.to_string_lossy().into_owned();
    let maps = fs::read_to_string("/proc/self/maps")?;
    for line in maps.lines().filter(|line| line.ends_with(&own)) {
        let bad = || io::Error::other(format!("cannot read {line:?}"));
        let (range, rest) = line.split_once(' ').ok_or_else(bad)?;
        let (from, to) = range.split_once('-').ok_or_else(bad)?;
        let number = |text| usize::from_str_radix(text, 16).map_err(io::Error::other);
        let (from, to) = (number(from)?, number(to)?);
        let bit = |letter, bit| if rest[..4].contains(letter) { bit } else { 0 };
        let protection =
            bit('r', libc::PROT_READ) | bit('w', libc::PROT_WRITE) | bit('x', libc::PROT_EXEC);
        replace_by_copy(from, to - from, protection)?;
    }
    // SAFETY: prctl reads a descriptor that is open.
    check(unsafe {
        libc::prctl(
            libc::PR_SET_MM,
            libc::PR_SET_MM_EXE_FILE,
            file.as_raw_fd(),
            0,
            0,
        )
    })
    .map(drop)
}

fn replace_by_copy(at: usize, size: usize, protection: c_int) -> io::Result<()> {
    let copy = map(libc::PROT_READ | libc::PROT_WRITE, -1, size)?;
    // SAFETY: `at` and `size` are a readable mapping of this process, and `copy`
    // is fresh and as long. No other thread runs, and between copy and move this
    // one writes only to its stack, so the content at `at` is the same after it.
    let moved = unsafe {
        std::ptr::copy_nonoverlapping(at as *const u8, copy.cast(), size);
        check(libc::mprotect(copy, size, protection))?;
        libc::mremap(
            copy,
            size,
            size,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            at as *mut c_void,
        )
    };
    if moved == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Asks to be traced by its parent.
pub fn trace_me() -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe {
        libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            null_mut::<c_void>(),
            null_mut::<c_void>(),
        )
    })
    .map(drop)
}

/// Begins to trace `pid`, and ends that again unless it `stays`.
pub fn attach(pid: libc::pid_t, stays: bool) -> io::Result<()> {
    let none = null_mut::<c_void>();
    // SAFETY: these requests transfer no memory.
    unsafe {
        check(libc::ptrace(libc::PTRACE_SEIZE, pid, none, none))?;
        if stays {
            return Ok(());
        }
        check(libc::ptrace(libc::PTRACE_INTERRUPT, pid, none, none))?;
        check(libc::waitpid(pid, null_mut(), libc::__WALL))?;
        check(libc::ptrace(libc::PTRACE_DETACH, pid, none, none)).map(drop)
    }
}

/// Writes one byte to where `pid` has no memory: EFAULT means that it may.
pub fn write_memory(pid: libc::pid_t) -> io::Result<()> {
    let mut byte = 0_u8;
    let vector = |base| libc::iovec {
        iov_base: base,
        iov_len: 1,
    };
    let (local, remote) = (vector((&raw mut byte).cast()), vector(16 as *mut c_void));
    // SAFETY: the local vector is one byte of ours; the remote one is a number
    // that the kernel checks.
    let result =
        check(
            unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) }
                as i64,
        );
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        result => result.map(drop),
    }
}

fn process(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

/// Has the kernel send SIGKILL to `pid` because a pipe of ours can be read.
pub fn signal_by_pipe(pid: libc::pid_t) -> io::Result<()> {
    /// `F_SETSIG` (`include/uapi/asm-generic/fcntl.h`).
    const SET_SIGNAL: c_int = 10;
    let (reader, writer) = rustix::pipe::pipe()?;
    let fd = reader.as_raw_fd();
    // SAFETY: no memory is involved.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETOWN, pid))?;
        check(libc::fcntl(fd, SET_SIGNAL, libc::SIGKILL))?;
        check(libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC))?;
    }
    rustix::io::write(&writer, &[0])?;
    Ok(())
}

/// Mounts /tmp over `place`, with a flag beside that is for a mount that is there.
pub fn bind_privately(place: &str) -> io::Result<()> {
    let place = CString::new(place)?;
    let flags = libc::MS_BIND | libc::MS_PRIVATE;
    // SAFETY: the strings end in NUL and outlive the call; NULL stands for no
    // type and no data.
    check(unsafe { libc::mount(c"/tmp".as_ptr(), place.as_ptr(), null(), flags, null()) }).map(drop)
}

/// Takes a copy of the process's standard input.
pub fn steal_descriptor(pid: libc::pid_t) -> io::Result<()> {
    let process = process(pid)?;
    // SAFETY: no memory is involved.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), 0, 0) })?;
    // SAFETY: the kernel has just made it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as c_int) });
    Ok(())
}

/// Gives the kernel advice on memory that `pid` has not: ENOMEM means that it
/// may.
pub fn advise(pid: libc::pid_t, advice: c_int) -> io::Result<()> {
    let process = process(pid)?;
    let vector = libc::iovec {
        iov_base: PAGE as *mut c_void,
        iov_len: PAGE,
    };
    // SAFETY: the vector is read; what it names is another process's.
    let result = check(unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            process.as_raw_fd(),
            &raw const vector,
            1,
            advice,
            0,
        )
    });
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Ok(()),
        result => result.map(drop),
    }
}

/// Installs a seccomp filter, with a listener that stays open if it `listens`.
pub fn install_filter(program: &[libc::sock_filter], listens: bool) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        filter: program.as_ptr().cast_mut(),
    };
    let flags = if listens {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    } else {
        0
    };
    let install = || {
        // SAFETY: the kernel copies the instructions, whose number is right.
        check(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const filter,
            )
        })
    };
    match install() {
        // Without the capability: only who gives up privileges at exec.
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            // SAFETY: no memory is involved.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
            install().map(drop)
        }
        result => result.map(drop),
    }
}

/// Becomes another user.
pub fn set_uid(uid: libc::uid_t) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::setuid(uid) }).map(drop)
}

/// Sets by how many seconds CLOCK_TAI is ahead of CLOCK_REALTIME.
pub fn set_tai_offset(seconds: libc::c_long) -> io::Result<()> {
    // SAFETY: zeros are a `timex` that asks for nothing.
    let mut change: libc::timex = unsafe { std::mem::zeroed() };
    change.modes = libc::ADJ_TAI;
    change.constant = seconds;
    // SAFETY: `change` outlives the call.
    check(unsafe { libc::adjtimex(&raw mut change) }).map(drop)
}

/// Calls prctl(`option`) with `bytes`, which it may write to.
pub fn prctl(option: c_int, mut bytes: Vec<u8>) -> io::Result<()> {
    /// No option that takes an address alone writes more.
    const ROOM: usize = 64;
    let size = bytes.len();
    bytes.resize(size.max(ROOM), 0);
    // SAFETY: `bytes` outlives the call, and there are as many as it is told.
    check(unsafe { libc::prctl(option, bytes.as_mut_ptr(), size, 0, 0) }).map(drop)
}

/// The same with two of them, as the kernel side of bpftrust takes an order.
pub fn prctl_of_two(option: c_int, first: &[u8], second: &[u8]) -> io::Result<()> {
    let (one, other) = (first.as_ptr(), second.as_ptr());
    // SAFETY: this option only reads, as many bytes as it is told.
    check(unsafe { libc::prctl(option, one, first.len(), other, second.len()) }).map(drop)
}

/// [`prctl`] with an address where no memory is.
pub fn prctl_of_nothing(option: c_int) -> io::Result<()> {
    // SAFETY: the kernel checks the address.
    check(unsafe { libc::prctl(option, 16 as *mut c_void, PAGE, 0, 0) }).map(drop)
}

/// Was it executed securely (AT_SECURE)?
pub fn is_secure() -> bool {
    // SAFETY: reads the auxiliary vector that the kernel made.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

fn pointers(words: &[CString]) -> Vec<*const c_char> {
    let words = words.iter().map(|word| word.as_ptr());
    words.chain(std::iter::once(null())).collect()
}

/// Executes the file at `path`; returns if it can't.
pub fn execute_path(path: &CStr, words: &[CString]) -> io::Result<Infallible> {
    let words = pointers(words);
    // SAFETY: NUL-terminated strings in a NULL-terminated array, and the
    // environment, which the probe never changes.
    unsafe { libc::execve(path.as_ptr(), words.as_ptr(), environ) };
    Err(io::Error::last_os_error())
}

/// Executes the open file `fd`; returns if it can't.
pub fn execute_descriptor(fd: &impl AsRawFd, words: &[CString]) -> io::Result<Infallible> {
    let words = pointers(words);
    // SAFETY: as in `execute_path`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            words.as_ptr(),
            environ,
            libc::AT_EMPTY_PATH,
        )
    };
    Err(io::Error::last_os_error())
}
