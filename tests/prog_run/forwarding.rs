//! What a forwarded packet looks like.

use std::net::{Ipv4Addr, Ipv6Addr};

use fw_agent::dataplane::Dataplane as _;
use fw_common::DropReason;
use fw_testkit::packet::{Chunk, Packet, Transport, chunk, internet_checksum, tcp_flags};

use crate::rig::{EXPOSED, IT, MACS, MANAGEMENT, NEIGHBOUR, OT, Outcome, Rig};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
const OT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x101, 0, 0, 0, 0x50);
const IT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20);

#[test]
fn an_allowed_packet_leaves_rewritten() {
    let Some(rig) = Rig::new() else { return };
    for packet in [
        Packet::udp(OT_HOST, 4000, IT_HOST, 53).payload(b"question"),
        Packet::udp(OT_HOST6, 4000, IT_HOST6, 53).payload(b"question"),
        Packet::tcp(OT_HOST, 4000, IT_HOST, 80, tcp_flags::SYN),
        Packet::tcp(OT_HOST6, 4000, IT_HOST6, 80, tcp_flags::SYN),
        Packet::echo_request(OT_HOST, IT_HOST, 1, 1),
        Packet::echo_request(OT_HOST6, IT_HOST6, 1, 1),
    ] {
        let frame = rig.send(OT, packet).frame();
        assert_eq!(frame.src_mac, MACS[IT]);
        assert_eq!(frame.dst_mac, NEIGHBOUR);
        assert_eq!(frame.ttl, 63);
        assert!(frame.checksums_are_valid, "{frame:?}");
    }
}

#[test]
fn every_ttl_gets_a_right_checksum() {
    let Some(rig) = Rig::new() else { return };
    for ttl in 2..=255 {
        let frame = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53).ttl(ttl)).frame();
        assert_eq!(frame.ttl, ttl - 1);
        assert!(frame.checksums_are_valid, "TTL {ttl}");
    }
}

#[test]
fn ecn_and_dscp_are_carried() {
    let Some(rig) = Rig::new() else { return };
    let ipv4 = Packet::udp(OT_HOST, 4000, IT_HOST, 53).macs(NEIGHBOUR, MACS[OT]).build();
    let ipv6 = Packet::udp(OT_HOST6, 4000, IT_HOST6, 53).macs(NEIGHBOUR, MACS[OT]).build();
    for class in 0..=255u8 {
        // DSCP and ECN are the second byte (RFC 2474, RFC 3168), and the header checksum covers it.
        let mut sent = ipv4.clone();
        sent[15] = class;
        sent[24..26].fill(0);
        let checksum = internet_checksum(&[&sent[14..34]]);
        sent[24..26].copy_from_slice(&checksum.to_be_bytes());
        let Outcome::Redirected(left) = rig.receive(OT, &sent) else { panic!("class {class:#x} is not forwarded") };
        assert_eq!(left[15], class);
        assert_eq!(internet_checksum(&[&left[14..34]]), 0, "class {class:#x}");
        // The class and the flow label (RFC 6437) share the first word.
        let mut sent = ipv6.clone();
        sent[14..18].copy_from_slice(&(0x6000_0000 | u32::from(class) << 20 | 0x000a_bcde).to_be_bytes());
        let Outcome::Redirected(left) = rig.receive(OT, &sent) else { panic!("class {class:#x} is not forwarded") };
        assert_eq!(left[14..18], sent[14..18]);
        // Nothing behind the link layer has changed but the hop limit.
        assert_eq!((&left[18..21], &left[22..]), (&sent[18..21], &sent[22..]));
    }
}

#[test]
fn tagged_frames_are_forwarded() {
    let Some(rig) = Rig::new() else { return };
    for packet in [Packet::udp(OT_HOST, 4000, IT_HOST, 53), Packet::udp(OT_HOST6, 4000, IT_HOST6, 53)] {
        for tagged in [packet.clone().vlan(7), packet.clone().vlan(7).vlan(8)] {
            let sent = tagged.clone().macs(NEIGHBOUR, MACS[OT]).build();
            let Outcome::Redirected(frame) = rig.send(OT, tagged) else { panic!("not forwarded") };
            // The tags are as they were.
            let tags = sent.len() - packet.build().len();
            assert_eq!(frame[12..14 + tags], sent[12..14 + tags]);
            assert_eq!(frame[..6], NEIGHBOUR);
        }
    }
}

#[test]
fn options_and_extension_headers_are_carried() {
    let Some(rig) = Rig::new() else { return };
    // A router alert, no operation, and the end of options (RFC 2113, RFC 791).
    let options = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53).ipv4_options(&[148, 4, 0, 0, 1, 1, 0, 0]));
    assert!(options.frame().checksums_are_valid);
    let mut packet = Packet::udp(OT_HOST6, 4000, IT_HOST6, 53);
    for _ in 0..7 {
        packet = packet.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    }
    let outcome = rig.send(OT, packet);
    let Outcome::Redirected(frame) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(frame[14 + 7], 63);
}

#[test]
fn other_protocols_are_forwarded_by_number() {
    let Some(rig) = Rig::new() else { return };
    let gre = Packet::new(OT_HOST, IT_HOST, Transport::Other(47)).payload(&[0; 8]);
    assert_eq!(rig.send(OT, gre).frame().protocol, 47);
}

