//! Fragments: the first one is judged, the others follow it, and what could be put together otherwise is dropped.

mod waiting;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::{Map, MapData, ProgramArray};
use fw_agent::dataplane::Dataplane as _;
use fw_agent::dataplane::kernel::{KernelDataplane, KernelOptions};
use fw_common::DropReason;
use fw_common::abi::flow::flow_flags;
use fw_testkit::packet::{Packet, Transport, tcp_flags};

use crate::rig::{HANDOVER_MAC, IT, MACS, NEIGHBOUR, OT, Outcome, POLICY, Rig};

const OT_HOSTS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 1, 1, 50)), IpAddr::V6(v6(0x101, 0x50))];
const IT_HOSTS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 2, 1, 20)), IpAddr::V6(v6(0x201, 0x20))];

const fn v6(subnet: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, subnet, 0, 0, 0, host)
}

/// A datagram of the OT host that the policy allows, of both families.
fn datagrams(len: usize) -> [Packet; 2] {
    let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
    [0, 1].map(|family| {
        Packet::udp(OT_HOSTS[family], 4000, IT_HOSTS[family], 53).macs(NEIGHBOUR, MACS[OT]).payload(&payload)
    })
}

/// The same datagram over IPv4, with a payload of 2,000 bytes.
fn datagram() -> Packet {
    let [datagram, _] = datagrams(2000);
    datagram
}

#[track_caller]
fn assert_forwarded(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Redirected(_)), "{outcome:?}");
}

#[track_caller]
fn assert_dropped(outcome: &Outcome, reason: DropReason) {
    assert_eq!(outcome.reason(), Some(reason), "{outcome:?}");
}

/// Sends what is dropped for this reason.
pub(crate) fn produce(rig: &Rig, reason: DropReason) -> Outcome {
    // Each with an identification of its own, so that none is part of another's datagram.
    let id = 1000 + u32::from(reason as u8);
    let datagram = datagram();
    let receive = |frame: &[u8]| rig.receive(OT, frame);
    let first = || assert_forwarded(&receive(&datagram.fragment(id, 0..1200, true)));
    match reason.name() {
        "fragment_tiny" => {
            let syn = Packet::tcp(OT_HOSTS[0], 4000, IT_HOSTS[0], 80, tcp_flags::SYN).macs(NEIGHBOUR, MACS[OT]);
            receive(&syn.fragment(id, 0..16, true))
        }
        "fragment_tcp_offset" => {
            let syn = Packet::tcp(OT_HOSTS[0], 4000, IT_HOSTS[0], 80, tcp_flags::SYN).macs(NEIGHBOUR, MACS[OT]);
            receive(&syn.fragment(id, 8..20, false))
        }
        "fragment_header_chain" => {
            // What is fragmented begins with destination options of 64 bytes, of which 8 are there.
            let options = [[17, 7, 1, 60].as_slice(), &[0; 60]].concat();
            let packet = Packet::new(OT_HOSTS[1], IT_HOSTS[1], Transport::Other(60)).payload(&options);
            receive(&packet.macs(NEIGHBOUR, MACS[OT]).fragment(id, 0..8, true))
        }
        "fragment_length" => receive(&datagram.fragment(id, 0..1201, true)),
        "fragment_too_long" => receive(&datagram.fragment(id, 65_528..65_540, false)),
        "fragment_overlap" => {
            first();
            receive(&datagram.fragment(id, 1192..1400, true))
        }
        "fragment_duplicate" => {
            first();
            receive(&datagram.fragment(id, 0..1200, true))
        }
        "fragment_end" => {
            first();
            assert_forwarded(&receive(&datagram.fragment(id, 1600..2008, false)));
            receive(&datagram.fragment(id, 2008..2016, false))
        }
        "fragment_too_many" => {
            for number in 0..64 {
                assert_forwarded(&receive(&datagram.fragment(id, number * 8..number * 8 + 8, true)));
            }
            receive(&datagram.fragment(id, 512..520, true))
        }
        "fragment_of_dropped" => {
            let forbidden = Packet::udp(OT_HOSTS[0], 4000, IT_HOSTS[0], 54).macs(NEIGHBOUR, MACS[OT]);
            assert_dropped(&receive(&forbidden.fragment(id, 0..1200, true)), DropReason::Policy);
            receive(&forbidden.fragment(id, 1200..1300, false))
        }
        "fragment_without_first" => given_back(rig, &datagram.fragment(id, 1200..2008, false)),
        "fragment_not_held" => receive(&datagram.fragment(id, 1200..2008, false)),
        "fragment_control" => {
            let error = Packet::new(IT_HOSTS[0], OT_HOSTS[0], Transport::Icmp { kind: 3, code: 3, rest: [0; 4] });
            let error = error.payload(&[0; 64]).macs(NEIGHBOUR, MACS[IT]);
            rig.receive(IT, &error.fragment(id, 0..48, true))
        }
        other => panic!("{other} is not about fragments"),
    }
}

