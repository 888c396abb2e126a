//! Captured packets: the frames as they came in and as they leave, with what was decided about them.

use std::net::Ipv4Addr;
use std::time::Duration;

use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_common::abi::capture::{
    CaptureFilter, CapturedHead, MAX_SNAPLEN, capture_conditions, captured_direction, captured_outcome,
};
use fw_common::wire::Address;
use fw_testkit::packet::Packet;

use crate::rig::{EXPOSED, IT, MACS, NEIGHBOUR, OT, Outcome, Rig};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

/// A capture of everything.
pub(crate) fn everything() -> CaptureFilter {
    CaptureFilter { snaplen: MAX_SNAPLEN, ..CaptureFilter::default() }
}

/// What has been captured since the last look.
/// What was captured, but for what the kernel tells all IPv6 hosts of its own accord, at a moment of its choice.
pub(crate) fn captured(rig: &Rig) -> Vec<(CapturedHead, Vec<u8>)> {
    let mut captured = Vec::new();
    rig.dataplane
        .wait_captured(Duration::ZERO, None, &mut |head, bytes| captured.push((*head, bytes.to_vec())))
        .unwrap();
    captured.retain(|(head, bytes)| head.outcome != captured_outcome::PASSED || bytes[..2] != [0x33, 0x33]);
    captured
}

fn dns() -> Packet {
    Packet::udp(OT_HOST, 4000, IT_HOST, 53).payload(&[7; 100])
}

#[test]
fn a_forwarded_packet_is_captured_as_it_came_and_as_it_leaves() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_capture(Some((everything(), 60))).unwrap();
    let web = rig.dataplane.rule_names().unwrap().into_iter().find(|(_, id)| id == "web").unwrap().0;
    // The packet that opens the flow, and one of the established flow.
    for _ in 0..2 {
        let came = dns().macs(NEIGHBOUR, MACS[OT]).build();
        let Outcome::Redirected(left) = rig.receive(OT, &came) else { panic!("not forwarded") };
        let captured = captured(&rig);
        assert_eq!(captured.len(), 2, "{captured:?}");
        let (incoming, incoming_bytes) = &captured[0];
        assert_eq!(*incoming_bytes, came);
        assert_eq!((incoming.direction, incoming.ifindex), (captured_direction::IN, rig.ifindexes[OT]));
        let (outgoing, outgoing_bytes) = &captured[1];
        assert_eq!(*outgoing_bytes, left);
        assert_eq!((outgoing.direction, outgoing.ifindex), (captured_direction::OUT, rig.ifindexes[IT]));
        for head in [incoming, outgoing] {
            assert_eq!((head.outcome, head.rule), (captured_outcome::FORWARDED, web));
            assert_eq!((head.len, head.captured), (came.len() as u32, came.len() as u32));
        }
        assert!(incoming.at <= outgoing.at);
    }
}

#[test]
fn a_rejected_packet_is_captured_with_its_answer() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_capture(Some((everything(), 60))).unwrap();
    let Outcome::Answered(_, answer) = rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 81)) else { panic!("no answer") };
    let captured = captured(&rig);
    assert_eq!(captured.len(), 2, "{captured:?}");
    assert_eq!(captured[0].0.outcome, captured_outcome::DROPPED);
    assert_eq!((captured[1].0.outcome, captured[1].0.ifindex), (captured_outcome::ANSWER, rig.ifindexes[OT]));
    assert_eq!(captured[1].1, answer);
    assert!(captured.iter().all(|(head, _)| head.reason == DropReason::Rejected as u8));
}

#[test]
fn nothing_is_captured_without_a_capture() {
    let Some(rig) = Rig::new() else { return };
    rig.send(OT, dns());
    assert!(captured(&rig).is_empty(), "before");
    rig.dataplane.set_capture(Some((everything(), 60))).unwrap();
    rig.send(OT, dns());
    assert_eq!(captured(&rig).len(), 2);
    rig.dataplane.set_capture(None).unwrap();
    rig.send(OT, dns());
    assert!(captured(&rig).is_empty(), "after");
}

#[test]
fn only_what_the_filter_wants_is_captured() {
    let Some(rig) = Rig::new() else { return };
    let count = |filter: CaptureFilter| {
        rig.dataplane.set_capture(Some((filter, 60))).unwrap();
        rig.send(OT, dns());
        rig.send(EXPOSED, Packet::udp(Ipv4Addr::new(10, 0, 1, 50), 9, IT_HOST, 9));
        // The host itself says something now and then, in IPv6.
        captured(&rig).iter().filter(|(_, frame)| frame[12..14] == [8, 0]).count()
    };
    let conditions = |conditions| CaptureFilter { conditions, ..everything() };
    assert_eq!(count(everything()), 3, "one packet in and out, one in");
    assert_eq!(count(conditions(capture_conditions::DENIED)), 1);
    assert_eq!(count(conditions(capture_conditions::ALLOWED)), 2);
    let reason = DropReason::Policy as u8;
    assert_eq!(count(CaptureFilter { reason, ..conditions(capture_conditions::REASON) }), 1);
    let reason = DropReason::NoRoute as u8;
    assert_eq!(count(CaptureFilter { reason, ..conditions(capture_conditions::REASON) }), 0);
    assert_eq!(count(CaptureFilter { protocol: 17, ..conditions(capture_conditions::PROTOCOL) }), 3);
    assert_eq!(count(CaptureFilter { protocol: 6, ..conditions(capture_conditions::PROTOCOL) }), 0);
    assert_eq!(count(CaptureFilter { port: 53, ..everything() }), 2);
    assert_eq!(count(CaptureFilter { ifindex: rig.ifindexes[IT], ..everything() }), 1, "as it leaves");
    let host = Address::v4(OT_HOST.octets());
    let of_host = CaptureFilter { addr: host.words(), mask: [u32::MAX, 0, 0, 0], family: 4, ..everything() };
    assert_eq!(count(of_host), 2);
}

#[test]
fn frames_are_cut_to_the_length_that_is_asked_for() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_capture(Some((CaptureFilter { snaplen: 60, ..everything() }, 60))).unwrap();
    let whole = dns().macs(NEIGHBOUR, MACS[OT]).build();
    rig.receive(OT, &whole);
    let (head, bytes) = captured(&rig).remove(0);
    assert_eq!(bytes, whole[..60]);
    assert_eq!((head.len, head.captured), (whole.len() as u32, 60));
}
