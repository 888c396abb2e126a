//! What is asked and answered about changes of the policy: apply, confirm, roll back, and what was applied before.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::change::Revision;
use crate::change::ledger::Trial;
use crate::change::moment::Moment;
use crate::change::store::StoreError;
use crate::change::who::Who;
use crate::facts::ChangeFacts;

/// Take over the files of the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApplyWish {
    /// It goes back after so many seconds unless it is confirmed; what `[policy] confirm` says without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_seconds: Option<NonZeroU32>,
    /// Also if it was rolled back.
    pub again: bool,
    /// For whom the caller says that it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// What waits stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfirmWish {
    /// The revision that is meant; whatever waits without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// For whom the caller says that it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// Go back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RollbackWish {
    /// To which revision; to what judged packets before without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// For whom the caller says that it asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<String>,
}

/// One of them.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Take over the files.
    Apply(ApplyWish),
    /// What waits stays.
    Confirm(ConfirmWish),
    /// Go back.
    Rollback(RollbackWish),
}

impl Wish {
    /// The name of the answer.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Apply(_) => "apply",
            Self::Confirm(_) => "confirm",
            Self::Rollback(_) => "rollback",
        }
    }
}

/// A wish, whose it is, and where its result goes.
#[derive(Debug)]
pub struct ChangeRequest {
    /// What is wanted.
    pub wish: Wish,
    /// By whom.
    pub who: Who,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Changed>,
}

impl ChangeRequest {
    /// The wish of a user of this machine.
    #[must_use]
    pub fn new(wish: Wish, uid: u32, reply: oneshot::Sender<Changed>) -> Self {
        let told = match &wish {
            Wish::Apply(ApplyWish { told, .. })
            | Wish::Confirm(ConfirmWish { told, .. })
            | Wish::Rollback(RollbackWish { told, .. }) => told.as_deref(),
        };
        Self { who: Who::client(uid, told), wish, reply }
    }
}

/// What a wish came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In force for good.
    Applied,
    /// In force until it is confirmed or its time is over.
    OnTrial,
    /// It was in force already.
    Unchanged,
    /// It stays.
    Confirmed,
    /// The other one is in force again.
    RolledBack,
    /// The policy, or what is said of its files, is invalid.
    Invalid,
    /// Tests of its own fail.
    TestsFailed,
    /// It may not be changed so.
    Refused,
    /// Nothing waits for confirmation.
    NotConfirmed,
    /// Something did not work.
    Failed,
}

/// `fwctl.apply/1`, `fwctl.confirm/1` and `fwctl.rollback/1`: what it came to, and what judges packets now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What it came to.
    pub result: Outcome,
    /// The revision that judges packets now.
    pub revision: Option<Revision>,
    /// Digest of its files, in hexadecimal.
    pub digest: Option<String>,
    /// Counts the policies that the data plane was given.
    pub epoch: u32,
    /// How many of its own tests passed when it was applied.
    pub tests_passed: Option<usize>,
    /// What is in force again if it is not confirmed.
    pub previous: Option<Revision>,
    /// Until when it is to be confirmed, RFC 3339.
    pub confirm_by: Option<String>,
    /// Probes that have to be alive then for it to stay; none: it is to be confirmed.
    #[serde(default)]
    pub witnesses: Vec<String>,
    /// How many seconds that are.
    pub seconds_left: Option<u64>,
    /// Why not.
    pub problem: Option<String>,
}

impl Changed {
    /// A result, with what judges packets.
    #[must_use]
    pub fn new(result: Outcome, epoch: u32, facts: &ChangeFacts, problem: Option<String>) -> Self {
        let ledger = &facts.ledger;
        let record = ledger.in_force().and_then(|revision| ledger.record(revision));
        let trial = ledger.trial();
        Self {
            result,
            revision: ledger.in_force(),
            digest: record.map(|record| record.digest.to_string()),
            epoch,
            tests_passed: record.map(|record| record.tests_passed),
            previous: trial.map(|trial| trial.previous),
            confirm_by: trial.map(|trial| trial.until_wall.clone()),
            witnesses: trial.map(|trial| trial.witnesses.clone()).unwrap_or_default(),
            seconds_left: trial.map(|trial| whole_seconds(trial.left(&Moment::now()))),
            problem,
        }
    }
}

