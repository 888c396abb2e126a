//! The one task that changes things: it waits for whatever happens next, and follows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::RunError;
use super::adopted::Seats;
use super::bucket::BucketWatch;
use super::changes::Owed;
use super::housekeeping::Housekeeper;
use super::options::RunOptions;
use super::orders::{Order, Orders};
use super::policy::{InForce, SharedChecker};
use super::reading::{Known, Progress, Read, Reader, Scope, Slow};
use super::retry::Retry;
use super::vouching::Vouching;
use super::watch::Watch;
use crate::api;
use crate::api::answers::Reload;
use crate::api::change::ChangeRequest;
use crate::api::server::ReloadRequest;
use crate::change::Moment;
use crate::change::audit::Audit;
use crate::change::bundle::Bundle;
use crate::config::AgentConfig;
use crate::dataplane::{AttachedInterface, Dataplane};
use crate::enis::Enis;
use crate::facts::{Facts, Outcome, Shared, SlowRead};
use crate::feeds::follower::Follower;
use crate::fragments::Keeper;
use crate::host::handover::Pair;
use crate::netlink::events::{Batch, Events};
use crate::netlink::kernel::Kernel;
use crate::netlink::neighbours::KnownMacs;
use crate::netlink::state::Observed;
use crate::probe::Prober;

/// How often everything is compared anew, whether or not something has happened.
const ROUND: Duration = Duration::from_secs(30);

/// How often it is checked that what keeps packets from crossing uninspected, and what keeps them crossing, still stands.
const GUARD: Duration = Duration::from_secs(3);

/// The longest wait for a rule's start or expiry, so that a stepped wall clock is noticed.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A running agent.
pub(super) struct Supervisor {
    pub(super) options: RunOptions,
    pub(super) config: AgentConfig,
    pub(super) dataplane: Arc<dyn Dataplane>,
    pub(super) kernel: Kernel,
    pub(super) events: Events,
    pub(super) watch: Watch,
    /// What brings bundles of a bucket into the policy directory.
    pub(super) bucket: BucketWatch,
    pub(super) reloads: mpsc::Receiver<ReloadRequest>,
    pub(super) requests: mpsc::Receiver<ChangeRequest>,
    /// What reads files beside this task, so that nothing else waits for them.
    pub(super) reader: Reader,
    /// When a policy is tried again whose files could not be read, or that the data plane did not take.
    pub(super) retry: Retry,
    pub(super) shared: Arc<Shared>,
    pub(super) facts: Facts,
    pub(super) vouching: Vouching,
    pub(super) checker: SharedChecker,
    /// What keeps the feeds of the policy in force fresh.
    pub(super) feeds: Follower,
    /// What the policy directory held when it was last read whole.
    pub(super) bundle: Option<Bundle>,
    /// What of the changes is still to be done.
    pub(super) owed: Owed,
    /// Who did what.
    pub(super) audit: Audit,
    /// The policy that judges packets; a rule of it expires also while the files on disk are invalid.
    pub(super) in_force: Option<InForce>,
    /// Which device is which network interface of AWS.
    pub(super) enis: Enis,
    /// What the kernel had at the last look.
    pub(super) observed: Observed,
    /// The slots of a policy that was found running and goes on, where `agent.toml` has other ones.
    pub(super) kept: Option<Seats>,
    /// Interfaces that carry the program, by slot.
    pub(super) attached: BTreeMap<u32, AttachedInterface>,
    /// Next hops of our routes, by interface.
    pub(super) next_hops: BTreeSet<(u32, IpAddr)>,
    /// The hand-over devices that the data plane knows.
    pub(super) pair: Pair,
    pub(super) macs: KnownMacs,
    /// Number of neighbours that the kernel keeps fresh.
    pub(super) managed: usize,
    /// Routes whose refusal by the kernel has been reported.
    pub(super) reported: BTreeSet<String>,
    pub(super) housekeeper: Housekeeper,
    /// Fragments that wait for the first one of their datagram.
    pub(super) keeper: Keeper,
    /// Asks whether the ways work.
    pub(super) prober: Prober,
    /// Tasks that serve the socket and HTTP; they end with the agent.
    pub(super) servers: tokio::task::JoinSet<()>,
}