/// What becomes of a fragment that has waited in the agent.
#[track_caller]
fn given_back(rig: &Rig, frame: &[u8]) -> Outcome {
    rig.outcome(|| rig.dataplane.run_given_back(frame, rig.ifindexes[OT]).unwrap())
}

/// What of a frame a router leaves as it is.
fn kept(frame: &[u8]) -> Vec<u8> {
    let mut kept = frame.to_vec();
    kept[..12].fill(0);
    if frame[12] == 8 {
        kept[22] = 0;
        kept[24..26].fill(0);
    } else {
        kept[21] = 0;
    }
    kept
}

#[test]
fn fragments_follow_the_first_one() {
    let Some(rig) = Rig::new() else { return };
    for datagram in datagrams(4000) {
        let fragments = datagram.fragments(7, 1200);
        assert_eq!(fragments.len(), 4);
        for fragment in &fragments {
            let outcome = rig.receive(OT, fragment);
            let Outcome::Redirected(left) = outcome else { panic!("{outcome:?}") };
            assert_eq!(kept(&left), kept(fragment), "only what a router changes is changed");
            assert_eq!((&left[..6], &left[6..12]), (NEIGHBOUR.as_slice(), MACS[IT].as_slice()));
        }
    }
    let mut counted = Vec::new();
    let mut visit = |record: fw_agent::dataplane::FlowRecord| {
        counted.push((record.flow.directions[0].packets, record.flow.directions[0].bytes));
        true
    };
    rig.dataplane.visit_flows(&mut visit).unwrap();
    // What was fragmented has 4,008 bytes; an IPv4 header has 20, an IPv6 header with its fragment header 48.
    assert_eq!(counted, [(4, 4008 + 4 * 20), (4, 4008 + 4 * 48)], "each fragment is counted to the flow");
}

#[test]
fn fragments_of_a_forbidden_datagram_do_not_pass() {
    let Some(rig) = Rig::new() else { return };
    for (from, to) in OT_HOSTS.into_iter().zip(IT_HOSTS) {
        for (port, reason) in [(54, DropReason::Policy), (81, DropReason::Rejected)] {
            let forbidden = Packet::udp(from, 4000, to, port).payload(&[0; 3000]).macs(NEIGHBOUR, MACS[OT]);
            let fragments = forbidden.fragments(u32::from(port), 1200);
            assert_dropped(&rig.receive(OT, &fragments[0]), reason);
            for fragment in &fragments[1..] {
                assert_eq!(rig.receive(OT, fragment), Outcome::Dropped(DropReason::FragmentOfDropped), "no answer");
            }
        }
    }
}

#[test]
fn a_new_policy_stops_the_rest_of_a_datagram() {
    let Some(rig) = Rig::new() else { return };
    for datagram in datagrams(4000) {
        let fragments = datagram.fragments(7, 1200);
        assert_forwarded(&rig.receive(OT, &fragments[0]));
        rig.apply(POLICY);
        assert_forwarded(&rig.receive(OT, &fragments[1]));
        rig.apply(&POLICY.replace("\"udp/53\", ", ""));
        assert_dropped(&rig.receive(OT, &fragments[2]), DropReason::PolicyChanged);
        assert_dropped(&rig.receive(OT, &fragments[3]), DropReason::FragmentOfDropped);
        rig.apply(POLICY);
    }
}

