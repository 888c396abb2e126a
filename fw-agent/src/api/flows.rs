//! The live flows: which match, which are the largest, and which are ended.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::time::{Duration, Instant};

use fw_common::abi::flow::{Flow, FlowKey6};
use fw_common::conntrack::State;

use super::answers::{Count, EndedFlows, FlowRow, Flows};
use super::request::{EndFlows, FlowFilter, FlowOrder};
use crate::clock::Clock;
use crate::dataplane::{DataplaneError, FlowRecord};
use crate::facts::Shared;
use crate::names::{Names, protocol};
use crate::parties::Parties;

/// How long rates are measured.
const MEASURED: Duration = Duration::from_secs(1);

/// A flow and what it is ordered by.
struct Sized {
    record: FlowRecord,
    size: u64,
}

/// The live flows that match, the largest first. With an order by rate, it takes [`MEASURED`].
pub(super) fn list(filter: &FlowFilter, shared: &Shared) -> Result<Flows, DataplaneError> {
    let facts = shared.facts.load();
    let order = filter.by.unwrap_or_default();
    let rates = if order == FlowOrder::Rate { Some(Rates::measure(filter, shared)?) } else { None };
    let clock = Clock::read();
    let limit = filter.effective_limit();
    let (mut total, mut matching) = (0, 0);
    let mut largest: Vec<Sized> = Vec::new();
    shared.dataplane.visit_flows(&mut |record| {
        total += 1;
        if matches(filter, &record, &facts.names) {
            matching += 1;
            let size = match &rates {
                Some(rates) => rates.of(&record),
                None => size(order, &record.flow),
            };
            largest.push(Sized { record, size });
        }
        // Kept short by turns, so that a full table needs no memory to speak of.
        if largest.len() >= 2 * limit + 1_024 {
            keep_largest(&mut largest, limit);
        }
        true
    })?;
    keep_largest(&mut largest, limit);
    let rows = largest.iter().map(|sized| FlowRow {
        bytes_per_second: rates.is_some().then_some(sized.size),
        ..row(&sized.record, &facts.names, &clock)
    });
    Ok(Flows { matching, total, flows: rows.collect() })
}

/// Ends the flows that match.
pub(super) fn end(request: &EndFlows, shared: &Shared) -> EndedFlows {
    let facts = shared.facts.load();
    let ended = shared.dataplane.end_flows(&mut |record| matches(&request.flows, record, &facts.names));
    EndedFlows { ended: ended.flows, problem: ended.problem.map(|problem| problem.to_string()) }
}

fn size(order: FlowOrder, flow: &Flow) -> u64 {
    let directions = flow.directions.iter();
    match order {
        FlowOrder::Bytes | FlowOrder::Rate => directions.map(|direction| direction.bytes).sum(),
        FlowOrder::Packets => directions.map(|direction| direction.packets).sum(),
    }
}

/// What flows had transferred a moment ago: 16 bytes a flow, so that a table of two million takes some 60 MB for a second.
struct Rates {
    since: Instant,
    /// By a number that stands for the flow: two flows have the same one in a table of millions as good as never, and
    /// then the rate of one of them is wrong.
    bytes: HashMap<u64, u64, BuildHasherDefault<Spread>>,
    numbers: RandomState,
}

/// The numbers are spread already.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Rates {
    fn measure(filter: &FlowFilter, shared: &Shared) -> Result<Self, DataplaneError> {
        let facts = shared.facts.load();
        let mut rates = Self { since: Instant::now(), bytes: HashMap::default(), numbers: RandomState::new() };
        shared.dataplane.visit_flows(&mut |record| {
            if matches(filter, &record, &facts.names) {
                rates.bytes.insert(rates.number(&record), size(FlowOrder::Bytes, &record.flow));
            }
            true
        })?;
        // A rate is what happens while time passes; this thread is one for what blocks.
        std::thread::sleep(MEASURED);
        Ok(rates)
    }

    fn number(&self, record: &FlowRecord) -> u64 {
        self.numbers.hash_one((record.key, record.flow.opened))
    }

    /// Bytes per second since; of a flow that was not there, all of its bytes are.
    fn of(&self, record: &FlowRecord) -> u64 {
        let before = self.bytes.get(&self.number(record)).copied().unwrap_or(0);
        let bytes = size(FlowOrder::Bytes, &record.flow).saturating_sub(before);
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        bytes.saturating_mul(1_000) / milliseconds
    }
}

fn keep_largest(flows: &mut Vec<Sized>, limit: usize) {
    flows.sort_by_cached_key(|sized| {
        let FlowKey6 { low_addr, high_addr, low_port, high_port, protocol, .. } = sized.record.key;
        (Reverse(sized.size), sized.record.flow.opened, low_addr, high_addr, low_port, high_port, protocol)
    });
    flows.truncate(limit);
}

fn matches(filter: &FlowFilter, record: &FlowRecord, names: &Names) -> bool {
    let flow = &record.flow;
    // What was ended waits for the sweep only.
    if flow.state == State::Ended as u8 {
        return false;
    }
    let parties = Parties::of_flow(&record.key, record.family, flow);
    let in_zone =
        |zone: &String| [flow.from_zone, flow.to_zone].iter().any(|id| names.zone(*id).as_deref() == Some(zone));
    filter.zone.as_ref().is_none_or(in_zone)
        && filter.addr.is_none_or(|range| range.contains(parties.src_addr) || range.contains(parties.dst_addr))
        && filter.port.is_none_or(|port| parties.involves_port(port))
        && filter.protocol.is_none_or(|protocol| protocol.0 == record.key.protocol)
        && filter.rule.as_ref().is_none_or(|rule| names.rule(flow.rule).as_deref() == Some(rule))
        && filter.state.is_none_or(|state| state.0 == State::from_number(flow.state))
}

fn row(record: &FlowRecord, names: &Names, clock: &Clock) -> FlowRow {
    let flow = &record.flow;
    let count = |direction: usize| Count {
        packets: flow.directions[direction].packets,
        bytes: flow.directions[direction].bytes,
    };
    FlowRow {
        family: if record.family == 6 { "ipv6" } else { "ipv4" }.to_owned(),
        protocol: protocol(record.key.protocol).into_owned(),
        parties: Parties::of_flow(&record.key, record.family, flow),
        from_zone: names.zone(flow.from_zone).map(Into::into),
        to_zone: names.zone(flow.to_zone).map(Into::into),
        state: State::from_number(flow.state).name().to_owned(),
        rule: names.rule(flow.rule).map(Into::into),
        out: count(0),
        back: count(1),
        age_seconds: clock.seconds_since(flow.opened_at() / 1_000_000_000),
        idle_seconds: clock.seconds_since(u64::from(flow.last_seen)),
        timeout_seconds: record.timeout,
        epoch: flow.epoch,
        bytes_per_second: None,
    }
}
