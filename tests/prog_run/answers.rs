//! What the sender of a dropped packet is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_agent::dataplane::{Dataplane as _, Settings};
use fw_common::DropReason;
use fw_common::wire::checksum;
use fw_testkit::packet::{Decoded, Packet, Transport, tcp_flags};

use crate::rig::{MACS, NEIGHBOUR, OT, Outcome, POLICY, Rig, settings};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
const OT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x101, 0, 0, 0, 0x50);
const IT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20);

/// Checks what every answer has in common, and returns the frame.
#[track_caller]
fn answered(rig: &Rig, packet: Packet) -> Decoded {
    let sent = packet.clone().macs(NEIGHBOUR, MACS[OT]).build();
    let outcome = rig.send(OT, packet);
    assert!(matches!(outcome, Outcome::Answered(..)), "{outcome:?}");
    let frame = outcome.frame();
    let sent = Decoded::from_ethernet(&sent).unwrap();
    assert_eq!(frame.src_mac, MACS[OT]);
    assert_eq!(frame.dst_mac, NEIGHBOUR);
    assert_eq!(frame.dst_addr, sent.src_addr);
    assert!(frame.checksums_are_valid, "{frame:?}");
    frame
}

/// Checks an ICMP error: from us, with this type and code, quoting the packet.
#[track_caller]
fn assert_icmp(rig: &Rig, packet: Packet, icmp: (u8, u8)) -> Decoded {
    let quoted = packet.build_ip();
    let frame = answered(rig, packet);
    assert_eq!(frame.icmp, Some(icmp));
    let own: IpAddr = if quoted[0] >> 4 == 4 {
        Ipv4Addr::new(10, 1, 1, 10).into()
    } else {
        Ipv6Addr::new(0xfd00, 0, 0, 0x101, 0, 0, 0, 0x10).into()
    };
    assert_eq!(frame.src_addr, own);
    let length = frame.payload.len();
    assert!(length >= quoted.len().min(28), "{length} bytes quoted");
    assert_eq!(frame.payload, quoted[..length]);
    frame
}

#[test]
fn expired_packets_are_answered() {
    let Some(rig) = Rig::new() else { return };
    for ttl in [0, 1] {
        assert_icmp(&rig, Packet::udp(OT_HOST, 1, IT_HOST, 53).ttl(ttl).payload(&[7; 32]), (11, 0));
        assert_icmp(&rig, Packet::udp(OT_HOST6, 1, IT_HOST6, 53).ttl(ttl).payload(&[7; 32]), (3, 0));
        assert_icmp(&rig, Packet::tcp(OT_HOST, 1, IT_HOST, 80, tcp_flags::SYN).ttl(ttl), (11, 0));
        assert_icmp(&rig, Packet::tcp(OT_HOST6, 1, IT_HOST6, 80, tcp_flags::SYN).ttl(ttl), (3, 0));
    }
}

#[test]
fn answers_keep_tags() {
    let Some(rig) = Rig::new() else { return };
    for tags in [1, 2] {
        let mut packet = Packet::udp(OT_HOST, 1, IT_HOST, 53).ttl(1);
        for _ in 0..tags {
            packet = packet.vlan(7);
        }
        let sent = packet.clone().macs(NEIGHBOUR, MACS[OT]).build();
        let Outcome::Answered(_, frame) = rig.send(OT, packet) else { panic!("not answered") };
        assert_eq!(frame[12..14 + 4 * tags], sent[12..14 + 4 * tags]);
        assert_eq!(frame[14 + 4 * tags + 20], 11);
    }
}

#[test]
fn a_missing_route_is_answered() {
    let Some(rig) = Rig::new() else { return };
    assert_icmp(&rig, Packet::udp(OT_HOST, 1, Ipv4Addr::new(8, 8, 8, 8), 53), (3, 0));
    assert_icmp(&rig, Packet::udp(OT_HOST6, 1, "2a00:1::1".parse::<Ipv6Addr>().unwrap(), 53), (1, 0));
}

#[test]
fn a_packet_that_does_not_fit_is_answered_with_the_mtu() {
    let Some(rig) = Rig::new() else { return };
    // The IT interface has an MTU of 1,400 bytes.
    let frame = assert_icmp(&rig, Packet::udp(OT_HOST, 1, IT_HOST, 53).payload(&[1; 1373]), (3, 4));
    assert!(frame.payload.len() <= 548, "an ICMPv4 error has at most 576 bytes");
    let frame = assert_icmp(&rig, Packet::udp(OT_HOST6, 1, IT_HOST6, 53).payload(&[1; 1353]), (2, 0));
    assert!(frame.payload.len() <= 1232, "an ICMPv6 error has at most 1,280 bytes");
    for (packet, offset) in [
        (Packet::udp(OT_HOST, 1, IT_HOST, 53).payload(&[1; 1373]), 14 + 20),
        (Packet::udp(OT_HOST6, 1, IT_HOST6, 53).payload(&[1; 1353]), 14 + 40),
    ] {
        let Outcome::Answered(_, frame) = rig.send(OT, packet) else { panic!("not answered") };
        assert_eq!(frame[offset + 4..offset + 8], 1400u32.to_be_bytes());
    }
    // One byte less fits.
    assert!(matches!(rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 53).payload(&[1; 1372])), Outcome::Redirected(_)));
    assert!(matches!(rig.send(OT, Packet::udp(OT_HOST6, 1, IT_HOST6, 53).payload(&[1; 1352])), Outcome::Redirected(_)));
}

