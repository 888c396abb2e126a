//! A benchmark of established flows, whatever their traffic is: flows are opened, then packets of them cross.

use anyhow::Result;

use super::candidate::Candidate;
use super::chain::measure::{self, Lane};
use super::chain::traffic::Traffic;
use super::forwarder::Kind;
use super::outcome::Outcome;
use super::policy::Policy;
use super::session::Session;

/// The candidates of every such benchmark.
pub(super) const CANDIDATES: [Kind; 5] = [Kind::Drop, Kind::Redirect, Kind::Firewall, Kind::Nftables, Kind::Kernel];

/// The policy of every such benchmark.
pub(super) const POLICY: Policy = Policy::new(10).with_max_flows(1 << 20);

/// Connections that connection tracking must have room for, with a bucket for each.
pub(super) const CONNECTIONS: u64 = 1 << 20;

/// A benchmark of established flows.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) traffic: Traffic,
    /// Other traffic that the firewall forwards in the same rounds, and the name of the ratio of the rates.
    pub(super) beside: Option<(&'static str, Traffic)>,
}

impl Case {
    pub(super) const fn new(name: &'static str, traffic: Traffic) -> Self {
        Self { name, traffic, beside: None }
    }

    /// Opens the flows, and measures.
    pub(super) fn measure(&self, session: &Session, candidates: &mut [Candidate]) -> Result<Outcome> {
        eprintln!("{}", self.name);
        let effort = session.effort();
        let lane = |candidate, label: &str, traffic: &Traffic| {
            Lane::new(candidate, label, traffic.established(), traffic.frame_len, effort.slot)
        };
        let mut lanes = Vec::new();
        for (place, candidate) in candidates.iter_mut().enumerate() {
            if candidate.kind.keeps_state() {
                measure::open(candidate, &self.traffic, session.core)?;
            }
            lanes.push(lane(place, candidate.kind.name(), &self.traffic));
        }
        if let Some((_, traffic)) = &self.beside {
            let firewall = candidates.iter().position(|candidate| candidate.kind == Kind::Firewall).unwrap_or(0);
            measure::open(&mut candidates[firewall], traffic, session.core)?;
            lanes.push(lane(firewall, &format!("firewall, {traffic}"), traffic));
        }
        let results = measure::alternate(candidates, &lanes, effort)?;
        let title = format!("{}: established, {}, {} rules", self.name, self.traffic, POLICY.rules);
        let mut outcome = Outcome::of_chain(self.name, "packets", title, &results);
        for lane in results.iter().take(CANDIDATES.len()) {
            let gigabits = self.traffic.frame_len as f64 * 8.0 / lane.cost();
            outcome.figure(format!("{}/{}/throughput", self.name, lane.label), gigabits, "Gbit/s");
        }
        let [drop, redirect, firewall, nftables, kernel, beside @ ..] = &results[..] else { return Ok(outcome) };
        outcome.ratio(self.name, firewall.rate_on_the_clock_to(redirect));
        outcome.ratio(format!("{}_busy", self.name), firewall.rate_to(redirect));
        outcome.ratio(format!("cost_vs_nftables_{}", self.name), firewall.cost_to(nftables, drop));
        outcome.ratio(format!("cost_vs_kernel_{}", self.name), firewall.cost_to(kernel, drop));
        if let (Some((name, _)), [beside]) = (self.beside, beside) {
            outcome.ratio(name, firewall.rate_to(beside));
        }
        Ok(outcome)
    }
}

/// Measures those of the cases that are selected, on one set of candidates.
pub(super) fn measure_all(session: &Session, cases: &[Case], selected: &[&str]) -> Result<Vec<Outcome>> {
    let mut candidates = session.raise(&CANDIDATES, &POLICY)?;
    let chosen = cases.iter().filter(|case| selected.contains(&case.name));
    chosen.map(|case| case.measure(session, &mut candidates)).collect()
}
