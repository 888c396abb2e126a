//! The world as it is, and as it was described a while ago.

use std::collections::VecDeque;

use super::{Time, World};

/// The world with its past, as far back as descriptions lag.
#[derive(Clone, Debug)]
pub struct History {
    live: World,
    /// What the world was like after each change, from the oldest to the newest.
    past: VecDeque<(Time, World)>,
}

impl History {
    /// A world that begins now.
    #[must_use]
    pub fn new(world: World) -> Self {
        Self { past: VecDeque::from([(Time::ZERO, world.clone())]), live: world }
    }

    /// The world as it is.
    pub fn live(&mut self, now: Time) -> &mut World {
        self.live.settle(now);
        &mut self.live
    }

    /// Notes that the world has been changed at this time.
    pub fn note(&mut self, now: Time) {
        self.past.push_back((now, self.live.clone()));
        let seen_from = now.saturating_sub(self.live.settings.described_lag);
        // The newest that is old enough is still what is described.
        while self.past.get(1).is_some_and(|(at, _)| *at <= seen_from) {
            self.past.pop_front();
        }
    }

    /// The world as descriptions show it.
    #[must_use]
    pub fn described(&mut self, now: Time) -> World {
        let seen = now.saturating_sub(self.live.settings.described_lag);
        let newest = self.past.iter().rev().find(|(at, _)| *at <= seen).or_else(|| self.past.front());
        let mut world = newest.map_or_else(|| self.live.clone(), |(_, world)| world.clone());
        world.settle(seen);
        world
    }
}
