//! What keeps a sealed guard shut when every link of it is gone: programs that are
//! attached to the root cgroup, which never ends, without a link.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use libbpf_rs::ProgramAttachType;
use libbpf_rs::query::ProgInfoIter;

use crate::enforce::kernel;
use crate::gate::Gate;
use crate::pins::{LATCH, SWITCH};
use crate::{Result, seal};

/// The programs, and what they are attached as (`enum bpf_attach_type`).
const LASTING: [(&str, u32); 2] = [
    (LATCH, ProgramAttachType::LsmCgroup as u32),
    (SWITCH, ProgramAttachType::CgroupSysctl as u32),
];

/// Attaches them; before the gate, so that they run after it.
///
/// # Errors
/// [`Error::Kernel`](crate::Error::Kernel).
pub(crate) fn attach<'a>(program: impl Fn(&str) -> BorrowedFd<'a>) -> Result<()> {
    let cgroup = seal::root_cgroup()?;
    for (name, kind) in LASTING {
        Gate::attach_for_good(program(name), cgroup.as_fd(), kind)
            .map_err(|source| kernel("attach", name)(source.into()))?;
    }
    Ok(())
}

/// Takes them away. It takes `bpf()`: of a guard that has let go.
///
/// # Errors
/// [`Error::Kernel`](crate::Error::Kernel).
pub(crate) fn detach() -> Result<()> {
    let cgroup = seal::root_cgroup()?;
    for info in ProgInfoIter::default() {
        let is_it = |(name, _): &&(&str, u32)| name.as_bytes() == info.name.as_bytes();
        if let Some(&(name, kind)) = LASTING.iter().find(is_it) {
            Gate::detach(info.id, cgroup.as_fd(), kind)
                .map_err(|source| kernel("detach", name)(source.into()))?;
        }
    }
    Ok(())
}

/// Whether `bpf()` is refused to root although no guard is to be seen: what
/// is left of a sealed one.
///
/// # Errors
/// [`Error::Kernel`](crate::Error::Kernel).
pub fn is_closed() -> Result<bool> {
    Gate::is_shut()
}
