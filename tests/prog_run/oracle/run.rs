//! Drives both firewalls through a case, and says where they part.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aya::maps::{Array, Map, MapData, PerCpuArray};
use fw_agent::dataplane::{Dataplane as _, FlowRecord};
use fw_common::DropReason;
use fw_common::abi::counters::Counter;
use fw_common::abi::flow::{LANES, Slot4, Slot6, Table, Tags, flow_flags};
use fw_common::conntrack::State;
use fw_testkit::netns::NetNs;
use fw_testkit::reference::{Datagram, FlowSummary, Policy, Reference, Tuple, Verdict};

use super::case::{Case, Step};
use super::policies;
use super::surroundings::topology;
use crate::rig::{HANDOVER_MAC, MACS, NEIGHBOUR, Rig, Setup, XDP_DROP, XDP_PASS, XDP_REDIRECT, compile};

/// Where the two firewalls part.
#[derive(Debug)]
pub(super) struct Difference {
    step: usize,
    what: String,
    program: String,
    reference: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, what, program, reference } = self;
        write!(out, "step {step}: {what}\nprogram: {program}\nreference: {reference}")
    }
}

/// Flows that fit: more than any case opens, and few, because the tables are cleared after each case.
const MAX_FLOWS: u32 = 512;

/// The program in the kernel, and its maps.
pub(super) struct Rival {
    pub(super) rig: Rig,
    pub(super) netns: Arc<NetNs>,
    drops: PerCpuArray<MapData, Counter>,
    /// Packets dropped until now, by reason.
    dropped: Vec<u64>,
    tags: [Array<MapData, Tags>; 2],
    slots4: Array<MapData, Slot4>,
    slots6: Array<MapData, Slot6>,
    tables: Array<MapData, Table>,
    /// How often each verdict was seen.
    seen: BTreeMap<String, u64>,
}

impl Rival {
    pub(super) fn new() -> Option<Self> {
        let rig = Rig::with(Setup { max_flows: MAX_FLOWS, ..Setup::default() })?;
        let open =
            |name: &str| MapData::from_pin(rig.pin_dir.join(format!("abi-{}/{name}", fw_common::ABI_VERSION))).unwrap();
        let drops = PerCpuArray::try_from(Map::PerCpuArray(open("DROPS"))).unwrap();
        let tags = ["TAGS4", "TAGS6"].map(|name| Array::try_from(Map::Array(open(name))).unwrap());
        let tables = Array::try_from(Map::Array(open("FLOW_TABLES"))).unwrap();
        let slots4 = Array::try_from(Map::Array(open("FLOWS4"))).unwrap();
        let slots6 = Array::try_from(Map::Array(open("FLOWS6"))).unwrap();
        let netns = Arc::new(NetNs::open(rig.netns.name()).unwrap());
        let mut rival =
            Self { rig, netns, drops, dropped: Vec::new(), tags, slots4, slots6, tables, seen: BTreeMap::new() };
        rival.dropped = rival.all_dropped();
        Some(rival)
    }

