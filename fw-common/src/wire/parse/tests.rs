//! The parser against what another library wrote, and against anything at all.

use super::tcp::{flags_are_sane, name_of};
use super::transport::{icmpv4_kind, icmpv6_kind};
use super::*;
use core::net::IpAddr;
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::vec::Vec;

/// A frame that etherparse built, so that this parser is not tested against its own idea of the headers.
fn build(ipv4: bool, tcp: bool, ports: (u16, u16), ttl: u8, vlan: bool, payload: &[u8]) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let mut frame = Vec::new();
    let step = if vlan {
        let link = link.single_vlan(7.try_into().unwrap());
        if ipv4 { link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl) } else { link.ipv6([0xfd; 16], [0xfe; 16], ttl) }
    } else if ipv4 {
        link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl)
    } else {
        link.ipv6([0xfd; 16], [0xfe; 16], ttl)
    };
    if tcp {
        step.tcp(ports.0, ports.1, 7, 512).syn().write(&mut frame, payload).unwrap();
    } else {
        step.udp(ports.0, ports.1).write(&mut frame, payload).unwrap();
    }
    frame
}

proptest! {
    #[test]
    fn reads_what_another_library_wrote(
        ipv4: bool, tcp: bool, ports in (1..=u16::MAX, 1..=u16::MAX), ttl: u8, vlan: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
        padding in 0usize..20,
    ) {
        let mut bytes = build(ipv4, tcp, ports, ttl, vlan, &payload);
        let len = bytes.len();
        bytes.resize(len + padding, 0);
        let packet = frame(&bytes.as_slice()).unwrap();
        prop_assert_eq!(packet.is_ipv4(), ipv4);
        prop_assert_eq!((packet.src_port, packet.dst_port), ports);
        prop_assert_eq!(packet.ttl, ttl);
        prop_assert_eq!(packet.kind, if tcp { Kind::Tcp } else { Kind::Udp });
        prop_assert_eq!(packet.tcp_flags, if tcp { tcp_flag::SYN } else { 0 });
        prop_assert_eq!(usize::from(packet.l3_offset) + usize::from(packet.ip_len), len);
        let source: IpAddr = if ipv4 { [10, 0, 0, 1].into() } else { [0xfd; 16].into() };
        prop_assert_eq!(IpAddr::from(packet.src_addr), source);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let _ = frame(&bytes.as_slice());
    }

    #[test]
    fn no_change_of_a_frame_makes_it_lie(
        ipv4: bool, tcp: bool,
        changes in proptest::collection::vec((0usize..80, any::<u8>()), 0..6),
        cut in 0usize..100,
    ) {
        let mut bytes = build(ipv4, tcp, (1, 2), 64, false, &[0; 16]);
        for (position, byte) in changes {
            if let Some(place) = bytes.get_mut(position) {
                *place = byte;
            }
        }
        bytes.truncate(cut);
        if let Ok(packet) = frame(&bytes.as_slice()) {
            let end = usize::from(packet.l3_offset) + usize::from(packet.ip_len);
            prop_assert!(end <= bytes.len(), "the packet lies within the frame");
            prop_assert!(usize::from(packet.l4_offset) <= end);
        }
    }

    #[test]
    fn quoted_packets_may_be_cut(ipv4: bool, tcp: bool, cut in 0usize..80) {
        let bytes = build(ipv4, tcp, (1, 2), 64, false, &[0; 16]);
        let mut packet = Packet::EMPTY;
        let needed = if ipv4 { 28 } else { 48 };
        let quote = &bytes[14..bytes.len().min(14 + cut)];
        let ethertype = if ipv4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        let read = network(&quote, ethertype, 0, Extent::Quoted, &mut packet);
        if cut >= needed {
            prop_assert!(read.is_ok());
            prop_assert_eq!((packet.src_port, packet.dst_port), (1, 2));
        }
    }
}

#[test]
fn tcp_flags_that_no_stack_sends() {
    use tcp_flag::{ACK, FIN, PSH, RST, SYN, URG};
    for flags in [0, FIN, SYN | FIN, SYN | RST, FIN | RST | ACK, FIN | PSH | URG, SYN | FIN | ACK, PSH | URG] {
        assert!(!flags_are_sane(flags), "{flags:#x}");
    }
    for flags in [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, PSH | ACK, FIN | PSH | URG | ACK] {
        assert!(flags_are_sane(flags), "{flags:#x}");
    }
    for (flags, reason) in [
        (0, DropReason::TcpNull),
        (PSH | URG, DropReason::TcpNull),
        (FIN | PSH | URG, DropReason::TcpXmas),
        (FIN, DropReason::TcpFinWithoutAck),
        (FIN | PSH, DropReason::TcpFinWithoutAck),
        (SYN | FIN, DropReason::TcpSynFin),
        (SYN | FIN | ACK | PSH | URG | RST, DropReason::TcpSynFin),
        (SYN | RST, DropReason::TcpSynRst),
        (FIN | RST | ACK, DropReason::TcpFlags),
    ] {
        assert_eq!(name_of(flags), reason, "{flags:#x}");
    }
}

#[test]
fn a_reply_belongs_to_the_request_of_the_other_side() {
    assert_eq!(Packet::query_ports(Kind::IcmpQuery, 8, 77), (77, 8));
    assert_eq!(Packet::query_ports(Kind::IcmpReply, 8, 77), (8, 77));
    assert_eq!(icmpv4_kind(0), (Kind::IcmpReply, 8));
    assert_eq!(icmpv4_kind(14), (Kind::IcmpReply, 13));
    assert_eq!(icmpv6_kind(129), (Kind::IcmpReply, 128));
    for error in [3, 4, 5, 11, 12] {
        assert_eq!(icmpv4_kind(error).0, Kind::IcmpError);
    }
    for error in [1, 2, 3, 4, 127] {
        assert_eq!(icmpv6_kind(error).0, Kind::IcmpError);
    }
}
