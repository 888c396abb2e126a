//! Packets that open flows, by the number of rules: the firewall beside nftables with one rule after the other, and with a
//! set in place of the rules.

use anyhow::Result;

use super::chain::ends::Load;
use super::chain::measure::{self, Lane};
use super::chain::sink::Watch;
use super::chain::traffic::Traffic;
use super::forwarder::Kind;
use super::forwarder::conntrack::Room;
use super::outcome::Outcome;
use super::policy::Policy;
use super::session::Session;

/// The benchmarks, and their numbers of rules.
pub(super) const BENCHMARKS: [(&str, u32); 3] = [("new_10", 10), ("new_1k", 1_000), ("new_10k", 10_000)];

const CANDIDATES: [Kind; 5] = [Kind::Drop, Kind::Redirect, Kind::Firewall, Kind::Nftables, Kind::NftablesSet];

/// Flows that a candidate opens in one round, at most: of all rounds together, every table holds them, and none
/// gives way to another, though nobody answers.
const FLOWS_OF_ROUND: u64 = 32_768;
const MAX_FLOWS: u32 = 1 << 20;
const FEW: u32 = 10;
/// Packets of one call of the kernel.
const CALL: u32 = 8_192;

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let _room = Room::for_connections(u64::from(MAX_FLOWS))?;
    let chosen = BENCHMARKS.into_iter().filter(|(name, _)| selected.contains(name));
    chosen.map(|(name, rules)| measure_with(session, name, rules)).collect()
}

fn measure_with(session: &Session, name: &str, rules: u32) -> Result<Outcome> {
    eprintln!("{name}");
    let policy = |rules| Policy::new(rules).with_max_flows(MAX_FLOWS).with_max_half_open(MAX_FLOWS);
    let mut wanted: Vec<(Kind, Policy)> = CANDIDATES.map(|kind| (kind, policy(rules))).to_vec();
    if rules > FEW {
        // For the cost of many rules, the firewall with few of them takes part.
        wanted.push((Kind::Firewall, policy(FEW)));
    }
    let mut candidates = session.raise_each(&wanted, Watch::Number)?;
    let effort = session.effort();
    let lanes: Vec<Lane> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| {
            let few = if place == CANDIDATES.len() { ", 10 rules" } else { "" };
            let label = format!("{}{few}", candidate.kind.name());
            let call = call_of(candidate.kind, rules);
            let load = Load { packets: FLOWS_OF_ROUND, call, ..Load::during(effort.slot) };
            let warm_up = Load { packets: u64::from(call).min(FLOWS_OF_ROUND / 8), ..load };
            let plan = Traffic::UDP.new_flows();
            Lane { load, warm_up, ..Lane::new(place, &label, plan, Traffic::UDP.frame_len, effort.slot) }
        })
        .collect();
    let results = measure::alternate(&mut candidates, &lanes, effort)?;
    let title = format!("{name}: every packet opens a flow, UDP/IPv4 64 bytes, {rules} rules");
    let mut outcome = Outcome::of_chain(name, "packets", title, &results);
    let [drop, _, firewall, linear, set, few @ ..] = &results[..] else { return Ok(outcome) };
    let number = name.trim_start_matches("new_");
    outcome.ratio(format!("new_vs_nftables_linear_{number}"), firewall.cost_to(linear, drop));
    outcome.ratio(format!("new_vs_nftables_set_{number}"), firewall.cost_to(set, drop));
    if let [few] = few {
        outcome.ratio(format!("new_{number}_vs_10"), firewall.cost_to(few, drop));
    }
    Ok(outcome)
}

/// As many packets as one call should send: rules that are tried one after the other take about 20 ns each.
fn call_of(kind: Kind, rules: u32) -> u32 {
    if kind == Kind::Nftables { (4_000_000 / rules).clamp(256, CALL) } else { CALL }
}