#[test]
fn rejected_datagrams_are_answered() {
    let Some(rig) = Rig::new() else { return };
    assert_icmp(&rig, Packet::udp(OT_HOST, 1, IT_HOST, 81), (3, 13));
    assert_icmp(&rig, Packet::udp(OT_HOST6, 1, IT_HOST6, 81), (1, 1));
}

#[test]
fn no_group_is_answered() {
    let Some(rig) = Rig::new() else { return };
    for packet in [Packet::udp(OT_HOST, 1, IT_HOST, 81), Packet::tcp(OT_HOST6, 1, IT_HOST6, 81, tcp_flags::SYN)] {
        for sender in [[0xff; 6], [1, 0, 0x5e, 0, 0, 5]] {
            let frame = packet.clone().macs(sender, MACS[OT]).build();
            assert_eq!(rig.receive(OT, &frame), Outcome::Dropped(DropReason::Rejected), "{sender:?}");
        }
    }
}

#[test]
fn rejected_tcp_is_reset() {
    let Some(rig) = Rig::new() else { return };
    let segment = |flags, sequence, acknowledgement| Transport::Tcp {
        src_port: 4000,
        dst_port: 81,
        flags,
        sequence,
        acknowledgement,
    };
    for (packet, l4) in [
        (Packet::new(OT_HOST, IT_HOST, segment(tcp_flags::SYN, u32::MAX, 0)).payload(b"fast open"), 34),
        (Packet::new(OT_HOST6, IT_HOST6, segment(tcp_flags::SYN, u32::MAX, 0)).payload(b"fast open"), 54),
    ] {
        let frame = answered(&rig, packet.clone());
        assert_eq!((frame.src_port, frame.dst_port), (Some(81), Some(4000)));
        let Outcome::Answered(_, bytes) = rig.send(OT, packet) else { panic!("not answered") };
        assert_eq!(bytes.len(), l4 + 20);
        assert_eq!(bytes[l4 + 13], tcp_flags::RST | tcp_flags::ACK);
        assert_eq!(bytes[l4 + 4..l4 + 8], [0; 4], "sequence number");
        // SYN and nine bytes of data from the highest sequence number on.
        assert_eq!(bytes[l4 + 8..l4 + 12], 9u32.to_be_bytes(), "acknowledgement number");
    }
}

#[test]
fn what_was_damaged_on_its_way_is_not_rejected_aloud() {
    let Some(rig) = Rig::new() else { return };
    for (packet, offset) in [
        (Packet::tcp(OT_HOST, 1, IT_HOST, 81, tcp_flags::SYN), 14 + 20 + 16),
        (Packet::tcp(OT_HOST6, 1, IT_HOST6, 81, tcp_flags::SYN), 14 + 40 + 16),
        (Packet::udp(OT_HOST, 1, IT_HOST, 81).payload(&[7; 9]), 14 + 20 + 6),
    ] {
        let mut frame = packet.macs(NEIGHBOUR, MACS[OT]).build();
        frame[offset] ^= 1;
        assert_eq!(rig.receive(OT, &frame), Outcome::Dropped(DropReason::Rejected));
        frame[offset] ^= 1;
        assert!(matches!(rig.receive(OT, &frame), Outcome::Answered(..)));
    }
}

/// A sender on the same machine leaves the checksum to the device, which a veth pair has none of.
#[test]
fn a_checksum_that_was_left_to_the_device_is_no_damage() {
    let Some(rig) = Rig::new() else { return };
    for (packet, offset) in [
        (Packet::tcp(OT_HOST, 1, IT_HOST, 81, tcp_flags::SYN), 14 + 20 + 16),
        (Packet::tcp(OT_HOST6, 1, IT_HOST6, 81, tcp_flags::SYN), 14 + 40 + 16),
    ] {
        let mut frame = packet.macs(NEIGHBOUR, MACS[OT]).build();
        let addresses = if offset == 50 { &frame[26..34] } else { &frame[22..54] };
        let pseudo_header = checksum::fold(checksum::pseudo_header(addresses, &[], 6, 20));
        frame[offset..offset + 2].copy_from_slice(&pseudo_header.to_be_bytes());
        assert!(matches!(rig.receive(OT, &frame), Outcome::Answered(..)));
    }
}

