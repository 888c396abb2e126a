//! Takes the policy directory over: read, check, test, swap; or keep what runs and say why.

use std::sync::Arc;
use std::time::Duration;

use fw_policy::{Binding, SourceFile};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep};

use super::RunError;
use super::supervisor::Supervisor;
use crate::config::AgentConfig;
use crate::dataplane::Dataplane;
use crate::facts::{Facts, Outcome};
use crate::names::Names;
use crate::policy_set::{self, CheckedPolicy, PolicyError};

/// How long a directory that is being changed is waited for.
const LONGEST_FLUX: Duration = Duration::from_secs(10);
/// How often it is looked at.
const FLUX_ROUND: Duration = Duration::from_millis(100);

/// The files of a policy, and what checking them came to.
pub(super) struct Attempt {
    pub(super) files: Option<Vec<SourceFile>>,
    pub(super) result: Result<CheckedPolicy, PolicyError>,
}

/// Reads the policy directory and checks it.
pub(super) async fn attempt(config: &AgentConfig) -> Result<Attempt, RunError> {
    match read_whole(config).await? {
        Ok(files) => {
            let result = check(files.clone(), config.binding()).await?;
            Ok(Attempt { files: Some(files), result })
        }
        Err(error) => Ok(Attempt { files: None, result: Err(error) }),
    }
}

async fn read_whole(config: &AgentConfig) -> Result<Result<Vec<SourceFile>, PolicyError>, RunError> {
    let end = Instant::now() + LONGEST_FLUX;
    loop {
        let directory = config.policy.directory.clone();
        let read = tokio::task::spawn_blocking(move || policy_set::read(&directory)).await;
        match read.map_err(|_| RunError::Interrupted("reading the policy"))? {
            Err(PolicyError::InFlux(_)) if Instant::now() < end => sleep(FLUX_ROUND).await,
            result => return Ok(result),
        }
    }
}

async fn check(files: Vec<SourceFile>, binding: Binding) -> Result<Result<CheckedPolicy, PolicyError>, RunError> {
    let now = OffsetDateTime::now_utc();
    let checked = tokio::task::spawn_blocking(move || policy_set::check(&files, &binding, now)).await;
    checked.map_err(|_| RunError::Interrupted("compiling the policy"))
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
        reason, epoch = policy.epoch, rules = compiled.rules.len(), tests = checked.tests, changed = !unchanged,
        "the policy on disk is the one that judges packets"
    );
    for warning in &checked.warnings {
        tracing::warn!(code = %warning.code, "{}", warning.message);
    }
    policy.outcome = if unchanged { Outcome::Unchanged } else { Outcome::Applied };
    policy.problem = None;
    policy.warnings = checked.warnings.iter().map(|warning| format!("{}: {}", warning.code, warning.message)).collect();
    policy.tests = checked.tests;
    policy.next_change = compiled.next_change;
    policy.compiled = Some(compiled);
    facts.names = Arc::new(Names::new(dataplane.rule_names()?, facts.policy.compiled.as_deref()));
    Ok(())
}

impl Supervisor {
    /// Takes over the files if they are not those that were last read.
    pub(super) async fn reload_policy_if_changed(&mut self) {
        let directory = self.config.policy.directory.clone();
        let read = tokio::task::spawn_blocking(move || policy_set::read(&directory)).await;
        if let Ok(Ok(files)) = read
            && self.files.as_ref() != Some(&files)
        {
            self.watch.renew();
            self.reload_policy("the files differ from those that were read").await;
        }
    }

    /// A rule of the running policy starts or expires now. Time does not ask whether the files on disk are valid, nor
    /// whether the policy's own tests still pass.
    pub(super) async fn follow_schedule(&mut self) {
        let now = OffsetDateTime::now_utc();
        if self.facts.policy.next_change.is_none_or(|at| at > now) {
            return;
        }
        self.facts.policy.next_change = None;
        let Some(files) = self.applied.clone() else { return };
        let binding = self.config.binding();
        let compiled = tokio::task::spawn_blocking(move || policy_set::recompile(&files, &binding, now)).await;
        let problem = self.facts.policy.problem.clone();
        let result = match compiled {
            Ok(Ok(checked)) => apply(&self.dataplane, checked, "a rule starts or expires", &mut self.facts).await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RunError::Interrupted("compiling the policy")),
        };
        self.facts.policy.problem = problem;
        if let Err(error) = result {
            tracing::error!(problem = %error, "a rule starts or expires, but the policy could not be applied");
            refuse(&mut self.facts, &error);
        }
        self.publish();
    }

    /// Reads, checks and applies the policy; what fails leaves the running one in place.
    pub(super) async fn reload_policy(&mut self, reason: &str) {
        let result = match attempt(&self.config).await {
            Ok(Attempt { files, result }) => self.take_over(files, result, reason).await,
            Err(error) => Err(error),
        };
        self.facts.policy.attempted_at = Some(OffsetDateTime::now_utc());
        if let Err(error) = result {
            tracing::error!(reason, problem = %error, "the policy on disk was not applied; the last one goes on judging packets");
            refuse(&mut self.facts, &error);
        }
        self.publish();
    }

    async fn take_over(
        &mut self,
        files: Option<Vec<SourceFile>>,
        checked: Result<CheckedPolicy, PolicyError>,
        reason: &str,
    ) -> Result<(), RunError> {
        if files.is_some() {
            self.files.clone_from(&files);
        }
        apply(&self.dataplane, checked?, reason, &mut self.facts).await?;
        self.applied = files;
        Ok(())
    }
}

/// Notes why the files on disk are not what runs.
pub(super) fn refuse(facts: &mut Facts, error: &RunError) {
    facts.policy.outcome = if matches!(error, RunError::Policy(_)) { Outcome::Refused } else { Outcome::Failed };
    facts.policy.problem = Some(error.to_string());
}
