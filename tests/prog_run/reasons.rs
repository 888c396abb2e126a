//! Each reason to drop a packet, produced by a packet.

use aya::maps::{Array, Map, MapData};
use fw_agent::dataplane::{Dataplane as _, Settings};
use fw_common::DropReason;
use fw_common::abi::capture::captured_outcome;
use fw_testkit::packet::tcp_flags::{self, ACK, FIN, PSH, RST, SYN, URG};
use fw_testkit::packet::{Chunk, Packet, Transport, chunk};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::{captured, everything};
use crate::rig::{IT, MACS, MANAGEMENT, NEIGHBOUR, OT, POLICY, Rig, Setup, settings};

const OT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const IT_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

fn v4(addr: &str) -> Ipv4Addr {
    addr.parse().unwrap()
}

fn v6(addr: &str) -> Ipv6Addr {
    addr.parse().unwrap()
}

/// DNS from an OT host, which the policy allows to IT.
fn dns(dst_addr: impl Into<IpAddr>) -> Packet {
    Packet::udp(OT_HOST, 4000, dst_addr, 53)
}

/// The same over IPv6.
fn dns6() -> Packet {
    Packet::udp(v6("fd00:0:0:101::50"), 4000, v6("fd00:0:0:201::20"), 53)
}

/// A segment with these flags to a server that the policy lets the OT host reach.
fn http(flags: u8) -> Packet {
    Packet::tcp(OT_HOST, 4000, IT_HOST, 80, flags)
}

/// An SCTP packet of the OT host.
fn sctp(tag: u32, chunks: &[Chunk]) -> Packet {
    Packet::sctp((OT_HOST, 4000), (IT_HOST, 2905), tag, chunks)
}

/// A frame of the OT host, to be spoiled.
fn frame(packet: Packet) -> Vec<u8> {
    packet.macs(NEIGHBOUR, MACS[OT]).build()
}

/// The frame with one byte changed.
fn with(mut frame: Vec<u8>, position: usize, byte: u8) -> Vec<u8> {
    frame[position] = byte;
    frame
}

