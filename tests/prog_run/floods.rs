//! Floods of half-open flows: who gives way, and who never does.

use std::net::Ipv4Addr;

use fw_agent::dataplane::{Dataplane as _, Settings};
use fw_common::DropReason;
use fw_common::abi::event::EndReason;
use fw_testkit::packet::{Packet, Transport, tcp_flags};

use crate::rig::{IT, MACS, NEIGHBOUR, OT, Outcome, POLICY, Rig, Setup, XDP_REDIRECT, settings};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 50);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 20);

/// A table whose ring is large enough that a test run cannot outrun the time for which slots are kept.
const LARGE: Setup<'static> =
    Setup { policy: Some(POLICY), max_flows: 16_384, max_half_open: Some(8_192), handover: true };
const SMALL: Setup<'static> = Setup { max_flows: 1_024, max_half_open: Some(64), ..LARGE };

/// A segment of the connection of a client's port.
fn segment(from_client: bool, port: u16, flags: u8, numbers: [u32; 2]) -> Packet {
    segment_of(CLIENT, from_client, port, flags, numbers)
}

fn segment_of(client: Ipv4Addr, from_client: bool, port: u16, flags: u8, numbers: [u32; 2]) -> Packet {
    let [sequence, acknowledgement] = numbers;
    let (src, dst, src_port, dst_port) =
        if from_client { (client, SERVER, port, 80) } else { (SERVER, client, 80, port) };
    Packet::new(src, dst, Transport::Tcp { src_port, dst_port, flags, sequence, acknowledgement })
}

/// Makes a connection; whether all of its segments passed.
fn connect(rig: &Rig, port: u16) -> bool {
    use tcp_flags::{ACK, SYN};
    let steps = [(true, SYN, [100, 0]), (false, SYN | ACK, [500, 101]), (true, ACK, [101, 501])];
    steps.into_iter().all(|(client, flags, numbers)| {
        passes(rig, if client { OT } else { IT }, segment(client, port, flags, numbers))
    })
}

/// Whether a packet is forwarded; without reading counters, which takes longer than the packet.
fn passes(rig: &Rig, slot: usize, packet: Packet) -> bool {
    let frame = packet.macs(NEIGHBOUR, MACS[slot]).build();
    rig.netns.within(|| rig.dataplane.run(&frame, rig.ifindexes[slot]).unwrap().0).unwrap() == XDP_REDIRECT
}

/// The first segment of a connection that nobody will finish.
fn spoofed(number: u32) -> Packet {
    let [_, _, high, low] = number.to_be_bytes();
    let source = Ipv4Addr::new(10, 1, 2 + high, low);
    Packet::tcp(source, 1_024 + u16::from(high), SERVER, 80, tcp_flags::SYN)
}

fn half_open(rig: &Rig) -> u64 {
    rig.dataplane.occupancy().unwrap()[0].half_open
}

#[test]
fn a_flood_of_syns_takes_no_connection_and_keeps_no_new_one_out() {
    let Some(rig) = Rig::with(LARGE) else { return };
    let established: Vec<u16> = (2_000..2_100).collect();
    assert!(established.iter().all(|port| connect(&rig, *port)));
    for number in 0..30_000 {
        assert!(passes(&rig, OT, spoofed(number)), "SYN {number} is not turned away");
        if number % 200 == 0 {
            assert!(connect(&rig, 10_000 + u16::try_from(number / 200).unwrap()), "after {number} SYNs");
        }
        assert!(half_open(&rig) <= 8_192 || number % 64 != 0, "after {number} SYNs");
    }
    for port in established.into_iter().chain(10_000..10_150) {
        let data = segment(true, port, tcp_flags::ACK, [101, 501]).payload(b"still here");
        assert!(passes(&rig, OT, data), "connection of port {port}");
    }
    let happenings = rig.dataplane.happenings().unwrap();
    assert!(happenings.evicted >= 30_000 - 8_192 - 2_048, "{happenings:?}");
    assert_eq!(happenings.table_full, 0);
}

