//! Transport checksums, with `[anomalies] verify_checksums` off and on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_agent::dataplane::{Dataplane as _, Settings};
use fw_common::DropReason;
use fw_testkit::packet::{Packet, Transport, tcp_flags};

use crate::rig::{MACS, NEIGHBOUR, OT, Outcome, Rig, settings};

/// Both ends, in both families.
const ENDS: [(IpAddr, IpAddr); 2] = [
    (IpAddr::V4(Ipv4Addr::new(10, 1, 1, 50)), IpAddr::V4(Ipv4Addr::new(10, 2, 1, 20))),
    (
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0x101, 0, 0, 0, 0x50)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0x201, 0, 0, 0, 0x20)),
    ),
];

fn frame(packet: Packet) -> Vec<u8> {
    packet.macs(NEIGHBOUR, MACS[OT]).build()
}

/// A packet of each transport protocol that has a checksum, with a payload.
fn packets(payload: &[u8]) -> Vec<Packet> {
    let mut packets = Vec::new();
    for (ot, it) in ENDS {
        packets.push(Packet::tcp(ot, 4000, it, 80, tcp_flags::SYN).payload(payload));
        packets.push(Packet::udp(ot, 4000, it, 53).payload(payload));
        packets.push(Packet::echo_request(ot, it, 1, 1).payload(payload));
    }
    packets
}

/// The frame with one bit of its last byte turned.
fn spoilt(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(last) = frame.last_mut() {
        *last ^= 1;
    }
    frame
}

fn verify(rig: &Rig, verify_checksums: bool) {
    rig.dataplane.set_settings(&Settings { verify_checksums, ..settings() }).unwrap();
}

#[test]
fn a_wrong_checksum_passes_unless_it_is_to_be_verified() {
    let Some(rig) = Rig::new() else { return };
    for packet in packets(b"payload") {
        assert!(matches!(rig.receive(OT, &spoilt(frame(packet))), Outcome::Redirected(_)));
    }
    verify(&rig, true);
    for packet in packets(b"payload") {
        let frame = frame(packet);
        assert_eq!(rig.receive(OT, &spoilt(frame.clone())), Outcome::Dropped(DropReason::TransportChecksum));
        assert!(matches!(rig.receive(OT, &frame), Outcome::Redirected(_)));
    }
    verify(&rig, false);
    for packet in packets(b"payload") {
        assert!(matches!(rig.receive(OT, &spoilt(frame(packet))), Outcome::Redirected(_)));
    }
}

#[test]
fn checksums_of_every_length_are_verified() {
    let Some(rig) = Rig::new() else { return };
    verify(&rig, true);
    // Around the steps of the sum, and up to the MTU of the way out.
    for len in (1..=100).chain(1_280..=1_300) {
        let payload: Vec<u8> = (0..len).map(|at: u16| at.to_be_bytes()[1] ^ 0x5a).collect();
        for packet in packets(&payload) {
            let frame = frame(packet);
            assert!(matches!(rig.receive(OT, &frame), Outcome::Redirected(_)), "{len} bytes");
            let dropped = Outcome::Dropped(DropReason::TransportChecksum);
            assert_eq!(rig.receive(OT, &spoilt(frame)), dropped, "{len} bytes");
        }
    }
}

#[test]
fn each_byte_that_a_checksum_covers_is_verified() {
    let Some(rig) = Rig::new() else { return };
    verify(&rig, true);
    let [(ot, it), _] = ENDS;
    let whole = frame(Packet::echo_request(ot, it, 1, 1).payload(&[3; 61]));
    // Behind type, code and what the header alone is judged by.
    for at in 14 + 20 + 2..whole.len() {
        let mut frame = whole.clone();
        frame[at] ^= 0x10;
        assert_eq!(rig.receive(OT, &frame), Outcome::Dropped(DropReason::TransportChecksum), "byte {at}");
    }
}

#[test]
fn a_datagram_in_one_fragment_is_verified_like_one_in_none() {
    let Some(rig) = Rig::new() else { return };
    verify(&rig, true);
    let [_, (ot, it)] = ENDS;
    // RFC 8200, section 4.5: neither an offset nor more fragments; RFC 6946.
    let atomic = frame(Packet::udp(ot, 4000, it, 53).payload(b"payload").extension(44, &[0, 0, 0, 0, 0, 0, 1]));
    assert!(matches!(rig.receive(OT, &atomic), Outcome::Redirected(_)));
    assert_eq!(rig.receive(OT, &spoilt(atomic.clone())), Outcome::Dropped(DropReason::TransportChecksum));
    let mut longer = atomic;
    longer[14 + 40 + 8 + 5] += 1;
    assert_eq!(rig.receive(OT, &longer), Outcome::Dropped(DropReason::UdpHeader));
}

#[test]
fn what_a_checksum_does_not_cover_is_not_verified() {
    let Some(rig) = Rig::new() else { return };
    verify(&rig, true);
    for packet in packets(b"odd") {
        // Padding of the link, and tags.
        let mut padded = frame(packet.clone());
        padded.resize(padded.len() + 17, 0xaa);
        assert!(matches!(rig.receive(OT, &padded), Outcome::Redirected(_)));
        assert!(matches!(rig.send(OT, packet.vlan(7)), Outcome::Redirected(_)));
    }
    let [(ot, it), (ot6, it6)] = ENDS;
    // Options and extension headers are not transport.
    let with_options = Packet::udp(ot, 4000, it, 53).payload(b"odd").ipv4_options(&[148, 4, 0, 0]);
    assert!(matches!(rig.send(OT, with_options), Outcome::Redirected(_)));
    let extended = Packet::udp(ot6, 4000, it6, 53).payload(b"odd").extension(60, &[0, 1, 4, 0, 0, 0, 0]);
    assert!(matches!(rig.send(OT, extended), Outcome::Redirected(_)));
    // Other protocols, too, whatever they hold.
    let gre = Packet::new(ot, it, Transport::Other(47)).payload(&[7; 9]);
    assert!(matches!(rig.send(OT, gre), Outcome::Redirected(_)));
}

#[test]
fn a_datagram_may_lack_its_checksum_over_ipv4_alone() {
    let Some(rig) = Rig::new() else { return };
    verify(&rig, true);
    let [(ot, it), (ot6, it6)] = ENDS;
    let without = |packet: Packet, at: usize| {
        let mut frame = frame(packet);
        frame[at..at + 2].fill(0);
        rig.receive(OT, &frame)
    };
    let ipv4 = without(Packet::udp(ot, 4000, it, 53).payload(b"abc"), 14 + 20 + 6);
    assert!(matches!(ipv4, Outcome::Redirected(_)), "{ipv4:?}");
    let ipv6 = without(Packet::udp(ot6, 4000, it6, 53).payload(b"abc"), 14 + 40 + 6);
    assert_eq!(ipv6, Outcome::Dropped(DropReason::TransportChecksum));
}