/// Sends what the usual rig drops for this reason; false if the reason needs a rig of its own.
///
/// The match has no wildcard, so that a new reason does not compile before it has a packet.
fn produce(rig: &Rig, reason: DropReason) -> bool {
    let outcome = match reason {
        DropReason::UnknownInterface => rig.receive_at(1, &frame(dns(IT_HOST))),
        // A link-layer header, and less behind it than an IPv4 header.
        DropReason::Truncated => rig.receive(OT, &frame(dns(IT_HOST))[..14 + 19]),
        DropReason::IpLength => {
            // Each length from a whole header to one byte less than the whole packet.
            let whole = frame(dns(IT_HOST).payload(&[0; 100]));
            for len in 14 + 20..whole.len() {
                assert_eq!(rig.receive(OT, &whole[..len]).reason(), Some(reason), "{len} bytes");
            }
            let whole = frame(dns6().payload(&[0; 100]));
            rig.receive(OT, &whole[..whole.len() - 1])
        }
        DropReason::Ethertype => rig.receive(OT, &with(frame(dns(IT_HOST)), 13, 0x99)),
        DropReason::NotOurMac => rig.receive(OT, &dns(IT_HOST).macs(NEIGHBOUR, [2, 9, 9, 9, 9, 9]).build()),
        DropReason::VlanDepth => rig.send(OT, dns(IT_HOST).vlan(1).vlan(2).vlan(3)),
        DropReason::Ipv4Header => rig.receive(OT, &with(frame(dns(IT_HOST)), 14, 0x44)),
        DropReason::Ipv4Checksum => rig.send(OT, dns(IT_HOST).with_wrong_ipv4_checksum()),
        // A router alert that is longer than the header (RFC 2113).
        DropReason::Ipv4Options => rig.send(OT, dns(IT_HOST).ipv4_options(&[148, 9, 0, 0])),
        // By way of 10.2.1.20 (RFC 791).
        DropReason::Ipv4LooseSourceRoute => rig.send(OT, dns(IT_HOST).ipv4_options(&[131, 7, 4, 10, 2, 1, 20, 0])),
        DropReason::Ipv4StrictSourceRoute => rig.send(OT, dns(IT_HOST).ipv4_options(&[1, 137, 7, 4, 10, 2, 1, 20])),
        DropReason::Ipv4RecordRoute => rig.send(OT, dns(IT_HOST).ipv4_options(&[7, 7, 4, 0, 0, 0, 0, 0])),
        DropReason::Ipv6Header => rig.receive(OT, &with(frame(dns6()), 14, 0x40)),
        DropReason::Ipv6ExtensionChain => {
            rig.send(OT, (0..9).fold(dns6(), |packet, _| packet.extension(60, &[0, 1, 4, 0, 0, 0, 0])))
        }
        DropReason::Ipv6HopByHop => {
            rig.send(OT, dns6().extension(60, &[0, 1, 4, 0, 0, 0, 0]).extension(0, &[0, 1, 4, 0, 0, 0, 0]))
        }
        DropReason::Ipv6Experimental => rig.send(OT, dns6().extension(253, &[0, 1, 4, 0, 0, 0, 0])),
        // Type 4 (RFC 8754) with a segment left: the destination is only the next stop.
        DropReason::Ipv6RoutingHeader => rig.send(OT, dns6().extension(43, &[0, 4, 1, 0, 0, 0, 0])),
        DropReason::Ipv6RoutingType0 => rig.send(OT, dns6().extension(43, &[0; 7])),
        DropReason::TcpHeader => {
            rig.receive(OT, &with(frame(Packet::tcp(OT_HOST, 4000, IT_HOST, 80, tcp_flags::SYN)), 14 + 20 + 12, 0x40))
        }
        DropReason::TcpFlags => rig.send(OT, http(FIN | RST | ACK)),
        DropReason::TcpNull => rig.send(OT, http(0)),
        DropReason::TcpXmas => rig.send(OT, http(FIN | PSH | URG)),
        DropReason::TcpSynFin => rig.send(OT, http(SYN | FIN)),
        DropReason::TcpSynRst => rig.send(OT, http(SYN | RST)),
        DropReason::TcpFinWithoutAck => rig.send(OT, http(FIN)),
        DropReason::PortZero => rig.send(OT, Packet::udp(OT_HOST, 4000, IT_HOST, 0)),
        DropReason::TransportChecksum => {
            rig.dataplane.set_settings(&Settings { verify_checksums: true, ..settings() }).unwrap();
            let outcome = rig.receive(OT, &with(frame(dns(IT_HOST).payload(&[1])), 14 + 28, 2));
            rig.dataplane.set_settings(&settings()).unwrap();
            outcome
        }
        DropReason::UdpHeader => rig.receive(OT, &with(frame(dns(IT_HOST)), 14 + 20 + 5, 7)),
        DropReason::IcmpHeader => {
            rig.send(OT, Packet::new(OT_HOST, IT_HOST, Transport::Other(1)).payload(&[8, 0, 0, 0]))
        }
        DropReason::SourceMartian => rig.send(OT, Packet::udp(v4("240.0.0.1"), 1, IT_HOST, 53)),
        DropReason::SourceUnspecified => rig.send(OT, Packet::udp(v4("0.0.0.0"), 1, IT_HOST, 53)),
        DropReason::SourceLoopback => rig.send(OT, Packet::udp(v4("127.0.0.1"), 1, IT_HOST, 53)),
        DropReason::SourceMulticast => rig.send(OT, Packet::udp(v4("239.1.2.3"), 1, IT_HOST, 53)),
        DropReason::SourceBroadcast => rig.send(OT, Packet::udp(v4("255.255.255.255"), 1, IT_HOST, 53)),
        DropReason::SourceDirectedBroadcast => rig.send(IT, Packet::udp(v4("10.2.1.255"), 1, OT_HOST, 53)),
        DropReason::SourceOwn => rig.send(OT, Packet::udp(v4("10.1.1.10"), 1, IT_HOST, 53)),
        DropReason::DestinationMartian => rig.send(OT, dns(v4("240.0.0.1"))),
        DropReason::DestinationUnspecified => rig.send(OT, dns(v4("0.0.0.0"))),
        DropReason::DestinationLoopback => rig.send(OT, dns(v4("127.0.0.1"))),
        DropReason::Land => rig.send(OT, Packet::udp(IT_HOST, 53, IT_HOST, 53)),
        DropReason::Spoofed => rig.send(OT, Packet::udp(v4("192.168.10.10"), 1, IT_HOST, 53)),
        DropReason::Multicast => rig.send(OT, dns(v4("239.1.2.3"))),
        DropReason::Broadcast => rig.send(OT, dns(v4("10.2.1.255"))),
        DropReason::UnicastInGroupFrame => rig.receive(OT, &dns(IT_HOST).macs(NEIGHBOUR, [0xff; 6]).build()),
        DropReason::LinkLocal => rig.send(OT, dns(v4("169.254.7.7"))),
        DropReason::SourceLinkLocal => {
            // Where the interface has a zone for everything else.
            let rest = POLICY.replace("networks = [\"10.2.0.0/16\", \"fd00:0:0:200::/56\"]", "");
            rig.apply(&rest.replace("from = [\"ot\"]", "from = [\"ot\", \"it\"]"));
            let outcome = rig.send(IT, Packet::udp(v4("169.254.7.7"), 1, OT_HOST, 53));
            rig.apply(POLICY);
            outcome
        }
        DropReason::NeighbourDiscoveryRouted => {
            let solicitation = Transport::Icmp { kind: 135, code: 0, rest: [0; 4] };
            rig.send(OT, Packet::new(v6("fe80::1"), v6("fd00:0:0:101::10"), solicitation).ttl(254))
        }
        DropReason::TcpNotSyn => rig.send(OT, Packet::tcp(OT_HOST, 4001, IT_HOST, 80, tcp_flags::ACK)),
        DropReason::TcpState => {
            rig.send(OT, Packet::tcp(OT_HOST, 4002, IT_HOST, 80, tcp_flags::SYN));
            // The originator has nothing to acknowledge yet.
            rig.send(OT, Packet::tcp(OT_HOST, 4002, IT_HOST, 80, tcp_flags::ACK))
        }
        DropReason::TcpWindow => {
            rig.send(OT, Packet::tcp(OT_HOST, 4003, IT_HOST, 80, tcp_flags::SYN));
            // An answer to another SYN than the one that was sent may not refuse it.
            rig.send(IT, Packet::tcp(IT_HOST, 80, OT_HOST, 4003, tcp_flags::RST | tcp_flags::ACK))
        }
        DropReason::SctpChunks => rig.send(OT, sctp(0, &[])),
        DropReason::SctpNotInit => rig.send(OT, sctp(7, &[Chunk::new(chunk::DATA)])),
        DropReason::SctpTag => rig.send(OT, sctp(0, &[Chunk::new(chunk::DATA)])),
        DropReason::SctpState => {
            rig.send(OT, sctp(0, &[Chunk::announcing(chunk::INIT, 7)]));
            rig.send(IT, Packet::sctp((IT_HOST, 2905), (OT_HOST, 4000), 7, &[Chunk::new(chunk::DATA)]))
        }
        DropReason::IcmpUnrelated => {
            rig.send(OT, Packet::new(OT_HOST, IT_HOST, Transport::Icmp { kind: 0, code: 0, rest: [0, 9, 0, 1] }))
        }
        DropReason::IcmpForbidden => {
            let redirect = Transport::Icmp { kind: 5, code: 1, rest: [10, 1, 1, 99] };
            rig.send(OT, Packet::new(OT_HOST, IT_HOST, redirect).payload(&dns(IT_HOST).build_ip()))
        }
        DropReason::Asymmetric => {
            // Both interfaces have a zone for "the rest", so that the same address is in one zone here, in another there.
            rig.apply(
                &POLICY
                    .replace("networks = [\"192.168.0.0/16\", \"fd00:0:0:a00::/56\"]", "")
                    .replace("networks = [\"10.2.0.0/16\", \"fd00:0:0:200::/56\"]", ""),
            );
            rig.ip("route add 8.8.4.0/24 via 10.0.1.1");
            assert_eq!(rig.send(OT, Packet::udp(OT_HOST, 4003, v4("8.8.4.4"), 53)).reason(), None);
            let outcome = rig.send(IT, Packet::udp(v4("8.8.4.4"), 53, OT_HOST, 4003));
            rig.apply(POLICY);
            outcome
        }
        DropReason::Limit => {
            rig.apply(&POLICY.replacen("log = true\n", "log = true\nmax_flows = { limit = 1 }\n", 1));
            rig.send(OT, Packet::udp(OT_HOST, 4006, IT_HOST, 53));
            let outcome = rig.send(OT, Packet::udp(OT_HOST, 4007, IT_HOST, 53));
            rig.apply(POLICY);
            outcome
        }
        DropReason::Policy => rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 54)),
        DropReason::Rejected => rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 81)),
        DropReason::PolicyChanged => {
            rig.send(OT, Packet::udp(OT_HOST, 4005, IT_HOST, 53));
            rig.apply(&POLICY.replace("\"udp/53\", ", ""));
            let outcome = rig.send(OT, Packet::udp(OT_HOST, 4005, IT_HOST, 53));
            rig.apply(POLICY);
            outcome
        }
        DropReason::ManagementTransit => {
            assert_eq!(
                rig.send(MANAGEMENT, Packet::udp(v4("10.3.1.50"), 1, IT_HOST, 53)).reason(),
                Some(DropReason::ManagementTransit)
            );
            rig.send(OT, dns(v4("10.3.1.50")))
        }
        DropReason::NoRoute => rig.send(OT, dns(v4("8.8.8.8"))),
        DropReason::UnreachableRoute => rig.send(OT, dns(v4("10.2.99.1"))),
        DropReason::EgressNotForwarding => rig.send(OT, dns(v4("10.2.3.4"))),
        DropReason::DestinationZone => rig.send(OT, dns(v4("172.21.0.1"))),
        DropReason::Hairpin => rig.send(OT, Packet::udp(v4("10.1.2.9"), 1, OT_HOST, 53)),
        DropReason::TtlZero => rig.send(OT, dns(IT_HOST).ttl(0)),
        DropReason::TtlExpired => rig.send(OT, dns(IT_HOST).ttl(1)),
        DropReason::TooBig => rig.send(OT, dns(IT_HOST).payload(&[0; 1400])),
        DropReason::FragmentTiny
        | DropReason::FragmentTcpOffset
        | DropReason::FragmentHeaderChain
        | DropReason::FragmentLength
        | DropReason::FragmentTooLong
        | DropReason::FragmentOverlap
        | DropReason::FragmentDuplicate
        | DropReason::FragmentEnd
        | DropReason::FragmentTooMany
        | DropReason::FragmentOfDropped
        | DropReason::FragmentWithoutFirst
        | DropReason::FragmentNotHeld
        | DropReason::FragmentControl => crate::fragments::produce(rig, reason),
        DropReason::Fragment
        | DropReason::TableFull
        | DropReason::HalfOpenLimit
        | DropReason::FlowRace
        | DropReason::NoPolicy
        | DropReason::NotHandedOver => return false,
    };
    assert_eq!(outcome.reason(), Some(reason), "{outcome:?}");
    true
}

