//! Sends through the candidates in turn, round after round, so that what disturbs the machine disturbs all alike.

use std::time::Duration;

use anyhow::{Result, bail};
use fw_bench_ebpf::Plan;

use super::core::Core;
use super::ends::{Load, Sent};
use super::traffic::Traffic;
use crate::bench::candidate::Candidate;
use crate::bench::sample::Measured;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Effort {
    pub(in crate::bench) core: Core,
    pub(in crate::bench) rounds: usize,
    /// Of one candidate in one round.
    pub(in crate::bench) slot: Duration,
}

/// What becomes of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bench) enum Fate {
    /// They arrive at the sink, and count only then.
    Arrive,
    /// The candidate drops them, all that are sent.
    Vanish,
}

/// A candidate under some traffic.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Lane {
    /// Its place among the candidates.
    pub(in crate::bench) candidate: usize,
    pub(in crate::bench) label: String,
    pub(in crate::bench) plan: Plan,
    pub(in crate::bench) frame_len: usize,
    /// Sent in each round, and before it a part of it to warm the caches, which another candidate has used.
    pub(in crate::bench) load: Load,
    pub(in crate::bench) warm_up: Load,
    pub(in crate::bench) fate: Fate,
    /// Packets that belong to one event, whose cost is measured.
    pub(in crate::bench) packets_of_event: u32,
}

impl Lane {
    /// Packets of a plan, as many as the time allows.
    pub(in crate::bench) fn new(candidate: usize, label: &str, plan: Plan, frame_len: usize, slot: Duration) -> Self {
        Self {
            candidate,
            label: label.to_owned(),
            plan,
            frame_len,
            load: Load::during(slot),
            warm_up: Load::during(slot / 8),
            fate: Fate::Arrive,
            packets_of_event: 1,
        }
    }
}

/// Times that the flows are opened at most: a packet is lost now and then when a queue of the chain is full.
const ATTEMPTS: u32 = 3;
/// One packet in so many may be lost for good.
const MAY_BE_LOST: u64 = 1000;

/// Opens every flow of the traffic through a candidate, and makes sure that the packets arrived.
pub(in crate::bench) fn open(candidate: &mut Candidate, traffic: &Traffic, core: Core) -> Result<()> {
    let plan = traffic.opening();
    let packets = traffic.opening_packets();
    candidate.ends.set_plan(plan, traffic.frame_len)?;
    let mut arrived = 0;
    for _ in 0..ATTEMPTS {
        candidate.ends.rewind(0)?;
        // A connection that is open is not opened again, so the best attempt says how many are.
        arrived = arrived.max(candidate.ends.send(core, Load::exactly(packets))?.arrived);
        if arrived >= packets {
            return Ok(());
        }
    }
    if arrived >= packets - packets / MAY_BE_LOST {
        return Ok(());
    }
    bail!("{} let only {arrived} of {packets} packets pass that open flows", candidate.kind.name())
}

/// The cost of a packet in every lane, in nanoseconds, round by round.
pub(in crate::bench) fn alternate(
    candidates: &mut [Candidate],
    lanes: &[Lane],
    effort: Effort,
) -> Result<Vec<Measured>> {
    let mut results: Vec<Measured> = lanes.iter().map(|lane| Measured::new(&lane.label)).collect();
    for round in 0..effort.rounds {
        // To and fro: nobody always comes after the one that leaves the caches worst.
        let mut order: Vec<_> = lanes.iter().zip(&mut results).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (lane, result) in order {
            let sent = run(&mut candidates[lane.candidate], lane, effort)?;
            let (counted, right) = match lane.fate {
                Fate::Arrive => (sent.arrived, sent.arrived),
                Fate::Vanish => (sent.packets, sent.packets.saturating_sub(sent.arrived)),
            };
            let cost = sent.busy.as_secs_f64() * 1e9 * f64::from(lane.packets_of_event) / counted.max(1) as f64;
            result.add(cost, right as f64 / sent.packets.max(1) as f64);
        }
    }
    Ok(results)
}

fn run(candidate: &mut Candidate, lane: &Lane, effort: Effort) -> Result<Sent> {
    candidate.ends.set_plan(lane.plan, lane.frame_len)?;
    candidate.ends.send(effort.core, lane.warm_up)?;
    candidate.ends.send(effort.core, lane.load)
}
