//! Datagrams cut at random, in random order, with repetitions and forgeries.

use super::*;
use crate::DropReason;
use crate::abi::fragment::{Datagram, DatagramKey, MAX_FRAGMENTS};
use crate::wire::parse::{self, Kind, Part};
use crate::wire::{Packet, protocol};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

/// A fragment of a UDP datagram over IPv4.
fn fragment(offset: u16, len: u16, more: bool) -> Fragment {
    Fragment { id: 7, offset, len, more, protocol: protocol::UDP, header_len: 20 }
}

fn datagram() -> Datagram {
    let mut datagram = Datagram::FREE;
    datagram.begin(&DatagramKey { words: [1, 2, 3, 4, 5] }, 30);
    datagram
}

/// The data plane, the agent and the receiver, for one datagram that is allowed.
struct Path {
    datagram: Datagram,
    /// What waits in the agent.
    waiting: Vec<Fragment>,
    /// What has reached the receiver.
    passed: Vec<Fragment>,
    dropped: Vec<DropReason>,
}

impl Path {
    fn new() -> Self {
        Self { datagram: datagram(), waiting: vec![], passed: vec![], dropped: vec![] }
    }

    fn receive(&mut self, fragment: Fragment, waited: bool) {
        if let Err(reason) = fragment.check() {
            return self.dropped.push(reason);
        }
        match arrive(&mut self.datagram, &fragment, waited, Comparison::with_all) {
            Arrival::Judge => {
                match conclude(&mut self.datagram, &fragment, &Packet::EMPTY, true, Comparison::with_all) {
                    Ok(others_wait) => {
                        assert_eq!(others_wait, !self.waiting.is_empty());
                        self.passed.push(fragment);
                        for waiting in std::mem::take(&mut self.waiting) {
                            self.receive(waiting, true);
                        }
                    }
                    Err(reason) => self.dropped.push(reason),
                }
            }
            Arrival::Follow => self.passed.push(fragment),
            Arrival::Wait => self.waiting.push(fragment),
            Arrival::Drop(reason) => self.dropped.push(reason),
        }
    }

    /// How often each byte has reached the receiver.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; 1 << 16];
        for fragment in &self.passed {
            let range = usize::from(fragment.offset)..usize::from(fragment.offset) + usize::from(fragment.len);
            bytes[range].iter_mut().for_each(|count| *count += 1);
        }
        bytes
    }
}

/// A datagram of `units * 8 + tail` bytes, cut at these units.
fn cut(units: u16, tail: u16, cuts: &[u16]) -> Vec<Fragment> {
    let end = units * 8 + tail;
    let mut borders: Vec<u16> = cuts.iter().map(|cut| (1 + cut % units) * 8).filter(|border| *border < end).collect();
    borders.extend([0, end]);
    borders.sort_unstable();
    borders.dedup();
    borders.windows(2).map(|pair| fragment(pair[0], pair[1] - pair[0], pair[1] != end)).collect()
}

fn a_datagram() -> impl Strategy<Value = Vec<Fragment>> {
    (1u16..1000, 0u16..8, proptest::collection::vec(any::<u16>(), 1..40))
        .prop_map(|(units, tail, cuts)| cut(units, tail, &cuts))
        .prop_filter("a whole packet is no fragment", |fragments| fragments.len() > 1)
}

