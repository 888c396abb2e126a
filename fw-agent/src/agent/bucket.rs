//! Follows the bucket that the policy comes from: looks at it every so often, brings other bundles into the policy directory, and says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::feeds::chance;
use super::reading::Scope;
use super::supervisor::Supervisor;
use crate::change::mirror::{Place, holds_bundle, pull};
use crate::config::{AgentConfig, BucketConfig};
use crate::feeds::fetch::{Failure, Source};
use crate::feeds::schedule::Schedule;

/// How long a start without any bundle waits for the bucket.
const FIRST_PULL: Duration = Duration::from_secs(10);

/// What is to be known of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pulled {
    /// Another bundle is in the directory.
    Changed,
    /// The bucket is to be had again, with the bundle that is there.
    Well,
    /// It is not, or what it offers does not fit together.
    Failed(Failure),
}

/// A bucket, the directory that its bundles are brought into, and what is known of it.
struct Bucket {
    source: Arc<dyn Source>,
    place: Place,
    directory: PathBuf,
    poll: Duration,
    /// What S3 calls the manifest of the bundle that is in the directory.
    etag: Option<String>,
    is_failing: bool,
}

impl Bucket {
    async fn look(&mut self) -> Option<Pulled> {
        let was_failing = self.is_failing;
        let pulled = pull(&*self.source, &self.place, &self.directory, self.etag.as_deref()).await;
        self.is_failing = pulled.is_err();
        match pulled {
            Ok(Some(etag)) => {
                self.etag = etag;
                Some(Pulled::Changed)
            }
            Ok(None) => was_failing.then_some(Pulled::Well),
            Err(failure) => Some(Pulled::Failed(failure)),
        }
    }

    async fn follow(mut self, first: Instant, events: mpsc::Sender<Pulled>) {
        let mut schedule = Schedule::new(first, None, self.poll);
        loop {
            sleep_until(schedule.due().into()).await;
            let pulled = self.look().await;
            if self.is_failing {
                schedule.failed(Instant::now(), self.poll, chance());
            } else {
                schedule.succeeded(Instant::now(), self.poll, chance());
            }
            if let Some(pulled) = pulled
                && events.send(pulled).await.is_err()
            {
                return;
            }
        }
    }
}

/// The bucket of the policy; its task ends with the value.
#[derive(Debug)]
pub(super) struct BucketWatch {
    events: mpsc::Receiver<Pulled>,
    /// Without a bucket nothing is ever sent, and a closed channel would be ready for ever.
    _sender: mpsc::Sender<Pulled>,
}

impl BucketWatch {
    /// Without a bucket.
    pub(super) fn none() -> Self {
        let (sender, events) = mpsc::channel(1);
        Self { events, _sender: sender }
    }

    /// Follows the bucket that the configuration names, if it names one. A start with a bundle on disk goes on with that one at once, and
    /// one without waits for the bucket for a while.
    pub(super) async fn start(config: &AgentConfig, source: Arc<dyn Source>) -> Self {
        let watch = Self::none();
        let Some(BucketConfig { place, poll }) = config.policy.bucket.clone() else { return watch };
        let (directory, poll) = (config.policy.directory.clone(), Duration::from_secs(poll.into()));
        let waits = !holds_bundle(&directory);
        let mut bucket = Bucket { source, place, directory, poll, etag: None, is_failing: false };
        let mut first = Instant::now();
        if waits {
            match timeout(FIRST_PULL, bucket.look()).await {
                Ok(Some(Pulled::Failed(failure))) => {
                    tracing::error!(problem = %failure, "there is no bundle on disk, and none to be had from the bucket");
                }
                Ok(Some(Pulled::Changed | Pulled::Well) | None) => first += poll,
                Err(_elapsed) => {
                    let seconds = FIRST_PULL.as_secs();
                    tracing::error!(seconds, "there is no bundle on disk, and the bucket has not answered in time");
                }
            }
        }
        let events = watch._sender.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = bucket.follow(first, events.clone()) => {}
                () = events.closed() => {}
            }
        });
        watch
    }

    /// Waits for something to be known. May be cancelled without losing anything.
    pub(super) async fn next(&mut self) -> Pulled {
        match self.events.recv().await {
            Some(pulled) => pulled,
            None => std::future::pending().await,
        }
    }
}

impl Supervisor {
    /// The bucket of the policy offers another bundle, or is not to be had.
    pub(super) fn take_pulled(&mut self, pulled: Pulled) {
        let had_problem = self.facts.bucket_problem.is_some();
        self.facts.bucket_problem = match pulled {
            Pulled::Changed => {
                if self.config.policy.watch {
                    self.reader.ask(Scope::Policy, "the bucket offers another bundle", None);
                }
                None
            }
            Pulled::Well => None,
            Pulled::Failed(failure) => {
                if !had_problem {
                    tracing::error!(problem = %failure, "the bucket of the policy is not to be had; the last bundle stays");
                }
                Some(failure.message)
            }
        };
        if had_problem && self.facts.bucket_problem.is_none() {
            tracing::info!("the bucket of the policy is to be had again");
        }
        self.publish();
    }
}
