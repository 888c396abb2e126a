//! TCP connections from the first segment to the last: generated, so that only the forwarder costs.

use anyhow::Result;

use super::chain::ends::Load;
use super::chain::measure::{self, Lane};
use super::chain::traffic::Traffic;
use super::forwarder::Kind;
use super::forwarder::conntrack::Room;
use super::outcome::Outcome;
use super::policy::Policy;
use super::session::Session;

/// The benchmark.
pub(super) const NAME: &str = "connections";

const CANDIDATES: [Kind; 4] = [Kind::Drop, Kind::Redirect, Kind::Firewall, Kind::Nftables];

/// Room for the connections of all rounds: closed ones wait for late packets.
const MAX_FLOWS: u32 = 1 << 20;
const POLICY: Policy = Policy::new(10).with_max_flows(MAX_FLOWS);

/// How many times all steps are made in a round.
const WINDOWS: u64 = 4;

pub(super) fn run(session: &Session, _selected: &[&str]) -> Result<Vec<Outcome>> {
    eprintln!("{NAME}");
    let _room = Room::for_connections(u64::from(MAX_FLOWS))?;
    let mut candidates = session.raise(&CANDIDATES, &POLICY)?;
    let effort = session.effort();
    let window = u64::from(Traffic::CONNECTION_PACKETS * Traffic::CONNECTIONS_AT_ONCE);
    let lanes: Vec<Lane> = candidates
        .iter()
        .enumerate()
        .map(|(place, candidate)| Lane {
            // Whole windows, so that every connection is closed.
            load: Load::exactly(WINDOWS * window),
            warm_up: Load::exactly(window),
            packets_of_event: Traffic::CONNECTION_PACKETS,
            ..Lane::new(place, candidate.kind.name(), Traffic::TCP.connections(), Traffic::TCP.frame_len, effort.slot)
        })
        .collect();
    let results = measure::alternate(&mut candidates, &lanes, effort)?;
    let title = format!(
        "{NAME}: TCP/IPv4, SYN, SYN+ACK, ACK, request, answer, FIN, FIN, ACK; {} at once, {} rules",
        Traffic::CONNECTIONS_AT_ONCE,
        POLICY.rules
    );
    let mut outcome = Outcome::of_chain(NAME, "connections", title, &results);
    let [drop, redirect, firewall, nftables] = &results[..] else { return Ok(vec![outcome]) };
    outcome.ratio("connections_vs_nftables", firewall.rate_to(nftables));
    outcome.ratio("connections_vs_redirect", firewall.rate_to(redirect));
    outcome.ratio("connections_cost_vs_nftables", firewall.cost_to(nftables, drop));
    Ok(vec![outcome])
}