#[test]
fn an_overlap_ends_its_datagram() {
    let Some(rig) = Rig::new() else { return };
    for datagram in datagrams(4000) {
        assert_forwarded(&rig.receive(OT, &datagram.fragment(7, 0..1200, true)));
        assert_forwarded(&rig.receive(OT, &datagram.fragment(7, 2400..3600, true)));
        for range in [8..16, 0..8, 1192..1208, 1200..2408] {
            let id = 100 + range.end as u32;
            assert_forwarded(&rig.receive(OT, &datagram.fragment(id, 0..1200, true)));
            assert_forwarded(&rig.receive(OT, &datagram.fragment(id, 2400..3600, true)));
            assert_dropped(&rig.receive(OT, &datagram.fragment(id, range, true)), DropReason::FragmentOverlap);
            assert_dropped(&rig.receive(OT, &datagram.fragment(id, 1200..2400, true)), DropReason::FragmentOfDropped);
        }
        // A repetition changes nothing.
        let repeated = rig.receive(OT, &datagram.fragment(7, 2400..3600, true));
        assert_dropped(&repeated, DropReason::FragmentDuplicate);
        assert_forwarded(&rig.receive(OT, &datagram.fragment(7, 1200..2400, true)));
        assert_forwarded(&rig.receive(OT, &datagram.fragment(7, 3600..4008, false)));
    }
}

#[test]
fn other_first_fragments_do_not_pass_under_the_same_identification() {
    let Some(rig) = Rig::new() else { return };
    for (from, to) in OT_HOSTS.into_iter().zip(IT_HOSTS) {
        let allowed = Packet::udp(from, 4000, to, 53).payload(&[0; 3000]).macs(NEIGHBOUR, MACS[OT]);
        let other = Packet::udp(from, 4000, to, 54).payload(&[0; 3000]).macs(NEIGHBOUR, MACS[OT]);
        assert_forwarded(&rig.receive(OT, &allowed.fragment(7, 0..1200, true)));
        assert_dropped(&rig.receive(OT, &other.fragment(7, 0..1208, true)), DropReason::FragmentOverlap);
        assert_dropped(&rig.receive(OT, &other.fragment(8, 0..1200, true)), DropReason::Policy);
        assert_dropped(&rig.receive(OT, &allowed.fragment(8, 0..1200, true)), DropReason::FragmentOfDropped);
    }
}

#[test]
fn an_identification_is_used_anew_when_its_datagram_is_complete() {
    let Some(rig) = Rig::new() else { return };
    for datagram in datagrams(2000) {
        for _ in 0..3 {
            for fragment in datagram.fragments(7, 1200) {
                assert_forwarded(&rig.receive(OT, &fragment));
            }
        }
    }
}

#[test]
fn a_flood_of_fragments_that_are_not_allowed_interrupts_none_that_is() {
    let Some(rig) = Rig::new() else { return };
    let allowed = datagram().fragments(7, 1200);
    assert_forwarded(&rig.receive(OT, &allowed[0]));
    // More than the table holds, of datagrams that are not judged and of such that are dropped.
    let forbidden = Packet::udp(OT_HOSTS[0], 4000, IT_HOSTS[0], 54).payload(&[0; 64]).macs(NEIGHBOUR, MACS[OT]);
    let table = 4 * fw_common::abi::fragment::FRAGMENT_BUCKETS;
    for id in 0..table {
        rig.netns
            .within(|| rig.dataplane.run(&forbidden.fragment(10_000 + id, 0..40, true), rig.ifindexes[OT]).unwrap())
            .unwrap();
        rig.netns
            .within(|| rig.dataplane.run(&forbidden.fragment(30_000 + id, 40..72, false), rig.ifindexes[OT]).unwrap())
            .unwrap();
    }
    assert_forwarded(&rig.receive(OT, &allowed[1]));
}

