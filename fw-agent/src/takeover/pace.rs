//! When to look again: often while something moves, seldom while all is well, and less and less often while AWS fails. Nothing here
//! reads a clock or is random.

use std::time::Duration;

/// While something moves.
const MOVING: Duration = Duration::from_millis(500);

/// While something moves, and has for long: moving an interface takes a minute at times.
const SLOWLY: Duration = Duration::from_secs(2);

/// So many looks are often.
const OFTEN: u32 = 60;

/// While somebody else has the set.
const REFUSED: Duration = Duration::from_secs(5);

/// While all is well: somebody may take an interface away by hand.
const DONE: Duration = Duration::from_secs(30);

/// The wait after the first failure; each further one is twice as long, up to [`LONGEST`].
const FAILED: Duration = Duration::from_secs(1);

/// Throttling counts all calls of the account, so that other people's calls fail too.
const THROTTLED: Duration = Duration::from_secs(4);

const LONGEST: Duration = Duration::from_secs(60);

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// All is as it should be.
    Done,
    /// Something moves.
    Underway,
    /// Somebody else has the set.
    Refused,
    /// A call has failed.
    Failed,
    /// There were too many calls.
    Throttled,
}

/// What went before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    moving: u32,
    failures: u32,
}

impl Pace {
    /// How long to wait after a round. `chance` is any number, of which all are as likely: many must not ask at once.
    pub fn next(&mut self, round: Round, chance: u32) -> Duration {
        self.moving = if round == Round::Underway { self.moving.saturating_add(1) } else { 0 };
        self.failures = match round {
            Round::Failed | Round::Throttled => self.failures.saturating_add(1),
            Round::Done | Round::Underway | Round::Refused => 0,
        };
        let doubled = |first: Duration| {
            let times = 1u32.checked_shl(self.failures.saturating_sub(1)).unwrap_or(u32::MAX);
            first.saturating_mul(times).min(LONGEST)
        };
        let wait = match round {
            Round::Underway if self.moving <= OFTEN => MOVING,
            Round::Underway => SLOWLY,
            Round::Refused => REFUSED,
            Round::Done => DONE,
            Round::Failed => doubled(FAILED),
            Round::Throttled => doubled(THROTTLED),
        };
        wait - (wait / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(pace: &mut Pace, round: Round) -> u128 {
        pace.next(round, 0).as_millis()
    }

    #[test]
    fn it_looks_often_while_something_moves_and_seldom_otherwise() {
        let mut pace = Pace::default();
        for _ in 0..OFTEN {
            assert_eq!(millis(&mut pace, Round::Underway), 500);
        }
        assert_eq!(millis(&mut pace, Round::Underway), 2_000);
        assert_eq!(millis(&mut pace, Round::Refused), 5_000);
        assert_eq!(millis(&mut pace, Round::Done), 30_000);
        assert_eq!(millis(&mut pace, Round::Underway), 500);
        assert_eq!(pace.next(Round::Underway, u32::MAX).as_millis(), 250);
    }

    #[test]
    fn failures_are_tried_again_less_and_less_often() {
        let mut pace = Pace::default();
        let waits: Vec<_> = (0..9).map(|_| millis(&mut pace, Round::Failed) / 1_000).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(millis(&mut pace, Round::Done), 30_000);
        assert_eq!(millis(&mut pace, Round::Throttled), 4_000);
        assert_eq!(millis(&mut pace, Round::Throttled), 8_000);
        for _ in 0..60 {
            assert!(pace.next(Round::Failed, 7) <= LONGEST);
        }
    }
}