#[test]
fn sctp_is_judged_by_its_ports() {
    let Some(rig) = Rig::new() else { return };
    let init = [Chunk::announcing(chunk::INIT, 7)];
    let forth = |port| Packet::sctp((OT_HOST, 4000), (IT_HOST, port), 0, &init);
    assert_eq!(rig.send(OT, forth(2906)).reason(), Some(DropReason::Policy));
    assert!(matches!(rig.send(OT, forth(2905)), Outcome::Redirected(_)));
    let reply = Packet::sctp((IT_HOST, 2905), (OT_HOST, 4000), 7, &[Chunk::announcing(chunk::INIT_ACK, 8)]);
    assert!(matches!(rig.send(IT, reply), Outcome::Redirected(_)));
}

#[test]
fn padding_behind_the_packet_is_ignored() {
    let Some(rig) = Rig::new() else { return };
    let mut frame = Packet::udp(OT_HOST, 4000, IT_HOST, 53).macs(NEIGHBOUR, MACS[OT]).build();
    frame.resize(60, 0xaa);
    assert!(matches!(rig.receive(OT, &frame), Outcome::Redirected(_)));
}

#[test]
fn an_unresolved_next_hop_hands_the_packet_to_the_kernel() {
    let Some(rig) = Rig::new() else { return };
    let Outcome::Redirected(frame) = rig.send(OT, Packet::udp(OT_HOST, 4000, Ipv4Addr::new(10, 2, 1, 77), 53)) else {
        panic!("not handed over")
    };
    assert_eq!(frame[..6], [2, 0, 0, 0, 9, 9], "to the inner end of the pair");
    assert_eq!(frame[14 + 8], 64, "the kernel lowers the TTL");
    assert_eq!(rig.dataplane.happenings().unwrap().handed_over, 1);
}

#[test]
fn a_large_packet_that_may_be_fragmented_is_left_to_the_kernel() {
    let Some(rig) = Rig::new() else { return };
    let packet = Packet::udp(OT_HOST, 4000, IT_HOST, 53).payload(&[0; 1400]).ipv4_fragment(1, 0);
    let Outcome::Redirected(frame) = rig.send(OT, packet) else { panic!("not handed over") };
    assert_eq!(frame[..6], [2, 0, 0, 0, 9, 9]);
}

#[test]
fn link_layer_control_goes_to_the_host() {
    let Some(rig) = Rig::new() else { return };
    let mut arp = vec![0xff; 6];
    arp.extend(NEIGHBOUR);
    arp.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.resize(60, 0);
    assert_eq!(rig.receive(OT, &arp), Outcome::Passed);
    for kind in [133, 134, 135, 136] {
        let message = Transport::Icmp { kind, code: 0, rest: [0; 4] };
        let link_local: Ipv6Addr = "fe80::1".parse().unwrap();
        let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
        let packet = Packet::new(link_local, all_nodes, message).ttl(255);
        let frame = packet.clone().macs(NEIGHBOUR, [0x33, 0x33, 0, 0, 0, 1]).build();
        assert_eq!(rig.receive(OT, &frame), Outcome::Passed, "type {kind}");
        let beyond = Packet::new(link_local, IT_HOST6, message).ttl(255);
        let outcome = rig.send(OT, beyond);
        assert_eq!(outcome.reason(), Some(DropReason::LinkLocal), "type {kind} to a host behind the firewall");
        let own: Ipv6Addr = "fd00:0:0:101::10".parse().unwrap();
        assert_eq!(rig.send(OT, Packet::new(link_local, own, message).ttl(255)), Outcome::Passed, "type {kind} to us");
        let routed = packet.ttl(254).macs(NEIGHBOUR, [0x33, 0x33, 0, 0, 0, 1]).build();
        assert!(matches!(rig.receive(OT, &routed), Outcome::Dropped(_)), "type {kind} from beyond the link");
    }
}

#[test]
fn the_host_is_reached_only_where_a_rule_lets_it() {
    let Some(rig) = Rig::new() else { return };
    let own = Ipv4Addr::new(10, 1, 1, 10);
    assert_eq!(rig.send(OT, Packet::echo_request(OT_HOST, own, 1, 1)), Outcome::Passed);
    assert!(matches!(rig.send(OT, Packet::tcp(OT_HOST, 1, own, 22, tcp_flags::SYN)), Outcome::Dropped(_)));
    let station = Ipv4Addr::new(10, 3, 1, 50);
    let management = Ipv4Addr::new(10, 3, 1, 10);
    assert_eq!(rig.send(MANAGEMENT, Packet::tcp(station, 1, management, 9477, tcp_flags::SYN)), Outcome::Passed);
    assert!(matches!(
        rig.send(MANAGEMENT, Packet::tcp(station, 1, management, 22, tcp_flags::SYN)),
        Outcome::Dropped(_)
    ));
    assert!(
        matches!(rig.send(EXPOSED, Packet::echo_request(Ipv4Addr::new(10, 0, 1, 50), own, 1, 1)), Outcome::Dropped(_)),
        "the rule is for OT only"
    );
}
