//! Takes a policy over that was read: check, test, swap; or keep what runs and say why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fw_policy::{Binding, Compiled, FeedContents, SourceFile};
use time::OffsetDateTime;

use super::adopted::Seats;
use super::supervisor::Supervisor;
use super::{RunError, interfaces, start};
use crate::change::bundle::Bundle;
use crate::change::ledger::Verdict;
use crate::config::AgentConfig;
use crate::dataplane::Dataplane;
use crate::facts::{Facts, Outcome};
use crate::lockout::{self, Devices};
use crate::names::Names;
use crate::policy_set::{CheckedPolicy, Checker, PolicyError};

/// How soon a rule's start or expiry that the data plane did not take is tried again.
const SCHEDULE_RETRY: Duration = Duration::from_secs(10);

/// What the directory offers, and what checking it came to.
pub(super) struct Attempt {
    pub(super) bundle: Option<Bundle>,
    pub(super) result: Result<Weighed, PolicyError>,
}

/// A policy that may judge packets: what is offered, or, if that is not to be taken, what is in force.
pub(super) struct Weighed {
    /// What is to become of the offer.
    pub(super) verdict: Verdict,
    /// What was checked.
    pub(super) files: Arc<[SourceFile]>,
    pub(super) policy: CheckedPolicy,
}

/// A policy that judges packets, with what of `agent.toml` it was made of; the file may have been read again since, and what came of
/// it may have been refused.
#[derive(Clone)]
pub(super) struct InForce {
    pub(super) files: Arc<[SourceFile]>,
    pub(super) binding: Binding,
    pub(super) keep_access: bool,
}

impl InForce {
    pub(super) fn new(files: Arc<[SourceFile]>, config: &AgentConfig) -> Self {
        Self { files, binding: config.binding(), keep_access: keeps_access(config) }
    }
}

/// Whether a policy that would cut the access to the firewall is refused. Without `[management]`, nobody has said that it may.
pub(super) fn keeps_access(config: &AgentConfig) -> bool {
    config.management.as_ref().is_none_or(|management| management.keep_access)
}

/// What checks policies; checks run apart from the agent's own task.
pub(super) type SharedChecker = Arc<Mutex<Checker>>;

/// Asks the checker, aside.
pub(super) async fn check(
    checker: &SharedChecker,
    files: Arc<[SourceFile]>,
    work: impl FnOnce(&mut Checker, &[SourceFile]) -> Result<CheckedPolicy, PolicyError> + Send + 'static,
) -> Result<Result<CheckedPolicy, PolicyError>, RunError> {
    let checker = Arc::clone(checker);
    // A check that panicked has left nothing that the next one would go on from.
    let checked =
        tokio::task::spawn_blocking(move || work(&mut checker.lock().unwrap_or_else(PoisonError::into_inner), &files));
    checked.await.map_err(|_| RunError::Interrupted("compiling the policy"))
}

/// What was checked, as it is to judge packets now. Since the check began a rule may have started or expired, or a feed may have another
/// list, and the policy in force has followed that: with the tables of before, what has expired would come into force again.
/// `contents`: what is known of feeds now.
pub(super) async fn for_now(
    checker: &SharedChecker,
    (files, binding): (Arc<[SourceFile]>, Binding),
    checked: CheckedPolicy,
    running: Option<Arc<Compiled>>,
    (now, contents): (OffsetDateTime, Arc<FeedContents>),
) -> Result<CheckedPolicy, RunError> {
    let is_in_time = checked.compiled.next_change.is_none_or(|at| at > now);
    let is_fed = Arc::ptr_eq(&checked.contents, &contents);
    if is_in_time && is_fed {
        return Ok(checked);
    }
    let recompiled =
        check(checker, files, move |checker, files| checker.recompile(files, &binding, now, running.as_deref()));
    let CheckedPolicy { compiled, contents, .. } = recompiled.await??;
    Ok(CheckedPolicy { compiled, contents, ..checked })
}

