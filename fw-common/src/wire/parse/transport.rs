//! Transport headers: TCP, UDP, SCTP, ICMP and ICMPv6.

use super::{Extent, Frame, Kind, Packet, Part, sctp, tcp};
use crate::DropReason;
use crate::wire::protocol;

/// Reads the transport header at `offset`, behind which the packet has `len` bytes with the header.
#[inline(always)]
pub(super) fn read(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    match packet.protocol {
        protocol::TCP => tcp::read(frame, offset, len, extent, packet),
        protocol::UDP => udp(frame, offset, len, extent, packet),
        protocol::ICMP if packet.is_ipv4() => icmp(frame, offset, len, extent, packet, icmpv4_kind),
        protocol::ICMPV6 if !packet.is_ipv4() => icmp(frame, offset, len, extent, packet, icmpv6_kind),
        protocol::SCTP => sctp::read(frame, offset, len, extent, packet),
        protocol::IGMP => {
            packet.kind = Kind::MulticastListener;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads the ports, with which the headers of TCP and SCTP begin, and returns the number behind them. A port of 0, which
/// RFC 6335, section 6, reserves, and RFC 9260, section 3.1, forbids, is dropped but in what an error quotes.
#[inline(always)]
pub(super) fn ports_and_number(
    frame: &impl Frame,
    offset: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<u32, DropReason> {
    let [s0, s1, d0, d1, n0, n1, n2, n3]: [u8; 8] = frame.bytes(offset).ok_or(DropReason::Truncated)?;
    packet.src_port = u16::from_be_bytes([s0, s1]);
    packet.dst_port = u16::from_be_bytes([d0, d1]);
    // No stack lets a socket have it, so nobody can be meant.
    if extent != Extent::Quoted && (packet.src_port == 0 || packet.dst_port == 0) {
        return Err(DropReason::PortZero);
    }
    Ok(u32::from_be_bytes([n0, n1, n2, n3]))
}

/// Reads a UDP header (RFC 768).
#[inline(always)]
fn udp(frame: &impl Frame, offset: usize, len: usize, extent: Extent, packet: &mut Packet) -> Result<(), DropReason> {
    packet.kind = Kind::Udp;
    let header: [u8; 8] = frame.bytes(offset).ok_or(DropReason::Truncated)?;
    packet.src_port = u16::from_be_bytes([header[0], header[1]]);
    packet.dst_port = u16::from_be_bytes([header[2], header[3]]);
    // RFC 768 lets a sender that wants no reply leave its own port out, but there is nobody behind a destination port of zero.
    if extent != Extent::Quoted && packet.dst_port == 0 {
        return Err(DropReason::PortZero);
    }
    let udp_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // The length is that of the datagram, of which a first fragment has only a part.
    if extent == Extent::Whole && (udp_len < 8 || (udp_len > len && packet.part != Part::First)) {
        return Err(DropReason::UdpHeader);
    }
    Ok(())
}

/// Bytes of the shortest ICMP message.
const ICMP_LEN: usize = 8;

/// Reads an ICMP or ICMPv6 header.
#[inline(always)]
fn icmp(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    extent: Extent,
    packet: &mut Packet,
    kind_of: fn(u8) -> (Kind, u8),
) -> Result<(), DropReason> {
    let [message_type, code, _, _, i0, i1, _, _]: [u8; 8] = frame.bytes(offset).ok_or(DropReason::IcmpHeader)?;
    // Quoted packets may be cut behind the first eight bytes (RFC 792).
    let needed = if extent != Extent::Quoted && packet.is_ipv4() { icmpv4_len(message_type) } else { ICMP_LEN };
    if len < needed {
        return Err(DropReason::IcmpHeader);
    }
    packet.icmp_type = message_type;
    packet.icmp_code = code;
    let (kind, request_type) = kind_of(message_type);
    packet.kind = kind;
    // Each type that is neither a query nor a reply is a flow of its own.
    (packet.src_port, packet.dst_port) = (u16::from(message_type), u16::from(message_type));
    if kind == Kind::IcmpQuery || kind == Kind::IcmpReply {
        (packet.src_port, packet.dst_port) = Packet::query_ports(kind, request_type, u16::from_be_bytes([i0, i1]));
    }
    Ok(())
}

/// What an ICMP type is (RFC 792, 950, 1256), and the type of the request it belongs to.
#[inline(always)]
pub(super) fn icmpv4_kind(message_type: u8) -> (Kind, u8) {
    match message_type {
        8 | 13 | 15 | 17 => (Kind::IcmpQuery, message_type),
        0 => (Kind::IcmpReply, 8),
        14 | 16 | 18 => (Kind::IcmpReply, message_type - 1),
        3 | 4 | 5 | 11 | 12 => (Kind::IcmpError, 0),
        _ => (Kind::Other, 0),
    }
}

/// Bytes that a message of this type has at least (RFC 792, 950).
#[inline(always)]
fn icmpv4_len(message_type: u8) -> usize {
    match message_type {
        // Timestamp, with three of them.
        13 | 14 => 20,
        // Address mask.
        17 | 18 => 12,
        _ => ICMP_LEN,
    }
}

/// What an ICMPv6 type is (RFC 4443, 4861, 2710, 3810), and the type of the request it belongs to.
#[inline(always)]
pub(super) fn icmpv6_kind(message_type: u8) -> (Kind, u8) {
    match message_type {
        128 => (Kind::IcmpQuery, 128),
        129 => (Kind::IcmpReply, 128),
        // RFC 4443, section 2.1: types below 128 are errors.
        1..=127 => (Kind::IcmpError, 0),
        133..=137 => (Kind::NeighbourDiscovery, 0),
        130..=132 | 143 => (Kind::MulticastListener, 0),
        _ => (Kind::Other, 0),
    }
}
