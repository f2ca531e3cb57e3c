//! What is asked of the kernel side without a descriptor of it: whether `bpf()`
//! is open to this process, and that a policy, a permit or the end takes effect; and
//! of the kernel, that an anchor inherits no descriptors.

#![allow(
    unsafe_code,
    reason = "a bpf(2) call that libbpf-rs has no safe function for, a prctl(2) of our own, and \
              close_range(2)"
)]

use std::io;

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys::{
    BPF_F_ALLOW_MULTI, bpf_prog_attach, bpf_prog_detach2, bpf_prog_get_fd_by_id,
    bpf_prog_get_next_id,
};

use crate::abi::{
    BT_PRCTL_EVICT, BT_PRCTL_PERMIT, BT_PRCTL_POLICY, BT_PRCTL_RELEASE, bt_owner, bytes_of,
};
use crate::{Error, Result};

/// `bpf()`, seen from this process.
pub(crate) struct Gate;

impl Gate {
    /// Whether the harmless `BPF_PROG_GET_NEXT_ID` is refused to this process,
    /// which as uid 0 it is by nobody but an LSM.
    pub(crate) fn is_shut() -> Result<bool> {
        let mut next = 0;
        // SAFETY: the function writes one u32 through the pointer, to a local.
        let answer = unsafe { bpf_prog_get_next_id(0, &mut next) };
        match answer.checked_neg() {
            // ENOENT: there is no program at all.
            Some(0 | libc::ENOENT) => Ok(false),
            Some(libc::EPERM | libc::EACCES) => Ok(true),
            errno => Err(Error::Kernel {
                operation: "ask for",
                thing: "the next BPF program".into(),
                source: io::Error::from_raw_os_error(errno.unwrap_or_default()).into(),
            }),
        }
    }

    /// Attaches a program to a cgroup, as `kind` (`enum bpf_attach_type`) and without a
    /// link: it stays when this process and
    /// every descriptor of it are gone.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn attach_for_good(
        program: BorrowedFd<'_>,
        cgroup: BorrowedFd<'_>,
        kind: u32,
    ) -> io::Result<()> {
        // SAFETY: the function takes four numbers.
        let answer = unsafe {
            bpf_prog_attach(
                program.as_raw_fd(),
                cgroup.as_raw_fd(),
                kind,
                BPF_F_ALLOW_MULTI,
            )
        };
        answered(answer)
    }

    /// Detaches the program of this number from a cgroup, if it is attached so.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn detach(program: u32, cgroup: BorrowedFd<'_>, kind: u32) -> io::Result<()> {
        // SAFETY: the function takes a number.
        let descriptor = unsafe { bpf_prog_get_fd_by_id(program) };
        answered(descriptor.min(0))?;
        // SAFETY: the kernel has just made it, nobody else owns it.
        let program = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: the function takes three numbers.
        let answer = unsafe { bpf_prog_detach2(program.as_raw_fd(), cgroup.as_raw_fd(), kind) };
        match answered(answer) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// Hands over a policy (`struct bt_policy` of `bpf/abi.h` and its tables), and
    /// the order to take it.
    ///
    /// # Errors
    /// The kernel side's answer: `EPERM` without `CAP_MAC_ADMIN` in the initial
    /// user namespace, `ESTALE` if another one came first, `EBUSY` if another
    /// one is being taken over, `ENOMEM`, `EINVAL`, also if it isn't attached;
    /// those of `order_error()` in `bpf/order.h`.
    pub(crate) fn bring(policy: &[u8], order: Option<&[u8]>) -> io::Result<()> {
        let order = order.unwrap_or_default();
        hand_over(BT_PRCTL_POLICY, policy, order)
    }

    /// Hands over a permit.
    ///
    /// # Errors
    /// As [`bring`](Self::bring), but `ESTALE` for one that names another nonce,
    /// and `EINVAL` also from a guard that is not sealed.
    pub(crate) fn permit(order: &[u8]) -> io::Result<()> {
        hand_over(BT_PRCTL_PERMIT, order, &[])
    }

    /// The kernel side decides nothing any more, all at once: its hooks go one by
    /// one afterwards, and some later than their pins.
    ///
    /// # Errors
    /// `EPERM` as of [`bring`](Self::bring), and of a sealed guard; `EINVAL` if none
    /// decides.
    pub(crate) fn release() -> io::Result<()> {
        hand_over(BT_PRCTL_RELEASE, &[], &[])
    }

    /// From now on this thread may take away the pins of `owner`'s objects, and
    /// those alone.
    ///
    /// # Errors
    /// `EPERM` as of [`bring`](Self::bring), and of a sealed guard whose policy does
    /// not refuse that owner; `ENOMEM`; `EINVAL` if none decides.
    pub(crate) fn evict(owner: &bt_owner) -> io::Result<()> {
        hand_over(BT_PRCTL_EVICT, bytes_of(owner), &[])
    }
}

/// libbpf's answers are 0 or an errno below it.
fn answered(answer: i32) -> io::Result<()> {
    match answer {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

/// The kernel side has no way to answer 0: `EALREADY` says that it is done.
fn hand_over(option: u32, first: &[u8], second: &[u8]) -> io::Result<()> {
    // SAFETY: prctl takes five numbers; the kernel side reads as many bytes behind
    // each pointer as the number after it says, and writes none.
    unsafe {
        libc::prctl(
            option.cast_signed(),
            first.as_ptr(),
            first.len(),
            second.as_ptr(),
            second.len(),
        )
    };
    match io::Error::last_os_error() {
        done if done.raw_os_error() == Some(libc::EALREADY) => Ok(()),
        error => Err(error),
    }
}

/// Keeps every descriptor but input, output and error from what this process
/// executes: an [`Anchor`](crate::Anchor) would hold for ever what its starter
/// was left with.
///
/// # Errors
/// `ENOSYS` before Linux 5.11, which no guard supports.
pub fn keep_descriptors() -> io::Result<()> {
    let first = libc::STDERR_FILENO.unsigned_abs() + 1;
    // SAFETY: with this flag it closes nothing, so no owner is deceived.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
