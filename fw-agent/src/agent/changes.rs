//! Carries changes of the policy out as [`Ledger`] decides them: keep, apply, write down; and back again.
//!
//! The order is what makes a crash harmless. A new policy is kept on disk, then the ledger says that it is in force, then the data plane is
//! told: a start after a crash in between does what the ledger says. Back, the data plane is told whatever the disk says.

use std::sync::Arc;
use std::time::Duration;

use fw_policy::{Compiled, SourceFile};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::policy::{Attempt, SharedChecker, Weighed, check, keeps_access, refuse};
use super::reading::{Apply, Scope};
use super::supervisor::Supervisor;
use super::{RunError, interfaces};
use crate::api::change::{ApplyWish, ChangeRequest, Changed, ConfirmWish, Outcome, RollbackWish, Wish};
use crate::change::audit::{Audit, Event, What};
use crate::change::bundle::Bundle;
use crate::change::ledger::{ChangeError, Record, Term, Verdict, WayBack};
use crate::change::store::Store;
use crate::change::who::Who;
use crate::change::{Digest, Ledger, Moment, Revision};
use crate::clock::rfc3339;
use crate::config::AgentConfig;
use crate::facts;
use crate::policy_set::{CheckedPolicy, PolicyError};

/// What a reading judges an offer by.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) ledger: Arc<Ledger>,
    pub(super) store: Store,
    /// An operator means it although it was rolled back.
    pub(super) again: bool,
}

/// What of the changes is still to be done.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The policy in force is not the ledger's.
    pub(super) policy: bool,
    /// The ledger on disk is not the one that holds.
    pub(super) ledger: bool,
    /// The refusal of files that was last written down, so that looking at them again is not written down again.
    told: Option<(Option<Digest>, String)>,
}

/// The revision in force as it is kept, for the interfaces of a configuration. Its tests have passed when it was applied.
pub(super) async fn stored(
    config: &AgentConfig,
    checker: &SharedChecker,
    standing: &Standing,
    running: Option<Arc<Compiled>>,
) -> Result<Result<(Arc<[SourceFile]>, CheckedPolicy), PolicyError>, RunError> {
    let Standing { ledger, store, .. } = standing.clone();
    let revision = ledger.in_force().unwrap_or_default();
    kept(config, checker, (ledger, store), revision, running).await
}

async fn kept(
    config: &AgentConfig,
    checker: &SharedChecker,
    (ledger, store): (Arc<Ledger>, Store),
    revision: Revision,
    running: Option<Arc<Compiled>>,
) -> Result<Result<(Arc<[SourceFile]>, CheckedPolicy), PolicyError>, RunError> {
    let files: Arc<[SourceFile]> = match aside(move || store.files(&ledger, revision)).await? {
        Ok(files) => files.into(),
        Err(error) => return Ok(Err(error.into())),
    };
    let binding = config.binding();
    let checked = check(checker, Arc::clone(&files), move |checker, files| {
        checker.recompile(files, &binding, OffsetDateTime::now_utc(), running.as_deref())
    });
    Ok(checked.await?.map(|checked| (files, checked)))
}

/// A disk may take its time.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    spawn_blocking(work).await.map_err(|_| RunError::Interrupted("keeping the policy"))
}

/// What is known of a bundle that is applied.
pub(super) fn record(bundle: &Bundle, who: &Who, tests_passed: usize) -> Record {
    Record {
        digest: bundle.offer.digest,
        files: bundle.files.iter().map(|file| file.name.clone()).collect(),
        applied_at: rfc3339(OffsetDateTime::now_utc()),
        who: who.clone(),
        tests_passed,
    }
}

/// Why an offer is not taken.
pub(super) fn why_held(verdict: Verdict) -> Option<String> {
    match verdict {
        Verdict::New(_) | Verdict::InForce => None,
        Verdict::Quarantined(revision) => Some(format!(
            "the files in the directory were rolled back, as revision {revision}: they are taken when they differ, under a higher \
             `revision` in bundle.json, or by `fwctl apply --again`"
        )),
        Verdict::Stale { declared, highest } => Some(format!(
            "the files in the directory say that they are revision {declared}, and revision {highest} has been there: only a higher one is newer"
        )),
        Verdict::Waiting(revision) => Some(format!(
            "revision {revision} waits for confirmation; the files in the directory, which are others, are looked at after that"
        )),
    }
}

impl Supervisor {
    pub(super) fn standing(&self) -> Standing {
        let facts::ChangeFacts { ledger, store, .. } = self.facts.changes.clone();
        Standing { ledger, store, again: false }
    }

