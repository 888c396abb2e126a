//! The state of changes, and every step from one to the next. Nothing here reads a clock or a file.
//!
//! Of what was applied, one revision is *confirmed*: what a start goes back to. Another one may be on *trial*: it judges packets until it is
//! confirmed, rolled back, or out of time. What was rolled back is in *quarantine*: its files are not taken again before they come under a
//! higher revision.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::who::Who;
use super::{Digest, Moment};

/// Counts up with each policy that is applied; the highest is the newest.
pub type Revision = u64;

/// The highest revision that a bundle may declare: what JSON readers keep exactly (RFC 8259, section 6), less room to count on.
pub const HIGHEST: Revision = (1 << 53) - (1 << 32);

/// What there is to know of a revision that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of its files.
    pub digest: Digest,
    /// Their names, in the order in which they are read.
    pub files: Vec<String>,
    /// When it was applied, RFC 3339.
    pub applied_at: String,
    /// Who applied it.
    pub who: Who,
    /// How many of its own tests passed then.
    pub tests_passed: usize,
}

/// A revision that judges packets and is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which one.
    pub revision: Revision,
    /// What judged packets before, and does again if it is not confirmed.
    pub previous: Revision,
    /// The boot in which it began.
    pub boot: String,
    /// When it is over, in milliseconds since that boot.
    pub until: u64,
    /// The same by the wall clock as it was when it began, RFC 3339; for people, it decides nothing.
    pub until_wall: String,
    /// Probes that were alive when it began: it stays if they are when it is over, and is over when one dies. Without any it
    /// waits for an operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
    /// Since when it judges packets, in milliseconds since that boot.
    #[serde(default)]
    pub began: u64,
}

impl Trial {
    /// Its time is over. A machine that was started again has no policy on trial: what was not confirmed may be why.
    #[must_use]
    pub fn is_over(&self, now: &Moment) -> bool {
        self.boot != now.boot || self.until <= now.at
    }

    /// How long it lasts yet.
    #[must_use]
    pub fn left(&self, now: &Moment) -> Duration {
        if self.is_over(now) { Duration::ZERO } else { Duration::from_millis(self.until - now.at) }
    }
}

/// How long a change may wait for its confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// From when on.
    pub from: Moment,
    /// How long.
    pub time: Duration,
    /// The end by the wall clock.
    pub until_wall: String,
    /// Probes that decide; none: an operator does.
    pub witnesses: Vec<String>,
}

/// What the directory offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Of the files.
    pub digest: Digest,
    /// The revision that the bundle declares, if it does.
    pub declared: Option<Revision>,
}

/// What is to become of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// These files judge packets already.
    InForce,
    /// They may be applied as this revision.
    New(Revision),
    /// They were rolled back, as this revision.
    Quarantined(Revision),
    /// They declare a revision that is not higher than the highest that there was.
    Stale {
        /// What they declare.
        declared: Revision,
        /// The highest that there was.
        highest: Revision,
    },
    /// This revision waits for its confirmation first.
    Waiting(Revision),
}

/// A way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// What judged packets.
    pub from: Revision,
    /// What does now.
    pub to: Revision,
}

/// Why something cannot be confirmed or rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no trial.
    #[error("no policy waits for confirmation")]
    NothingWaits,
    /// Another one is on trial than is meant.
    #[error("revision {0} waits for confirmation, and not the one that is meant")]
    AnotherWaits(Revision),
    /// There is nothing before it.
    #[error("no earlier revision is kept that was not rolled back")]
    NoneBefore,
    /// It is not kept.
    #[error("revision {0} is not kept; `fwctl history` lists those that are")]
    Unknown(Revision),
    /// It judges packets already.
    #[error("revision {0} is what judges packets")]
    InForce(Revision),
    /// It was rolled back itself.
    #[error("revision {0} was rolled back: put its files into the directory, and `fwctl apply --again`")]
    Quarantined(Revision),
}

/// The state of changes, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The highest revision that there was.
    highest: Revision,
    /// What a start goes back to; `None` before the first policy.
    confirmed: Option<Revision>,
    /// What is tried.
    trial: Option<Trial>,
    /// Files that were rolled back, and as which revision.
    quarantine: BTreeMap<Digest, Revision>,
    /// What is kept.
    revisions: BTreeMap<Revision, Record>,
}

impl Ledger {
    /// The revision that judges packets.
    #[must_use]
    pub fn in_force(&self) -> Option<Revision> {
        self.trial.as_ref().map(|trial| trial.revision).or(self.confirmed)
    }

    /// What a start goes back to.
    #[must_use]
    pub const fn confirmed(&self) -> Option<Revision> {
        self.confirmed
    }

    /// What is tried.
    #[must_use]
    pub const fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// What is known of a revision that is kept.
    #[must_use]
    pub fn record(&self, revision: Revision) -> Option<&Record> {
        self.revisions.get(&revision)
    }

    /// All that are kept, the oldest first.
    pub fn revisions(&self) -> impl DoubleEndedIterator<Item = (Revision, &Record)> {
        self.revisions.iter().map(|(revision, record)| (*revision, record))
    }

    /// These files were rolled back.
    #[must_use]
    pub fn is_quarantined(&self, digest: Digest) -> bool {
        self.quarantine.contains_key(&digest)
    }

    fn digest(&self, revision: Revision) -> Option<Digest> {
        self.record(revision).map(|record| record.digest)
    }

