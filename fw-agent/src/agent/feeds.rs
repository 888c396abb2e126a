//! The feeds of the policy in force: what their sources bring is put in force without the rest of the policy, or refused and why.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fw_policy::{AddressList, Feed, FeedKey, SourceFile};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;

use super::RunError;
use super::policy::{InForce, SharedChecker, apply, check};
use super::supervisor::Supervisor;
use crate::feeds::fetch::{Failure, FailureKind};
use crate::feeds::follower::{Arrival, Outcome};
use crate::feeds::load::Loaded;
use crate::feeds::store::Version;
use crate::policy_set::{Checker, PolicyError};

/// How long a policy waits for feeds of which nothing is known, before it begins without them.
const FIRST_FETCH: Duration = Duration::from_secs(10);

/// Fetches the feeds of a policy of which nothing is known, on the disk either. `but`: feeds that are kept fresh already.
pub(super) async fn fetch_missing(
    checker: &SharedChecker,
    files: &Arc<[SourceFile]>,
    but: &BTreeSet<FeedKey>,
) -> Result<(), RunError> {
    let (shared, files) = (Arc::clone(checker), Arc::clone(files));
    let found = spawn_blocking(move || {
        let mut checker = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // What is invalid is told by the check.
        let feeds = checker.feeds_of(&files).unwrap_or_default();
        (feeds, Arc::clone(checker.feeds()))
    });
    let (feeds, holdings) = found.await.map_err(|_| RunError::Interrupted("reading the policy"))?;
    holdings.fetch_missing(&feeds, but, FIRST_FETCH).await;
    Ok(())
}

impl Supervisor {
    /// Follows the feeds of the policy that is in force now.
    pub(super) fn follow_feeds(&mut self) {
        let feeds = &self.facts.policy.feeds;
        if !self.feeds.follow(feeds, Instant::now(), OffsetDateTime::now_utc()) {
            return;
        }
        self.publish();
        // Of a policy that was found at work and whose files are refused, nobody knows what it needs.
        if self.in_force.is_none() {
            return;
        }
        let wanted = self.feeds.keys();
        let holdings = Arc::clone(self.feeds.holdings());
        holdings.forget_all_but(&wanted);
        let wanted: BTreeSet<String> = wanted.iter().map(ToString::to_string).collect();
        // Nobody waits for it.
        drop(spawn_blocking(move || {
            if let Err(error) = holdings.store().tidy(|key| wanted.contains(key), SystemTime::now()) {
                tracing::warn!(%error, "old lists of feeds could not be removed");
            }
        }));
    }

    /// Takes what a source has brought.
    pub(super) async fn take_feed(&mut self, arrival: Arrival) {
        let Arrival { feed, loaded } = arrival;
        if !self.feeds.follows(&feed) {
            return;
        }
        let had_problem = self.facts.feeds.iter().any(|facts| facts.name == feed.name() && facts.problem.is_some());
        let outcome = match loaded {
            Ok(Loaded::Unchanged(etag)) => {
                self.confirm_feed(&feed, etag);
                Outcome::Unchanged
            }
            Ok(Loaded::List { list, bytes, version }) => match self.change_feed(&feed, list, version.clone()).await {
                Ok(()) => {
                    // Whatever of an older one waits for the disk, this one takes its place.
                    drop(self.feeds.holdings().take_unkept(&feed.key()));
                    drop(self.feeds.holdings().keep(&feed, bytes, version));
                    Outcome::Changed
                }
                Err(failure) => Outcome::Failed(failure),
            },
            Err(failure) => Outcome::Failed(failure),
        };
        match &outcome {
            Outcome::Failed(failure) if !had_problem => {
                let holds = if self.feeds.holdings().held(&feed.key()).is_some() {
                    "its last list stays"
                } else {
                    "it has no list, and matches nothing"
                };
                tracing::error!(feed = feed.name(), kind = %failure.kind, problem = %failure, "a feed has failed; {holds}");
            }
            Outcome::Changed | Outcome::Unchanged if had_problem => {
                tracing::info!(feed = feed.name(), "a feed is to be had again");
            }
            Outcome::Failed(_) | Outcome::Changed | Outcome::Unchanged => {}
        }
        self.feeds.settle(&feed, outcome, Instant::now(), chance());
        self.publish();
    }

    /// The list that is held is the latest. Of one that is not on disk yet, the time of what is there must not say so.
    fn confirm_feed(&self, feed: &Feed, etag: Option<String>) {
        let now = OffsetDateTime::now_utc();
        let holdings = Arc::clone(self.feeds.holdings());
        let key = feed.key();
        holdings.confirm(&key, etag, now);
        if let Some((bytes, version)) = holdings.take_unkept(&key) {
            return drop(holdings.keep(feed, bytes, version));
        }
        holdings.keep_time(&key, now);
    }

    /// Puts another list of a feed in force.
    async fn change_feed(&mut self, feed: &Feed, list: AddressList, version: Version) -> Result<(), Failure> {
        let of_files = (self.facts.policy.outcome, self.facts.policy.problem.clone());
        let changed = self.try_list(feed, &list).await;
        // What the files on disk came to stays true.
        (self.facts.policy.outcome, self.facts.policy.problem) = of_files;
        changed.map_err(|error| {
            let is_refused = matches!(
                error,
                RunError::Policy(PolicyError::TestsFailed(_) | PolicyError::Lockout(_) | PolicyError::Set(_))
            );
            let (kind, what) = if is_refused {
                (FailureKind::Policy, "is refused")
            } else {
                (FailureKind::NotApplied, "could not be put in force")
            };
            Failure::new(kind, format!("{}: the new list of {} entries {what}: {error}", feed.url(), list.entries()))
        })?;
        self.feeds.holdings().insert(feed.key(), list, version, OffsetDateTime::now_utc());
        Ok(())
    }

    async fn try_list(&mut self, feed: &Feed, list: &AddressList) -> Result<(), RunError> {
        // Without one there are no feeds.
        let Some(InForce { files, binding, keep_access }) = self.in_force.clone() else { return Ok(()) };
        let (running, now) = (self.facts.policy.compiled.clone(), OffsetDateTime::now_utc());
        let (own, feed_and_list) = (Arc::clone(&files), (feed.clone(), list.clone()));
        let compiled = check(&self.checker, files, move |checker: &mut Checker, _| {
            let (feed, list) = &feed_and_list;
            checker.replace_feed(&own, (feed, list), &binding, now, running.as_deref())
        });
        let checked = compiled.await??;
        if keep_access {
            self.check_access(&checked).await?;
        }
        let reason = format!("the list of the feed {} has changed", feed.name());
        apply(&self.dataplane, checked, &reason, &mut self.facts).await
    }
}

/// Any number; without one, all firewalls ask at the same times.
pub(super) fn chance() -> u32 {
    let mut bytes = [0; 4];
    let _filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u32::from_ne_bytes(bytes)
}