    /// Does what a client wants, if its time has not run out meanwhile.
    pub(super) async fn change(&mut self, request: ChangeRequest) {
        self.follow_deadline().await;
        let ChangeRequest { wish, who, reply } = request;
        let (outcome, problem) = match wish {
            Wish::Apply(wish) => {
                let Some(other) = self.reader.ask_to_apply(Apply { wish, who, reply }) else { return };
                let problem = "another change is being applied; ask again when it is";
                self.note(What::Refused, &other.who, None, Some(problem)).await;
                return self.answer(other.reply, Outcome::Refused, Some(problem.to_owned()));
            }
            Wish::Confirm(ConfirmWish { revision, .. }) => self.confirm(revision, &who).await,
            Wish::Rollback(RollbackWish { revision, .. }) => match self.roll_back(revision, &who).await {
                Ok(_) => (Outcome::RolledBack, None),
                Err(error) => {
                    let problem = error.to_string();
                    self.note(What::Refused, &who, revision, Some(&problem)).await;
                    (Outcome::Refused, Some(problem))
                }
            },
        };
        self.answer(reply, outcome, problem);
    }

    pub(super) fn answer(&self, reply: oneshot::Sender<Changed>, outcome: Outcome, problem: Option<String>) {
        let changed = Changed::new(outcome, self.facts.policy.epoch, &self.facts.changes, problem);
        let _client_is_gone = reply.send(changed);
    }

    async fn confirm(&mut self, meant: Option<Revision>, who: &Who) -> (Outcome, Option<String>) {
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        let revision = match ledger.confirm(meant) {
            Ok(revision) => revision,
            Err(error) => {
                let in_force = ledger.in_force().unwrap_or_default();
                let problem = format!("{error}; revision {in_force} is in force");
                self.note(What::Refused, who, meant, Some(&problem)).await;
                return (Outcome::NotConfirmed, Some(problem));
            }
        };
        if let Err(error) = self.write(&ledger).await {
            let problem = format!("{error}; it still waits for confirmation");
            self.note(What::Failed, who, Some(revision), Some(&problem)).await;
            return (Outcome::Failed, Some(problem));
        }
        self.facts.changes.ledger = Arc::new(ledger);
        tracing::info!(revision, %who, "a policy was confirmed");
        self.note(What::Confirmed, who, Some(revision), None).await;
        self.look_again();
        self.publish();
        (Outcome::Confirmed, None)
    }

    async fn roll_back(&mut self, to: Option<Revision>, who: &Who) -> Result<WayBack, RollbackError> {
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        let way = ledger.roll_back(to)?;
        let kept = {
            let from = (Arc::clone(&self.facts.changes.ledger), self.facts.changes.store.clone());
            let running = self.facts.policy.compiled.clone();
            kept(&self.config, &self.checker, from, way.to, running).await?
        };
        let (_, checked) = kept.map_err(RunError::from)?;
        if keeps_access(&self.config) {
            self.check_access(&checked).await?;
        }
        self.go_back(ledger, way, who, "an operator has asked for it").await;
        Ok(way)
    }

    /// Ends a trial whose time is over.
    pub(super) async fn follow_deadline(&mut self) {
        let now = Moment::now();
        if self.facts.changes.ledger.trial().is_none_or(|trial| !trial.is_over(&now)) {
            return;
        }
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        if let Some(way) = ledger.expire(&now) {
            self.go_back(ledger, way, &Who::agent("deadline"), "not confirmed in time").await;
        }
    }

    /// Goes back, whatever the disk says: what was not confirmed does not judge packets any longer because a disk is full. A start would
    /// find the trial over, and do the same.
    async fn go_back(&mut self, ledger: Ledger, way: WayBack, who: &Who, reason: &str) {
        tracing::warn!(from = way.from, to = way.to, %who, reason, "rolling back");
        self.facts.changes.ledger = Arc::new(ledger);
        self.owed.policy = true;
        self.owed.ledger = true;
        self.settle().await;
        self.note(What::RolledBack, who, Some(way.from), Some(reason)).await;
        self.look_again();
        self.publish();
    }

    /// The directory may offer something else than what is in force now.
    fn look_again(&mut self) {
        if self.config.policy.watch {
            self.reader.ask(Scope::Policy, "a change was decided", None);
        }
    }

