//! What every benchmark is given.

use std::ops::{Deref, DerefMut};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::candidate::Candidate;
use super::chain::core::Core;
use super::chain::measure::Effort;
use super::chain::sink::Watch;
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
        let (rounds, milliseconds) = if self.quick { (3, 30) } else { (21, 120) };
        Effort { core: self.core, rounds, slot: Duration::from_millis(milliseconds) }
    }

    pub(super) fn raise(&self, kinds: &[Kind], policy: &Policy) -> Result<Raised> {
        self.raise_watched(kinds, policy, Watch::Number)
    }

    /// The same, with sinks that know more.
    pub(super) fn raise_watched(&self, kinds: &[Kind], policy: &Policy, watch: Watch) -> Result<Raised> {
        let wanted: Vec<(Kind, Policy)> = kinds.iter().map(|kind| (*kind, *policy)).collect();
        self.raise_each(&wanted, watch)
    }

    /// Raises candidates at the same time, each with a policy of its own.
    pub(super) fn raise_each(&self, wanted: &[(Kind, Policy)], watch: Watch) -> Result<Raised> {
        thread::scope(|scope| {
            let raise = |(kind, policy)| scope.spawn(move || Candidate::raise(kind, &self.artifacts, &policy, watch));
            let raising: Vec<_> = wanted.iter().copied().map(raise).collect();
            let raised =
                raising.into_iter().map(|candidate| candidate.join().unwrap_or_else(|panic| resume_unwind(panic)));
            // All of them, before the first mistake ends it: so those that were raised are removed.
            let raised: Vec<Result<Candidate>> = raised.collect();
            raised.into_iter().collect::<Result<_>>().map(Raised)
        })
    }
}

/// Candidates, which are removed at the same time.
pub(super) struct Raised(Vec<Candidate>);

impl Deref for Raised {
    type Target = Vec<Candidate>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Raised {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for candidate in self.0.drain(..) {
                scope.spawn(move || drop(candidate));
            }
        });
    }
}
