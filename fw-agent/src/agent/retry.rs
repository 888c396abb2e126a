//! When what has failed is tried again: files that could not be read, or a policy that the data plane did not take. Soon at first, and
//! then less and less often, until the supervisor's rounds are as frequent.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The last one; each is twice as long as the one before.
const LAST: Duration = Duration::from_secs(16);

/// The waits since an attempt has failed first.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// The latest one.
    wait: Option<Duration>,
    /// When it is over.
    at: Option<Instant>,
}

impl Retry {
    /// Notes what an attempt came to.
    pub(super) fn note(&mut self, has_failed: bool, now: Instant) {
        self.wait = has_failed.then(|| self.wait.map_or(FIRST, |wait| wait.saturating_mul(2)));
        self.at = self.wait.filter(|wait| *wait <= LAST).map(|wait| now + wait);
    }

    /// Waits until it is time for another attempt; for ever if none has failed. May be cancelled without losing one.
    pub(super) async fn due(&mut self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_is_tried_less_and_less_often() {
        let now = Instant::now();
        let mut retry = Retry::default();
        let mut waits = Vec::new();
        for _ in 0..7 {
            retry.note(true, now);
            waits.push(retry.at.map(|at| (at - now).as_secs()));
        }
        assert_eq!(waits, [Some(1), Some(2), Some(4), Some(8), Some(16), None, None]);
        retry.note(false, now);
        assert_eq!(retry.at, None);
        retry.note(true, now);
        assert_eq!(retry.at, Some(now + FIRST), "another failure");
    }
}
