//! Sends through the candidates in turn, round after round, so that what disturbs the machine disturbs all alike.

use std::time::Duration;

use anyhow::{Result, bail};
use fw_bench_ebpf::Plan;

use super::core::Core;
use super::ends::{Load, Sent};
use super::traffic::Traffic;
use crate::bench::candidate::Candidate;
use crate::bench::sample::{Measured, median};

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Effort {
    pub(in crate::bench) core: Core,
    pub(in crate::bench) rounds: usize,
    /// Of one candidate in one round.
    pub(in crate::bench) slot: Duration,
}

/// A candidate under some traffic.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Lane {
    /// Its place among the candidates.
    pub(in crate::bench) candidate: usize,
    pub(in crate::bench) label: String,
    pub(in crate::bench) plan: Plan,
    pub(in crate::bench) frame_len: usize,
    /// Packets of one call of the kernel.
    pub(in crate::bench) call: u32,
}

impl Lane {
    /// Packets of established flows.
    pub(in crate::bench) fn established(candidate: usize, label: &str, traffic: &Traffic) -> Self {
        let (plan, frame_len) = (traffic.established(), traffic.frame_len);
        Self { candidate, label: label.to_owned(), plan, frame_len, call: Load::LARGEST_CALL }
    }
}

/// Times that the flows are opened at most: a packet is lost now and then when a queue of the chain is full.
const ATTEMPTS: u32 = 3;

/// Opens every flow of the traffic through a candidate, and makes sure that every packet arrived.
pub(in crate::bench) fn open(candidate: &mut Candidate, traffic: &Traffic, core: Core) -> Result<()> {
    let plan = traffic.opening();
    // Whole windows, so that each flow makes every step.
    let window = 1u64 << plan.window_bits;
    let packets = (u64::from(traffic.flows).div_ceil(window) * window) << plan.step_bits;
    candidate.ends.set_plan(plan, traffic.frame_len)?;
    let mut arrived = 0;
    for _ in 0..ATTEMPTS {
        candidate.ends.rewind(0)?;
        arrived = candidate.ends.send(core, Load::exactly(packets))?.arrived;
        if arrived >= packets {
            return Ok(());
        }
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
    let mut waits = Vec::new();
    for _ in 0..effort.rounds {
        for (lane, result) in lanes.iter().zip(&mut results) {
            let sent = run(&mut candidates[lane.candidate], lane, effort)?;
            result.add(nanoseconds(sent.busy) / sent.arrived.max(1) as f64, share(sent));
            waits.push(nanoseconds(sent.elapsed.saturating_sub(sent.busy)) / f64::from(sent.calls));
        }
    }
    // Before and after each call the kernel waits for other processors (`synchronize_rcu` in `bpf_dispatcher_change_prog`),
    // some milliseconds. Packets a second at the sink include that; how long it takes depends on what else the machine does
    // and not on who forwards, so the usual wait is charged to all alike.
    let wait = median(waits);
    for (lane, result) in lanes.iter().zip(&mut results) {
        result.wait = wait / f64::from(lane.call);
    }
    Ok(results)
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn run(candidate: &mut Candidate, lane: &Lane, effort: Effort) -> Result<Sent> {
    candidate.ends.set_plan(lane.plan, lane.frame_len)?;
    // The candidate before has emptied the caches.
    candidate.ends.send(effort.core, Load { call: lane.call, ..Load::during(effort.slot / 4) })?;
    candidate.ends.send(effort.core, Load { call: lane.call, ..Load::during(effort.slot) })
}

/// The part of the packets that arrived.
fn share(sent: Sent) -> f64 {
    sent.arrived as f64 / sent.packets.max(1) as f64
}