/// A time in seconds, begun ones counted: of ten seconds that have just begun, ten are left.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// `fwctl.history/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The revision that judges packets.
    pub in_force: Option<Revision>,
    /// What a start goes back to.
    pub confirmed: Option<Revision>,
    /// What is in force again if the trial is not confirmed.
    pub previous: Option<Revision>,
    /// Until when it is to be confirmed, RFC 3339.
    pub confirm_by: Option<String>,
    /// Why the files in the directory, which are valid, are not what runs.
    pub held: Option<String>,
    /// What was applied and is kept, the newest first.
    pub revisions: Vec<RevisionRow>,
}

/// A revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionRow {
    /// Its number.
    pub revision: Revision,
    /// "in force", "on trial", "rolled back", or nothing.
    pub state: String,
    /// Digest of its files, in hexadecimal.
    pub digest: String,
    /// When it was applied, RFC 3339.
    pub applied_at: String,
    /// Who applied it.
    pub who: Who,
    /// How many of its own tests passed then.
    pub tests_passed: usize,
    /// Its files.
    pub files: Vec<String>,
}

/// What was applied and is kept.
#[must_use]
pub fn history(facts: &ChangeFacts) -> History {
    let ledger = &facts.ledger;
    let revisions = ledger.revisions().rev().filter_map(|(revision, _)| row(facts, revision));
    History {
        in_force: ledger.in_force(),
        confirmed: ledger.confirmed(),
        previous: ledger.trial().map(|trial| trial.previous),
        confirm_by: ledger.trial().map(|trial| trial.until_wall.clone()),
        held: facts.held.clone(),
        revisions: revisions.collect(),
    }
}

fn row(facts: &ChangeFacts, revision: Revision) -> Option<RevisionRow> {
    let ledger = &facts.ledger;
    let record = ledger.record(revision)?;
    let is_tried = ledger.trial().is_some_and(|Trial { revision: tried, .. }| *tried == revision);
    let state = match () {
        () if is_tried => "on trial",
        () if ledger.in_force() == Some(revision) => "in force",
        () if ledger.is_quarantined(record.digest) => "rolled back",
        () => "",
    };
    Some(RevisionRow {
        revision,
        state: state.to_owned(),
        digest: record.digest.to_string(),
        applied_at: record.applied_at.clone(),
        who: record.who.clone(),
        tests_passed: record.tests_passed,
        files: record.files.clone(),
    })
}

/// `fwctl.show/1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What is known of it.
    #[serde(flatten)]
    pub row: RevisionRow,
    /// Its files as they were applied.
    pub texts: Vec<FileText>,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// Its name.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// A revision as it is kept; what judges packets without.
///
/// # Errors
/// If it is not kept, or cannot be read.
pub fn show(facts: &ChangeFacts, revision: Option<Revision>) -> Result<Shown, StoreError> {
    let revision = revision.or(facts.ledger.in_force()).unwrap_or_default();
    let row = row(facts, revision).ok_or(StoreError::Unknown(revision))?;
    let files = facts.store.files(&facts.ledger, revision)?;
    let texts = files.into_iter().map(|file| FileText { name: file.name, text: file.text }).collect();
    Ok(Shown { row, texts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_that_has_begun_is_left() {
        let told = [0, 1, 9_000, 9_001, 9_999, 10_000].map(|left| whole_seconds(Duration::from_millis(left)));
        assert_eq!(told, [0, 1, 9, 10, 10, 10]);
    }
}
