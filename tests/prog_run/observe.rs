//! What the program tells observers.

use std::net::Ipv4Addr;
use std::time::Duration;

use fw_agent::dataplane::{Dataplane as _, Observed};
use fw_common::DropReason;
use fw_common::abi::event::{EndReason, OPENED};
use fw_testkit::packet::Packet;

use crate::flows::pairs;
use crate::rig::{IT, MACS, NEIGHBOUR, OT, Rig};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

fn observed(rig: &Rig) -> Vec<Observed> {
    let mut observed = Vec::new();
    rig.dataplane.wait_observed(Duration::ZERO, &mut |event| observed.push(event)).unwrap();
    observed
}

/// The reasons of flow events, and those of denied packets.
fn reasons(events: &[Observed]) -> (Vec<u8>, Vec<u8>) {
    let (mut flows, mut denied) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Observed::Flow(record) => flows.push(record.reason),
            Observed::Denied(record) => denied.push(record.key.reason),
        }
    }
    (flows, denied)
}

#[test]
fn flows_that_open_and_end_are_told_with_both_ends() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_observed(true).unwrap();
    for (ot, it) in pairs() {
        assert_eq!(rig.send(OT, Packet::udp(ot, 4000, it, 53)).reason(), None);
        assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, 4000)).reason(), None);
        assert_eq!(rig.dataplane.end_flows(&mut |_| true).flows, 1, "the other family's has ended already");
        let events = observed(&rig);
        let [Observed::Flow(opened), Observed::Flow(ended)] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((opened.reason, ended.reason), (OPENED, EndReason::Killed as u8));
        assert_eq!(opened.key, ended.key);
        assert_eq!(opened.family, if ot.is_ipv4() { 4 } else { 6 });
        assert_eq!(opened.flow.directions.map(|direction| direction.packets), [1, 0]);
        assert_eq!(ended.flow.directions.map(|direction| direction.packets), [1, 1]);
        // What waits for the sweep now is not told a second time.
        rig.dataplane.sweep().unwrap();
        assert!(observed(&rig).is_empty());
        let mut ended = 0;
        rig.dataplane.poll_ended(&mut |_| ended += 1).unwrap();
        assert_eq!(ended, 1, "the flow log has it as well");
    }
}

#[test]
fn a_denied_flow_is_told_once_until_the_agent_has_looked() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_observed(true).unwrap();
    let deny = || rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 81)).reason();
    for _ in 0..2 {
        for _ in 0..3 {
            assert_eq!(deny(), Some(DropReason::Rejected));
        }
        assert_eq!(reasons(&observed(&rig)), (vec![], vec![DropReason::Rejected as u8]));
        assert_eq!(rig.dataplane.take_denied().unwrap().len(), 1);
    }
}

#[test]
fn nothing_is_told_while_nobody_observes() {
    let Some(rig) = Rig::new() else { return };
    let traffic = |port| {
        rig.send(OT, Packet::udp(OT_HOST, port, IT_HOST, 53));
        rig.send(OT, Packet::udp(OT_HOST, port, IT_HOST, 81));
    };
    traffic(4000);
    assert!(observed(&rig).is_empty());
    rig.dataplane.set_observed(true).unwrap();
    traffic(4001);
    assert_eq!(observed(&rig).len(), 2);
    rig.dataplane.set_observed(false).unwrap();
    traffic(4002);
    assert!(observed(&rig).is_empty());
}

#[test]
fn what_is_too_much_to_tell_is_counted() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_observed(true).unwrap();
    // More than the ring buffer holds, which nobody reads meanwhile.
    let sent = 16_000;
    rig.netns
        .within(|| {
            for number in 0..sent {
                let source = Ipv4Addr::new(10, 1, (number >> 8) as u8, number as u8);
                let packet = Packet::udp(source, 4000, IT_HOST, 9).macs(NEIGHBOUR, MACS[OT]);
                rig.dataplane.run(&packet.build(), rig.ifindexes[OT]).unwrap();
                if number % 1_024 == 0 {
                    rig.dataplane.take_denied().unwrap();
                }
            }
        })
        .unwrap();
    let mut told = 0;
    loop {
        match observed(&rig).len() as u64 {
            0 => break,
            events => told += events,
        }
    }
    let seen = rig.dataplane.happenings().unwrap();
    assert!(seen.observed_lost > 0 && told >= 10_000, "{told} told, {} lost", seen.observed_lost);
    assert_eq!(told + seen.observed_lost + seen.denied_unrecorded, sent);
}
