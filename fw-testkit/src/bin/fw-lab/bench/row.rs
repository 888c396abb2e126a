//! A row whose hosts have sockets, unlike those of a chain.

use std::panic::resume_unwind;
use std::thread;

use anyhow::{Context, Result};
use fw_testkit::lab::PairLab;

use super::forwarder::{self, Forwarder, Kind};
use super::policy::Policy;
use super::session::Session;

/// The candidates of benchmarks with sockets.
const CANDIDATES: [Kind; 4] = [Kind::Redirect, Kind::Firewall, Kind::Nftables, Kind::Kernel];

/// A row with its forwarder, which is dropped first.
pub(super) struct Row {
    pub(super) kind: Kind,
    _forwarder: Forwarder,
    pub(super) lab: PairLab,
}

impl Row {
    /// Raises a row for each candidate, at the same time.
    pub(super) fn raise_all(session: &Session, policy: &Policy) -> Result<Vec<Self>> {
        thread::scope(|scope| {
            let rows = CANDIDATES.map(|kind| scope.spawn(move || Self::raise(kind, session, policy)));
            let rows: Vec<Result<Self>> =
                rows.into_iter().map(|row| row.join().unwrap_or_else(|panic| resume_unwind(panic))).collect();
            rows.into_iter().collect()
        })
    }

    fn raise(kind: Kind, session: &Session, policy: &Policy) -> Result<Self> {
        let raise = || {
            let lab = PairLab::up()?;
            let forwarder = forwarder::start(kind, &lab, &session.artifacts, policy)?;
            Ok::<Self, anyhow::Error>(Self { kind, _forwarder: forwarder, lab })
        };
        raise().with_context(|| format!("raise {}", kind.name()))
    }
}
