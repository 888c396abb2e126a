//! Follows the bucket that the policy comes from: looks at it every so often, brings other bundles into the policy directory, and says so.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::feeds::chance;
use super::reading::Scope;
use super::supervisor::Supervisor;
use crate::change::mirror::{Mirror, Pulled};
use crate::change::signature::Key;
use crate::config::{AgentConfig, BucketConfig};
use crate::feeds::fetch::{Failure, FailureKind, Source};
use crate::feeds::schedule::Schedule;

/// How long a start that has no policy at all waits for the bucket. There is nothing else that it could do, and the next start would wait for
/// the same.
const FIRST_BUNDLE: Duration = Duration::from_secs(60);

/// How long a look may take until it is told that it takes long.
const SLOW: Duration = Duration::from_secs(20);

/// How long a look may take as a whole.
const WHOLE: Duration = Duration::from_secs(300);

/// What is to be known of the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// A look has ended.
    Ended(Result<Pulled, Failure>),
    /// One goes on for long.
    Slow,
}

/// What looks at a bucket.
struct Follower {
    mirror: Mirror,
    keys: watch::Receiver<Vec<Key>>,
    poll: Duration,
    events: mpsc::Sender<Looked>,
}

impl Follower {
    async fn follow(mut self) {
        let mut schedule = Schedule::new(Instant::now().into_std(), None, self.poll);
        loop {
            sleep_until(schedule.due().into()).await;
            self.mirror.keys.clone_from(&self.keys.borrow_and_update());
            let looked = self.look().await;
            if looked.is_ok() {
                schedule.succeeded(Instant::now().into_std(), self.poll, chance());
            } else {
                schedule.failed(Instant::now().into_std(), self.poll, chance());
            }
            if self.events.send(Looked::Ended(looked)).await.is_err() {
                return;
            }
        }
    }

    /// One look. It is not cut off while it works on the directory: that goes on aside, and the next look would meet it there.
    async fn look(&self) -> Result<Pulled, Failure> {
        let whole = timeout(WHOLE, self.mirror.pull());
        tokio::pin!(whole);
        let looked = match timeout(SLOW, &mut whole).await {
            Ok(looked) => looked,
            Err(_elapsed) => {
                // Whoever does not listen any more learns nothing by it.
                drop(self.events.send(Looked::Slow).await);
                whole.await
            }
        };
        looked.unwrap_or_else(|_elapsed| {
            let message = format!("the bundle of the bucket was not brought within {} s", WHOLE.as_secs());
            Err(Failure::new(FailureKind::TimedOut, message))
        })
    }
}

/// The bucket of the policy; its task ends with the value.
#[derive(Debug)]
pub(super) struct BucketWatch {
    events: mpsc::Receiver<Looked>,
    /// Without a bucket nothing is ever sent, and a closed channel would be ready for ever.
    sender: mpsc::Sender<Looked>,
    keys: watch::Sender<Vec<Key>>,
}

impl BucketWatch {
    /// Without a bucket.
    pub(super) fn none() -> Self {
        let (sender, events) = mpsc::channel(1);
        Self { events, sender, keys: watch::Sender::default() }
    }

    /// Follows the bucket that the configuration names, if it names one.
    pub(super) fn start(config: &AgentConfig, source: Arc<dyn Source>) -> Self {
        let watch = Self::none();
        let Some(BucketConfig { place, poll }) = config.policy.bucket.clone() else { return watch };
        watch.verify_by(&config.policy.public_keys);
        let mirror = Mirror { source, place, directory: config.policy.directory.clone(), keys: Vec::new() };
        let (events, keys) = (watch.sender.clone(), watch.keys.subscribe());
        let follower = Follower { mirror, keys, poll: Duration::from_secs(poll.into()), events: events.clone() };
        tokio::spawn(async move {
            tokio::select! {
                () = follower.follow() => {}
                () = events.closed() => {}
            }
        });
        watch
    }

