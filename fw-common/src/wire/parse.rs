//! What a frame says: link layer, IP header, extension headers and the first bytes of the transport header.
//!
//! In: a [`Frame`] (a slice on the host, a packet pointer with its end in the kernel). Out: a [`Packet`], or the reason to
//! drop the frame. Every length that the frame claims is checked against the bytes that are there.

use super::checksum;
use super::{Address, ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, protocol};
use crate::DropReason;

/// Bytes of a frame, from the destination hardware address on.
pub trait Frame {
    /// Copies `N` bytes at `offset`; `None` if the frame ends before.
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
    /// Whether the frame has at least `len` bytes.
    fn reaches(&self, len: usize) -> bool;
    /// The same offset.
    ///
    /// VERIFIER: in the kernel it comes back as a number below 16 KiB of which nothing else is known. Otherwise everything
    /// behind a header of variable length is verified once per length. Test: `prog_run::the_programs_load`.
    #[inline(always)]
    fn offset(&self, offset: usize) -> usize {
        offset
    }
}

impl Frame for &[u8] {
    fn bytes<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }

    fn reaches(&self, len: usize) -> bool {
        self.len() >= len
    }
}

/// Bits of [`Packet::tcp_flags`] (RFC 9293, section 3.1).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// Urgent.
    pub const URG: u8 = 0x20;
}

/// What the packet is to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// An ICMP or ICMPv6 message that asks for a reply.
    IcmpQuery = 2,
    /// The reply to such a message.
    IcmpReply = 3,
    /// An ICMP or ICMPv6 error that quotes the packet it is about.
    IcmpError = 4,
    /// ICMPv6 neighbour discovery (RFC 4861): never forwarded.
    NeighbourDiscovery = 5,
    /// IGMP or MLD: never forwarded.
    MulticastListener = 6,
    /// Any other protocol.
    Other = 7,
}

/// Where the link layer ends and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// EtherType behind the tags.
    pub ethertype: u16,
    /// Offset of the network header in bytes.
    pub l3_offset: usize,
    /// Destination hardware address.
    pub dst_mac: [u8; 6],
}

/// A parsed packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src_addr: Address,
    /// Destination address.
    pub dst_addr: Address,
    /// What it is to the flow table.
    pub kind: Kind,
    /// Protocol number of the transport header.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TCP flags, see [`tcp_flag`]; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP type, or 0.
    pub icmp_type: u8,
    /// ICMP code, or 0.
    pub icmp_code: u8,
    /// IPv4: the packet may not be fragmented. IPv6: always true.
    pub dont_fragment: bool,
    /// Source port; for ICMP queries see [`Packet::query_ports`].
    pub src_port: u16,
    /// Destination port; for ICMP queries see [`Packet::query_ports`].
    pub dst_port: u16,
    /// Offset of the network header in the frame, in bytes.
    pub l3_offset: u16,
    /// Offset of the transport header in the frame, in bytes.
    pub l4_offset: u16,
    /// Length of the IP packet, in bytes.
    pub ip_len: u16,
}

impl Packet {
    /// Nothing, to be overwritten by [`network`].
    pub const EMPTY: Self = Self {
        src_addr: Address::v4([0; 4]),
        dst_addr: Address::v4([0; 4]),
        kind: Kind::Other,
        protocol: 0,
        ttl: 0,
        tcp_flags: 0,
        icmp_type: 0,
        icmp_code: 0,
        dont_fragment: false,
        src_port: 0,
        dst_port: 0,
        l3_offset: 0,
        l4_offset: 0,
        ip_len: 0,
    };

