//! Giving up what is not needed.

use std::fs;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use crate::error::{Error, Step};

/// Gives up every capability, for good: effective, permitted, inheritable and
/// ambient; the bounding set, too, for who may (`CAP_SETPCAP`). Whatever is executed
/// later gains none (`PR_SET_NO_NEW_PRIVS`).
///
/// **When.** After everything is loaded and attached, and before there are other
/// threads. With a token `map_create`, `prog_load` and `btf_load` still ask for the
/// capability in the token's user namespace each time (`kernel/bpf/token.c`,
/// `bpf_token_capable`), and so does the attaching to cgroups (`kernel/bpf/syscall.c`,
/// `bpf_prog_attach_check_attach_type`). What is done by a descriptor at hand goes on
/// without: reading and writing maps, polling ring buffers, detaching.
///
/// # Errors
/// [`Error::Threads`]: capabilities are each thread's own. Else [`Error::Kernel`] at
/// [`Step::Drop`]; then some may be gone.
pub fn drop_privileges() -> Result<(), Error> {
    alone()?;
    keep(CapabilitySet::empty()).map_err(Error::at(Step::Drop))
}

/// Requires that there is one thread.
pub(crate) fn alone() -> Result<(), Error> {
    if fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() > 1) {
        return Err(Error::Threads);
    }
    Ok(())
}

/// Gives up every capability but these, which outlive an exec.
pub(crate) fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    set_no_new_privs(true)?;
    // Without, the set stays; nothing is gained from it, either.
    if capabilities(None)?
        .effective
        .contains(CapabilitySet::SETPCAP)
    {
        bound(kept)?;
    }
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )?;
    for one in kept.iter() {
        configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

fn bound(kept: CapabilitySet) -> Result<(), Errno> {
    // By number: this kernel may have more than we know of, and says where they end.
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match remove_capability_from_bounding_set(one) {
            Err(Errno::INVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_other_threads_nothing_is_dropped() {
        let before = capabilities(None).unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || ended.recv());
        let result = drop_privileges();
        drop(end);
        assert!(other.join().unwrap().is_err());
        assert!(matches!(result, Err(Error::Threads)));
        assert_eq!(capabilities(None).unwrap(), before);
    }
}
