//! The kernel side's times as the host's.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// When this machine was started. The kernel side counts from there
/// (`bpf_ktime_get_boot_ns`: `CLOCK_BOOTTIME`, which goes on in suspend).
///
/// Taken once, when the guard is started, and kept with it: so every reader
/// gives an event the same time, whatever is done to the wall clock meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boot {
    nanoseconds: u64,
}

/// Time since this machine was started (`CLOCK_BOOTTIME`).
fn since_start() -> Duration {
    let up = clock_gettime(ClockId::Boottime);
    Duration::new(
        up.tv_sec.try_into().unwrap_or_default(),
        up.tv_nsec.try_into().unwrap_or_default(),
    )
}

/// The same in whole seconds.
pub(crate) fn uptime() -> u64 {
    since_start().as_secs()
}

impl Boot {
    /// By the wall clock as it is set now.
    pub(crate) fn now() -> Self {
        let since = since_start();
        let epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self::since_epoch(u64::try_from(epoch.saturating_sub(since).as_nanos()).unwrap_or(u64::MAX))
    }

    /// As it was kept.
    pub(crate) fn since_epoch(nanoseconds: u64) -> Self {
        Self { nanoseconds }
    }

    /// In nanoseconds since the epoch, to be kept.
    pub(crate) fn nanoseconds(self) -> u64 {
        self.nanoseconds
    }

    /// The wall time at `nanoseconds` after boot.
    pub(crate) fn at(self, nanoseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.nanoseconds.saturating_add(nanoseconds))
    }
}
