//! What every benchmark is given.

use std::time::Duration;

use anyhow::Result;

use super::candidate::Candidate;
use super::chain::core::Core;
use super::chain::measure::Effort;
use super::forwarder::{Artifacts, Kind};
use super::policy::Policy;

/// A run of the benchmarks.
pub(super) struct Session {
    pub(super) artifacts: Artifacts,
    pub(super) core: Core,
    pub(super) quick: bool,
}

impl Session {
    /// How long each lane of the chain is measured.
    pub(super) fn effort(&self) -> Effort {
        let (rounds, milliseconds) = if self.quick { (5, 60) } else { (21, 150) };
        Effort { core: self.core, rounds, slot: Duration::from_millis(milliseconds) }
    }

    pub(super) fn raise(&self, kinds: &[Kind], policy: &Policy) -> Result<Vec<Candidate>> {
        kinds.iter().map(|kind| Candidate::raise(*kind, &self.artifacts, policy)).collect()
    }
}
