//! The clock of confirmations: time since the boot, which nobody sets, and which boot that is.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment of one boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Tells boots apart (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Milliseconds of `CLOCK_BOOTTIME`, which also counts while the machine sleeps.
    pub at: u64,
}

impl Moment {
    /// Now. A machine that does not tell its boots apart has one without a name.
    #[must_use]
    pub fn now() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { boot: boot.trim().to_owned(), at: Self::since_boot() }
    }

    /// Milliseconds since this boot, as [`Self::at`].
    #[must_use]
    pub fn since_boot() -> u64 {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let milliseconds = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
        seconds.saturating_mul(1_000).saturating_add(milliseconds)
    }

    /// So much later, as [`Self::at`].
    #[must_use]
    pub fn after(&self, time: Duration) -> u64 {
        self.at.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }
}