/// Refuses a policy that would cut the access to the firewall itself.
pub(super) async fn check_access(
    dataplane: &Arc<dyn Dataplane>,
    devices: Devices,
    checked: &CheckedPolicy,
    running: Option<Arc<Compiled>>,
) -> Result<Result<(), PolicyError>, RunError> {
    let (dataplane, compiled) = (Arc::clone(dataplane), Arc::clone(&checked.compiled));
    let check = move || lockout::check(&*dataplane, &compiled, running.as_deref(), &devices);
    let asked = tokio::task::spawn_blocking(check).await;
    Ok(asked.map_err(|_| RunError::Interrupted("asking about connections"))??.map_err(PolicyError::from))
}

/// Makes a checked policy the one that judges packets, unless it is that already.
pub(super) async fn apply(
    dataplane: &Arc<dyn Dataplane>,
    checked: CheckedPolicy,
    reason: &str,
    facts: &mut Facts,
) -> Result<(), RunError> {
    let compiled = Arc::clone(&checked.compiled);
    let digest = compiled.digest;
    let unchanged = facts.policy.digest == Some(digest);
    if !unchanged {
        let (dataplane, compiled) = (Arc::clone(dataplane), Arc::clone(&compiled));
        let applied = tokio::task::spawn_blocking(move || dataplane.apply_policy(&compiled)).await;
        facts.policy.epoch = applied.map_err(|_| RunError::Interrupted("applying the policy"))??;
        facts.policy.applied_at = Some(OffsetDateTime::now_utc());
        facts.policy.digest = Some(digest);
    }
    let policy = &mut facts.policy;
    tracing::info!(
        reason,
        epoch = policy.epoch,
        rules = compiled.rules.len(),
        tests = checked.tests,
        changed = !unchanged,
        "a policy judges packets"
    );
    for warning in &checked.warnings {
        tracing::warn!(code = %warning.code, "{}", warning.message);
    }
    policy.outcome = if unchanged { Outcome::Unchanged } else { Outcome::Applied };
    policy.problem = None;
    policy.warnings = checked.warnings.iter().map(|warning| format!("{}: {}", warning.code, warning.message)).collect();
    policy.tests = checked.tests;
    policy.next_change = compiled.next_change;
    policy.feeds = checked.feeds;
    policy.contents = checked.contents;
    policy.compiled = Some(compiled);
    facts.names = Arc::new(Names::new(dataplane.rule_names()?, facts.policy.compiled.as_deref()));
    Ok(())
}

impl Supervisor {
    /// A rule of the running policy starts or expires now. Time does not ask whether the files on disk are valid, nor
    /// whether the policy's own tests still pass.
    pub(super) async fn follow_schedule(&mut self) {
        let now = OffsetDateTime::now_utc();
        if self.facts.policy.next_change.is_none_or(|at| at > now) {
            return;
        }
        self.facts.policy.next_change = None;
        let Some(in_force) = self.in_force.clone() else { return };
        let of_files = (self.facts.policy.outcome, self.facts.policy.problem.clone());
        let result = self.recompile(in_force, now).await;
        keep_outcome(&mut self.facts, of_files);
        if let Err(error) = result {
            tracing::error!(problem = %error, "a rule starts or expires, but the policy could not be applied; trying again");
            refuse(&mut self.facts, &error);
            self.facts.policy.next_change = Some(now + SCHEDULE_RETRY);
        }
        self.publish();
    }

    /// Compiles what is in force for another moment.
    async fn recompile(&mut self, in_force: InForce, now: OffsetDateTime) -> Result<(), RunError> {
        let InForce { files, binding, keep_access } = in_force;
        let running = self.facts.policy.compiled.clone();
        let compiled = check(&self.checker, files, move |checker, files| {
            checker.recompile(files, &binding, now, running.as_deref())
        });
        let checked = compiled.await??;
        if keep_access {
            self.check_access(&checked).await?;
        }
        apply(&self.dataplane, checked, "a rule starts or expires", &mut self.facts).await
    }

