//! Packets that the policy drops: what a packet costs that goes nowhere.

use anyhow::Result;

use super::chain::measure::{self, Fate, Lane};
use super::chain::traffic::{DENIED_PORT, Traffic};
use super::forwarder::Kind;
use super::outcome::Outcome;
use super::policy::Policy;
use super::session::Session;

/// The benchmarks, and the number of different flows that are denied.
pub(super) const BENCHMARKS: [(&str, u32); 2] = [("denied_1", 1), ("denied_100k", 100_000)];

const CANDIDATES: [Kind; 3] = [Kind::Drop, Kind::Firewall, Kind::Nftables];

const POLICY: Policy = Policy::new(10);

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let mut candidates = session.raise(&CANDIDATES, &POLICY)?;
    let effort = session.effort();
    let mut outcomes = Vec::new();
    for (name, flows) in BENCHMARKS.into_iter().filter(|(name, _)| selected.contains(name)) {
        eprintln!("{name}");
        let traffic = Traffic { flows, server_port: DENIED_PORT, ..Traffic::UDP };
        let lanes: Vec<Lane> = candidates
            .iter()
            .enumerate()
            .map(|(place, candidate)| {
                let plan = traffic.established();
                let lane = Lane::new(place, candidate.kind.name(), plan, traffic.frame_len, effort.slot);
                Lane { fate: if candidate.kind == Kind::Drop { Fate::Arrive } else { Fate::Vanish }, ..lane }
            })
            .collect();
        let results = measure::alternate(&mut candidates, &lanes, effort)?;
        let title = format!("{name}: dropped by the policy's default, {traffic}, {} rules", POLICY.rules);
        let mut outcome = Outcome::of_chain(name, "packets", title, &results);
        let [drop, firewall, nftables] = &results[..] else { continue };
        let number = name.trim_start_matches("denied_");
        outcome.ratio(format!("denied_vs_nftables_{number}"), firewall.cost_to(nftables, drop));
        outcomes.push(outcome);
    }
    Ok(outcomes)
}