#[test]
fn each_reason_is_produced_by_a_packet() {
    let Some(rig) = Rig::new() else { return };
    rig.dataplane.set_capture(Some((everything(), 3_600))).unwrap();
    let mut elsewhere: Vec<&DropReason> = Vec::new();
    for reason in DropReason::ALL {
        if !produce(&rig, *reason) {
            elsewhere.push(reason);
            continue;
        }
        let captured = captured(&rig);
        let with_reason = captured
            .iter()
            .filter(|(head, _)| head.outcome == captured_outcome::DROPPED && head.reason == *reason as u8);
        assert!(with_reason.count() >= 1, "{} is not in the capture: {captured:?}", reason.name());
    }
    // Those have a test of their own below, in `flows.rs` or in `fragments.rs`.
    assert_eq!(
        elsewhere,
        [
            &DropReason::Fragment,
            &DropReason::TableFull,
            &DropReason::FlowRace,
            &DropReason::NoPolicy,
            &DropReason::NotHandedOver,
            &DropReason::HalfOpenLimit
        ]
    );
}

#[test]
fn without_a_policy_nothing_passes() {
    let Some(rig) = Rig::with(Setup { policy: None, ..Setup::default() }) else { return };
    assert_eq!(rig.send(OT, dns(IT_HOST)).reason(), Some(DropReason::NoPolicy));
    let own: Ipv4Addr = v4("10.1.1.10");
    assert_eq!(rig.send(OT, Packet::echo_request(OT_HOST, own, 1, 1)).reason(), Some(DropReason::NoPolicy));
}

