//! Perf events, and programs on them.
#![allow(
    unsafe_code,
    reason = "neither perf_event_open() nor its ioctl has a safe wrapper"
)]

use super::program::Kind;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `PERF_TYPE_*`
const SOFTWARE: u32 = 1;
const TRACEPOINT: u32 = 2;

/// A function for tests, which nobody calls.
const FUNCTION: &[u8] = b"bpf_fentry_test1\0";

/// Opens an event that a program of this kind may be attached to: a kprobe, a
/// tracepoint, or the clock of a CPU. It is not enabled.
pub fn open(kind: &Kind) -> io::Result<OwnedFd> {
    const KPROBE_PROGRAM: u32 = 2;
    const TRACEPOINT_PROGRAM: u32 = 5;
    match kind.program {
        KPROBE_PROGRAM => {
            let number = read_number("/sys/bus/event_source/devices/kprobe/type")?;
            open_event(number as u32, 0, Some(FUNCTION))
        }
        TRACEPOINT_PROGRAM => {
            let event = "/sys/kernel/tracing/events/sched/sched_process_exec/id";
            open_event(TRACEPOINT, read_number(event)?, None)
        }
        _ => open_event(SOFTWARE, 0, None),
    }
}

fn read_number(file: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    text.trim().parse().map_err(io::Error::other)
}

fn open_event(number: u32, config: u64, function: Option<&'static [u8]>) -> io::Result<OwnedFd> {
    /// `PERF_ATTR_SIZE_VER7`
    const SIZE: usize = 128;
    /// `PERF_FLAG_FD_CLOEXEC`
    const CLOSE_ON_EXEC: u64 = 8;
    const DISABLED: u64 = 1;
    let function = function.map_or(0, |name| name.as_ptr().addr() as u64);
    let mut attributes = [0_u8; SIZE];
    let mut put = |at: usize, value: u64| {
        attributes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    };
    // struct perf_event_attr: type and size, config, sample_period, flags,
    // kprobe_func
    put(0, u64::from(number) | (SIZE as u64) << 32);
    put(8, config);
    put(16, 1_000_000_000);
    put(40, DISABLED);
    put(56, function);
    // SAFETY: the kernel reads that many bytes, and at the function's name a
    // string, which is static and ends with NUL.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            attributes.as_ptr(),
            -1,
            0,
            -1,
            CLOSE_ON_EXEC,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a program by ioctl(), not by `bpf()`.
pub fn attach(event: &OwnedFd, program: impl AsFd) -> io::Result<()> {
    /// `PERF_EVENT_IOC_SET_BPF`
    const SET_BPF: u32 = 0x4004_2408;
    // SAFETY: the argument is a number.
    let result = unsafe {
        libc::ioctl(
            event.as_raw_fd(),
            SET_BPF.into(),
            program.as_fd().as_raw_fd(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
