//! Flows that an operator ends.

use std::net::Ipv4Addr;

use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_common::conntrack::State;
use fw_testkit::packet::tcp_flags::{ACK, SYN};
use fw_testkit::packet::{Packet, Transport};

use crate::flows::{flows, pairs};
use crate::rig::{IT, NEIGHBOUR, OT, Outcome, POLICY, Rig};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

#[test]
fn a_segment_of_a_connection_that_was_ended_is_judged_as_a_new_packet() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in pairs() {
        let segment = |from_ot: bool, flags, sequence, acknowledgement| {
            let ((src_addr, src_port), (dst_addr, dst_port)) =
                if from_ot { ((ot, 4000), (it, 80)) } else { ((it, 80), (ot, 4000)) };
            let packet = Packet::new(
                src_addr,
                dst_addr,
                Transport::Tcp { src_port, dst_port, flags, sequence, acknowledgement },
            );
            rig.send(if from_ot { OT } else { IT }, packet).reason()
        };
        assert_eq!(segment(true, SYN, 100, 0), None);
        assert_eq!(segment(false, SYN | ACK, 500, 101), None);
        assert_eq!(segment(true, ACK, 101, 501), None);
        let family = if ot.is_ipv4() { 4 } else { 6 };
        assert_eq!(rig.dataplane.end_flows(&mut |flow| flow.family == family).flows, 1);
        assert_eq!(segment(true, ACK, 101, 501), Some(DropReason::TcpNotSyn));
        assert_eq!(segment(false, ACK, 501, 101), Some(DropReason::TcpNotSyn));
        let mut ended = Vec::new();
        rig.dataplane.poll_ended(&mut |end| ended.push(*end)).unwrap();
        assert_eq!(ended.len(), 1, "reported once: {ended:?}");
        assert_eq!((ended[0].reason, ended[0].family), (EndReason::Killed as u8, family));
        assert_eq!(State::from_number(ended[0].flow.state), State::Established, "as it was when it ended");
        assert_eq!(ended[0].flow.directions.map(|direction| direction.packets), [2, 1]);
        // A connection may be opened anew at once.
        assert_eq!(segment(true, SYN, 9_000, 0), None);
        assert_eq!(rig.dataplane.end_flows(&mut |flow| flow.family == family).flows, 1);
        assert_eq!(rig.dataplane.end_flows(&mut |flow| flow.family == family).flows, 0, "ended already");
        rig.dataplane.poll_ended(&mut |_| {}).unwrap();
    }
}

/// Nothing of what an ended flow was says whom the next packet is for: a broadcast is for the host all the same.
#[test]
fn a_broadcast_reaches_the_host_also_when_its_flow_has_just_been_ended() {
    let Some(rig) = Rig::new() else { return };
    rig.apply(&POLICY.replace("to = [\"local\"]\nservices = [", "to = [\"local\"]\nservices = [\"udp/67\", "));
    let discover = || {
        let packet = Packet::udp(OT_HOST, 68, Ipv4Addr::BROADCAST, 67);
        rig.receive(OT, &packet.macs(NEIGHBOUR, [0xff; 6]).build())
    };
    assert_eq!(discover(), Outcome::Passed);
    assert_eq!(rig.dataplane.end_flows(&mut |_| true).flows, 1);
    assert_eq!(discover(), Outcome::Passed);
}

#[test]
fn only_the_chosen_flows_end_and_each_ends_once() {
    let Some(rig) = Rig::new() else { return };
    for port in 4000..4010 {
        assert_eq!(rig.send(OT, Packet::udp(OT_HOST, port, IT_HOST, 53)).reason(), None);
    }
    let of_port = |flow: &fw_agent::dataplane::FlowRecord| {
        let ports = [flow.key.low_port, flow.key.high_port].map(u16::from_be_bytes);
        ports.iter().any(|port| (4000..4003).contains(port))
    };
    assert_eq!(rig.dataplane.end_flows(&mut |flow| of_port(flow)).flows, 3);
    let (ended, alive): (Vec<_>, Vec<_>) =
        flows(&rig).into_iter().partition(|flow| flow.flow.state == State::Ended as u8);
    assert_eq!((ended.len(), alive.len()), (3, 7));
    assert!(ended.iter().all(of_port));
    // The others go on; what comes back to an ended one is no reply any more.
    for port in 4000..4010 {
        let expected = if port < 4003 { Some(DropReason::Policy) } else { None };
        assert_eq!(rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, port)).reason(), expected, "port {port}");
    }
    let mut reasons = Vec::new();
    rig.dataplane.poll_ended(&mut |end| reasons.push(end.reason)).unwrap();
    assert_eq!(reasons, [EndReason::Killed as u8; 3]);
}
