//! Packets of established flows: UDP over IPv4, frames of 64 bytes, by the number of flows.

use anyhow::Result;

use super::case::{self, Case};
use super::chain::traffic::Traffic;
use super::forwarder::conntrack::Room;
use super::outcome::Outcome;
use super::session::Session;

/// Ascending, because the smaller sets are part of the larger.
pub(super) const CASES: [Case; 3] = [
    Case::new("established_1", Traffic::UDP),
    Case::new("established_100k", Traffic { flows: 100_000, ..Traffic::UDP }),
    Case::new("established_1m", Traffic { flows: 1_000_000, ..Traffic::UDP }),
];

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let _room = Room::for_connections(case::CONNECTIONS)?;
    let mut outcomes = case::measure_all(session, &CASES, selected)?;
    summarize(&mut outcomes);
    Ok(outcomes)
}

/// Beside the ratios by the number of flows: to nftables the worst of them, and to forwarding without state, which does not
/// know flows, that of one flow.
fn summarize(outcomes: &mut [Outcome]) {
    let ratios = || outcomes.iter().flat_map(|outcome| &outcome.ratios);
    let of = |start: &'static str| ratios().filter(move |ratio| ratio.name.starts_with(start)).map(|ratio| ratio.value);
    let to_nftables = of("cost_vs_nftables_").reduce(f64::max);
    let to_kernel = ratios().find(|ratio| ratio.name == "cost_vs_kernel_established_1").map(|ratio| ratio.value);
    let Some(last) = outcomes.last_mut() else { return };
    for (name, value) in [("cost_vs_nftables_established", to_nftables), ("cost_vs_kernel_forward", to_kernel)] {
        if let Some(value) = value {
            last.ratio(name, value);
        }
    }
}