#[test]
fn without_a_way_to_the_kernel_unresolved_next_hops_are_counted() {
    let Some(rig) = Rig::with(Setup { handover: false, ..Setup::default() }) else { return };
    assert_eq!(rig.send(OT, dns(v4("10.2.1.77"))).reason(), Some(DropReason::NotHandedOver));
}

#[test]
fn a_full_table_drops_new_flows_and_keeps_old_ones() {
    let Some(rig) = Rig::with(Setup { max_flows: 64, ..Setup::default() }) else { return };
    let forwarded = |port| rig.send(OT, Packet::udp(OT_HOST, port, IT_HOST, 53)).reason();
    for port in 5000..5063 {
        assert_eq!(forwarded(port), None, "flow {port}");
        // Without an answer it would give way.
        assert_eq!(rig.send(IT, Packet::udp(IT_HOST, 53, OT_HOST, port)).reason(), None, "flow {port}");
    }
    assert_eq!(forwarded(6000), Some(DropReason::TableFull));
    let to_host = |id| rig.send(OT, Packet::echo_request(OT_HOST, v4("10.1.1.10"), id, 1)).reason();
    assert_eq!(to_host(1), None, "the last slot is for the host's flows");
    assert_eq!(to_host(2), Some(DropReason::TableFull));
    for port in 5000..5063 {
        assert_eq!(forwarded(port), None, "flow {port}");
    }
    assert_eq!(rig.dataplane.happenings().unwrap().table_full, 2);
}

