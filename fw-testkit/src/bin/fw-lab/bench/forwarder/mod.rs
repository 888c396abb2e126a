//! Who forwards in the middle of a row.

pub(super) mod conntrack;
mod firewall;
mod kernel;
mod nftables;
mod redirect;

use std::path::Path;

use anyhow::Result;
use fw_testkit::lab::{Agent, PairLab, Programs};

use crate::bench::chain::sink::SinkKind;
use crate::bench::policy::Policy;
use redirect::RedirectOnly;

/// A forwarder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// None: packets are dropped where they arrive in the middle. What is left is the cost of the measurement.
    Drop,
    /// An XDP program that rewrites the hardware addresses and redirects: the floor.
    Redirect,
    /// The firewall.
    Firewall,
    /// The kernel with a stateful ruleset of nftables, one rule after the other.
    Nftables,
    /// The same with a set in place of the rules.
    NftablesSet,
    /// The kernel without any rule.
    Kernel,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Redirect => "redirect",
            Self::Firewall => "firewall",
            Self::Nftables => "nftables",
            Self::NftablesSet => "nftables set",
            Self::Kernel => "kernel",
        }
    }

    /// Whether it knows flows, which must be opened before packets of established ones are sent.
    pub(super) const fn keeps_state(self) -> bool {
        matches!(self, Self::Firewall | Self::Nftables | Self::NftablesSet)
    }

    /// Where packets that it forwards are counted.
    pub(super) const fn sink(self) -> SinkKind {
        match self {
            Self::Drop => SinkKind::Middle,
            Self::Redirect | Self::Firewall => SinkKind::Hosts,
            Self::Nftables | Self::NftablesSet | Self::Kernel => SinkKind::Buffers,
        }
    }
}

/// What keeps forwarding as long as it is held.
pub(super) enum Forwarder {
    /// Settings of the name space, which end with it, or none.
    Settings,
    Redirect(#[expect(dead_code, reason = "held for its Drop only")] RedirectOnly),
    Firewall(Box<Agent>),
}

/// Where to find what is measured.
#[derive(Clone, Debug)]
pub(super) struct Artifacts {
    pub(super) programs: Programs,
    pub(super) object: std::path::PathBuf,
}

/// Makes the middle of a row forward.
pub(super) fn start(kind: Kind, lab: &PairLab, artifacts: &Artifacts, policy: &Policy) -> Result<Forwarder> {
    let object: &Path = &artifacts.object;
    match kind {
        Kind::Drop => Ok(Forwarder::Settings),
        Kind::Redirect => Ok(Forwarder::Redirect(RedirectOnly::attach(lab, object)?)),
        Kind::Firewall => Ok(Forwarder::Firewall(Box::new(firewall::start(lab, &artifacts.programs, policy)?))),
        Kind::Nftables => nftables::start(lab, &policy.linear_ruleset()).map(|()| Forwarder::Settings),
        Kind::NftablesSet => nftables::start(lab, &policy.set_ruleset()).map(|()| Forwarder::Settings),
        Kind::Kernel => kernel::start(lab).map(|()| Forwarder::Settings),
    }
}