    pub(super) async fn check_access(&self, checked: &CheckedPolicy) -> Result<(), RunError> {
        let devices = interfaces::devices(&self.config, &self.observed);
        check_access(&self.dataplane, devices, checked, self.facts.policy.compiled.clone()).await??;
        Ok(())
    }

    /// Before the first policy that knows the slots of the configuration: interfaces that have another one under it cross nothing
    /// until they are attached there.
    fn give_slots_away(&mut self) -> Result<bool, RunError> {
        if self.kept.is_none() {
            return Ok(false);
        }
        self.attached.clear();
        self.dataplane.keep_slots(&start::slots(&self.config, &self.observed))?;
        self.kept = Seats::kept(&self.config, &self.observed, &self.dataplane.known_interfaces()?);
        Ok(true)
    }

    /// After it: every interface has the slot of the configuration. If the policy was not taken, nobody knows how far that came, so
    /// only interfaces with the same slot under both go on.
    async fn take_slots(&mut self, is_applied: bool) {
        if is_applied {
            self.kept = None;
            self.forget_unused_slots();
        }
        self.reconcile(false).await;
    }

    /// Makes a checked policy the one that judges packets, and gives the interfaces the slots that it knows.
    pub(super) async fn put_in_force(
        &mut self,
        files: Arc<[SourceFile]>,
        checked: CheckedPolicy,
        reason: &str,
    ) -> Result<(), RunError> {
        let moved = self.give_slots_away()?;
        let applied = apply(&self.dataplane, checked, reason, &mut self.facts).await;
        if applied.is_ok() {
            self.in_force = Some(InForce::new(files, &self.config));
        }
        if moved {
            self.take_slots(applied.is_ok()).await;
        }
        applied
    }
}

/// What the files on disk came to stays true while time changes what is in force: if they could not be read, they are tried again.
fn keep_outcome(facts: &mut Facts, of_files: (Outcome, Option<String>)) {
    if of_files.1.is_some() {
        (facts.policy.outcome, facts.policy.problem) = of_files;
    }
}

