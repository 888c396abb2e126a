//! Packets that no honest host sends: the cases behind the reasons, one by one, and what is close to them and passes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::DropReason;
use fw_testkit::packet::{Packet, Transport, tcp_flags};

use crate::rig::{EXPOSED, IT, MACS, NEIGHBOUR, OT, Outcome, Rig};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);
const OT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x101, 0, 0, 0, 0x50);
const IT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20);
/// An address of the firewall on the side of OT.
const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 10);

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host of IT, of the family of an address.
fn it(other: IpAddr) -> IpAddr {
    if other.is_ipv4() { IT_HOST.into() } else { IT_HOST6.into() }
}

fn frame(packet: Packet) -> Vec<u8> {
    packet.macs(NEIGHBOUR, MACS[OT]).build()
}

#[test]
fn frames_that_end_within_a_header_are_dropped() {
    let Some(rig) = Rig::new() else { return };
    let packets = [Packet::udp(OT_HOST, 4000, IT_HOST, 53), Packet::udp(OT_HOST6, 4000, IT_HOST6, 53)];
    let [ipv4, ipv6] = packets.map(|packet| packet.macs(NEIGHBOUR, MACS[OT]).build());
    // From the shortest frame that there is.
    for (whole, header) in [(ipv4, 20), (ipv6, 40)] {
        for len in 14..14 + header {
            assert_eq!(rig.receive(OT, &whole[..len]).reason(), Some(DropReason::Truncated), "{len} bytes");
        }
    }
}

#[test]
fn a_source_that_nobody_has_is_dropped() {
    let Some(rig) = Rig::new() else { return };
    for (source, reason) in [
        ("0.0.0.0", DropReason::SourceUnspecified),
        ("::", DropReason::SourceUnspecified),
        ("127.0.0.1", DropReason::SourceLoopback),
        ("127.255.255.254", DropReason::SourceLoopback),
        ("::1", DropReason::SourceLoopback),
        ("224.0.0.1", DropReason::SourceMulticast),
        ("239.255.255.255", DropReason::SourceMulticast),
        ("ff0e::1", DropReason::SourceMulticast),
        ("255.255.255.255", DropReason::SourceBroadcast),
        ("0.0.0.1", DropReason::SourceMartian),
        ("240.0.0.1", DropReason::SourceMartian),
        ("255.255.255.254", DropReason::SourceMartian),
        ("192.0.2.7", DropReason::SourceMartian),
        ("198.51.100.7", DropReason::SourceMartian),
        ("203.0.113.7", DropReason::SourceMartian),
        ("::10.1.1.50", DropReason::SourceMartian),
        ("::ffff:10.1.1.50", DropReason::SourceMartian),
        ("2001:db8::7", DropReason::SourceMartian),
        ("3fff::7", DropReason::SourceMartian),
        ("4000::7", DropReason::SourceMartian),
        ("fec0::7", DropReason::SourceMartian),
        // Close by, and only of no zone.
        ("192.0.3.7", DropReason::Spoofed),
        ("2001:db9::7", DropReason::Spoofed),
        ("64:ff9b::a01:132", DropReason::Spoofed),
    ] {
        let source = addr(source);
        let outcome = rig.send(OT, Packet::udp(source, 4000, it(source), 53));
        assert_eq!(outcome, Outcome::Dropped(reason), "{source}");
    }
}

#[test]
fn a_destination_that_nobody_has_is_dropped() {
    let Some(rig) = Rig::new() else { return };
    for (destination, reason) in [
        ("0.0.0.0", DropReason::DestinationUnspecified),
        ("::", DropReason::DestinationUnspecified),
        ("127.0.0.1", DropReason::DestinationLoopback),
        ("::1", DropReason::DestinationLoopback),
        ("0.0.0.1", DropReason::DestinationMartian),
        ("240.0.0.1", DropReason::DestinationMartian),
        ("192.0.2.7", DropReason::DestinationMartian),
        ("::ffff:10.2.1.20", DropReason::DestinationMartian),
        ("2001:db8::7", DropReason::DestinationMartian),
        ("8000::7", DropReason::DestinationMartian),
    ] {
        let destination = addr(destination);
        let source: IpAddr = if destination.is_ipv4() { OT_HOST.into() } else { OT_HOST6.into() };
        let outcome = rig.send(OT, Packet::udp(source, 4000, destination, 53));
        assert_eq!(outcome, Outcome::Dropped(reason), "{destination}");
    }
}