#[test]
fn a_flood_of_datagrams_takes_no_flow_that_was_answered() {
    let Some(rig) = Rig::with(LARGE) else { return };
    for port in 2_000..2_100 {
        assert!(passes(&rig, OT, Packet::udp(CLIENT, port, SERVER, 53)));
        assert!(passes(&rig, IT, Packet::udp(SERVER, 53, CLIENT, port)));
    }
    assert_eq!(half_open(&rig), 0);
    for number in 0..20_000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        assert!(passes(&rig, OT, Packet::udp(Ipv4Addr::new(10, 1, 2 + high, low), 9, SERVER, 53)), "{number}");
    }
    assert!(half_open(&rig) <= 8_192);
    for port in 2_000..2_100 {
        assert!(passes(&rig, IT, Packet::udp(SERVER, 53, CLIENT, port)), "answer to port {port}");
    }
    assert_eq!(rig.dataplane.happenings().unwrap().opened, 20_100, "no answered flow was opened anew");
}

#[test]
fn the_oldest_half_open_flow_is_the_one_that_is_ended() {
    let Some(rig) = Rig::with(SMALL) else { return };
    let syn = |port| segment(true, port, tcp_flags::SYN, [100, 0]);
    let answer = |port| segment(false, port, tcp_flags::SYN | tcp_flags::ACK, [500, 101]);
    for port in 3_000..3_065 {
        assert_eq!(rig.send(OT, syn(port)).reason(), None);
    }
    assert_eq!(rig.send(IT, answer(3_000)).reason(), Some(DropReason::TcpNotSyn), "it gave way");
    for port in 3_001..3_065 {
        assert_eq!(rig.send(IT, answer(port)).reason(), None, "port {port}");
    }
    assert_eq!(half_open(&rig), 64, "an answer does not prove who has asked");
    let mut ends = Vec::new();
    rig.dataplane.poll_ended(&mut |end| ends.push((end.reason, end.key.low_port))).unwrap();
    assert_eq!(ends, [(EndReason::Evicted as u8, 3_000u16.to_be_bytes())]);
    assert_eq!(rig.dataplane.happenings().unwrap().evicted, 1);
}

#[test]
fn slots_of_ended_flows_wait_until_nobody_can_use_them() {
    let Some(rig) = Rig::with(SMALL) else { return };
    // Faster than 16 slots in 33 milliseconds.
    let refused = (0..400).map(|number| rig.send(OT, spoofed(number))).find(|outcome| outcome.reason().is_some());
    assert_eq!(refused, Some(Outcome::Dropped(DropReason::HalfOpenLimit)));
}

#[test]
fn as_a_setting_the_new_one_is_turned_away() {
    let Some(rig) = Rig::with(SMALL) else { return };
    rig.ip("route add 10.1.0.0/16 via 10.1.1.50");
    rig.dataplane.set_settings(&Settings { refuse_half_open: true, ..settings() }).unwrap();
    for number in 0..64 {
        assert_eq!(rig.send(OT, spoofed(number)).reason(), None);
    }
    for number in 64..80 {
        assert_eq!(rig.send(OT, spoofed(number)).reason(), Some(DropReason::HalfOpenLimit));
    }
    let ping = Packet::echo_request(CLIENT, Ipv4Addr::new(10, 1, 1, 10), 1, 1);
    assert_eq!(rig.send(OT, ping).reason(), None, "the host is reached in any case");
    // The answers do not open anything, and the handshakes that they belong to make room.
    for number in 0..4 {
        let [_, _, high, low] = u32::to_be_bytes(number);
        let (source, port) = (Ipv4Addr::new(10, 1, 2 + high, low), 1_024);
        let answer = segment_of(source, false, port, tcp_flags::SYN | tcp_flags::ACK, [500, 1]);
        assert_eq!(rig.send(IT, answer).reason(), None);
        let last = segment_of(source, true, port, tcp_flags::ACK, [1, 501]);
        assert_eq!(rig.send(OT, last).reason(), None);
    }
    for number in 80..83 {
        assert_eq!(rig.send(OT, spoofed(number)).reason(), None);
    }
    assert_eq!(rig.send(OT, spoofed(90)).reason(), Some(DropReason::HalfOpenLimit));
}