    /// Whether this is an IPv4 packet.
    #[inline(always)]
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.src_addr.is_ipv4()
    }

    /// The ports as the policy sees them: for ICMP, 0 and `type << 8 | code`.
    #[inline(always)]
    #[must_use]
    pub const fn policy_ports(&self) -> (u16, u16) {
        match self.kind {
            Kind::Tcp | Kind::Udp => (self.src_port, self.dst_port),
            Kind::IcmpQuery
            | Kind::IcmpReply
            | Kind::IcmpError
            | Kind::NeighbourDiscovery
            | Kind::MulticastListener => {
                if self.protocol == protocol::IGMP {
                    (0, 0)
                } else {
                    (0, ((self.icmp_type as u16) << 8) | self.icmp_code as u16)
                }
            }
            Kind::Other => (self.src_port, self.dst_port),
        }
    }

    /// The "ports" of an ICMP query: the identifier on the asking side and the type of the request on the other, so that
    /// each side's requests are flows of their own and a reply finds the flow of its request.
    #[inline(always)]
    const fn query_ports(kind: Kind, request_type: u8, identifier: u16) -> (u16, u16) {
        match kind {
            Kind::IcmpReply => (request_type as u16, identifier),
            Kind::IcmpQuery
            | Kind::Tcp
            | Kind::Udp
            | Kind::IcmpError
            | Kind::NeighbourDiscovery
            | Kind::MulticastListener
            | Kind::Other => (identifier, request_type as u16),
        }
    }
}

/// How much of the packet must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A packet that was received: all of it.
    Whole,
    /// A packet that the host sends: its headers. The rest may lie elsewhere, and its checksums may be left to the device.
    Headers,
    /// A packet that an ICMP error quotes: its headers and eight bytes behind them (RFC 792).
    Quoted,
}

/// The most 802.1Q tags that are skipped.
const MAX_TAGS: usize = 2;
/// The most IPv6 extension headers that are skipped.
const MAX_EXTENSIONS: usize = 8;
/// The most bytes of extension headers that are skipped.
const MAX_EXTENSIONS_LEN: usize = 2048;
/// Bytes of an IPv4 header without options.
const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_LEN: usize = 40;

/// Reads the link layer.
#[inline(always)]
pub fn link(frame: &impl Frame) -> Result<Link, DropReason> {
    let ethernet: [u8; ETHERNET_LEN] = frame.bytes(0).ok_or(DropReason::Truncated)?;
    let [d0, d1, d2, d3, d4, d5, _, _, _, _, _, _, e0, e1] = ethernet;
    let mut ethertype = u16::from_be_bytes([e0, e1]);
    let mut l3_offset = ETHERNET_LEN;
    for _ in 0..MAX_TAGS {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        let [_, _, e0, e1]: [u8; 4] = frame.bytes(l3_offset).ok_or(DropReason::Truncated)?;
        ethertype = u16::from_be_bytes([e0, e1]);
        l3_offset += 4;
    }
    if ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ {
        return Err(DropReason::VlanDepth);
    }
    Ok(Link { ethertype, l3_offset, dst_mac: [d0, d1, d2, d3, d4, d5] })
}

/// Reads the network header at `l3_offset` and the transport header behind it.
///
/// After an error `packet` holds what had been read before.
#[inline(always)]
pub fn network(
    frame: &impl Frame,
    ethertype: u16,
    l3_offset: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    let l3_offset = frame.offset(l3_offset);
    packet.l3_offset = l3_offset as u16;
    packet.kind = Kind::Other;
    packet.tcp_flags = 0;
    packet.icmp_type = 0;
    packet.icmp_code = 0;
    packet.src_port = 0;
    packet.dst_port = 0;
    let l4_len = match ethertype {
        ETHERTYPE_IPV4 => ipv4(frame, l3_offset, extent, packet)?,
        ETHERTYPE_IPV6 => ipv6(frame, l3_offset, extent, packet)?,
        _ => return Err(DropReason::Ethertype),
    };
    let l4_offset = frame.offset(usize::from(packet.l4_offset));
    transport(frame, l4_offset, l4_len, extent, packet)
}

/// Reads a whole frame, link layer included.
pub fn frame(frame: &impl Frame) -> Result<Packet, DropReason> {
    let mut packet = Packet::EMPTY;
    let link = link(frame)?;
    network(frame, link.ethertype, link.l3_offset, Extent::Whole, &mut packet)?;
    Ok(packet)
}

