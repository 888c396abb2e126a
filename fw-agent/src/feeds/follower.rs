//! Keeps the feeds of the policy in force fresh: asks each source when its time has come, and hands over what it brings.
//!
//! What is brought is put in force by the agent's own task, which says what came of it; only then is the next attempt planned.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fw_policy::{Feed, FeedKey};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::facts::{Attempts, FeedFacts, ListFacts};
use super::fetch::Failure;
use super::held::Holdings;
use super::load::{Loaded, load};
use super::schedule::Schedule;

/// So many sources are asked at once.
const AT_ONCE: usize = 4;

/// What a source has brought.
#[derive(Debug)]
pub struct Arrival {
    /// Which feed, as it was when its source was asked.
    pub feed: Feed,
    /// What it is.
    pub loaded: Result<Loaded, Failure>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Another list is in force.
    Changed,
    /// The same list is the latest.
    Unchanged,
    /// The last list stays.
    Failed(Failure),
}

#[derive(Debug)]
struct Followed {
    feed: Feed,
    schedule: Schedule,
    is_asked: bool,
    problem: Option<String>,
    attempts: Attempts,
}

/// The feeds that are followed.
#[derive(Debug, Default)]
pub struct Follower {
    holdings: Arc<Holdings>,
    /// What was last said to be followed.
    feeds: Arc<[Feed]>,
    followed: BTreeMap<FeedKey, Followed>,
    asked: JoinSet<Arrival>,
}

impl Follower {
    /// Follows nothing yet.
    #[must_use]
    pub fn new(holdings: Arc<Holdings>) -> Self {
        Self { holdings, ..Self::default() }
    }

    /// What is known of feeds.
    #[must_use]
    pub const fn holdings(&self) -> &Arc<Holdings> {
        &self.holdings
    }

    /// The feeds that are followed.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<FeedKey> {
        self.followed.keys().cloned().collect()
    }

    /// Follows these feeds from now on, and no others; whether they are others than before. What is known of those that stay, stays.
    pub fn follow(&mut self, feeds: &Arc<[Feed]>, now: Instant, wall: OffsetDateTime) -> bool {
        if Arc::ptr_eq(&self.feeds, feeds) {
            return false;
        }
        self.feeds = Arc::clone(feeds);
        let mut before = std::mem::take(&mut self.followed);
        for feed in feeds.iter() {
            let key = feed.key();
            let followed = match before.remove(&key) {
                Some(followed) => Followed { feed: feed.clone(), ..followed },
                None => {
                    let held = self.holdings.held(&key);
                    let asked = held.map(|held| Duration::try_from(wall - held.confirmed_at).unwrap_or_default());
                    let schedule = Schedule::new(now, asked, refresh(feed));
                    let (problem, attempts) = (None, Attempts::default());
                    Followed { feed: feed.clone(), schedule, is_asked: false, problem, attempts }
                }
            };
            self.followed.insert(key, followed);
        }
        true
    }

    /// Waits until a source has brought something; for ever if there is none. May be cancelled without losing anything.
    pub async fn next(&mut self) -> Arrival {
        loop {
            self.ask(Instant::now());
            let waiting = self.followed.values().filter(|followed| !followed.is_asked);
            let due = waiting.map(|followed| followed.schedule.due()).min().filter(|_| self.asked.len() < AT_ONCE);
            let due = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some(brought) = self.asked.join_next() => match brought {
                    Ok(arrival) => return arrival,
                    // One that was cut off is not known by its name: all that are asked are asked again.
                    Err(error) => {
                        tracing::error!(%error, "fetching a feed was cut off");
                        self.followed.values_mut().for_each(|followed| followed.is_asked = false);
                        self.asked = JoinSet::new();
                    }
                },
                () = due => {}
            }
        }
    }

    /// Asks those whose time has come, the one that has waited for longest first.
    fn ask(&mut self, now: Instant) {
        let Some(source) = self.holdings.source() else { return };
        let mut due: Vec<_> = self
            .followed
            .iter_mut()
            .filter(|(_, followed)| !followed.is_asked && followed.schedule.due() <= now)
            .collect();
        due.sort_by_key(|(_, followed)| followed.schedule.due());
        for (key, followed) in due.into_iter().take(AT_ONCE.saturating_sub(self.asked.len())) {
            followed.is_asked = true;
            let (source, feed) = (Arc::clone(&source), followed.feed.clone());
            let known = self.holdings.held(key).map(|held| held.version);
            self.asked.spawn(async move {
                let loaded = load(&*source, &feed, known.as_ref()).await;
                Arrival { feed, loaded }
            });
        }
    }

    /// A feed is still followed, so that what its source has brought counts.
    #[must_use]
    pub fn follows(&self, feed: &Feed) -> bool {
        self.followed.contains_key(&feed.key())
    }

    /// Plans the next attempt, after the last one came to this. `chance` is any number.
    pub fn settle(&mut self, feed: &Feed, outcome: Outcome, now: Instant, chance: u32) {
        let Some(followed) = self.followed.get_mut(&feed.key()) else { return };
        followed.is_asked = false;
        let refresh = refresh(&followed.feed);
        match outcome {
            Outcome::Changed | Outcome::Unchanged => {
                let is_changed = outcome == Outcome::Changed;
                *if is_changed { &mut followed.attempts.changed } else { &mut followed.attempts.unchanged } += 1;
                followed.problem = None;
                followed.schedule.succeeded(now, refresh, chance);
            }
            Outcome::Failed(Failure { kind, message }) => {
                *followed.attempts.failed.entry(kind).or_default() += 1;
                followed.problem = Some(message);
                followed.schedule.failed(now, refresh, chance);
            }
        }
    }

    /// What there is to know of them.
    #[must_use]
    pub fn facts(&self, wall: OffsetDateTime) -> Vec<FeedFacts> {
        let facts = self.feeds.iter().filter_map(|feed| {
            let followed = self.followed.get(&feed.key())?;
            let held = self.holdings.held(&feed.key());
            let oldest = wall - Duration::from_secs(feed.max_age().into());
            Some(FeedFacts {
                name: feed.name().to_owned(),
                url: feed.url().to_string(),
                is_stale: held.as_ref().is_some_and(|held| held.confirmed_at < oldest),
                list: held.map(|held| ListFacts { entries: held.entries, confirmed_at: held.confirmed_at }),
                problem: followed.problem.clone(),
                unkept: self.holdings.why_unkept(&feed.key()),
                attempts: followed.attempts.clone(),
            })
        });
        facts.collect()
    }
}

fn refresh(feed: &Feed) -> Duration {
    Duration::from_secs(feed.refresh().into())
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