    /// How often each verdict was seen since the last call.
    pub(super) fn take_seen(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.seen)
    }

    /// Where the two part in a case, if they do. A case whose policies are not valid tells them not apart.
    pub(super) fn difference(&mut self, case: &Case) -> Option<Difference> {
        let compiled: Vec<_> = case.policies.iter().map(|policy| compile(policy)).collect();
        let policies: Vec<Policy> = case.policies.iter().map(|policy| Policy::read(policy).unwrap()).collect();
        self.clear();
        self.rig.dataplane.apply_policy(compiled.first()?).unwrap();
        let mut reference = Reference::new(topology(), policies[0].clone());
        let observed_before = self.observed();
        let netns = Arc::clone(&self.netns);
        netns
            .within(|| {
                for (number, step) in case.steps.iter().enumerate() {
                    match step {
                        Step::Apply(policy) => {
                            self.rig.dataplane.apply_policy(compiled.get(*policy)?).unwrap();
                            reference.apply(policies[*policy].clone());
                        }
                        Step::Packet(slot, datagram) => {
                            let expected = reference.receive(*slot, datagram);
                            let actual = self.receive(*slot, datagram, expected);
                            *self.seen.entry(format!("{actual:?}")).or_default() += 1;
                            if actual != Some(expected) {
                                let actual = actual.map_or("nothing that is known".to_owned(), |it| format!("{it:?}"));
                                return Some(Difference {
                                    step: number,
                                    what: datagram.to_string(),
                                    program: actual,
                                    reference: format!("{expected:?}"),
                                });
                            }
                        }
                    }
                }
                self.difference_of_flows(case.steps.len(), &reference)
                    .or_else(|| self.difference_of_observing(case.steps.len(), &reference, &observed_before))
            })
            .unwrap()
    }

    /// Lets the program judge a packet; `None` if it did what no verdict is.
    pub(super) fn receive(&mut self, slot: usize, datagram: &Datagram, expected: Verdict) -> Option<Verdict> {
        let frame = datagram.frame(NEIGHBOUR, MACS[slot]);
        let (action, after) = self.rig.dataplane.run(&frame, self.rig.ifindexes[slot]).unwrap();
        match action {
            XDP_PASS => Some(Verdict::Pass),
            // An answer goes back to the sender; everything else keeps its addresses.
            XDP_REDIRECT if addresses(&after) == addresses(&frame) => {
                if after[..6] == HANDOVER_MAC {
                    return Some(Verdict::HandOver);
                }
                MACS.iter().position(|mac| after[6..12] == *mac).map(Verdict::Forward)
            }
            XDP_REDIRECT | XDP_DROP => self.reason(expected).map(Verdict::Drop),
            _ => None,
        }
    }

    /// Which reason was counted since the last packet. The expected one is looked at first: it is one read instead of one for
    /// each reason.
    fn reason(&mut self, expected: Verdict) -> Option<DropReason> {
        if let Verdict::Drop(reason) = expected {
            let number = reason as usize;
            let count = self.count(number);
            if count == self.dropped[number] + 1 {
                self.dropped[number] = count;
                return Some(reason);
            }
        }
        let before = std::mem::take(&mut self.dropped);
        self.dropped = self.all_dropped();
        let changed = (0..before.len()).find(|number| self.dropped[*number] != before[*number])?;
        DropReason::from_number(u8::try_from(changed).unwrap())
    }

    fn count(&self, number: usize) -> u64 {
        let value = self.drops.get(&u32::try_from(number).unwrap(), 0).unwrap();
        value.iter().map(|counter| counter.packets).sum()
    }

    fn all_dropped(&self) -> Vec<u64> {
        (0..DropReason::COUNT).map(|number| self.count(number)).collect()
    }

    /// Forgets all flows, as if the program had just been loaded.
    pub(super) fn clear(&mut self) {
        for (family, tags) in self.tags.iter_mut().enumerate() {
            for bucket in 0..tags.len() {
                let lanes = tags.get(&bucket, 0).unwrap().words.map(u64::to_le_bytes);
                for (slot, tag) in (bucket * LANES..).zip(lanes.as_flattened()) {
                    match family {
                        _ if *tag == 0 => {}
                        0 => self.slots4.set(slot, Slot4::default(), 0).unwrap(),
                        _ => self.slots6.set(slot, Slot6::default(), 0).unwrap(),
                    }
                }
                tags.set(bucket, Tags::default(), 0).unwrap();
            }
        }
        for family in 0..2 {
            self.tables.set(family, Table::default(), 0).unwrap();
        }
    }

    /// Packets and bytes of the rules that observe, by id.
    fn observed(&self) -> BTreeMap<String, [u64; 2]> {
        let names = self.rig.dataplane.rule_names().unwrap();
        let names: BTreeMap<u32, String> =
            names.into_iter().filter(|(_, id)| id.starts_with(policies::OBSERVING)).collect();
        let counters = self.rig.dataplane.rules().unwrap().into_iter();
        counters
            .filter_map(|(handle, counter)| Some((names.get(&handle)?.clone(), [counter.packets, counter.bytes])))
            .collect()
    }

    /// Compares what the rules that observe have counted.
    fn difference_of_observing(
        &mut self,
        step: usize,
        reference: &Reference,
        before: &BTreeMap<String, [u64; 2]>,
    ) -> Option<Difference> {
        let mut counted = self.observed();
        for (id, counter) in &mut counted {
            let [packets, bytes] = before.get(id).copied().unwrap_or_default();
            *counter = [counter[0] - packets, counter[1] - bytes];
        }
        counted.retain(|_, [packets, _]| *packets > 0);
        *self.seen.entry("observed by a rule".to_owned()).or_default() +=
            counted.values().map(|[packets, _]| packets).sum::<u64>();
        let expected = reference.observed();
        (counted != *expected).then(|| Difference {
            step,
            what: "packets and bytes that rules have observed".to_owned(),
            program: format!("{counted:?}"),
            reference: format!("{expected:?}"),
        })
    }

    /// Compares the flows that both know, and their counters; and that no packet was counted as dropped that was not.
    fn difference_of_flows(&self, step: usize, reference: &Reference) -> Option<Difference> {
        let part = |what: &str, program: String, reference: String| Difference {
            step,
            what: what.to_owned(),
            program,
            reference,
        };
        let dropped = self.all_dropped();
        if dropped != self.dropped {
            return Some(part("drops", format!("{dropped:?}"), format!("{:?}", self.dropped)));
        }
        let mut flows = Vec::new();
        self.rig
            .dataplane
            .visit_flows(&mut |record| {
                flows.extend(summary(&record));
                true
            })
            .unwrap();
        flows.sort_unstable();
        let expected = reference.flows();
        if flows == expected {
            return None;
        }
        let only = |these: &[FlowSummary], others: &[FlowSummary]| {
            format!("{:?}", these.iter().filter(|flow| !others.contains(flow)).collect::<Vec<_>>())
        };
        Some(part("flows", only(&flows, &expected), only(&expected, &flows)))
    }
}

/// Source and destination in a frame without tags.
fn addresses(frame: &[u8]) -> &[u8] {
    if frame[12] == 0x08 { &frame[26..34] } else { &frame[22..54] }
}

/// What can be compared of a flow that lives.
fn summary(record: &FlowRecord) -> Option<FlowSummary> {
    let flow = &record.flow;
    let state = State::from_number(flow.state);
    if state == State::Ended {
        return None;
    }
    let addr = |bytes: [u8; 16]| -> IpAddr {
        let [a, b, c, d, ..] = bytes;
        if record.family == 4 { [a, b, c, d].into() } else { bytes.into() }
    };
    let low = (addr(record.key.low_addr), u16::from_be_bytes(record.key.low_port));
    let high = (addr(record.key.high_addr), u16::from_be_bytes(record.key.high_port));
    let (source, destination) = if flow.flags & flow_flags::ORIGIN_IS_HIGH == 0 { (low, high) } else { (high, low) };
    Some(FlowSummary {
        tuple: Tuple { protocol: record.key.protocol, source, destination },
        state,
        packets: flow.directions.map(|direction| direction.packets),
        bytes: flow.directions.map(|direction| direction.bytes),
    })
}