impl Supervisor {
    /// Follows whatever happens until it is told to stop.
    pub(super) async fn supervise(mut self, mut orders: Orders) -> Result<(), RunError> {
        let mut rounds = interval_at(Instant::now() + ROUND, ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut guards = interval_at(Instant::now() + GUARD, GUARD);
        guards.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.note_attempt();
        loop {
            if self.reader.is_due() {
                let known = self.known();
                self.reader.begin(known);
            }
            self.follow_feeds();
            let next_change = self.until_next_change();
            tokio::select! {
                order = orders.next() => match order {
                    Order::Stop => break,
                    Order::Reload => self.reader.ask(Scope::Everything, "SIGHUP", None),
                },
                batch = self.events.next() => match batch {
                    Some(batch) => self.follow(batch).await,
                    None => self.resubscribe().await?,
                },
                looked = self.bucket.next() => self.take_looked(looked),
                () = self.watch.settled() => self.reader.ask(Scope::Policy, "the files have changed", None),
                Some(request) = self.requests.recv() => self.change(request).await,
                Some(client) = self.reloads.recv() => self.reader.ask(Scope::Everything, "fwctl reload", Some(client)),
                progress = self.reader.progress() => match progress {
                    Progress::Done(read) => self.take(*read).await,
                    Progress::Slow(slow) => self.tell_slow(slow),
                },
                () = self.prober.changed() => self.follow_probes().await,
                answer = self.enis.next() => self.take_enis(answer).await,
                arrival = self.feeds.next() => self.take_feed(arrival).await,
                () = self.retry.due() => self.reader.ask(Scope::PolicyIfChanged, "another attempt", None),
                () = sleep(next_change) => {
                    self.follow_deadline().await;
                    self.follow_schedule().await;
                }
                _ = rounds.tick() => self.round().await,
                _ = guards.tick() => self.guard().await,
            }
        }
        self.stop().await;
        Ok(())
    }

    /// Checks what others can break without a notification, and puts it back.
    async fn guard(&mut self) {
        self.vouching.renew(&*self.dataplane);
        self.follow_deadline().await;
        self.settle().await;
        self.watch_tables();
        self.keep_forward_chain().await;
        self.keep_handover().await;
        let forwarding = self.facts.forwarding;
        if self.keep_attachments() || crate::host::sysctl::is_forwarding() != forwarding {
            self.reconcile(false).await;
        } else {
            self.publish();
        }
    }

    /// Compares everything anew.
    async fn round(&mut self) {
        self.guard().await;
        self.reconcile(true).await;
        if self.config.policy.watch {
            self.reader.ask(Scope::PolicyIfChanged, "a look at the files", None);
        }
    }

    /// Makes of what was read what is in force, `agent.toml` first, and tells those who have asked.
    async fn take(&mut self, read: Read) {
        let reason = read.reason.as_str();
        self.tell_read();
        let whole = read.config.is_some();
        let unread = matches!(&read.config, Some(Err(error)) if error.exit_code() == 1);
        match read.config {
            Some(Ok((config, waiting))) => {
                tracing::info!(reason, waiting_for_restart = ?waiting, "read agent.toml");
                self.config = config;
                self.bucket.verify_by(&self.config.policy.public_keys);
                self.facts.config_problem = None;
                self.facts.waiting_for_restart = waiting;
                self.set_settings();
                self.configure_probes();
                self.watch_tables();
            }
            Some(Err(error)) => {
                let verdict = error.verdict();
                tracing::error!(reason, problem = %error, "agent.toml {verdict}: going on with what it said before");
                self.facts.config_problem = Some(error.to_string());
            }
            None => {}
        }
        if read.unwatched {
            self.watch.renew();
        }
        if let Some(policy) = read.policy {
            self.take_policy(policy, reason, whole, read.apply).await;
        }
        self.note_attempt();
        if whole {
            self.reconcile(false).await;
        }
        let mut result = self.reload_result();
        if unread && self.facts.policy.outcome != Outcome::Refused {
            result.result = Outcome::Failed.name().to_owned();
        }
        for client in read.clients {
            let _client_is_gone = client.send(result.clone());
        }
    }

    /// A lock that is held for long, or a file system that fails, may be over before anything of the files changes.
    fn note_attempt(&mut self) {
        let has_failed = self.config.policy.watch && self.facts.policy.outcome == Outcome::Failed;
        self.retry.note(has_failed, Instant::now());
    }

    /// What the next reading goes on from.
    fn known(&self) -> Known {
        Known {
            config_file: self.options.config.clone(),
            config: self.config.clone(),
            checker: SharedChecker::clone(&self.checker),
            running: self.facts.policy.compiled.clone(),
            bundle: self.bundle.clone(),
            standing: self.standing(),
            followed: self.feeds.keys(),
            again: self.facts.policy.outcome == Outcome::Failed,
        }
    }

    /// Says that files are not read, to the log once, and to those who have waited for it.
    fn tell_slow(&mut self, slow: Slow) {
        let slow_read = SlowRead { path: slow.path, since: slow.since };
        if self.facts.slow_read.is_none() {
            tracing::warn!(path = %slow_read.path.display(), "reading takes long; what was read before stays in force");
        }
        let problem = slow_read.to_string();
        self.facts.slow_read = Some(slow_read);
        self.publish();
        if let Some(apply) = slow.apply {
            self.answer(apply.reply, api::change::Outcome::Failed, Some(problem.clone()));
        }
        for client in slow.clients {
            let result = Outcome::Failed.name().to_owned();
            let _client_is_gone =
                client.send(Reload { result, problem: Some(problem.clone()), ..self.reload_result() });
        }
    }

    /// Says that they are.
    fn tell_read(&mut self) {
        if let Some(slow) = self.facts.slow_read.take() {
            let seconds = (OffsetDateTime::now_utc() - slow.since).whole_seconds();
            tracing::info!(seconds, "what took long to read has been read");
            self.publish();
        }
    }

    fn reload_result(&self) -> Reload {
        let policy = &self.facts.policy;
        Reload {
            result: policy.outcome.name().to_owned(),
            epoch: policy.epoch,
            problem: policy
                .problem
                .clone()
                .or_else(|| self.facts.changes.held.clone())
                .or_else(|| self.facts.config_problem.clone()),
            waiting_for_restart: self.facts.waiting_for_restart.clone(),
        }
    }

    /// The kernel closed the socket of its notifications. What has happened until there is another one was not told.
    async fn resubscribe(&mut self) -> Result<(), RunError> {
        tracing::warn!("the kernel's notifications broke off; subscribing again");
        self.events = Events::subscribe()?;
        self.follow(Batch { lost: true, ..Batch::default() }).await;
        Ok(())
    }

    fn until_next_change(&self) -> Duration {
        let wait = self.facts.policy.next_change.map(|at| at - OffsetDateTime::now_utc());
        let wait = wait.map_or(LONGEST_WAIT, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO));
        let trial = self.facts.changes.ledger.trial().map(|trial| trial.left(&Moment::now()));
        wait.min(trial.unwrap_or(LONGEST_WAIT)).min(LONGEST_WAIT)
    }

    /// Makes the facts known to the API, the metrics and the service manager.
    pub(super) fn publish(&mut self) {
        self.facts.feeds = self.feeds.facts(OffsetDateTime::now_utc());
        self.shared.facts.store(Arc::new(self.facts.clone()));
        let checks = self.facts.checks();
        let reasons: Vec<_> = checks.iter().filter_map(|check| check.reason.as_deref()).collect();
        let ready = if checks.iter().all(|check| check.ok) { "ready" } else { "not ready" };
        let status = if reasons.is_empty() { ready.to_owned() } else { format!("{ready}: {}", reasons.join("; ")) };
        notify(&[NotifyState::Status(&status)]);
    }

    /// Ends the servers, and writes out what the flow log waits for. The data plane is left as it is.
    async fn stop(mut self) {
        tracing::info!("stopping; the data plane goes on forwarding");
        notify(&[NotifyState::Stopping]);
        self.servers.shutdown().await;
        let _joined = tokio::task::spawn_blocking(move || drop((self.keeper, self.housekeeper))).await;
    }
}

/// Tells the service manager, if there is one.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
