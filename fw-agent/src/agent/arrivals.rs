//! What the directory offers: taken as a new revision, on trial or for good, or held and why.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use super::changes::aside;
use super::policy::{Attempt, Weighed, for_now, keeps_access, refuse};
use super::reading::{Apply, Scope};
use super::supervisor::Supervisor;
use super::{RunError, interfaces};
use crate::api::change::{ApplyWish, Outcome};
use crate::change::audit::{Event, What};
use crate::change::bundle::Bundle;
use crate::change::ledger::{Record, Term, Verdict};
use crate::change::who::Who;
use crate::change::{Digest, Ledger, Moment, Revision};
use crate::clock::rfc3339;
use crate::facts;
use crate::policy_set::{CheckedPolicy, PolicyError};

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
        let (running, now) = (self.facts.policy.compiled.clone(), OffsetDateTime::now_utc());
        let of_now = (now, self.feeds.holdings().contents());
        let policy =
            for_now(&self.checker, (Arc::clone(&files), self.config.binding()), policy, running, of_now).await?;
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
        let configured = self.config.policy.confirm;
        let within = wish.confirm_seconds.map(u32::from).or(configured.map(|confirm| confirm.within));
        let by_probes = configured.is_some_and(|confirm| confirm.by_probes);
        let witnesses = if by_probes { self.living_ways() } else { Vec::new() };
        let term = within.map(|seconds| term(Duration::from_secs(seconds.into()), witnesses));
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
        // What probes have seen until now they have seen under the policy before.
        ledger.note_began(Moment::since_boot());
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
}

fn term(time: Duration, witnesses: Vec<String>) -> Term {
    Term { from: Moment::now(), time, until_wall: rfc3339(OffsetDateTime::now_utc() + time), witnesses }
}

fn outcome_of(error: &RunError) -> Outcome {
    match error.exit_code() {
        3 => Outcome::Invalid,
        4 => Outcome::TestsFailed,
        _ => Outcome::Failed,
    }
}