/// Notes why the files on disk are not what runs: it is they that are wrong, or something that may pass by itself.
pub(super) fn refuse(facts: &mut Facts, error: &RunError) {
    facts.policy.outcome = if error.exit_code() == 1 { Outcome::Failed } else { Outcome::Refused };
    facts.policy.problem = Some(error.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::fake::FakeDataplane;

    const POLICY: &str = "version = 1\n[defaults]\naction = \"drop\"\n[zones.ot]\nnetworks = [\"10.1.0.0/16\"]\n";
    const CONFIG: &str = "[[interface]]\nname = \"ens6\"\nzones = [\"ot\"]\n";

    fn checked(extra: &str) -> CheckedPolicy {
        let files = [SourceFile { name: "a.toml".to_owned(), text: format!("{POLICY}{extra}") }];
        let binding = AgentConfig::parse("agent.toml", CONFIG).unwrap().binding();
        Checker::default().check(&files, &binding, OffsetDateTime::UNIX_EPOCH, None).unwrap()
    }

    fn fake() -> (Arc<FakeDataplane>, Arc<dyn Dataplane>) {
        let fake = Arc::new(FakeDataplane::default());
        (Arc::clone(&fake), fake)
    }

    #[tokio::test]
    async fn a_policy_that_runs_already_is_not_swapped() {
        let (fake, dataplane) = fake();
        let mut facts = Facts::default();
        apply(&dataplane, checked(""), "test", &mut facts).await.unwrap();
        assert_eq!((facts.policy.outcome, fake.state().epoch), (Outcome::Applied, 1));
        apply(&dataplane, checked(""), "test", &mut facts).await.unwrap();
        assert_eq!((facts.policy.outcome, fake.state().epoch), (Outcome::Unchanged, 1));
        let other = checked("[[rule]]\nid = \"r\"\nfrom = [\"ot\"]\nto = [\"local\"]\naction = \"allow\"\n");
        apply(&dataplane, other, "test", &mut facts).await.unwrap();
        assert_eq!((facts.policy.outcome, facts.policy.epoch), (Outcome::Applied, 2));
        assert_eq!(facts.policy.digest, fake.state().digest);
    }

    #[tokio::test]
    async fn a_rule_that_starts_or_expires_while_the_files_are_checked_does_so_once() {
        let at = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(3_600);
        let (before, after) = (at - Duration::from_secs(1), at + Duration::from_secs(1));
        let binding = || AgentConfig::parse("agent.toml", CONFIG).unwrap().binding();
        for bound in ["expires", "starts"] {
            let rule = "[[rule]]\nid = \"r\"\nfrom = [\"ot\"]\nto = [\"local\"]\naction = \"allow\"\n";
            let text = format!("{POLICY}{rule}{bound} = 1970-01-01T01:00:00Z\n");
            let files: Arc<[SourceFile]> = [SourceFile { name: "a.toml".to_owned(), text }].into();
            let checker = SharedChecker::default();
            let checked_at = |moment| checker.lock().unwrap().check(&files, &binding(), moment, None).unwrap();
            let (checked, in_time) = (checked_at(before), checked_at(after));
            // The policy in force follows the time while the check goes on.
            let (fake, dataplane) = fake();
            let mut facts = Facts::default();
            apply(&dataplane, in_time, "a rule starts or expires", &mut facts).await.unwrap();
            assert_ne!(facts.policy.digest, Some(checked.compiled.digest));

            let running = facts.policy.compiled.clone();
            let contents = Arc::clone(&checked.contents);
            let checked =
                for_now(&checker, (Arc::clone(&files), binding()), checked, running, (after, contents)).await.unwrap();
            apply(&dataplane, checked, "test", &mut facts).await.unwrap();
            assert_eq!((facts.policy.outcome, fake.state().epoch), (Outcome::Unchanged, 1), "{bound}");
        }
    }

    #[test]
    fn files_that_were_not_read_are_not_refused() {
        let path = || std::path::PathBuf::from("/policies");
        let outcome = |error: PolicyError| {
            let mut facts = Facts::default();
            refuse(&mut facts, &error.into());
            facts.policy.outcome
        };
        let passing = [
            PolicyError::InFlux(path()),
            PolicyError::TooSlow { path: path(), patience: Duration::from_secs(20) },
            PolicyError::TooLarge { path: path(), size: 1 << 40 },
            PolicyError::Unreadable { path: path(), reason: std::io::Error::from(std::io::ErrorKind::NotFound).into() },
        ];
        assert_eq!(passing.map(outcome), [Outcome::Failed; 4]);
        let lasting = [PolicyError::TestsFailed(Vec::new()), PolicyError::NamedTwice(String::new())];
        assert_eq!(lasting.map(outcome), [Outcome::Refused; 2]);
    }

    #[tokio::test]
    async fn files_that_were_not_read_are_tried_again_also_after_a_rule_has_expired() {
        let (_fake, dataplane) = fake();
        let mut facts = Facts::default();
        apply(&dataplane, checked(""), "test", &mut facts).await.unwrap();
        refuse(&mut facts, &PolicyError::InFlux("/policies".into()).into());
        let of_files = (facts.policy.outcome, facts.policy.problem.clone());
        let other = checked("[[rule]]\nid = \"r\"\nfrom = [\"ot\"]\nto = [\"local\"]\naction = \"allow\"\n");
        apply(&dataplane, other, "a rule starts or expires", &mut facts).await.unwrap();
        keep_outcome(&mut facts, of_files.clone());
        assert_eq!((facts.policy.outcome, &facts.policy.problem), (Outcome::Failed, &of_files.1));
        assert_eq!(facts.policy.epoch, 2);
    }

    #[tokio::test]
    async fn a_data_plane_that_refuses_leaves_the_facts_of_the_running_policy() {
        let (fake, dataplane) = fake();
        let mut facts = Facts::default();
        fake.state().failing = true;
        let error = apply(&dataplane, checked(""), "test", &mut facts).await.unwrap_err();
        refuse(&mut facts, &error);
        assert_eq!((facts.policy.digest, facts.policy.outcome), (None, Outcome::Failed));
        assert!(!facts.is_ready());
    }
}
