//! `syscall(2)`, before the C library's.
#![allow(
    unsafe_code,
    reason = "it is called from C, calls C, and reads what the caller points to"
)]

use crate::attributes::{MAXIMUM, Named};
use libc::{c_int, c_long};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

type Syscall =
    unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

const BPF_TOKEN_CREATE: c_long = 36;

/// The C library's function; 0 before it was looked for. No lock of the standard
/// library is used here, for those may call `syscall` themselves.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The token's descriptor, or one of these.
static TOKEN: AtomicI32 = AtomicI32::new(NOT_ASKED);
const NOT_ASKED: c_int = -1;
const NONE: c_int = -2;

/// As the C library's, which takes as many arguments as the call has: those that were
/// not given are not looked at by who receives them.
///
/// # Safety
/// As of the call: of `bpf()`, the second argument points to as many bytes as the third
/// says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    let Some(next) = next() else {
        set_errno(libc::ENOSYS);
        return -1;
    };
    let size = usize::try_from(c).unwrap_or(usize::MAX);
    let pointer = b as *mut u8;
    if number == libc::SYS_bpf && size <= MAXIMUM && !pointer.is_null() {
        // SAFETY: the caller's duty.
        let given = unsafe { std::slice::from_raw_parts(pointer, size) };
        if let Some(mut named) = Named::new(a, given, || token(next)) {
            let (attributes, size) = (named.bytes.as_mut_ptr() as c_long, named.size as c_long);
            // SAFETY: the attributes are ours, and as the caller's for the rest.
            let result = unsafe { next(number, a, attributes, size, 0, 0, 0) };
            let errno = errno();
            let (answer, size) = named.answer();
            // SAFETY: the caller's duty; the kernel would write there.
            unsafe { std::ptr::copy_nonoverlapping(answer.as_ptr(), pointer, size) };
            set_errno(errno);
            return result;
        }
    }
    // SAFETY: what the caller asked for.
    unsafe { next(number, a, b, c, d, e, f) }
}

/// The C library's `syscall`.
fn next() -> Option<Syscall> {
    let mut address = NEXT.load(Ordering::Relaxed);
    if address == 0 {
        // SAFETY: the name ends in a NUL.
        address = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) } as usize;
        NEXT.store(address, Ordering::Relaxed);
    }
    // SAFETY: it is the function of that name, or null; in registers, its variable
    // arguments are where ours are.
    (address != 0).then(|| unsafe { std::mem::transmute::<usize, Syscall>(address) })
}

/// The process's token, made at the first question.
fn token(next: Syscall) -> Option<c_int> {
    let mut held = TOKEN.load(Ordering::Acquire);
    if held == NOT_ASKED {
        let errno = errno();
        let made = make(next).unwrap_or(NONE);
        set_errno(errno);
        held = match TOKEN.compare_exchange(held, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(others) => {
                close(made);
                others
            }
        };
    }
    (held >= 0).then_some(held)
}

fn make(next: Syscall) -> Option<c_int> {
    // SAFETY: the name ends in a NUL; nothing changes the environment meanwhile, as
    // for libbpf, which looks there, too.
    let path = unsafe { libc::getenv(c"LIBBPF_BPF_TOKEN_PATH".as_ptr()) };
    if path.is_null() {
        return None;
    }
    // SAFETY: the environment's strings end in a NUL.
    let bpffs = unsafe { libc::open(path, libc::O_DIRECTORY | libc::O_RDONLY | libc::O_CLOEXEC) };
    if bpffs < 0 {
        return None;
    }
    // struct { __u32 flags; __u32 bpffs_fd; } token_create
    let attributes = [0, bpffs];
    let pointer = attributes.as_ptr() as c_long;
    // SAFETY: eight bytes that the kernel reads.
    let token = unsafe {
        next(
            libc::SYS_bpf,
            BPF_TOKEN_CREATE,
            pointer,
            size_of_val(&attributes) as c_long,
            0,
            0,
            0,
        )
    };
    close(bpffs);
    c_int::try_from(token).ok().filter(|token| *token >= 0)
}

fn close(descriptor: c_int) {
    if descriptor >= 0 {
        // SAFETY: ours, and used no more.
        unsafe { libc::close(descriptor) };
    }
}

fn errno() -> c_int {
    // SAFETY: the C library's own, of this thread.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: c_int) {
    // SAFETY: the C library's own, of this thread.
    unsafe { *libc::__errno_location() = value };
}