#[test]
fn nobody_else_sends_from_our_addresses() {
    let Some(rig) = Rig::new() else { return };
    // By the interface that has the address, by another one, to be forwarded and to the host.
    for (slot, source) in [
        (OT, "10.1.1.10"),
        (OT, "10.2.1.10"),
        (EXPOSED, "10.1.1.10"),
        (OT, "fd00:0:0:101::10"),
        (IT, "fd00:0:0:101::10"),
    ] {
        let source = addr(source);
        let outcome = rig.send(slot, Packet::udp(source, 4000, it(source), 53));
        assert_eq!(outcome, Outcome::Dropped(DropReason::SourceOwn), "{source} by {slot}");
    }
    let to_us = Packet::echo_request(Ipv4Addr::new(10, 2, 1, 10), OWN, 1, 1);
    assert_eq!(rig.send(OT, to_us), Outcome::Dropped(DropReason::SourceOwn));
    // As what we would answer in a flow that is open.
    assert_eq!(rig.send(OT, Packet::echo_request(OT_HOST, OWN, 7, 1)), Outcome::Passed);
    let reply = Packet::new(OWN, OT_HOST, Transport::Icmp { kind: 0, code: 0, rest: [0, 7, 0, 1] });
    assert_eq!(rig.send(OT, reply), Outcome::Dropped(DropReason::SourceOwn));
    // As an error about a flow that is open.
    assert!(matches!(rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53)), Outcome::Redirected(_)));
    let quoted = Packet::udp(OT_HOST, 4000, IT_HOST, 53).build_ip();
    let error = Packet::new(OWN, OT_HOST, Transport::Icmp { kind: 3, code: 3, rest: [0; 4] }).payload(&quoted);
    assert_eq!(rig.send(IT, error), Outcome::Dropped(DropReason::SourceOwn));
}

#[test]
fn options_that_steer_or_record_the_route_are_dropped() {
    let Some(rig) = Rig::new() else { return };
    for (kind, reason) in [
        (7, DropReason::Ipv4RecordRoute),
        (131, DropReason::Ipv4LooseSourceRoute),
        (137, DropReason::Ipv4StrictSourceRoute),
    ] {
        // In front, behind others, and malformed: it is named for what it wants.
        for options in [vec![kind, 7, 4, 10, 2, 1, 20], vec![1, 1, 148, 4, 0, 0, kind, 3], vec![kind, 200, 4, 0]] {
            let outcome = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53).ipv4_options(&options));
            assert_eq!(outcome, Outcome::Dropped(reason), "{options:?}");
        }
    }
    for malformed in [vec![148, 1, 0, 0], vec![148, 0, 0, 0], vec![1, 1, 1, 148], vec![68, 12, 5, 0]] {
        let outcome = rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 53).ipv4_options(&malformed));
        assert_eq!(outcome, Outcome::Dropped(DropReason::Ipv4Options), "{malformed:?}");
    }
}

/// An options header of eight bytes with nothing but padding, behind its "next header" field (RFC 8200, section 4.2).
const PADDING: [u8; 7] = [0, 1, 4, 0, 0, 0, 0];

#[test]
fn extension_headers_are_where_they_belong() {
    let Some(rig) = Rig::new() else { return };
    let dns = || Packet::udp(OT_HOST6, 4000, IT_HOST6, 53);
    let chain = |numbers: &[u8]| numbers.iter().fold(dns(), |packet, number| packet.extension(*number, &PADDING));
    for (numbers, reason) in [
        // Hop-by-hop once, and in front (RFC 8200, section 4.1).
        (vec![0], None),
        (vec![0, 60, 60], None),
        (vec![0, 0], Some(DropReason::Ipv6HopByHop)),
        (vec![60, 0], Some(DropReason::Ipv6HopByHop)),
        (vec![60; 8], None),
        (vec![60; 9], Some(DropReason::Ipv6ExtensionChain)),
        // Mobility, host identity and Shim6 are skipped, and what they carry is judged.
        (vec![135, 139, 140], None),
        (vec![253], Some(DropReason::Ipv6Experimental)),
        (vec![60, 254], Some(DropReason::Ipv6Experimental)),
        // Not known: judged by its number, which no rule allows.
        (vec![200], Some(DropReason::Policy)),
    ] {
        assert_eq!(rig.send(OT, chain(&numbers)).reason(), reason, "{numbers:?}");
    }
    // A header that says that it is longer than the packet.
    let outcome = rig.send(OT, dns().extension(60, &[9, 1, 4, 0, 0, 0, 0]));
    assert_eq!(outcome, Outcome::Dropped(DropReason::Ipv6ExtensionChain));
    // Type 0 is forbidden even with nothing left (RFC 5095); another type with nothing left is done with.
    let routing = |kind, left| rig.send(OT, dns().extension(43, &[0, kind, left, 0, 0, 0, 0])).reason();
    assert_eq!(routing(0, 0), Some(DropReason::Ipv6RoutingType0));
    assert_eq!(routing(0, 1), Some(DropReason::Ipv6RoutingType0));
    assert_eq!(routing(4, 1), Some(DropReason::Ipv6RoutingHeader));
    assert_eq!(routing(4, 0), None);
}