#[test]
fn errors_are_not_answered() {
    let Some(rig) = Rig::new() else { return };
    rig.apply(&POLICY.replace("\"proto/47\"", "\"proto/47\", \"proto/50\""));
    // An ICMP error that expires here, about a flow that is known.
    assert!(matches!(rig.send(OT, Packet::udp(OT_HOST, 7, IT_HOST, 53)), Outcome::Redirected(_)));
    let quoted = Packet::udp(IT_HOST, 53, OT_HOST, 7).build_ip();
    let error = Packet::new(OT_HOST, IT_HOST, Transport::Icmp { kind: 3, code: 3, rest: [0; 4] }).payload(&quoted);
    assert!(matches!(rig.send(OT, error.ttl(1)), Outcome::Dropped(_)));
}

#[test]
fn answers_are_limited() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_settings(&Settings { answers_per_second: 5, ..settings() }).unwrap();
    let answered = (0..100)
        .filter(|_| matches!(rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 53).ttl(1)), Outcome::Answered(..)))
        .count();
    // The hundred packets may fall into two or three seconds of a slow machine, on two processors.
    assert!((5..=30).contains(&answered), "{answered} answers");
    let happenings = rig.dataplane.happenings().unwrap();
    assert_eq!(happenings.answers, answered as u64);
    assert_eq!(happenings.answers_limited, 100 - answered as u64);
}

#[test]
fn as_a_setting_segments_of_no_connection_are_reset() {
    use tcp_flags::{ACK, FIN, RST, SYN};
    let Some(rig) = Rig::new() else { return };
    let segment = |flags, sequence, acknowledgement| Transport::Tcp {
        src_port: 4000,
        dst_port: 80,
        flags,
        sequence,
        acknowledgement,
    };
    let pairs: [(IpAddr, IpAddr, usize); 2] =
        [(OT_HOST.into(), IT_HOST.into(), 34), (OT_HOST6.into(), IT_HOST6.into(), 54)];
    for (src, dst, _) in pairs {
        let silent = rig.send(OT, Packet::new(src, dst, segment(ACK, 7, 9)));
        assert_eq!(silent, Outcome::Dropped(DropReason::TcpNotSyn), "not by default");
    }
    rig.dataplane.set_settings(&Settings { reset_unknown_tcp: true, ..settings() }).unwrap();
    for (src, dst, l4) in pairs {
        for flags in [ACK, FIN | ACK, SYN | ACK] {
            let packet = Packet::new(src, dst, segment(flags, 7, 0xdead_beef)).payload(b"data");
            let outcome = rig.send(OT, packet);
            let Outcome::Answered(reason, bytes) = outcome else { panic!("not answered: {outcome:?}") };
            assert_eq!((reason, bytes.len()), (DropReason::TcpNotSyn, l4 + 20));
            // In the name of the receiver, with the number that the sender expects, and nothing else.
            let frame = Decoded::from_ethernet(&bytes).unwrap();
            assert_eq!((frame.src_addr, frame.dst_addr), (dst, src));
            assert_eq!((frame.src_port, frame.dst_port), (Some(80), Some(4000)));
            assert_eq!(bytes[l4 + 4..l4 + 8], 0xdead_beef_u32.to_be_bytes(), "sequence number");
            assert_eq!(bytes[l4 + 13], RST);
        }
        for flags in [RST, RST | ACK] {
            let outcome = rig.send(OT, Packet::new(src, dst, segment(flags, 7, 9)));
            assert_eq!(outcome, Outcome::Dropped(DropReason::TcpNotSyn), "a reset is never answered");
        }
        // What opens a connection, and what belongs to one, is judged as ever.
        assert!(matches!(rig.send(OT, Packet::new(src, dst, segment(SYN, 7, 0))), Outcome::Redirected(_)));
        assert_eq!(rig.send(OT, Packet::new(src, dst, segment(ACK, 8, 9))), Outcome::Dropped(DropReason::TcpState));
    }
    // A datagram of a reply that nobody has asked for, and other reasons, stay silent.
    let unrelated = Packet::new(OT_HOST, IT_HOST, Transport::Icmp { kind: 0, code: 0, rest: [0, 9, 0, 1] });
    assert_eq!(rig.send(OT, unrelated), Outcome::Dropped(DropReason::IcmpUnrelated));
}

#[test]
fn resets_of_unknown_segments_are_limited() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_settings(&Settings { answers_per_second: 5, reset_unknown_tcp: true, ..settings() }).unwrap();
    let outcomes: Vec<Outcome> =
        (0..100).map(|port| rig.send(OT, Packet::tcp(OT_HOST, 5000 + port, IT_HOST, 80, tcp_flags::ACK))).collect();
    assert!(outcomes.iter().all(|outcome| outcome.reason() == Some(DropReason::TcpNotSyn)));
    let answered = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Answered(..))).count();
    // As above.
    assert!((5..=30).contains(&answered), "{answered} answers");
    assert_eq!(rig.dataplane.happenings().unwrap().answers_limited, 100 - answered as u64);
}
