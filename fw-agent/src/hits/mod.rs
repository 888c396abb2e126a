//! What each rule has done since it was first counted: over restarts, reboots, new machines of the same state directory, and new ids.
//!
//! The data plane counts by rule for as long as its maps live. [`record`] adds up what it counts, without I/O; [`mod@file`] keeps the record.

pub mod file;
pub mod record;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fw_common::abi::counters::RuleCounter;
use fw_policy::Compiled;

use crate::clock::Clock;
use crate::dataplane::DataplaneError;
use crate::facts::Shared;
use record::{Counted, Record, Rule};

/// The record of a running agent.
#[derive(Debug, Default)]
pub struct Hits {
    /// Where it is kept; nowhere without.
    path: Option<PathBuf>,
    record: Mutex<Record>,
}

impl Hits {
    /// Reads the record at a path; one that cannot be read is set aside, and counting begins anew.
    #[must_use]
    pub fn load(path: PathBuf) -> Self {
        let record = file::load(&path);
        Self { path: Some(path), record: Mutex::new(record) }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what the data plane has counted since the last time, and returns the record.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn take(&self, shared: &Shared) -> Result<Record, DataplaneError> {
        let facts = shared.facts.load();
        let names = shared.dataplane.rule_names()?;
        let counters = shared.dataplane.rules()?;
        let clock = Clock::read();
        let names: BTreeMap<u32, String> = names.into_iter().collect();
        let counted = counters.iter().filter_map(|(handle, counter)| {
            let id = names.get(handle)?;
            Some(Counted { id, counter: *counter, last_hit: last_hit(counter, &clock) })
        });
        let counted: Vec<Counted<'_>> = counted.collect();
        let mut record = self.record();
        record.add(&counted, &boot(), clock.now().unix_timestamp());
        if let Some(policy) = &facts.policy.compiled {
            record.follow(&rules(policy), clock.now().unix_timestamp());
        }
        Ok(record.clone())
    }

    /// The same, and keeps it. A disk that does not take it is tried again the next time.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn keep(&self, shared: &Shared) -> Result<(), DataplaneError> {
        let record = self.take(shared)?;
        if let Some(path) = &self.path
            && let Err(error) = file::save(path, &record)
        {
            tracing::error!(path = %path.display(), %error, "what rules have done could not be kept; trying again later");
        }
        Ok(())
    }
}

/// The rules of a policy, with the ids that they had before.
fn rules(policy: &Compiled) -> Vec<Rule<'_>> {
    let of_policy = policy.rules.iter();
    of_policy
        .map(|rule| Rule { id: &rule.id, renamed_from: Some(rule.renamed_from.as_str()).filter(|old| !old.is_empty()) })
        .collect()
}

/// When a rule was last hit, in seconds since 1970.
fn last_hit(counter: &RuleCounter, clock: &Clock) -> Option<i64> {
    let monotonic = counter.last_hit.checked_mul(1_000_000_000).filter(|at| *at > 0);
    monotonic.map(|at| clock.wall(at).unix_timestamp())
}

/// Tells this start of the kernel from others (random(4)).
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
