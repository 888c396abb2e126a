//! Which policy a start begins with: what the ledger says is in force, or what the directory offers, if that may be taken without a
//! confirmation; never what was not confirmed in time, never what was rolled back.

use std::sync::Arc;

use fw_policy::SourceFile;

use super::RunError;
use super::arrivals;
use super::changes::{self, Standing};
use super::options::RunOptions;
use super::policy::{Attempt, InForce, SharedChecker, Weighed, refuse};
use super::reading::{self, Scope};
use super::supervisor::Supervisor;
use crate::change::audit::What;
use crate::change::bundle::Bundle;
use crate::change::ledger::{Verdict, WayBack};
use crate::change::store::Store;
use crate::change::who::Who;
use crate::change::{Ledger, Moment, Revision};
use crate::config::AgentConfig;
use crate::facts::ChangeFacts;
use crate::policy_set::{CheckedPolicy, PolicyError};

/// What is to judge packets from a start on, or why there is nothing.
type Policy = Result<CheckedPolicy, PolicyError>;

/// What a start has found.
pub(super) struct Opening {
    /// The state of changes, without the trial.
    pub(super) changes: ChangeFacts,
    /// A trial that was over.
    expired: Option<WayBack>,
    bundle: Option<Bundle>,
    /// The files of the policy that it begins with.
    files: Option<Arc<[SourceFile]>>,
    /// It is new, and kept already.
    arrival: Option<Revision>,
    /// The directory offers something that is to be looked at when the agent runs.
    look: bool,
    /// Why it is not what the directory offers.
    problem: Option<PolicyError>,
}

impl Opening {
    /// Reads what was kept and what the directory offers, and returns with it the policy to begin with.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub(super) async fn choose(
        options: &RunOptions,
        config: &AgentConfig,
        checker: &SharedChecker,
    ) -> Result<(Self, Policy), RunError> {
        let store = Store::at(&options.state_dir);
        let opened = store.clone();
        let mut ledger = changes::aside(move || opened.open()).await?.map_err(PolicyError::from)?;
        let expired = ledger.expire(&Moment::now());
        let ledger = Arc::new(ledger);
        let standing = Standing { ledger: Arc::clone(&ledger), store: store.clone(), again: false };
        let Attempt { bundle, result } = reading::attempt_in_time(config, checker, standing.clone()).await?;
        let mut opening = Self {
            changes: ChangeFacts { ledger, store, held: None },
            expired,
            bundle,
            files: None,
            arrival: None,
            look: false,
            problem: None,
        };
        let policy = match result {
            Ok(Weighed { verdict: Verdict::New(revision), files, policy }) => {
                opening.new_offer(config, checker, &standing, (revision, files, policy)).await?
            }
            Ok(Weighed { verdict, files, policy }) => {
                opening.changes.held = arrivals::why_held(verdict);
                opening.files = Some(files);
                Ok(policy)
            }
            Err(error) => opening.fall_back(config, checker, &standing, error).await?,
        };
        Ok((opening, policy))
    }

    /// What is new is taken at once if changes need no confirmation, or if there is nothing that can be gone back to.
    async fn new_offer(
        &mut self,
        config: &AgentConfig,
        checker: &SharedChecker,
        standing: &Standing,
        (revision, files, policy): (Revision, Arc<[SourceFile]>, CheckedPolicy),
    ) -> Result<Policy, RunError> {
        let is_free = config.policy.watch && config.policy.confirm.is_none();
        if standing.ledger.in_force().is_some() && !is_free {
            self.look = config.policy.watch;
            match changes::stored(config, checker, standing, None).await? {
                Ok((files, policy)) => {
                    self.files = Some(files);
                    return Ok(Ok(policy));
                }
                Err(error) => {
                    tracing::error!(problem = %error, "the policy that was in force does not fit any more: the directory's is taken");
                }
            }
        }
        let (store, kept) = (standing.store.clone(), Arc::clone(&files));
        match changes::aside(move || store.keep(revision, &kept)).await? {
            Ok(()) => {
                (self.files, self.arrival) = (Some(files), Some(revision));
                Ok(Ok(policy))
            }
            Err(error) => self.fall_back(config, checker, standing, error.into()).await,
        }
    }

    /// What the directory offers cannot be had: what was in force is, if there was anything.
    async fn fall_back(
        &mut self,
        config: &AgentConfig,
        checker: &SharedChecker,
        standing: &Standing,
        error: PolicyError,
    ) -> Result<Policy, RunError> {
        if standing.ledger.in_force().is_none() {
            return Ok(Err(error));
        }
        Ok(match changes::stored(config, checker, standing, None).await? {
            Ok((files, policy)) => {
                tracing::error!(problem = %error, "the policy on disk is refused; the one that was in force before is taken");
                (self.files, self.problem) = (Some(files), Some(error));
                Ok(policy)
            }
            Err(kept) => {
                tracing::error!(problem = %kept, "the policy that was in force before cannot be taken either");
                Err(error)
            }
        })
    }
}

impl Supervisor {
    /// Notes what the start has begun with, after the data plane has taken it, or has gone on with what it had.
    pub(super) async fn note_opening(&mut self, opening: Opening) {
        let Opening { changes: _, expired, bundle, files, arrival, look, problem } = opening;
        let is_taken = self.facts.policy.problem.is_none();
        self.in_force = files.filter(|_| is_taken).map(|files| InForce::new(files, &self.config));
        if let Some(WayBack { from, to }) = expired {
            tracing::warn!(from, to, "rolled back: not confirmed in time, or the machine was started again");
            (self.owed.policy, self.owed.ledger) = (!is_taken, true);
            self.settle().await;
            let reason = Some("not confirmed in time, or the machine was started again");
            self.note(What::RolledBack, &Who::agent("start"), Some(from), reason).await;
        }
        if let (Some(revision), Some(bundle), true) = (arrival, &bundle, is_taken) {
            let mut ledger = Ledger::clone(&self.facts.changes.ledger);
            let who = Who::agent("start");
            ledger.begin(revision, arrivals::record(bundle, &who, self.facts.policy.tests), None);
            ledger.prune(usize::try_from(self.config.policy.keep).unwrap_or(usize::MAX));
            self.facts.changes.ledger = Arc::new(ledger);
            self.owed.ledger = true;
            self.settle().await;
            self.note(What::Applied, &who, Some(revision), None).await;
        }
        self.bundle = bundle;
        if let Some(problem) = problem.filter(|_| is_taken) {
            refuse(&mut self.facts, &problem.into());
        }
        if look {
            self.reader.ask(Scope::Policy, "the directory offers another policy", None);
        }
    }
}