proptest! {
    #[test]
    fn every_order_arrives_whole(
        (fragments, order) in a_datagram().prop_flat_map(|fragments| (Just(fragments.clone()), Just(fragments).prop_shuffle())),
        repeated in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut path = Path::new();
        let (last, others) = order.split_last().unwrap();
        others.iter().for_each(|fragment| path.receive(*fragment, false));
        for index in repeated.iter().filter(|_| !others.is_empty()) {
            path.receive(*index.get(others), false);
        }
        path.receive(*last, false);
        prop_assert!(path.waiting.is_empty());
        // The table begins another datagram for what comes after the last one.
        let repetitions = [DropReason::FragmentDuplicate, DropReason::FragmentOfDropped];
        prop_assert!(path.dropped.iter().all(|reason| repetitions.contains(reason)) && path.dropped.len() <= repeated.len());
        let end = fragments.iter().map(|fragment| usize::from(fragment.offset + fragment.len)).max().unwrap();
        let bytes = path.bytes();
        prop_assert!(bytes[..end].iter().all(|count| *count == 1) && bytes[end..].iter().all(|count| *count == 0));
        prop_assert_eq!(path.datagram.progress, Progress::Complete as u8);
    }

    #[test]
    fn no_byte_passes_twice_whatever_is_sent(
        honest in a_datagram(),
        forged in proptest::collection::vec((0u16..8191, 1u16..1500, any::<bool>()), 1..40),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 1..80),
    ) {
        let mut all = honest;
        all.extend(forged.iter().map(|(units, len, more)| fragment(units * 8, if *more { (len / 8 + 1) * 8 } else { *len }, *more)));
        let mut path = Path::new();
        order.iter().for_each(|index| path.receive(*index.get(&all), false));
        let complete = path.datagram.progress == Progress::Complete as u8;
        let bytes = path.bytes();
        prop_assert!(bytes.iter().all(|count| *count <= 1));
        // What is complete has one end and no hole.
        let len = bytes.iter().filter(|count| **count == 1).count();
        if complete {
            prop_assert!(bytes[..len].iter().all(|count| *count == 1));
            prop_assert_eq!(path.passed.iter().filter(|fragment| !fragment.more).count(), 1);
        }
        prop_assert!(path.passed.len() <= MAX_FRAGMENTS);
        prop_assert!(path.waiting.len() <= MAX_FRAGMENTS);
    }

    #[test]
    fn what_passes_ends_where_the_datagram_may_end(offset in 0u16..8192, len: u16, more: bool, header_len in 20u16..60) {
        let fragment = Fragment { header_len: header_len / 4 * 4, ..fragment(offset * 8 % 65_528, len, more) };
        let whole = u32::from(fragment.header_len) + u32::from(fragment.offset) + u32::from(fragment.len);
        if fragment.check().is_ok() {
            prop_assert!(whole <= 65_535 && len > 0 && (!more || len % 8 == 0));
        }
    }

    #[test]
    fn fragments_are_read_as_they_are_written(
        ipv4: bool, id: u32, units in 0u16..8000, more: bool, body in proptest::collection::vec(any::<u8>(), 1..100),
    ) {
        prop_assume!(units != 0 || more);
        let frame = build(ipv4, id, units, more, &body);
        let mut packet = Packet::EMPTY;
        let ethertype = if ipv4 { crate::wire::ETHERTYPE_IPV4 } else { crate::wire::ETHERTYPE_IPV6 };
        let read_whole = parse::network(&frame.as_slice(), ethertype, 14, parse::Extent::Whole, &mut packet);
        prop_assert_eq!(read_whole, Err(DropReason::Fragment), "not announced");
        let fragment = read(&frame.as_slice(), &packet).unwrap();
        let expected_id = if ipv4 { id & 0xffff } else { id };
        prop_assert_eq!(
            (fragment.id, fragment.offset, usize::from(fragment.len), fragment.more, fragment.protocol),
            (expected_id, units * 8, body.len(), more, protocol::UDP)
        );
        packet.behind_fragment_header = fragment.protocol;
        packet.part = Part::Later;
        let read_later = parse::network(&frame.as_slice(), ethertype, 14, parse::Extent::Whole, &mut packet);
        prop_assert_eq!((read_later, packet.kind), (Ok(()), Kind::Fragment));
        prop_assert_eq!(usize::from(packet.l3_offset + packet.ip_len), frame.len());
    }

    #[test]
    fn no_bytes_make_the_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..96), part in 0u8..4) {
        let mut packet = Packet::EMPTY;
        packet.part = [Part::Whole, Part::First, Part::Later, Part::Atomic][usize::from(part)];
        packet.l4_offset = 54;
        packet.behind_fragment_header = bytes.first().copied().unwrap_or_default();
        for ethertype in [crate::wire::ETHERTYPE_IPV4, crate::wire::ETHERTYPE_IPV6] {
            let _ = parse::network(&bytes.as_slice(), ethertype, 14, parse::Extent::Whole, &mut packet);
            let _ = read(&bytes.as_slice(), &packet);
        }
    }
}