#[test]
fn flags_that_no_stack_sends_are_told_apart() {
    use tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};
    let Some(rig) = Rig::new() else { return };
    for (flags, reason) in [
        (0, DropReason::TcpNull),
        (PSH | URG, DropReason::TcpNull),
        (FIN, DropReason::TcpFinWithoutAck),
        (FIN | PSH | URG, DropReason::TcpXmas),
        (SYN | FIN, DropReason::TcpSynFin),
        (SYN | FIN | ACK, DropReason::TcpSynFin),
        (SYN | RST, DropReason::TcpSynRst),
        (SYN | RST | ACK, DropReason::TcpSynRst),
        (FIN | RST | ACK, DropReason::TcpFlags),
    ] {
        for packet in [Packet::tcp(OT_HOST, 4000, IT_HOST, 80, flags), Packet::tcp(OT_HOST6, 4000, IT_HOST6, 80, flags)]
        {
            assert_eq!(rig.send(OT, packet), Outcome::Dropped(reason), "{flags:#x}");
        }
    }
}

#[test]
fn lengths_that_contradict_each_other_are_dropped() {
    let Some(rig) = Rig::new() else { return };
    let spoilt = |packet: Packet, at: usize, byte: u8| {
        let mut frame = frame(packet);
        frame[at] = byte;
        rig.receive(OT, &frame).reason()
    };
    let udp = || Packet::udp(OT_HOST, 4000, IT_HOST, 53).payload(&[0; 4]);
    let tcp = || Packet::tcp(OT_HOST, 4000, IT_HOST, 80, tcp_flags::SYN);
    // A UDP length below its header, and above the packet.
    assert_eq!(spoilt(udp(), 14 + 20 + 5, 7), Some(DropReason::UdpHeader));
    assert_eq!(spoilt(udp(), 14 + 20 + 5, 13), Some(DropReason::UdpHeader));
    // A data offset below the header, and above the segment.
    assert_eq!(spoilt(tcp(), 14 + 20 + 12, 0x40), Some(DropReason::TcpHeader));
    assert_eq!(spoilt(tcp(), 14 + 20 + 12, 0x60), Some(DropReason::TcpHeader));
    // An IPv6 payload length above the frame.
    assert_eq!(spoilt(Packet::udp(OT_HOST6, 1, IT_HOST6, 53), 14 + 5, 9), Some(DropReason::IpLength));
    // ICMP messages that are shorter than their types need (RFC 792, 950).
    for (kind, needed) in [(8, 8), (13, 20), (17, 12)] {
        let message = |len: usize| {
            let mut bytes = vec![0; len];
            bytes[0] = kind;
            rig.send(OT, Packet::new(OT_HOST, IT_HOST, Transport::Other(1)).payload(&bytes)).reason()
        };
        assert_eq!(message(needed - 1), Some(DropReason::IcmpHeader), "type {kind}");
        assert_ne!(message(needed), Some(DropReason::IcmpHeader), "type {kind}");
    }
}

#[test]
fn nobody_is_behind_port_zero() {
    let Some(rig) = Rig::new() else { return };
    let zero = Outcome::Dropped(DropReason::PortZero);
    for (ot, it) in [(IpAddr::from(OT_HOST), IpAddr::from(IT_HOST)), (OT_HOST6.into(), IT_HOST6.into())] {
        assert_eq!(rig.send(OT, Packet::tcp(ot, 0, it, 80, tcp_flags::SYN)), zero);
        assert_eq!(rig.send(OT, Packet::tcp(ot, 4000, it, 0, tcp_flags::SYN)), zero);
        assert_eq!(rig.send(OT, Packet::udp(ot, 4000, it, 0)), zero);
        // A datagram whose sender wants no reply (RFC 768), and the reply that cannot be.
        assert!(matches!(rig.send(OT, Packet::udp(ot, 0, it, 53)), Outcome::Redirected(_)));
        assert_eq!(rig.send(IT, Packet::udp(it, 53, ot, 0)), zero);
    }
}

#[test]
fn a_ttl_of_zero_is_told_from_an_expired_one_and_reaches_the_host() {
    let Some(rig) = Rig::new() else { return };
    for (ot, it) in [(IpAddr::from(OT_HOST), IpAddr::from(IT_HOST)), (OT_HOST6.into(), IT_HOST6.into())] {
        let to_it = |ttl| rig.send(OT, Packet::udp(ot, 4000, it, 53).ttl(ttl));
        assert!(matches!(to_it(0), Outcome::Answered(DropReason::TtlZero, _)), "RFC 4443, section 3.3, asks for it");
        assert!(matches!(to_it(1), Outcome::Answered(DropReason::TtlExpired, _)));
        assert!(matches!(to_it(2), Outcome::Redirected(_)));
    }
    // RFC 1812, section 4.2.2.9: what is for the router itself is received all the same.
    assert_eq!(rig.send(OT, Packet::echo_request(OT_HOST, OWN, 1, 1).ttl(0)), Outcome::Passed);
}