    /// Waits until the bucket has been looked at with success, for a start that has no policy; why there was none in time.
    pub(super) async fn first(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + FIRST_BUNDLE;
        let mut last = None;
        loop {
            match timeout_at(deadline, self.next()).await {
                Ok(Looked::Ended(Ok(_))) => return Ok(()),
                Ok(Looked::Ended(Err(failure))) => {
                    tracing::error!(problem = %failure, "there is no policy yet: the bucket brings no bundle; trying again");
                    last = Some(failure);
                }
                Ok(Looked::Slow) => {
                    tracing::warn!("there is no policy yet: bringing the bundle of the bucket takes long")
                }
                Err(_elapsed) => {
                    let silent = || {
                        let message =
                            format!("the bucket of the policy has not answered within {} s", FIRST_BUNDLE.as_secs());
                        Failure::new(FailureKind::TimedOut, message)
                    };
                    return Err(last.unwrap_or_else(silent));
                }
            }
        }
    }

    /// The keys that bundles must be signed by from now on.
    pub(super) fn verify_by(&self, keys: &[Key]) {
        self.keys.send_replace(keys.to_vec());
    }

    /// Waits for something to be known. May be cancelled without losing anything.
    pub(super) async fn next(&mut self) -> Looked {
        match self.events.recv().await {
            Some(looked) => looked,
            None => std::future::pending().await,
        }
    }
}

impl Supervisor {
    /// The bucket of the policy was looked at.
    pub(super) fn take_looked(&mut self, looked: Looked) {
        let bucket = self.facts.bucket.get_or_insert_default();
        match looked {
            Looked::Ended(Ok(pulled)) => {
                if bucket.problem.take().is_some() {
                    tracing::info!("the bucket of the policy is looked at again, and all is well");
                }
                bucket.looked_at = Some(OffsetDateTime::now_utc());
                if pulled == Pulled::Brought && self.config.policy.watch {
                    self.reader.ask(Scope::Policy, "the bucket offers another bundle", None);
                }
            }
            Looked::Ended(Err(failure)) => {
                if bucket.problem.as_ref() != Some(&failure.message) {
                    tracing::error!(problem = %failure, "the bucket of the policy brings no bundle; what is in force stays");
                }
                bucket.problem = Some(failure.message);
            }
            Looked::Slow => {
                tracing::warn!("bringing a bundle of the bucket takes long; what is in force stays");
                bucket.problem = Some("bringing a bundle of the bucket takes long".to_owned());
            }
        }
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::feeds::fetch::{Fetched, Request};

    /// Answers nothing, or that there is nothing.
    struct Nobody {
        is_silent: bool,
    }

    impl Source for Nobody {
        fn fetch(&self, _: Request) -> BoxFuture<'_, Result<Fetched, Failure>> {
            let is_silent = self.is_silent;
            Box::pin(async move {
                if is_silent {
                    std::future::pending::<()>().await;
                }
                Err(Failure::new(FailureKind::Refused, "SlowDown"))
            })
        }
    }

    fn watch(directory: &std::path::Path, is_silent: bool) -> BucketWatch {
        let text = format!(
            "[[interface]]\nname = \"a\"\nzones = [\"x\"]\n[policy]\nsource = \"s3\"\nbucket = \"plant-7\"\ndirectory = \"{}\"\n",
            directory.join("bundle").display()
        );
        let config = AgentConfig::parse("agent.toml", &text).unwrap();
        BucketWatch::start(&config, Arc::new(Nobody { is_silent }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_start_tries_again_and_ends_with_what_was_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let failure = watch(dir.path(), false).first().await.unwrap_err();
        assert_eq!((failure.message.as_str(), began.elapsed()), ("SlowDown", FIRST_BUNDLE));
        let failure = watch(dir.path(), true).first().await.unwrap_err();
        assert!(failure.message.contains("has not answered within 60 s"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_takes_long_is_told_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut watch = watch(dir.path(), true);
        assert_eq!(watch.next().await, Looked::Slow);
        let Looked::Ended(Err(failure)) = watch.next().await else { panic!("it has ended well") };
        assert!(failure.message.contains("was not brought within 300 s"), "{failure}");
    }
}
