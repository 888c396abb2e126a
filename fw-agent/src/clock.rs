//! From the program's timestamps to the time of day.
//!
//! The program stamps with `CLOCK_MONOTONIC`, which no clock correction moves. A conversion takes the distance to the
//! wall clock as it is now, so a record of something that happened before the wall clock was stepped is shown in the
//! corrected time.

use rustix::time::{ClockId, Timespec, clock_gettime};
use time::{Duration, OffsetDateTime};

/// The distance between the two clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: OffsetDateTime,
    monotonic: Duration,
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        Self::at(OffsetDateTime::now_utc(), duration(clock_gettime(ClockId::Monotonic)))
    }

    /// Both clocks at one moment: the wall clock, and `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn at(wall: OffsetDateTime, monotonic: Duration) -> Self {
        Self { wall, monotonic }
    }

    /// The time of day of that moment.
    #[must_use]
    pub const fn now(&self) -> OffsetDateTime {
        self.wall
    }

    /// Nanoseconds of `CLOCK_MONOTONIC` of that moment.
    #[must_use]
    pub fn monotonic(&self) -> u64 {
        u64::try_from(self.monotonic.whole_nanoseconds()).unwrap_or_default()
    }

    /// The time of day at which `CLOCK_MONOTONIC` showed this many nanoseconds.
    #[must_use]
    pub fn wall(&self, monotonic_ns: u64) -> OffsetDateTime {
        let then = Duration::nanoseconds(i64::try_from(monotonic_ns).unwrap_or(i64::MAX));
        self.wall.saturating_add(then - self.monotonic)
    }

    /// Seconds from `then`, in seconds of `CLOCK_MONOTONIC`, to now; zero if it lies ahead.
    #[must_use]
    pub fn seconds_since(&self, then: u64) -> u64 {
        u64::try_from(self.monotonic.whole_seconds()).unwrap_or(0).saturating_sub(then)
    }
}

fn duration(time: Timespec) -> Duration {
    let nanoseconds = i32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(time.tv_sec, nanoseconds)
}

/// RFC 3339 in UTC with milliseconds.
#[must_use]
pub fn rfc3339(at: OffsetDateTime) -> String {
    use time::macros::format_description;
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_timestamp_is_as_far_from_now_on_both_clocks() {
        let clock = Clock::at(datetime!(2026-12-01 12:00:00 UTC), Duration::seconds(1_000));
        assert_eq!(rfc3339(clock.wall(990_250_000_000)), "2026-12-01T11:59:50.250Z");
        assert_eq!(clock.seconds_since(400), 600);
        assert_eq!(clock.seconds_since(2_000), 0);
    }
}
