//! What the program says of single packets: the rule, the flow, the way, and the limits of a rule.

use std::net::{IpAddr, Ipv4Addr};

use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_common::abi::explained::{Explained, explained_flags, outcome};
use fw_common::abi::policy::zone;
use fw_common::conntrack::State;
use fw_testkit::packet::Packet;

use crate::flows::{flows, pairs};
use crate::oracle::explained::Snapshot;
use crate::rig::{IT, MACS, MANAGEMENT, NEIGHBOUR, OT, POLICY, Rig, Setup};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

fn ask(rig: &Rig, slot: usize, packet: Packet) -> Explained {
    let frame = packet.macs(NEIGHBOUR, MACS[slot]).build();
    rig.netns.within(|| rig.dataplane.explain(&frame, rig.ifindexes[slot]).unwrap()).unwrap()
}

/// The id of the rule of an answer.
fn rule(rig: &Rig, explained: &Explained) -> Option<String> {
    rig.dataplane.rule_names().unwrap().into_iter().find(|(handle, _)| *handle == explained.rule).map(|(_, id)| id)
}

fn reason(explained: &Explained) -> Option<DropReason> {
    let reason = u8::try_from(explained.reason).ok().and_then(DropReason::from_number);
    reason.filter(|_| explained.outcome == outcome::DROP)
}

fn has(explained: &Explained, flag: u8) -> bool {
    explained.flags & flag != 0
}

fn datagram(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Packet {
    Packet::udp(source, 4000, destination, 53)
}

#[test]
fn a_packet_that_opens_a_flow_and_those_that_belong_to_it() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        let before = Snapshot::of(&rig.pin_dir);
        let opens = ask(&rig, OT, datagram(ot, it));
        assert_eq!(before.changed(&Snapshot::of(&rig.pin_dir)), Vec::<&str>::new());
        assert_eq!((opens.outcome, opens.egress_slot as usize, opens.mtu), (outcome::FORWARD, IT, 1400));
        assert_eq!((opens.egress_ifindex, opens.next_hop_mac), (rig.ifindexes[IT], NEIGHBOUR));
        assert_eq!((rule(&rig, &opens).as_deref(), opens.epoch), (Some("web"), 1));
        assert!(has(&opens, explained_flags::OPENS) && has(&opens, explained_flags::ASKED));
        assert!(!has(&opens, explained_flags::OF_FLOW));
        assert_eq!(State::from_number(opens.state), State::UdpNew);
        assert_eq!(rig.send(OT, datagram(ot, it)).reason(), None);
        let record = flows(&rig).pop().unwrap();
        assert_eq!((record.flow.from_zone, record.flow.to_zone), (opens.from_zone, opens.to_zone));
        assert_eq!(record.flow.rule, opens.rule);
        let reply = ask(&rig, IT, Packet::udp(it, 53, ot, 4000));
        assert_eq!((reply.outcome, reply.egress_slot as usize), (outcome::FORWARD, OT));
        assert!(has(&reply, explained_flags::OF_FLOW) && has(&reply, explained_flags::REPLY));
        assert!(!has(&reply, explained_flags::ASKED), "the policy has judged the flow");
        assert_eq!(rig.dataplane.end_flows(&mut |_| true).flows, 1);
        let over = ask(&rig, IT, Packet::udp(it, 53, ot, 4000));
        assert_eq!(reason(&over), Some(DropReason::Policy));
        assert!(!has(&over, explained_flags::REPLY) && has(&over, explained_flags::OPENS));
        rig.dataplane.sweep().unwrap();
    }
}

#[test]
fn a_flow_is_asked_about_as_the_policy_of_now_would_judge_it() {
    let Some(rig) = Rig::new() else { return };
    assert_eq!(rig.send(OT, datagram(CLIENT, SERVER)).reason(), None);
    rig.apply(&POLICY.replace("\"udp/53\", ", ""));
    for _ in 0..2 {
        let explained = ask(&rig, OT, datagram(CLIENT, SERVER));
        assert_eq!(reason(&explained), Some(DropReason::PolicyChanged));
        assert!(has(&explained, explained_flags::OF_FLOW) && has(&explained, explained_flags::ASKED));
        assert_eq!((rule(&rig, &explained).as_deref(), explained.epoch), (Some("default"), 2));
    }
    assert!(flows(&rig).iter().any(|flow| flow.flow.epoch == 1), "asking has judged nothing");
    assert_eq!(rig.send(OT, datagram(CLIENT, SERVER)).reason(), Some(DropReason::PolicyChanged));
}