#[test]
fn what_has_no_place_makes_room_when_the_setting_changes() {
    let Some(rig) = Rig::with(SMALL) else { return };
    rig.dataplane.set_settings(&Settings { refuse_half_open: true, ..settings() }).unwrap();
    for number in 0..64 {
        assert_eq!(rig.send(OT, spoofed(number)).reason(), None);
    }
    assert!(!connect(&rig, 3_000));
    rig.dataplane.set_settings(&settings()).unwrap();
    assert!(connect(&rig, 3_001), "honest connections open at once");
    for number in 64..80 {
        assert_eq!(rig.send(OT, spoofed(number)).reason(), None, "flow {number}");
    }
    assert_eq!(half_open(&rig), 80);
    while rig.dataplane.happenings().unwrap().evicted == 0 {
        assert!(passes(&rig, OT, spoofed(81)) && half_open(&rig) <= 81);
        rig.dataplane.sweep().unwrap();
    }
    assert!(half_open(&rig) < 80, "the limit and what is kept for the host");
    assert!(connect(&rig, 3_002));
}

#[test]
fn half_open_flows_make_room_in_a_full_table_and_the_host_has_its_own() {
    let Some(rig) = Rig::with(Setup { max_flows: 1_024, max_half_open: Some(1_024), ..LARGE }) else { return };
    for number in 0..2_000 {
        passes(&rig, OT, spoofed(number));
    }
    let occupancy = rig.dataplane.occupancy().unwrap()[0];
    assert!(occupancy.used <= occupancy.limit - occupancy.reserved, "{occupancy:?}");
    for id in 0..u16::try_from(occupancy.reserved).unwrap() {
        let ping = Packet::echo_request(CLIENT, Ipv4Addr::new(10, 1, 1, 10), id, 1);
        assert_eq!(rig.send(OT, ping).reason(), None, "the host's flow {id}");
    }
    // At the pace of a network, what is ended has left its slot when the next one comes: the pace is what is tested, so there is
    // no event to wait for.
    let connected = (0..200).filter(|number| {
        std::thread::sleep(std::time::Duration::from_millis(2));
        connect(&rig, 20_000 + number)
    });
    assert!(connected.count() >= 180);
}

#[test]
fn nothing_counts_as_half_open_when_all_is_over() {
    let Some(rig) = Rig::with(LARGE) else { return };
    for round in 0..3u16 {
        for port in 0..500 {
            assert!(connect(&rig, 10_000 + 1_000 * round + port));
        }
        assert_eq!(half_open(&rig), 0, "round {round}");
        for port in 0..500 {
            let reset = segment(true, 10_000 + 1_000 * round + port, tcp_flags::RST | tcp_flags::ACK, [101, 501]);
            assert!(passes(&rig, OT, reset));
            // The same connection once more, in the place of the one that was reset, and this time refused.
            assert!(passes(&rig, OT, segment(true, 10_000 + 1_000 * round + port, tcp_flags::SYN, [900, 0])));
        }
        assert_eq!(half_open(&rig), 500);
        for port in 0..500 {
            assert!(connect_again(&rig, 10_000 + 1_000 * round + port));
        }
    }
    rig.apply(&POLICY.replace("\"tcp/80\", ", ""));
    assert_eq!(half_open(&rig), 0);
}

/// Finishes the handshake that was begun with the number 900.
fn connect_again(rig: &Rig, port: u16) -> bool {
    use tcp_flags::{ACK, SYN};
    passes(rig, IT, segment(false, port, SYN | ACK, [700, 901]))
        && passes(rig, OT, segment(true, port, ACK, [901, 701]))
}