#[test]
fn a_flow_whose_key_stays_locked_is_dropped() {
    let Some(rig) = Rig::new() else { return };
    let data = MapData::from_pin(rig.pin_dir.join(format!("abi-{}/LOCKS", fw_common::ABI_VERSION))).unwrap();
    let mut locks: Array<MapData, u32> = Array::try_from(Map::Array(data)).unwrap();
    for lock in 0..locks.len() {
        locks.set(lock, 1, 0).unwrap();
    }
    assert_eq!(rig.send(OT, dns(IT_HOST)).reason(), Some(DropReason::FlowRace));
    for lock in 0..locks.len() {
        locks.set(lock, 0, 0).unwrap();
    }
    assert_eq!(rig.send(OT, dns(IT_HOST)).reason(), None);
}

#[test]
fn denied_packets_are_aggregated_with_their_rule() {
    let Some(rig) = Rig::new() else { return };
    for _ in 0..3 {
        rig.send(OT, Packet::udp(OT_HOST, 1, IT_HOST, 81));
    }
    let denied = rig.dataplane.take_denied().unwrap();
    assert_eq!(denied.len(), 1, "{denied:?}");
    let (key, counted) = denied[0];
    assert_eq!(counted.packets, 3);
    assert_eq!(counted.bytes, 3 * 28);
    assert_eq!(key.reason, DropReason::Rejected as u8);
    let names = rig.dataplane.rule_names().unwrap();
    let (_, rule) = names.iter().find(|(handle, _)| *handle == key.rule).unwrap();
    assert_eq!(rule, "no-81");
    assert!(rig.dataplane.take_denied().unwrap().is_empty(), "taken once");
}
