//! Packets of established flows: UDP over IPv4, frames of 64 bytes, by the number of flows.

use anyhow::Result;

use super::chain::measure::{self, Lane};
use super::chain::traffic::{Family, Traffic, Transport};
use super::forwarder::Kind;
use super::forwarder::conntrack::Room;
use super::outcome::Outcome;
use super::policy::Policy;
use super::session::Session;

/// The benchmarks, and their numbers of flows: ascending, because the smaller sets are part of the larger.
pub(super) const BENCHMARKS: [(&str, u32); 3] =
    [("established_1", 1), ("established_100k", 100_000), ("established_1m", 1_000_000)];

const CANDIDATES: [Kind; 5] = [Kind::Drop, Kind::Redirect, Kind::Firewall, Kind::Nftables, Kind::Kernel];

const POLICY: Policy = Policy { rules: 10, max_flows: 1 << 20 };

/// Connections that connection tracking must have room for, with a bucket for each.
const CONNECTIONS: u64 = 1 << 20;

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let _room = Room::for_connections(CONNECTIONS)?;
    let mut candidates = session.raise(&CANDIDATES, &POLICY)?;
    let mut outcomes = Vec::new();
    for (name, flows) in BENCHMARKS.into_iter().filter(|(name, _)| selected.contains(name)) {
        eprintln!("{name}");
        let traffic = Traffic { family: Family::Ipv4, transport: Transport::Udp, frame_len: 64, flows };
        for candidate in candidates.iter_mut().filter(|candidate| candidate.kind != Kind::Drop) {
            measure::open(candidate, &traffic, session.core)?;
        }
        let lanes: Vec<Lane> = candidates
            .iter()
            .enumerate()
            .map(|(place, candidate)| Lane::established(place, candidate.kind.name(), &traffic))
            .collect();
        let results = measure::alternate(&mut candidates, &lanes, session.effort())?;
        let title = format!("{name}: established UDP flows ({flows}), IPv4, 64 bytes, {} rules", POLICY.rules);
        let mut outcome = Outcome::of_chain(name, title, &results);
        let [drop, redirect, firewall, nftables, kernel] = &results[..] else { continue };
        outcome.ratio(name, firewall.rate_to(redirect));
        let flows = name.trim_start_matches("established");
        outcome.ratio(format!("cost_vs_nftables_established{flows}"), firewall.cost_to(nftables, drop));
        outcome.ratio(format!("cost_vs_kernel_forward{flows}"), firewall.cost_to(kernel, drop));
        outcomes.push(outcome);
    }
    summarize(&mut outcomes);
    Ok(outcomes)
}

/// Beside the ratios by the number of flows, the worst of each.
fn summarize(outcomes: &mut [Outcome]) {
    for name in ["cost_vs_nftables_established", "cost_vs_kernel_forward"] {
        let ratios = outcomes.iter().flat_map(|outcome| &outcome.ratios);
        let worst = ratios.filter(|ratio| ratio.name.starts_with(name)).map(|ratio| ratio.value).reduce(f64::max);
        if let (Some(worst), Some(last)) = (worst, outcomes.last_mut()) {
            last.ratio(name, worst);
        }
    }
}