#[test]
fn a_flow_of_an_address_that_becomes_ours_is_foretold_to_end() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        assert_eq!(rig.send(OT, datagram(ot, it)).reason(), None);
        rig.dataplane.set_local_addresses(&[ot], &[]).unwrap();
        for _ in 0..2 {
            let explained = ask(&rig, OT, datagram(ot, it));
            assert_eq!(reason(&explained), Some(DropReason::SourceOwn));
            assert!(has(&explained, explained_flags::OF_FLOW), "asking has ended nothing");
        }
        assert_eq!(rig.send(OT, datagram(ot, it)).reason(), Some(DropReason::SourceOwn));
        let ended = ask(&rig, OT, datagram(ot, it));
        assert_eq!((reason(&ended), has(&ended, explained_flags::OF_FLOW)), (Some(DropReason::SourceOwn), false));
        rig.dataplane.set_local_addresses(&[], &[]).unwrap();
    }
}

#[test]
fn limits_are_asked_and_not_charged() {
    let limits = "log = true\nrate = { new_flows = \"1/h\", burst = 2 }\nmax_flows = { limit = 1, per = \"source\" }\n";
    let policy = POLICY.replacen("log = true\n", limits, 1);
    let Some(rig) = Rig::with(Setup { policy: Some(&policy), ..Setup::default() }) else { return };
    let other: IpAddr = Ipv4Addr::new(10, 1, 1, 51).into();
    for _ in 0..5 {
        let explained = ask(&rig, OT, datagram(CLIENT, SERVER));
        assert_eq!((explained.outcome, has(&explained, explained_flags::LIMITED)), (outcome::FORWARD, true));
    }
    assert_eq!(rig.send(OT, datagram(CLIENT, SERVER)).reason(), None);
    let second = || Packet::udp(CLIENT, 4001, SERVER, 53);
    assert_eq!(reason(&ask(&rig, OT, second())), Some(DropReason::Limit), "a second flow of the source");
    assert_eq!(ask(&rig, OT, datagram(other, SERVER)).outcome, outcome::FORWARD);
    assert_eq!(rig.send(OT, datagram(other, SERVER)).reason(), None);
    let third: IpAddr = Ipv4Addr::new(10, 1, 1, 52).into();
    assert_eq!(reason(&ask(&rig, OT, datagram(third, SERVER))), Some(DropReason::Limit), "the rate");
    assert_eq!(rig.send(OT, datagram(third, SERVER)).reason(), Some(DropReason::Limit));
}

#[test]
fn what_is_dropped_before_the_policy_is_asked() {
    let Some(rig) = Rig::new() else { return };
    let spoofed = ask(&rig, OT, datagram(SERVER, CLIENT));
    assert_eq!((reason(&spoofed), spoofed.from_zone), (Some(DropReason::Spoofed), zone::NONE));
    assert!(!has(&spoofed, explained_flags::ASKED) && spoofed.rule == 0);
    let transit = ask(&rig, MANAGEMENT, datagram(Ipv4Addr::new(10, 3, 1, 50), SERVER));
    assert_eq!((reason(&transit), transit.from_zone), (Some(DropReason::ManagementTransit), zone::MANAGEMENT));
    let nowhere = ask(&rig, OT, datagram(CLIENT, Ipv4Addr::new(10, 2, 99, 1)));
    assert_eq!(reason(&nowhere), Some(DropReason::UnreachableRoute));
    let unknown_neighbour = ask(&rig, OT, datagram(CLIENT, Ipv4Addr::new(10, 2, 1, 77)));
    assert_eq!((unknown_neighbour.outcome, unknown_neighbour.next_hop_mac), (outcome::HAND_OVER, [0; 6]));
    let to_us = ask(&rig, OT, datagram(CLIENT, Ipv4Addr::new(10, 1, 1, 10)));
    assert_eq!((reason(&to_us), to_us.to_zone), (Some(DropReason::Policy), zone::LOCAL));
}

#[test]
fn a_full_table_is_told() {
    let Some(rig) = Rig::with(Setup { max_flows: 64, max_half_open: Some(64), ..Setup::default() }) else { return };
    let is_full = || has(&ask(&rig, OT, datagram(CLIENT, SERVER)), explained_flags::TABLE_FULL);
    assert!(!is_full());
    // Behind that, half-open flows give way.
    let told =
        (5000..5100).any(|port| rig.send(OT, Packet::udp(CLIENT, port, SERVER, 53)).reason().is_none() && is_full());
    assert!(told);
}