    /// What is to become of an offer. `again`: an operator means it although it was rolled back.
    #[must_use]
    pub fn judge(&self, offer: Offer, again: bool) -> Verdict {
        if self.in_force().and_then(|revision| self.digest(revision)) == Some(offer.digest) {
            return Verdict::InForce;
        }
        if let Some(trial) = &self.trial {
            return Verdict::Waiting(trial.revision);
        }
        let higher = offer.declared.filter(|declared| *declared > self.highest);
        let quarantined = self.quarantine.get(&offer.digest).filter(|_| higher.is_none() && !again);
        match (quarantined, offer.declared, higher) {
            (Some(revision), _, _) => Verdict::Quarantined(*revision),
            (None, Some(declared), None) => Verdict::Stale { declared, highest: self.highest },
            (None, _, Some(higher)) => Verdict::New(higher),
            (None, None, None) => Verdict::New(self.highest + 1),
        }
    }

    /// The files in force have come under a higher revision: lower ones are stale from now on. Whether that is news.
    pub fn note_declared(&mut self, declared: Option<Revision>) -> bool {
        let higher = declared.filter(|declared| *declared > self.highest);
        self.highest = higher.unwrap_or(self.highest);
        higher.is_some()
    }

    /// A new revision judges packets: on trial for a term, if there is one and something to go back to, or else for good.
    pub fn begin(&mut self, revision: Revision, record: Record, term: Option<Term>) {
        self.quarantine.remove(&record.digest);
        self.revisions.insert(revision, record);
        self.highest = self.highest.max(revision);
        match (term, self.in_force()) {
            (Some(term), Some(previous)) => {
                let until = term.from.after(term.time);
                let Term { from, until_wall, witnesses, .. } = term;
                let (boot, began) = (from.boot, from.at);
                self.trial = Some(Trial { revision, previous, boot, until, until_wall, witnesses, began });
            }
            _ => (self.trial, self.confirmed) = (None, Some(revision)),
        }
    }

    /// What is tried stays. `meant`: the revision that is meant, if that was said.
    ///
    /// # Errors
    /// If nothing is tried, or something else.
    pub fn confirm(&mut self, meant: Option<Revision>) -> Result<Revision, ChangeError> {
        let tried = self.trial.as_ref().map(|trial| trial.revision).ok_or(ChangeError::NothingWaits)?;
        if meant.is_some_and(|meant| meant != tried) {
            return Err(ChangeError::AnotherWaits(tried));
        }
        (self.trial, self.confirmed) = (None, Some(tried));
        Ok(tried)
    }

    /// Ends a trial whose time is over.
    pub fn expire(&mut self, now: &Moment) -> Option<WayBack> {
        self.trial.as_ref().filter(|trial| trial.is_over(now))?;
        self.give_up()
    }

    /// What is tried judges packets from this moment on, in milliseconds since the boot.
    pub const fn note_began(&mut self, at: u64) {
        if let Some(trial) = &mut self.trial {
            trial.began = at;
        }
    }

    /// Ends a trial before its time: what was in force before is again.
    pub fn give_up(&mut self) -> Option<WayBack> {
        let trial = self.trial.as_ref()?;
        let way = WayBack { from: trial.revision, to: trial.previous };
        self.go(way);
        Some(way)
    }

    /// Goes back: to a revision, or to what judged packets before the trial, or to the one before.
    ///
    /// # Errors
    /// If there is nothing to go back to, or if that was rolled back itself.
    pub fn roll_back(&mut self, to: Option<Revision>) -> Result<WayBack, ChangeError> {
        let from = self.in_force().ok_or(ChangeError::NoneBefore)?;
        let to = match (to, &self.trial) {
            (Some(to), _) => to,
            (None, Some(trial)) => trial.previous,
            (None, None) => self.before(from).ok_or(ChangeError::NoneBefore)?,
        };
        let digest = self.digest(to).ok_or(ChangeError::Unknown(to))?;
        if to == from || self.digest(from) == Some(digest) {
            return Err(ChangeError::InForce(to));
        }
        if self.is_quarantined(digest) {
            return Err(ChangeError::Quarantined(to));
        }
        let way = WayBack { from, to };
        self.go(way);
        Ok(way)
    }

    fn go(&mut self, way: WayBack) {
        if let Some(digest) = self.digest(way.from) {
            self.quarantine.insert(digest, way.from);
        }
        (self.trial, self.confirmed) = (None, Some(way.to));
    }

    /// The youngest kept revision before this one that has other files and was not rolled back.
    fn before(&self, revision: Revision) -> Option<Revision> {
        let own = self.digest(revision);
        let usable = |record: &Record| Some(record.digest) != own && !self.is_quarantined(record.digest);
        self.revisions.range(..revision).rev().find(|(_, record)| usable(record)).map(|(revision, _)| *revision)
    }

    /// Forgets the oldest revisions beyond so many, but never what judges packets or what a way back leads to. Returns those.
    pub fn prune(&mut self, keep: usize) -> Vec<Revision> {
        let needed = [self.in_force(), self.confirmed, self.trial.as_ref().map(|trial| trial.previous)];
        let excess = self.revisions.len().saturating_sub(keep);
        let spare = self.revisions.keys().copied().filter(|revision| !needed.contains(&Some(*revision)));
        let gone: Vec<_> = spare.take(excess).collect();
        self.revisions.retain(|revision, _| !gone.contains(revision));
        gone
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