/// A frame with one fragment, by hand: etherparse writes no fragments of IPv6.
fn build(ipv4: bool, id: u32, units: u16, more: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    if ipv4 {
        let mut header = vec![0x45, 0];
        header.extend(u16::try_from(20 + body.len()).unwrap().to_be_bytes());
        header.extend((id as u16).to_be_bytes());
        header.extend((units | (u16::from(more) << 13)).to_be_bytes());
        header.extend([64, protocol::UDP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = crate::wire::checksum::finish(crate::wire::checksum::sum(&header));
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([0x08, 0x00]);
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(u16::try_from(8 + body.len()).unwrap().to_be_bytes());
        frame.extend([protocol::FRAGMENT, 64]);
        frame.extend([0xfd; 16]);
        frame.extend([0xfc; 16]);
        frame.extend([protocol::UDP, 0]);
        frame.extend(((units * 8) | u16::from(more)).to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(body);
    frame
}

#[test]
fn a_first_fragment_holds_the_transport_header() {
    let header = |protocol, data_offset: u8, len| {
        let mut bytes = vec![0; 64];
        bytes[12] = data_offset << 4;
        check_transport_header(&bytes.as_slice(), 0, len, &Packet { protocol, ..Packet::EMPTY })
    };
    let tiny = Err(DropReason::FragmentTiny);
    for (protocol, data_offset, len, expected) in [
        (protocol::TCP, 5, 16, tiny),
        (protocol::TCP, 5, 24, Ok(())),
        (protocol::TCP, 8, 24, tiny),
        (protocol::TCP, 8, 32, Ok(())),
        (protocol::UDP, 0, 8, Ok(())),
        (protocol::UDP, 0, 0, tiny),
        (protocol::ICMP, 0, 0, tiny),
        (protocol::ICMPV6, 0, 8, Ok(())),
        (47, 0, 0, Ok(())),
    ] {
        assert_eq!(header(protocol, data_offset, len), expected, "{protocol} {data_offset} {len}");
    }
}

#[test]
fn fragments_that_cannot_be_are_dropped() {
    for (fragment, reason) in [
        (fragment(8, 0, false), DropReason::FragmentLength),
        (fragment(8, 9, true), DropReason::FragmentLength),
        (fragment(65_512, 4, false), DropReason::FragmentTooLong),
        (Fragment { protocol: protocol::TCP, ..fragment(8, 16, true) }, DropReason::FragmentTcpOffset),
    ] {
        assert_eq!(fragment.check(), Err(reason), "{fragment:?}");
    }
    assert_eq!(fragment(65_512, 3, false).check(), Ok(()));
    assert_eq!(Fragment { protocol: protocol::TCP, ..fragment(16, 16, true) }.check(), Ok(()));
}

#[test]
fn contradictions_about_the_end_are_dropped_with_the_rest() {
    for (earlier, later) in [
        // Behind the end, another end, and an end in front of what has passed.
        (fragment(1600, 8, false), fragment(1608, 8, true)),
        (fragment(1600, 8, false), fragment(800, 8, false)),
        (fragment(1600, 8, true), fragment(800, 8, false)),
        // The last of what is not the last.
        (fragment(1600, 8, false), fragment(1600, 8, true)),
    ] {
        let mut path = Path::new();
        for fragment in [fragment(0, 800, true), earlier, later, fragment(808, 8, true)] {
            path.receive(fragment, false);
        }
        assert_eq!(path.passed.len(), 2, "{earlier:?} {later:?}");
        assert!(matches!(path.dropped[0], DropReason::FragmentEnd | DropReason::FragmentOverlap));
        assert_eq!(path.dropped[1], DropReason::FragmentOfDropped);
    }
}

#[test]
fn what_is_allowed_keeps_its_place_longest() {
    let key = DatagramKey { words: [9; 5] };
    let with = |progress: Progress, expires| Datagram { progress: progress as u8, expires, ..datagram() };
    let now = 100;
    let ascending = [
        with(Progress::Free, 0),
        with(Progress::Waiting, 110),
        with(Progress::Waiting, 120),
        with(Progress::Dropped, 101),
        with(Progress::Passed, 100),
        with(Progress::Passed, 130),
    ];
    let worths: Vec<u64> = ascending.iter().map(|datagram| worth(datagram, &key, now)).collect();
    assert!(worths.is_sorted() && worths.windows(2).all(|pair| pair[0] < pair[1]), "{worths:?}");
    for over in [with(Progress::Passed, 99), with(Progress::Complete, 130)] {
        assert_eq!(worth(&over, &key, now), worths[0]);
        assert_eq!(worth(&over, &over.key, now), worths[0], "what is over is not found either");
    }
    let own = with(Progress::Passed, 130);
    assert_eq!(worth(&own, &own.key, now), OWN);
}

#[test]
fn first_fragments_that_race_are_one_datagram() {
    let first = fragment(0, 800, true);
    let mut datagram = datagram();
    let judge = |datagram: &mut Datagram| arrive(datagram, &first, false, Comparison::with_all);
    assert_eq!((judge(&mut datagram), judge(&mut datagram)), (Arrival::Judge, Arrival::Judge));
    let conclude =
        |datagram: &mut Datagram| super::conclude(datagram, &first, &Packet::EMPTY, true, Comparison::with_all);
    assert_eq!(conclude(&mut datagram), Ok(false));
    assert_eq!(conclude(&mut datagram), Err(DropReason::FragmentDuplicate));
}
