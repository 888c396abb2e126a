//! Whether a way is alive: a pure decision over the outcomes of its probes, with hysteresis, so that one lost packet changes
//! nothing and a way that comes and goes is dead. Times are passed in.

use std::time::Duration;

use crate::config::ProbeConfig;

/// What is known of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Life {
    /// Too few probes have been answered or lost since the start.
    #[default]
    Unknown,
    /// It works.
    Alive,
    /// It does not.
    Dead,
}

impl Life {
    /// The name in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alive => "alive",
            Self::Dead => "dead",
        }
    }
}

/// The limits of [`Health`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many failures in a row, and the way is dead.
    pub dead_after: u32,
    /// So many answers in a row, and it is alive.
    pub alive_after: u32,
    /// For at least so long a way that has died stays dead.
    pub hold_down: Duration,
}

impl From<&ProbeConfig> for Limits {
    fn from(config: &ProbeConfig) -> Self {
        Self { dead_after: config.dead_after, alive_after: config.alive_after, hold_down: config.hold_down }
    }
}

/// The health of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Health {
    life: Life,
    /// Outcomes of one kind in a row, and which kind.
    answered: bool,
    in_a_row: u32,
    /// When it died, as [`Self::note`] counts time.
    died_at: Duration,
}

impl Health {
    /// What is known.
    #[must_use]
    pub const fn life(&self) -> Life {
        self.life
    }

    /// Notes the outcome of a probe at `now`, a time that only counts up. Whether the way has another life by that.
    pub fn note(&mut self, answered: bool, now: Duration, limits: &Limits) -> bool {
        self.in_a_row = if self.answered == answered { self.in_a_row.saturating_add(1) } else { 1 };
        self.answered = answered;
        let is_held_down = self.life == Life::Dead && now.saturating_sub(self.died_at) < limits.hold_down;
        let next = match (answered, self.in_a_row) {
            (true, in_a_row) if in_a_row >= limits.alive_after && !is_held_down => Life::Alive,
            (false, in_a_row) if in_a_row >= limits.dead_after => Life::Dead,
            _ => self.life,
        };
        if next == Life::Dead && self.life != Life::Dead {
            self.died_at = now;
        }
        let changes = next != self.life;
        self.life = next;
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { dead_after: 3, alive_after: 2, hold_down: Duration::from_secs(10) };

    /// The lives after each outcome, one a second.
    fn lives(outcomes: &str) -> String {
        let mut health = Health::default();
        let outcomes = outcomes.chars().zip(0..);
        let life = |(outcome, second): (char, u64)| {
            health.note(outcome == '+', Duration::from_secs(second), &LIMITS);
            match health.life() {
                Life::Unknown => '?',
                Life::Alive => 'A',
                Life::Dead => 'D',
            }
        };
        outcomes.map(life).collect()
    }

    #[test]
    fn it_takes_some_of_a_kind_in_a_row() {
        assert_eq!(lives("++"), "?A");
        assert_eq!(lives("---"), "??D");
        assert_eq!(lives("+-+-+-"), "??????");
        assert_eq!(lives("++--+--+---"), "?AAAAAAAAAD");
    }

    #[test]
    fn what_has_died_is_held_down_and_comes_back_with_the_next_answer_after_that() {
        assert_eq!(lives("---++++++++++"), "??DDDDDDDDDDA");
        assert_eq!(lives("---+++++++++-++"), "??DDDDDDDDDDDDA", "answers in a row count");
        assert_eq!(
            lives("---++++---++++++++"),
            "??DDDDDDDDDDAAAAAA",
            "failures of one that is dead do not hold it down longer"
        );
    }

    proptest! {
        #[test]
        fn no_life_ends_sooner_than_its_limits_allow(outcomes in proptest::collection::vec(any::<bool>(), 1..200)) {
            let mut health = Health::default();
            let mut died = None;
            for (second, answered) in (0..).zip(&outcomes) {
                let before = health.life();
                let changes = health.note(*answered, Duration::from_secs(second), &LIMITS);
                prop_assert_eq!(changes, before != health.life());
                let row = outcomes[..=second as usize].iter().rev().take_while(|other| *other == answered).count();
                match health.life() {
                    Life::Alive if changes => {
                        prop_assert!(row >= 2);
                        prop_assert!(died.is_none_or(|died| second - died >= 10));
                    }
                    Life::Dead if changes => {
                        prop_assert!(row >= 3);
                        died = Some(second);
                    }
                    Life::Unknown => prop_assert!(before == Life::Unknown),
                    Life::Alive | Life::Dead => {}
                }
            }
        }
    }
}
