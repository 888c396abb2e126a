//! Looks, decides and calls, again and again, and says how the set stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use fw_cloud::{Cloud, CloudError, EniId, InstanceId, Kind};
use tokio::sync::watch;
use tokio::time::sleep;

use super::decide::decide;
use super::memory::Memory;
use super::pace::{Pace, Round};
use super::{Decision, Standing, Step, View, Wanted};

/// What is wanted, by whom.
#[derive(Clone, Debug)]
pub struct Task {
    /// This instance.
    pub own: InstanceId,
    /// The set, in the order in which it is taken.
    pub wanted: Vec<Wanted>,
    /// How long an attachment may be ending before it is ended by force.
    pub force_after: Duration,
}

/// What is known after a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How the set stands; `None` before it was seen for the first time.
    pub standing: Option<Standing>,
    /// What AWS has not done in the last round.
    pub problems: Vec<String>,
}

/// Follows one set.
pub struct Driver {
    cloud: Arc<dyn Cloud>,
    task: Task,
    memory: Memory,
    report: Report,
}

impl Driver {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(cloud: Arc<dyn Cloud>, task: Task) -> Self {
        Self { cloud, task, memory: Memory::default(), report: Report::default() }
    }

    /// Follows the set until nobody listens. `chance` is any number, of which all are as likely.
    pub async fn follow(mut self, reports: watch::Sender<Report>, chance: impl Fn() -> u32) {
        let mut pace = Pace::default();
        loop {
            let round = self.round().await;
            reports.send_if_modified(|report| {
                let is_other = *report != self.report;
                report.clone_from(&self.report);
                is_other
            });
            tokio::select! {
                () = sleep(pace.next(round, chance())) => {}
                () = reports.closed() => return,
            }
        }
    }

    /// One look, and the calls that follow from it.
    pub async fn round(&mut self) -> Round {
        let view = match self.look().await {
            Ok(view) => view,
            Err(error) => {
                let is_throttled = error.kind == Kind::Throttled;
                self.tell(self.report.standing.clone(), vec![error.to_string()]);
                return if is_throttled { Round::Throttled } else { Round::Failed };
            }
        };
        let now = Instant::now();
        self.memory.note(&view, now);
        let Task { own, wanted, force_after } = &self.task;
        let Decision { steps, standing } = decide(own, wanted, &view, &self.memory, (now, *force_after));
        let called = join_all(steps.iter().map(|step| self.call(step))).await;
        let mut problems = Vec::new();
        let mut is_throttled = false;
        for (step, called) in steps.into_iter().zip(called) {
            match called {
                Ok(()) => {
                    tracing::info!(%step, "carried out");
                    self.memory.note_done(step, Instant::now());
                }
                Err(error) => {
                    is_throttled |= error.kind == Kind::Throttled;
                    if let Step::Attach { device_index, .. } = &step
                        && error.kind == Kind::Busy
                        && error.message.contains("device index")
                    {
                        self.memory.note_taken(*device_index);
                    }
                    // It was ended already, or is another one: the next look shows it.
                    if !(matches!(step, Step::Detach { .. }) && error.kind == Kind::NotFound) {
                        problems.push(format!("{step}: {error}"));
                    }
                }
            }
        }
        let round = match (&standing, problems.is_empty()) {
            _ if is_throttled => Round::Throttled,
            (_, false) => Round::Failed,
            (Standing::Ours, true) => Round::Done,
            (Standing::Underway(_), true) => Round::Underway,
            (Standing::Refused(_), true) => Round::Refused,
        };
        self.tell(Some(standing), problems);
        round
    }

    async fn look(&self) -> Result<View, CloudError> {
        let enis: Vec<EniId> = self.task.wanted.iter().map(|wanted| wanted.eni.clone()).collect();
        let interfaces = self.cloud.interfaces(&enis).await?;
        let attachments = interfaces.values().filter_map(|interface| interface.attachment.as_ref());
        let mut instances: BTreeSet<InstanceId> = attachments.filter_map(|one| one.instance.clone()).collect();
        instances.insert(self.task.own.clone());
        let instances: Vec<InstanceId> = instances.into_iter().collect();
        let (states, memberships) = tokio::join!(self.cloud.instances(&instances), self.cloud.memberships(&instances));
        Ok(View { interfaces, instances: states?, memberships: memberships? })
    }

    async fn call(&self, step: &Step) -> Result<(), CloudError> {
        match step {
            Step::Detach { attachment, force, .. } => self.cloud.detach(attachment, *force).await,
            Step::Attach { eni, device_index } => self.cloud.attach(eni, &self.task.own, *device_index).await.map(drop),
            Step::ForwardForOthers { eni } => self.cloud.forward_for_others(eni).await,
            Step::KeepOnTermination { eni, attachment } => self.cloud.keep_on_termination(eni, attachment).await,
        }
    }

    /// Says what has changed since the last round.
    fn tell(&mut self, standing: Option<Standing>, problems: Vec<String>) {
        let report = Report { standing, problems };
        if report == self.report {
            return;
        }
        for problem in report.problems.iter().filter(|problem| !self.report.problems.contains(problem)) {
            tracing::error!(problem, "a network interface could not be taken over; trying again");
        }
        if report.standing != self.report.standing {
            match &report.standing {
                Some(Standing::Ours) => tracing::info!("all network interfaces are attached to this instance"),
                Some(Standing::Underway(waits)) => {
                    tracing::info!(waits = waits.join("; "), "taking network interfaces over")
                }
                Some(Standing::Refused(why)) => {
                    tracing::error!(why = why.join("; "), "network interfaces are not taken over")
                }
                None => {}
            }
        }
        self.report = report;
    }
}
