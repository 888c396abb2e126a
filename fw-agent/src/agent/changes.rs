//! Carries changes of the policy out as [`Ledger`] decides them: keep, apply, write down; and back again.
//!
//! The order is what makes a crash harmless. A new policy is kept on disk, then the ledger says that it is in force, then the data plane is
//! told: a start after a crash in between does what the ledger says. Back, the data plane is told whatever the disk says.

use std::sync::Arc;

use fw_policy::{Compiled, SourceFile};
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::RunError;
use super::policy::{SharedChecker, check, keeps_access, refuse};
use super::reading::{Apply, Scope};
use super::supervisor::Supervisor;
use crate::api::change::{ChangeRequest, Changed, ConfirmWish, Outcome, RollbackWish, Wish};
use crate::change::audit::{Audit, Event, What};
use crate::change::ledger::{ChangeError, WayBack};
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
    pub(super) told: Option<(Option<Digest>, String)>,
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

    pub(super) async fn confirm(&mut self, meant: Option<Revision>, who: &Who) -> (Outcome, Option<String>) {
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
        self.hear_witnesses().await;
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
    pub(super) async fn go_back(&mut self, ledger: Ledger, way: WayBack, who: &Who, reason: &str) {
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

    pub(super) async fn note(&self, what: What, who: &Who, revision: Option<Revision>, reason: Option<&str>) {
        self.append(&self.event(what, who, revision, reason)).await;
    }

    pub(super) fn event<'a>(
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

    pub(super) async fn append(&self, event: &Event<'_>) {
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
