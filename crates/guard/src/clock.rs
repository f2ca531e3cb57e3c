//! The kernel side's times as the host's.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// When this machine was started. The kernel side counts from there
/// (`bpf_ktime_get_boot_ns`: `CLOCK_BOOTTIME`, which goes on in suspend).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot(SystemTime);

impl Boot {
    /// By the wall clock as it is set now.
    pub(crate) fn now() -> Self {
        let up = clock_gettime(ClockId::Boottime);
        let since = Duration::new(
            up.tv_sec.try_into().unwrap_or_default(),
            up.tv_nsec.try_into().unwrap_or_default(),
        );
        Self(
            SystemTime::now()
                .checked_sub(since)
                .unwrap_or(SystemTime::UNIX_EPOCH),
        )
    }

    /// The wall time at `nanoseconds` after boot.
    pub(crate) fn at(self, nanoseconds: u64) -> SystemTime {
        self.0 + Duration::from_nanos(nanoseconds)
    }
}
