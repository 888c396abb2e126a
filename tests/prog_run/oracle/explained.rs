//! What the program says would become of a packet is what becomes of it, on the random traffic of the oracle; and asking
//! changes nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aya::Pod;
use aya::maps::{Array, Map, MapData, PerCpuArray};
use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_common::abi::config::Config;
use fw_common::abi::counters::{AnswerBudget, Counter, Happenings, InterfaceCounter, RuleCounter};
use fw_common::abi::event::DeniedSlot;
use fw_common::abi::explained::{Explained, explained_flags, outcome};
use fw_common::abi::flow::{NextHop, Slot4, Slot6, Table, Tags};
use fw_common::abi::fragment::FragmentBucket;
use fw_common::abi::limit::Subject;
use fw_testkit::classbench::Random;
use fw_testkit::reference::{Datagram, Verdict};

use super::case::{Case, Step};
use super::run::Rival;
use super::{SEED_VARIABLE, clock, number};
use crate::rig::{MACS, NEIGHBOUR, compile};

/// Packets that are asked about.
const PACKETS: u64 = 3_000;

/// Entries that are compared of maps that are large because there may be many rules or subjects.
const FEW: u32 = 4_096;

/// The first entries of every map that packets change, as bytes.
#[derive(PartialEq, Eq)]
pub(crate) struct Snapshot(Vec<(&'static str, Vec<u8>)>);

impl Snapshot {
    pub(crate) fn of(pin_dir: &Path) -> Self {
        let maps = pin_dir.join(format!("abi-{}", fw_common::ABI_VERSION));
        let data = |name: &str| MapData::from_pin(maps.join(name)).unwrap();
        let mut values = Vec::new();
        macro_rules! take {
            ($($kind:ident $name:literal: $value:ty),+ $(,)?) => {
                $(values.push(($name, $kind::<{ size_of::<$value>() }>(data($name))));)+
            };
        }
        take!(
            array "CONFIG": Config, array "FLOWS4": Slot4, array "FLOWS6": Slot6, array "TAGS4": Tags, array "TAGS6": Tags,
            array "FLOW_TABLES": Table, array "HALF_OPEN": u64, array "LOCKS": u32, array "NEXT_HOPS": NextHop,
            array "LIMITS": Subject, array "DENIED": DeniedSlot, array "FRAGMENTS": FragmentBucket,
            per_cpu "DROPS": Counter, per_cpu "RULE_COUNTERS": RuleCounter,
            per_cpu "INTERFACE_COUNTERS": InterfaceCounter, per_cpu "HAPPENINGS": Happenings,
            per_cpu "ANSWER_BUDGET": AnswerBudget,
        );
        Self(values)
    }

    /// The maps that differ.
    pub(crate) fn changed(&self, other: &Self) -> Vec<&'static str> {
        self.0.iter().zip(&other.0).filter(|(one, other)| one != other).map(|((name, _), _)| *name).collect()
    }
}

fn array<const N: usize>(data: MapData) -> Vec<u8>
where
    [u8; N]: Pod,
{
    let map: Array<MapData, [u8; N]> = Array::try_from(Map::Array(data)).unwrap();
    (0..map.len().min(FEW)).flat_map(|index| map.get(&index, 0).unwrap()).collect()
}

fn per_cpu<const N: usize>(data: MapData) -> Vec<u8>
where
    [u8; N]: Pod,
{
    let map: PerCpuArray<MapData, [u8; N]> = PerCpuArray::try_from(Map::PerCpuArray(data)).unwrap();
    let values = (0..map.len().min(FEW)).map(|index| map.get(&index, 0).unwrap());
    values.flat_map(|value| value.iter().flatten().copied().collect::<Vec<u8>>()).collect()
}

/// The verdict that was foretold.
fn foretold(explained: &Explained) -> Option<Verdict> {
    match explained.outcome {
        outcome::HOST => Some(Verdict::Pass),
        outcome::FORWARD => Some(Verdict::Forward(explained.egress_slot as usize)),
        outcome::HAND_OVER => Some(Verdict::HandOver),
        outcome::DROP => u8::try_from(explained.reason).ok().and_then(DropReason::from_number).map(Verdict::Drop),
        _ => None,
    }
}

fn ask(rival: &Rival, slot: usize, datagram: &Datagram) -> Explained {
    let frame = datagram.frame(NEIGHBOUR, MACS[slot]);
    rival.rig.dataplane.explain(&frame, rival.rig.ifindexes[slot]).unwrap()
}

/// Asks about each packet of a case before it comes, and about all of them once more at the end.
fn follow(rival: &mut Rival, case: &Case, tally: &mut [u64; 3]) {
    let compiled: Vec<_> = case.policies.iter().map(|policy| compile(policy)).collect();
    rival.clear();
    rival.rig.dataplane.apply_policy(&compiled[0]).unwrap();
    for (number, step) in case.steps.iter().enumerate() {
        match step {
            Step::Apply(policy) => drop(rival.rig.dataplane.apply_policy(&compiled[*policy]).unwrap()),
            Step::Packet(slot, datagram) => {
                let explained = ask(rival, *slot, datagram);
                let expected = foretold(&explained).unwrap_or_else(|| panic!("{explained:?}"));
                let actual = rival.receive(*slot, datagram, expected);
                assert_eq!(actual, Some(expected), "step {number}: {datagram}\n{explained:?}\n{case}");
                tally[0] += u64::from(explained.flags & explained_flags::OPENS != 0);
                tally[1] += u64::from(explained.flags & explained_flags::OF_FLOW != 0);
                tally[2] += u64::from(explained.outcome == outcome::DROP);
            }
        }
    }
    rival.rig.dataplane.poll_ended(&mut |_| {}).unwrap();
    rival.rig.dataplane.set_observed(true).unwrap();
    let before = Snapshot::of(&rival.rig.pin_dir);
    for step in &case.steps {
        if let Step::Packet(slot, datagram) = step {
            ask(rival, *slot, datagram);
        }
    }
    assert_eq!(before.changed(&Snapshot::of(&rival.rig.pin_dir)), Vec::<&str>::new(), "asking has changed something");
    let mut told = 0;
    rival.rig.dataplane.poll_ended(&mut |_| told += 1).unwrap();
    rival.rig.dataplane.wait_observed(Duration::ZERO, &mut |_| told += 1).unwrap();
    assert_eq!(told, 0, "asking has told observers something");
    rival.rig.dataplane.set_observed(false).unwrap();
}

#[test]
fn what_is_foretold_of_random_traffic_happens_and_asking_changes_nothing() {
    let seed = number(SEED_VARIABLE).unwrap_or_else(|| u64::from(std::process::id()) << 32 | clock());
    println!("{SEED_VARIABLE}={seed}");
    let Some(mut rival) = Rival::new() else { return };
    let netns = Arc::clone(&rival.netns);
    let mut tally = [0; 3];
    netns
        .within(|| {
            let mut packets = 0;
            for number in 0.. {
                let case = Case::random(&mut Random::new(seed.wrapping_add(number)));
                follow(&mut rival, &case, &mut tally);
                packets += case.packets();
                if packets >= PACKETS {
                    break;
                }
            }
        })
        .unwrap();
    println!("opening, of flows, dropped: {tally:?}");
    assert!(tally.iter().all(|count| *count > PACKETS / 100), "the traffic is too uniform: {tally:?}");
}
