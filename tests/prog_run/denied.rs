//! Denied flows: each in a record of its own, in a table that a flood fills and does not overflow.

use std::net::Ipv4Addr;

use aya::maps::{Array, Map, MapData};
use fw_agent::dataplane::Dataplane as _;
use fw_common::abi::event::{DENIED_SLOTS, DeniedSlot};
use fw_testkit::packet::Packet;

use crate::rig::{IT, Rig};

const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);

/// What the policy denies.
fn deny(rig: &Rig, port: u16) {
    rig.send(IT, Packet::udp(IT_HOST, port, OT_HOST, 9));
}

fn table(rig: &Rig) -> Array<MapData, DeniedSlot> {
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/DENIED", fw_common::ABI_VERSION))).unwrap();
    Array::try_from(Map::Array(data)).unwrap()
}

/// Lets every slot be in use by a flow that no packet is of, last seen at this time.
fn fill(rig: &Rig, last_at: u64) {
    let mut table = table(rig);
    let slot = DeniedSlot { mark: 2, packets: 1, last_at, ..DeniedSlot::default() };
    for number in 0..DENIED_SLOTS {
        table.set(number, slot, 0).unwrap();
    }
}

fn unrecorded(rig: &Rig) -> u64 {
    rig.dataplane.happenings().unwrap().denied_unrecorded
}

#[test]
fn every_packet_is_in_a_record_or_counted_as_in_none() {
    let Some(rig) = Rig::new() else { return };
    let mut recorded = 0;
    for round in 1..=3 {
        for port in 1000..2000 {
            deny(&rig, port);
        }
        let denied = rig.dataplane.take_denied().unwrap();
        assert!(denied.len() > 900, "{} records in round {round}", denied.len());
        let ports: std::collections::BTreeSet<[u8; 2]> = denied.iter().map(|(key, _)| key.src_port).collect();
        assert_eq!(ports.len(), denied.len(), "a flow has one record");
        recorded += denied.iter().map(|(_, denied)| denied.packets).sum::<u64>();
        assert_eq!(recorded + unrecorded(&rig), 1000 * round);
    }
}

#[test]
fn what_finds_no_place_in_a_full_table_is_counted() {
    let Some(rig) = Rig::new() else { return };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec as u64 * 1_000_000_000;
    fill(&rig, now);
    deny(&rig, 1000);
    deny(&rig, 1000);
    assert_eq!(unrecorded(&rig), 2);
    assert_eq!(rig.dataplane.take_denied().unwrap().len(), DENIED_SLOTS as usize);
    deny(&rig, 1000);
    let denied = rig.dataplane.take_denied().unwrap();
    assert_eq!((denied.len(), denied[0].1.packets), (1, 1), "{denied:?}");
    assert_eq!(unrecorded(&rig), 2);
}

#[test]
fn without_an_agent_the_table_follows_what_is_denied_now() {
    let Some(rig) = Rig::new() else { return };
    // Nobody has emptied it since the machine was started.
    fill(&rig, 1);
    deny(&rig, 1000);
    assert_eq!(unrecorded(&rig), 1, "the packet of the flow whose place was taken");
    let denied = rig.dataplane.take_denied().unwrap();
    let of_port = denied.iter().filter(|(key, _)| key.src_port == 1000u16.to_be_bytes());
    assert_eq!(of_port.count(), 1);
}