/// Reads an IPv4 header (RFC 791); the length of what follows.
#[inline(always)]
fn ipv4(frame: &impl Frame, l3_offset: usize, extent: Extent, packet: &mut Packet) -> Result<usize, DropReason> {
    let header: [u8; IPV4_LEN] = frame.bytes(l3_offset).ok_or(DropReason::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let ip_len = u16::from_be_bytes([header[2], header[3]]);
    if header[0] >> 4 != 4 || header_len < IPV4_LEN || usize::from(ip_len) < header_len {
        return Err(DropReason::Ipv4Header);
    }
    if extent == Extent::Whole && !frame.reaches(l3_offset + usize::from(ip_len)) {
        return Err(DropReason::Truncated);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    packet.src_addr = Address::v4([header[12], header[13], header[14], header[15]]);
    packet.dst_addr = Address::v4([header[16], header[17], header[18], header[19]]);
    packet.protocol = header[9];
    packet.ttl = header[8];
    packet.dont_fragment = fragment & 0x4000 != 0;
    packet.l4_offset = (l3_offset + header_len) as u16;
    packet.ip_len = ip_len;
    let mut sum = checksum::sum(&header);
    if header_len > IPV4_LEN {
        let options = l3_offset + IPV4_LEN;
        let len = header_len - IPV4_LEN;
        sum += ipv4_options_sum(frame, options, len)?;
        ipv4_options(frame, options, len)?;
    }
    if extent == Extent::Whole && checksum::fold(sum) != 0xffff {
        return Err(DropReason::Ipv4Checksum);
    }
    // More fragments follow, or this is not the first.
    if fragment & 0x3fff != 0 {
        return Err(DropReason::Fragment);
    }
    Ok(usize::from(ip_len) - header_len)
}

/// Options that steer or record the route, which RFC 7126 advises to drop: record route, loose and strict source route.
const ROUTE_OPTIONS: [u8; 3] = [7, 131, 137];
/// The most bytes of options that the header length can express.
const MAX_OPTIONS_LEN: usize = 40;
/// The most options that are looked at; no option that is in use comes more often than a few times.
const MAX_OPTIONS: usize = 10;

/// The sum of the options for the checksum.
#[inline(always)]
fn ipv4_options_sum(frame: &impl Frame, offset: usize, len: usize) -> Result<u64, DropReason> {
    let mut sum = 0u64;
    for position in (0..MAX_OPTIONS_LEN).step_by(4) {
        if position >= len {
            break;
        }
        let word: [u8; 4] = frame.bytes(offset + position).ok_or(DropReason::Truncated)?;
        sum += checksum::sum(&word);
    }
    Ok(sum)
}

/// Walks the options of an IPv4 header.
#[inline(never)]
fn ipv4_options(frame: &impl Frame, offset: usize, len: usize) -> Result<(), DropReason> {
    let mut position = 0usize;
    for _ in 0..MAX_OPTIONS {
        if position >= len {
            return Ok(());
        }
        let [kind] = frame.bytes(offset + position).ok_or(DropReason::Truncated)?;
        // End of options, and no operation, have no length.
        if kind == 0 {
            return Ok(());
        }
        if kind == 1 {
            position = frame.offset(position + 1);
            continue;
        }
        let [option_len] = frame.bytes(offset + position + 1).ok_or(DropReason::Ipv4Options)?;
        let next = position + usize::from(option_len);
        if option_len < 2 || next > len || ROUTE_OPTIONS.contains(&kind) {
            return Err(DropReason::Ipv4Options);
        }
        position = frame.offset(next);
    }
    if position >= len { Ok(()) } else { Err(DropReason::Ipv4Options) }
}

/// Reads an IPv6 header (RFC 8200) and its extension headers; the length of what follows.
#[inline(always)]
fn ipv6(frame: &impl Frame, l3_offset: usize, extent: Extent, packet: &mut Packet) -> Result<usize, DropReason> {
    let fixed: [u8; 8] = frame.bytes(l3_offset).ok_or(DropReason::Truncated)?;
    let src_addr: [u8; 16] = frame.bytes(l3_offset + 8).ok_or(DropReason::Truncated)?;
    let dst_addr: [u8; 16] = frame.bytes(l3_offset + 24).ok_or(DropReason::Truncated)?;
    let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    // A packet of more than 65,535 bytes (a jumbogram, or a length that lies) does not occur on these links.
    if fixed[0] >> 4 != 6 || payload_len > usize::from(u16::MAX) - IPV6_LEN {
        return Err(DropReason::Ipv6Header);
    }
    if extent == Extent::Whole && !frame.reaches(l3_offset + IPV6_LEN + payload_len) {
        return Err(DropReason::Truncated);
    }
    packet.src_addr = Address::v6(src_addr);
    packet.dst_addr = Address::v6(dst_addr);
    packet.protocol = fixed[6];
    packet.ttl = fixed[7];
    packet.dont_fragment = true;
    packet.ip_len = (IPV6_LEN + payload_len) as u16;
    let extensions = ipv6_extensions(frame, l3_offset + IPV6_LEN, &mut packet.protocol)?;
    if extensions > payload_len {
        return Err(DropReason::Ipv6ExtensionChain);
    }
    packet.l4_offset = (l3_offset + IPV6_LEN + extensions) as u16;
    Ok(payload_len - extensions)
}

/// Skips the extension headers at `offset`, leaves the transport protocol in `next`, and returns their length.
#[inline(always)]
fn ipv6_extensions(frame: &impl Frame, offset: usize, next: &mut u8) -> Result<usize, DropReason> {
    let mut skipped = 0usize;
    for _ in 0..MAX_EXTENSIONS {
        let units = match *next {
            protocol::HOP_BY_HOP | protocol::DESTINATION_OPTIONS | protocol::ROUTING | protocol::MOBILITY => 8,
            // RFC 4302, section 2.2: the length of an authentication header counts words of four bytes.
            protocol::AH => 4,
            protocol::FRAGMENT => return Err(DropReason::Fragment),
            _ => return Ok(skipped),
        };
        let [following, len, routing_type, _]: [u8; 4] =
            frame.bytes(offset + skipped).ok_or(DropReason::Ipv6ExtensionChain)?;
        // RFC 5095: a routing header of type 0 is never honoured.
        if *next == protocol::ROUTING && routing_type == 0 {
            return Err(DropReason::Ipv6RoutingHeader);
        }
        let header_len = if units == 8 { (usize::from(len) + 1) * 8 } else { (usize::from(len) + 2) * 4 };
        if skipped + header_len > MAX_EXTENSIONS_LEN {
            return Err(DropReason::Ipv6ExtensionChain);
        }
        skipped = frame.offset(skipped + header_len);
        *next = following;
    }
    match *next {
        protocol::HOP_BY_HOP
        | protocol::DESTINATION_OPTIONS
        | protocol::ROUTING
        | protocol::MOBILITY
        | protocol::AH
        | protocol::FRAGMENT => Err(DropReason::Ipv6ExtensionChain),
        _ => Ok(skipped),
    }
}

/// Reads the transport header at `offset`, behind which the packet has `len` bytes with the header.
#[inline(always)]
fn transport(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    match packet.protocol {
        protocol::TCP => tcp(frame, offset, len, extent, packet),
        protocol::UDP => udp(frame, offset, len, extent, packet),
        protocol::ICMP if packet.is_ipv4() => icmp(frame, offset, len, packet, icmpv4_kind),
        protocol::ICMPV6 if !packet.is_ipv4() => icmp(frame, offset, len, packet, icmpv6_kind),
        protocol::IGMP => {
            packet.kind = Kind::MulticastListener;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads a TCP header (RFC 9293).
#[inline(always)]
fn tcp(frame: &impl Frame, offset: usize, len: usize, extent: Extent, packet: &mut Packet) -> Result<(), DropReason> {
    packet.kind = Kind::Tcp;
    let [s0, s1, d0, d1]: [u8; 4] = frame.bytes(offset).ok_or(DropReason::Truncated)?;
    packet.src_port = u16::from_be_bytes([s0, s1]);
    packet.dst_port = u16::from_be_bytes([d0, d1]);
    if extent == Extent::Quoted {
        return Ok(());
    }
    let [data_offset, flags]: [u8; 2] = frame.bytes(offset + 12).ok_or(DropReason::TcpHeader)?;
    let header_len = usize::from(data_offset >> 4) * 4;
    if header_len < 20 || header_len > len {
        return Err(DropReason::TcpHeader);
    }
    packet.tcp_flags = flags & 0x3f;
    if !tcp_flags_are_sane(packet.tcp_flags) {
        return Err(DropReason::TcpFlags);
    }
    Ok(())
}

/// Whether a stack that follows RFC 9293 can have sent these flags.
#[inline(always)]
const fn tcp_flags_are_sane(flags: u8) -> bool {
    use tcp_flag::{ACK, FIN, RST, SYN};
    match flags & (SYN | FIN | RST | ACK) {
        // Null and FIN without ACK are scans; SYN with FIN or RST, and RST with FIN, contradict themselves.
        0 | FIN => false,
        // `x if` would read worse: every remaining combination of two opposites.
        combination => {
            combination & (SYN | FIN) != SYN | FIN
                && combination & (SYN | RST) != SYN | RST
                && combination & (FIN | RST) != FIN | RST
        }
    }
}

/// Reads a UDP header (RFC 768).
#[inline(always)]
fn udp(frame: &impl Frame, offset: usize, len: usize, extent: Extent, packet: &mut Packet) -> Result<(), DropReason> {
    packet.kind = Kind::Udp;
    let header: [u8; 8] = frame.bytes(offset).ok_or(DropReason::Truncated)?;
    packet.src_port = u16::from_be_bytes([header[0], header[1]]);
    packet.dst_port = u16::from_be_bytes([header[2], header[3]]);
    let udp_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if extent == Extent::Whole && (udp_len < 8 || udp_len > len) {
        return Err(DropReason::UdpHeader);
    }
    Ok(())
}

/// Reads an ICMP or ICMPv6 header.
#[inline(always)]
fn icmp(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    packet: &mut Packet,
    kind_of: fn(u8) -> (Kind, u8),
) -> Result<(), DropReason> {
    let [message_type, code, _, _, i0, i1, _, _]: [u8; 8] = frame.bytes(offset).ok_or(DropReason::IcmpHeader)?;
    if len < 8 {
        return Err(DropReason::IcmpHeader);
    }
    packet.icmp_type = message_type;
    packet.icmp_code = code;
    let (kind, request_type) = kind_of(message_type);
    packet.kind = kind;
    if kind == Kind::IcmpQuery || kind == Kind::IcmpReply {
        (packet.src_port, packet.dst_port) = Packet::query_ports(kind, request_type, u16::from_be_bytes([i0, i1]));
    }
    Ok(())
}

/// What an ICMP type is (RFC 792, 950, 1256), and the type of the request it belongs to.
#[inline(always)]
fn icmpv4_kind(message_type: u8) -> (Kind, u8) {
    match message_type {
        8 | 13 | 15 | 17 => (Kind::IcmpQuery, message_type),
        0 => (Kind::IcmpReply, 8),
        14 | 16 | 18 => (Kind::IcmpReply, message_type - 1),
        3 | 4 | 5 | 11 | 12 => (Kind::IcmpError, 0),
        _ => (Kind::Other, 0),
    }
}

/// What an ICMPv6 type is (RFC 4443, 4861, 2710, 3810), and the type of the request it belongs to.
#[inline(always)]
fn icmpv6_kind(message_type: u8) -> (Kind, u8) {
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

#[cfg(test)]
mod tests {
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
            ipv4: bool, tcp: bool, ports: (u16, u16), ttl: u8, vlan: bool,
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
            assert!(!tcp_flags_are_sane(flags), "{flags:#x}");
        }
        for flags in [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, PSH | ACK, FIN | PSH | URG | ACK] {
            assert!(tcp_flags_are_sane(flags), "{flags:#x}");
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
}
