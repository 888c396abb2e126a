//! A row with its forwarder, ready to be measured.

use anyhow::{Context, Result};
use fw_testkit::lab::PairLab;

use super::chain::ends::Ends;
use super::forwarder::{self, Artifacts, Forwarder, Kind};
use super::policy::Policy;

/// The fields are dropped in this order: the programs before the name spaces.
pub(super) struct Candidate {
    pub(super) kind: Kind,
    pub(super) ends: Ends,
    _forwarder: Forwarder,
    _lab: PairLab,
}

impl Candidate {
    pub(super) fn raise(kind: Kind, artifacts: &Artifacts, policy: &Policy) -> Result<Self> {
        let raise = || {
            let lab = PairLab::up()?;
            let forwarder = forwarder::start(kind, &lab, artifacts, policy)?;
            let ends = Ends::new(&lab, &artifacts.object, kind.sink())?;
            Ok::<Self, anyhow::Error>(Self { kind, ends, _forwarder: forwarder, _lab: lab })
        };
        raise().with_context(|| format!("raise {}", kind.name()))
    }
}