#[test]
fn atomic_fragments_are_whole_packets() {
    let Some(rig) = Rig::new() else { return };
    let atomic = |port| {
        let packet = Packet::udp(OT_HOSTS[1], 4000, IT_HOSTS[1], port).macs(NEIGHBOUR, MACS[OT]);
        packet.fragment(7, 0..8, false)
    };
    // They do not share their identification with anything (RFC 6946).
    assert_forwarded(&rig.receive(OT, &atomic(53)));
    assert_forwarded(&rig.receive(OT, &atomic(53)));
    assert_dropped(&rig.receive(OT, &atomic(54)), DropReason::Policy);
    let solicitation =
        Packet::new(v6(0x101, 0x50), v6(0x101, 0x10), Transport::Icmp { kind: 135, code: 0, rest: [0; 4] });
    let solicitation = solicitation.payload(&[0; 16]).ttl(255).macs(NEIGHBOUR, MACS[OT]);
    assert_eq!(rig.receive(OT, &solicitation.build()), Outcome::Passed);
    assert_dropped(&rig.receive(OT, &solicitation.fragment(7, 0..24, false)), DropReason::FragmentControl);
    let nested = Packet::udp(OT_HOSTS[1], 4000, IT_HOSTS[1], 53).extension(44, &[0, 0, 0, 0, 0, 0, 1]);
    assert_dropped(
        &rig.receive(OT, &nested.macs(NEIGHBOUR, MACS[OT]).fragment(8, 0..8, false)),
        DropReason::Ipv6ExtensionChain,
    );
}

#[test]
fn a_segment_in_fragments_makes_its_connection_liberal() {
    let Some(rig) = Rig::new() else { return };
    let segment = |from: IpAddr, to: IpAddr, ports: (u16, u16), flags, numbers: (u32, u32)| {
        let transport = Transport::Tcp {
            src_port: ports.0,
            dst_port: ports.1,
            flags,
            sequence: numbers.0,
            acknowledgement: numbers.1,
        };
        Packet::new(from, to, transport)
    };
    for (client, server) in OT_HOSTS.into_iter().zip(IT_HOSTS) {
        let out = |flags, seq, ack| segment(client, server, (4000, 80), flags, (seq, ack));
        let back = |flags, seq, ack| segment(server, client, (80, 4000), flags, (seq, ack));
        assert_forwarded(&rig.send(OT, out(tcp_flags::SYN, 1000, 0)));
        assert_forwarded(&rig.send(IT, back(tcp_flags::SYN | tcp_flags::ACK, 5000, 1001)));
        assert_forwarded(&rig.send(OT, out(tcp_flags::ACK, 1001, 5001)));
        // Out of the window it does not pass, and changes nothing.
        let forged = out(tcp_flags::ACK, 9_000_000, 5001).payload(&[0; 3000]).macs(NEIGHBOUR, MACS[OT]);
        assert_dropped(&rig.receive(OT, &forged.fragment(6, 0..1200, true)), DropReason::TcpWindow);
        assert_dropped(&rig.send(IT, back(tcp_flags::ACK, 5001, 4001)), DropReason::TcpWindow);
        let long = out(tcp_flags::ACK, 1001, 5001).payload(&[0; 3000]).macs(NEIGHBOUR, MACS[OT]);
        for fragment in long.fragments(7, 1200) {
            assert_forwarded(&rig.receive(OT, &fragment));
        }
        assert_forwarded(&rig.send(IT, back(tcp_flags::ACK, 5001, 4001)));
    }
    let mut liberal = 0;
    rig.dataplane
        .visit_flows(&mut |record| {
            liberal += u32::from(record.flow.flags & flow_flags::LIBERAL != 0);
            true
        })
        .unwrap();
    assert_eq!(liberal, 2);
}

#[test]
fn errors_about_a_fragment_follow_its_flow() {
    let Some(rig) = Rig::new() else { return };
    let [datagram4, datagram6] = datagrams(2000);
    for (family, datagram) in [datagram4, datagram6].into_iter().enumerate() {
        let first = datagram.fragment(7, 0..1200, true);
        assert_forwarded(&rig.receive(OT, &first));
        let kind = if family == 0 { 3 } else { 1 };
        let error = Transport::Icmp { kind, code: if family == 0 { 3 } else { 4 }, rest: [0; 4] };
        let error = Packet::new(IT_HOSTS[family], OT_HOSTS[family], error).payload(&first[14..14 + 512]);
        assert_forwarded(&rig.send(IT, error));
    }
}

