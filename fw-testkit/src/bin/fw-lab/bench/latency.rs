//! How long a packet is on its way from the client's device to the server's, by candidate and by what else is on its way.

use std::time::Duration;

use anyhow::{Result, ensure};
use fw_bench_ebpf::Plan;

use super::candidate::Candidate;
use super::case::{CANDIDATES, CONNECTIONS, POLICY};
use super::chain::delays::Delays;
use super::chain::ends::Load;
use super::chain::measure;
use super::chain::sink::Watch;
use super::chain::traffic::Traffic;
use super::forwarder::conntrack::Room;
use super::outcome::{Curve, Outcome};
use super::session::Session;

/// What else is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    /// Nothing, and the processor has slept since the packet before, a millisecond ago.
    Idle,
    /// Nothing, but the processor has nothing else to do than one packet after the other.
    Alone,
    /// A burst of 64, all of which are at the client's device when the first one is forwarded; then the next burst.
    Burst,
}

/// The benchmarks.
const BENCHMARKS: [(&str, Situation); 3] =
    [("latency_idle", Situation::Idle), ("latency_alone", Situation::Alone), ("latency_burst", Situation::Burst)];

const FLOWS: u32 = 100_000;
/// Of the situation `Idle`.
const PACE: Duration = Duration::from_millis(1);
/// Packets that warm caches up before a round, where the caches are to be warm.
const WARM_UP: u64 = 16_384;
/// Columns of the table, and what part of the packets took no longer.
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// The names of the benchmarks.
pub(super) fn names() -> Vec<&'static str> {
    BENCHMARKS.map(|(name, _)| name).to_vec()
}

pub(super) fn run(session: &Session, selected: &[&str]) -> Result<Vec<Outcome>> {
    let _room = Room::for_connections(CONNECTIONS)?;
    let traffic = Traffic { flows: FLOWS, ..Traffic::UDP };
    let mut candidates = session.raise_watched(&CANDIDATES, &POLICY, Watch::Delay)?;
    for candidate in candidates.iter_mut().filter(|candidate| candidate.kind.keeps_state()) {
        measure::open(candidate, &traffic, session.core)?;
    }
    for candidate in candidates.iter_mut() {
        candidate.ends.set_plan(Plan { stamped: 1, ..traffic.established() }, traffic.frame_len)?;
    }
    let chosen = BENCHMARKS.into_iter().filter(|(name, _)| selected.contains(name));
    chosen.map(|(name, situation)| measure_in(session, name, situation, &mut candidates)).collect()
}

impl Situation {
    /// What is sent to one candidate in one round.
    fn load(self, session: &Session) -> Load {
        let slot = session.effort().slot;
        match self {
            Self::Idle => {
                let packets = if session.quick { 200 } else { 500 };
                Load { call: 1, batch: 1, pace: PACE, ..Load::exactly(packets) }
            }
            Self::Alone => Load { batch: 1, ..Load::during(slot) },
            Self::Burst => Load::during(slot),
        }
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::Idle => "one a millisecond, the processor asleep in between",
            Self::Alone => "one after the other, each alone in the chain",
            Self::Burst => "bursts of 64, one after the other",
        }
    }
}

fn measure_in(
    session: &Session,
    name: &'static str,
    situation: Situation,
    candidates: &mut [Candidate],
) -> Result<Outcome> {
    eprintln!("{name}");
    let rounds = session.effort().rounds.min(11);
    let load = situation.load(session);
    let mut results: Vec<Delays> = candidates.iter().map(|_| Delays::none()).collect();
    for round in 0..rounds {
        let mut order: Vec<_> = candidates.iter_mut().zip(&mut results).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (candidate, delays) in order {
            if situation != Situation::Idle {
                candidate.ends.send(session.core, Load { packets: WARM_UP, ..load })?;
            }
            let before = candidate.ends.delays()?;
            candidate.ends.send(session.core, load)?;
            delays.add(&before, &candidate.ends.delays()?);
        }
    }
    for (candidate, delays) in candidates.iter().zip(&results) {
        ensure!(delays.packets() > 0, "no packet arrived through {}", candidate.kind.name());
    }
    Ok(outcome(name, situation, candidates, &results))
}

fn outcome(name: &'static str, situation: Situation, candidates: &[Candidate], results: &[Delays]) -> Outcome {
    let mut outcome = Outcome {
        title: format!("{name}: nanoseconds from device to device, UDP/IPv4, {FLOWS} flows, {}", situation.describe()),
        columns: ["candidate"].into_iter().chain(PERCENTILES.map(|(column, _)| column)).chain(["packets"]).collect(),
        ..Outcome::default()
    };
    for (candidate, delays) in candidates.iter().zip(results) {
        let label = candidate.kind.name();
        let values = PERCENTILES.map(|(column, part)| (column, delays.percentile(part)));
        let cells = values.map(|(_, value)| value.to_string());
        outcome.rows.push([label.to_owned()].into_iter().chain(cells).chain([delays.packets().to_string()]).collect());
        for (column, value) in values {
            outcome.figure(format!("{name}/{label}/{column}"), value as f64, "ns");
        }
        outcome.curves.push(Curve { plot: name, label: label.to_owned(), points: delays.distribution() });
    }
    let [_, redirect, firewall, nftables, kernel] = results else { return outcome };
    let ratio = |other: &Delays, part| firewall.percentile(part) as f64 / other.percentile(part).max(1) as f64;
    for (column, part) in [("p50", 0.5), ("p99", 0.99)] {
        for (other, delays) in [("nftables", nftables), ("kernel", kernel), ("redirect", redirect)] {
            outcome.ratio(format!("{name}_{column}_vs_{other}"), ratio(delays, part));
        }
    }
    outcome
}
