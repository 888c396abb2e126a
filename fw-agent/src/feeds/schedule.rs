//! When a feed is looked at next: in its rhythm while all is well, and after a failure soon, then less and less often until it is in its
//! rhythm again. Nothing here reads a clock or is random: both come in.

use std::time::{Duration, Instant};

/// The wait after the first failure; each further one is twice as long, up to the feed's own rhythm.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// When the next attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    due: Instant,
    /// Failures since the last success.
    failures: u32,
}

impl Schedule {
    /// Of a feed whose source was last asked so long ago; `None`: never, so that it is due at once.
    #[must_use]
    pub fn new(now: Instant, asked: Option<Duration>, refresh: Duration) -> Self {
        let wait = asked.map_or(Duration::ZERO, |asked| refresh.saturating_sub(asked));
        Self { due: now + wait, failures: 0 }
    }

    /// When the next attempt is due.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// The source has answered. `chance` is any number, of which all are as likely: many firewalls must not ask at once.
    pub fn succeeded(&mut self, now: Instant, refresh: Duration, chance: u32) {
        self.failures = 0;
        // A tenth of the rhythm earlier at most.
        self.due = now + shortened(refresh, refresh / 10, chance);
    }

    /// An attempt has failed.
    pub fn failed(&mut self, now: Instant, refresh: Duration, chance: u32) {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let wait = FIRST_RETRY.saturating_mul(doubled).min(refresh);
        self.failures = self.failures.saturating_add(1);
        self.due = now + shortened(wait, wait / 2, chance);
    }
}

/// A time, less a part of another one that `chance` decides.
fn shortened(time: Duration, by: Duration, chance: u32) -> Duration {
    time - by.mul_f64(f64::from(chance) / f64::from(u32::MAX)).min(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn what_was_never_asked_is_due_at_once_and_the_rest_when_its_time_has_come() {
        let now = Instant::now();
        assert_eq!(Schedule::new(now, None, MINUTE).due(), now);
        assert_eq!(Schedule::new(now, Some(MINUTE / 4), MINUTE).due(), now + MINUTE * 3 / 4);
        assert_eq!(Schedule::new(now, Some(MINUTE * 9), MINUTE).due(), now);
    }

    #[test]
    fn a_success_brings_the_rhythm_back_a_little_early() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, None, MINUTE);
        schedule.failed(now, MINUTE, 0);
        for (chance, wait) in [(0, 60.0), (u32::MAX, 54.0), (u32::MAX / 2, 57.0)] {
            schedule.succeeded(now, MINUTE, chance);
            let got = (schedule.due() - now).as_secs_f64();
            assert!((got - wait).abs() < 0.01 && schedule.failures() == 0, "{chance}: {got}");
        }
    }

    #[test]
    fn failures_are_tried_again_soon_and_then_in_the_rhythm() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, None, MINUTE);
        let mut waits = Vec::new();
        for _ in 0..40 {
            schedule.failed(now, MINUTE, 0);
            waits.push((schedule.due() - now).as_secs());
        }
        assert_eq!(waits[..7], [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!((waits[39], schedule.failures()), (60, 40));
        schedule.failed(now, MINUTE, u32::MAX);
        assert_eq!(schedule.due(), now + MINUTE / 2, "half as long by chance");
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(now, None, second);
        schedule.failed(now, second, 0);
        assert_eq!(schedule.due(), now + second, "never more seldom than without a failure");
    }
}