    /// Does what is still to be done.
    pub(super) async fn settle(&mut self) {
        if self.owed.policy {
            match self.enforce().await {
                Ok(()) => self.owed.policy = false,
                Err(error) => {
                    tracing::error!(problem = %error, "the policy before could not be put in force; trying again");
                    refuse(&mut self.facts, &error);
                }
            }
        }
        if self.owed.ledger {
            let ledger = Ledger::clone(&self.facts.changes.ledger);
            match self.write(&ledger).await {
                Ok(()) => self.owed.ledger = false,
                Err(error) => {
                    tracing::error!(problem = %error, "the state of changes could not be written; trying again")
                }
            }
        }
    }

    async fn enforce(&mut self) -> Result<(), RunError> {
        let running = self.facts.policy.compiled.clone();
        let (files, checked) = stored(&self.config, &self.checker, &self.standing(), running).await??;
        self.put_in_force(files, checked, "a policy was rolled back").await
    }

    pub(super) async fn write(&self, ledger: &Ledger) -> Result<(), RunError> {
        let (store, ledger) = (self.facts.changes.store.clone(), ledger.clone());
        aside(move || store.write_ledger(&ledger)).await?.map_err(|error| PolicyError::from(error).into())
    }

    /// Takes what was read, or keeps what runs and says why.
    pub(super) async fn take_policy(
        &mut self,
        attempt: Result<Attempt, RunError>,
        reason: &str,
        reloads: bool,
        apply: Option<Apply>,
    ) {
        let (who, wish) = match &apply {
            Some(apply) => (apply.who.clone(), apply.wish.clone()),
            None => (Who::agent(if reloads { "reload" } else { "watch" }), ApplyWish::default()),
        };
        // The state may have changed while the files were read, and with it what may become of them.
        if let Ok(Attempt { bundle: Some(bundle), result: Ok(Weighed { verdict, .. }) }) = &attempt
            && self.facts.changes.ledger.judge(bundle.offer, wish.again) != *verdict
        {
            match apply {
                Some(apply) => drop(self.reader.ask_to_apply(apply)),
                None => self.reader.ask(Scope::Policy, reason, None),
            }
            return;
        }
        let bundle = attempt.as_ref().ok().and_then(|attempt| attempt.bundle.clone());
        let digest = bundle.as_ref().map(|bundle| bundle.offer.digest);
        if bundle.is_some() {
            self.bundle = bundle;
        }
        let taken = match attempt {
            Ok(attempt) => self.take_over(attempt, reason, &who, &wish).await,
            Err(error) => Err(error),
        };
        self.facts.policy.attempted_at = Some(OffsetDateTime::now_utc());
        let (outcome, problem) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::error!(reason, problem = %error, "the policy on disk was not applied; the last one goes on judging packets");
                refuse(&mut self.facts, &error);
                self.facts.changes.held = None;
                (outcome_of(&error), Some(error.to_string()))
            }
        };
        self.note_refusal(&who, digest, problem.as_deref(), apply.is_some()).await;
        self.publish();
        if let Some(apply) = apply {
            self.answer(apply.reply, outcome, problem);
        }
    }

    async fn take_over(
        &mut self,
        attempt: Attempt,
        reason: &str,
        who: &Who,
        wish: &ApplyWish,
    ) -> Result<(Outcome, Option<String>), RunError> {
        let Attempt { bundle, result } = attempt;
        let Weighed { verdict, files, policy } = result?;
        if let Some(why) = interfaces::named_twice(&self.config, &self.observed) {
            return Err(PolicyError::NamedTwice(why).into());
        }
        if keeps_access(&self.config) {
            self.check_access(&policy).await?;
        }
        self.facts.changes.held = why_held(verdict);
        match (verdict, bundle) {
            (Verdict::New(revision), Some(bundle)) => {
                let outcome = self.begin(revision, &bundle, policy, reason, who, wish).await?;
                Ok((outcome, None))
            }
            (_, bundle) => {
                self.put_in_force(files, policy, reason).await?;
                self.owed.policy = false;
                self.note_declared(bundle).await;
                if let Some(held) = self.facts.changes.held.clone() {
                    tracing::warn!(reason, %held, "the policy on disk is not taken");
                    self.facts.policy.outcome = facts::Outcome::Held;
                    return Ok((Outcome::Refused, Some(held)));
                }
                Ok((Outcome::Unchanged, None))
            }
        }
    }

    /// What is in force has come under a higher revision.
    async fn note_declared(&mut self, bundle: Option<Bundle>) {
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        let is_in_force = self.facts.changes.held.is_none();
        if is_in_force && ledger.note_declared(bundle.and_then(|bundle| bundle.offer.declared)) {
            self.facts.changes.ledger = Arc::new(ledger);
            self.owed.ledger = true;
            self.settle().await;
        }
    }

    /// Keeps a new policy, and makes it the one that judges packets.
    async fn begin(
        &mut self,
        revision: Revision,
        bundle: &Bundle,
        policy: CheckedPolicy,
        reason: &str,
        who: &Who,
        wish: &ApplyWish,
    ) -> Result<Outcome, RunError> {
        let within = wish.confirm_seconds.map(u32::from).or(self.config.policy.confirm);
        let term = within.map(|seconds| Duration::from_secs(seconds.into())).map(term);
        let mut ledger = Ledger::clone(&self.facts.changes.ledger);
        ledger.begin(revision, record(bundle, who, policy.tests), term);
        let forgotten = ledger.prune(usize::try_from(self.config.policy.keep).unwrap_or(usize::MAX));
        let store = self.facts.changes.store.clone();
        let (files, next) = (Arc::clone(&bundle.files), ledger.clone());
        let kept = aside(move || store.keep(revision, &files).and_then(|()| store.write_ledger(&next)));
        kept.await?.map_err(PolicyError::from)?;
        if let Err(error) = self.put_in_force(Arc::clone(&bundle.files), policy, reason).await {
            self.owed.ledger = true;
            self.settle().await;
            return Err(error);
        }
        self.facts.changes.ledger = Arc::new(ledger);
        self.remove_kept(forgotten).await;
        let is_tried = self.facts.changes.ledger.trial().is_some();
        tracing::info!(revision, %who, is_tried, "a new revision of the policy is in force");
        self.note(if is_tried { What::Tried } else { What::Applied }, who, Some(revision), None).await;
        Ok(if is_tried { Outcome::OnTrial } else { Outcome::Applied })
    }

    async fn remove_kept(&self, revisions: Vec<Revision>) {
        let store = self.facts.changes.store.clone();
        if let Ok(Err(error)) = aside(move || store.remove(&revisions)).await {
            tracing::warn!(problem = %error, "an old revision of the policy could not be removed");
        }
    }

    /// Writes down why files are not taken, once.
    async fn note_refusal(&mut self, who: &Who, digest: Option<Digest>, problem: Option<&str>, is_asked_for: bool) {
        let told = problem.map(|problem| (digest, problem.to_owned()));
        if let Some((digest, problem)) = &told
            && (is_asked_for || self.owed.told != told)
        {
            let event = self.event(What::Refused, who, None, Some(problem));
            self.append(&Event { digest: *digest, ..event }).await;
        }
        self.owed.told = told;
    }

    pub(super) async fn note(&self, what: What, who: &Who, revision: Option<Revision>, reason: Option<&str>) {
        self.append(&self.event(what, who, revision, reason)).await;
    }

    fn event<'a>(
        &'a self,
        event: What,
        who: &'a Who,
        revision: Option<Revision>,
        reason: Option<&'a str>,
    ) -> Event<'a> {
        let ledger = &self.facts.changes.ledger;
        let record = revision.and_then(|revision| ledger.record(revision));
        let trial = ledger.trial().filter(|trial| Some(trial.revision) == revision);
        Event {
            time: rfc3339(OffsetDateTime::now_utc()),
            event,
            who,
            revision,
            in_force: ledger.in_force(),
            digest: record.map(|record| record.digest),
            tests_passed: record.map(|record| record.tests_passed),
            confirm_by: trial.map(|trial| trial.until_wall.as_str()),
            reason,
        }
    }

    async fn append(&self, event: &Event<'_>) {
        append(&self.audit, event.line()).await;
    }
}

/// Appends a line to the audit trail; one that cannot be written is in the log at least.
pub(super) async fn append(audit: &Audit, line: String) {
    let (trail, text) = (audit.clone(), line.clone());
    let problem = match aside(move || trail.append(&text)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    let (path, line) = (audit.path().display(), line.trim_end());
    tracing::error!(%path, problem, line, "the audit trail could not be written");
}

/// Why there is no way back.
#[derive(Debug, thiserror::Error)]
enum RollbackError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error(transparent)]
    Run(#[from] RunError),
}

pub(super) fn term(time: Duration) -> Term {
    Term { from: Moment::now(), time, until_wall: rfc3339(OffsetDateTime::now_utc() + time) }
}

fn outcome_of(error: &RunError) -> Outcome {
    match error.exit_code() {
        3 => Outcome::Invalid,
        4 => Outcome::TestsFailed,
        _ => Outcome::Failed,
    }
}