#[test]
fn control_messages_are_no_fragments() {
    let Some(rig) = Rig::new() else { return };
    for (from, to) in OT_HOSTS.into_iter().zip(IT_HOSTS) {
        let syn = Packet::tcp(from, 4000, to, 80, tcp_flags::SYN).payload(&[0; 100]).macs(NEIGHBOUR, MACS[OT]);
        assert_dropped(&rig.receive(OT, &syn.fragment(7, 0..24, true)), DropReason::FragmentControl);
        assert_dropped(&rig.receive(OT, &syn.fragment(7, 24..120, false)), DropReason::FragmentOfDropped);
        let kind = if from.is_ipv4() { 3 } else { 1 };
        let error = Packet::new(from, to, Transport::Icmp { kind, code: 3, rest: [0; 4] }).payload(&[0; 100]);
        let error = error.macs(NEIGHBOUR, MACS[OT]);
        assert_dropped(&rig.receive(OT, &error.fragment(8, 0..80, true)), DropReason::FragmentControl);
    }
}

#[test]
fn fragments_that_do_not_fit_the_next_link_are_treated_like_packets() {
    let Some(rig) = Rig::new() else { return };
    // The link to IT carries 1,400 bytes.
    let [datagram4, datagram6] = datagrams(4000);
    let first = rig.receive(OT, &datagram6.fragment(7, 0..1440, true));
    assert!(matches!(first, Outcome::Answered(DropReason::TooBig, _)), "{first:?}");
    assert_dropped(&rig.receive(OT, &datagram6.fragment(7, 1440..1600, true)), DropReason::FragmentOfDropped);
    // Over IPv4 the kernel cuts them again.
    for range in [0..1440, 1440..2880] {
        let outcome = rig.receive(OT, &datagram4.fragment(7, range, true));
        let Outcome::Redirected(frame) = outcome else { panic!("{outcome:?}") };
        assert_eq!(frame[..6], HANDOVER_MAC);
    }
}

#[test]
fn a_later_fragment_is_never_answered() {
    let Some(rig) = Rig::new() else { return };
    for datagram in datagrams(2000) {
        assert!(matches!(rig.receive(OT, &datagram.clone().ttl(1).fragment(7, 0..1200, true)), Outcome::Answered(..)));
        assert_forwarded(&rig.receive(OT, &datagram.fragment(8, 0..1200, true)));
        let expired = rig.receive(OT, &datagram.clone().ttl(1).fragment(8, 1200..2008, false));
        assert_eq!(expired, Outcome::Dropped(DropReason::TtlExpired));
    }
}

#[test]
fn fragments_for_the_host_are_given_to_it() {
    let Some(rig) = Rig::new() else { return };
    for (from, own) in OT_HOSTS.into_iter().zip(["10.1.1.10", "fd00:0:0:101::10"]) {
        let own: IpAddr = own.parse().unwrap();
        let ping = Packet::echo_request(from, own, 7, 1).payload(&[0; 3000]).macs(NEIGHBOUR, MACS[OT]);
        for fragment in ping.fragments(7, 1200) {
            assert_eq!(rig.receive(OT, &fragment), Outcome::Passed);
        }
    }
}

#[test]
fn without_its_program_no_fragment_passes_until_an_agent_puts_it_back() {
    let Some(rig) = Rig::new() else { return };
    let pin = rig.pin_dir.join(format!("abi-{}/STAGES", fw_common::ABI_VERSION));
    let stages = Map::ProgramArray(MapData::from_pin(pin).unwrap());
    ProgramArray::try_from(stages).unwrap().clear_index(&1).unwrap();
    let fragment = datagram().fragment(7, 0..1200, true);
    assert_dropped(&rig.receive(OT, &fragment), DropReason::Fragment);
    assert_forwarded(&rig.send(OT, Packet::udp(OT_HOSTS[0], 4000, IT_HOSTS[0], 53)));
    let options = KernelOptions { pin_dir: rig.pin_dir.clone(), max_flows: None, max_half_open: None };
    let _next = rig.netns.within(|| KernelDataplane::open(options).unwrap()).unwrap();
    assert_forwarded(&rig.receive(OT, &fragment));
}
