//! A row with its forwarder, ready to be measured.

use anyhow::{Context, Result, bail};
use fw_testkit::lab::{Agent, PairLab};

use super::chain::ends::Ends;
use super::chain::sink::Watch;
use super::forwarder::{self, Artifacts, Forwarder, Kind};
use super::policy::Policy;

/// The fields are dropped in this order: the programs before the name spaces.
pub(super) struct Candidate {
    pub(super) kind: Kind,
    pub(super) ends: Ends,
    forwarder: Forwarder,
    _lab: PairLab,
}

impl Candidate {
    pub(super) fn raise(kind: Kind, artifacts: &Artifacts, policy: &Policy, watch: Watch) -> Result<Self> {
        let raise = || {
            let lab = PairLab::up()?;
            let forwarder = forwarder::start(kind, &lab, artifacts, policy)?;
            let ends = Ends::new(&lab, &artifacts.object, kind.sink(), watch)?;
            Ok::<Self, anyhow::Error>(Self { kind, ends, forwarder, _lab: lab })
        };
        raise().with_context(|| format!("raise {}", kind.name()))
    }

    /// The agent of the firewall; an error for others.
    pub(super) fn agent(&self) -> Result<&Agent> {
        match &self.forwarder {
            Forwarder::Firewall(agent) => Ok(agent),
            Forwarder::Settings | Forwarder::Redirect(_) => bail!("{} has no agent", self.kind.name()),
        }
    }

    /// A number of `fwctl status`, by its JSON pointer (RFC 6901).
    pub(super) fn status(&self, pointer: &str) -> Result<u64> {
        let status = self.agent()?.fwctl_json(&["status"])?;
        let number = status.pointer(pointer).and_then(serde_json::Value::as_u64);
        number.with_context(|| format!("no {pointer} in the status"))
    }
}
