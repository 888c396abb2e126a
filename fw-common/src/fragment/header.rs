//! What a fragment says of itself, and whether that can be.

use crate::DropReason;
use crate::abi::fragment::DatagramKey;
use crate::wire::parse::{Frame, Kind, Part, tcp_flag};
use crate::wire::{Packet, protocol};

/// A fragment's place in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification, which it shares with the other fragments.
    pub id: u32,
    /// First byte of what was fragmented.
    pub offset: u16,
    /// Bytes of what was fragmented.
    pub len: u16,
    /// Others follow behind it.
    pub more: bool,
    /// Protocol of what was fragmented, as the fragment's own header has it: for IPv6 that of the first header behind the
    /// fragment header, and of no meaning in later fragments.
    pub protocol: u8,
    /// Bytes in front of what was fragmented that count for the longest packet: the IPv4 header, or IPv6 extension headers.
    pub header_len: u16,
}

impl Fragment {
    /// The first fragment of its datagram.
    #[inline(always)]
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// The packet is all of its datagram, and shares its identification with no other (RFC 6946).
    #[inline(always)]
    #[must_use]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Whether the fragment can be part of a packet at all (RFC 791, section 3.2; RFC 8200, section 4.5; RFC 3128).
    #[inline(always)]
    pub const fn check(&self) -> Result<(), DropReason> {
        if self.len == 0 || (self.more && !self.len.is_multiple_of(8)) {
            return Err(DropReason::FragmentLength);
        }
        if self.header_len as u32 + self.offset as u32 + self.len as u32 > u16::MAX as u32 {
            return Err(DropReason::FragmentTooLong);
        }
        if self.offset == 8 && self.protocol == protocol::TCP {
            return Err(DropReason::FragmentTcpOffset);
        }
        Ok(())
    }

    /// The units of eight bytes that it covers: the first, and above it the one behind the last.
    #[inline(always)]
    pub(super) const fn range(&self) -> u32 {
        let end = self.offset as u32 + self.len as u32;
        (self.offset as u32 / 8) | end.div_ceil(8) << 16
    }
}

/// Bytes of an IPv6 header, which do not count for the longest packet.
const IPV6_LEN: u16 = 40;
/// Bytes of a fragment header.
const FRAGMENT_HEADER_LEN: u16 = 8;

/// Reads the place of a packet that the parser has refused as a fragment.
#[inline(always)]
pub fn read(frame: &impl Frame, packet: &Packet) -> Option<Fragment> {
    let l3_offset = frame.offset(usize::from(packet.l3_offset));
    let headers = packet.l4_offset.wrapping_sub(packet.l3_offset);
    if packet.is_ipv4() {
        let [i0, i1, f0, f1]: [u8; 4] = frame.bytes(l3_offset + 4)?;
        let place = u16::from_be_bytes([f0, f1]);
        return Some(Fragment {
            id: u32::from(u16::from_be_bytes([i0, i1])),
            offset: (place & 0x1fff) << 3,
            len: packet.ip_len.wrapping_sub(headers),
            more: place & 0x2000 != 0,
            protocol: packet.protocol,
            header_len: headers,
        });
    }
    let [following, _, f0, f1, i0, i1, i2, i3]: [u8; 8] = frame.bytes(frame.offset(usize::from(packet.l4_offset)))?;
    let place = u16::from_be_bytes([f0, f1]);
    Some(Fragment {
        id: u32::from_be_bytes([i0, i1, i2, i3]),
        offset: place & 0xfff8,
        len: packet.ip_len.checked_sub(headers)?.checked_sub(FRAGMENT_HEADER_LEN)?,
        more: place & 1 != 0,
        protocol: following,
        header_len: headers.wrapping_sub(IPV6_LEN),
    })
}

/// In a key: the fragment is one that the host sends.
pub const HOST_SLOT: u16 = u16::MAX;

/// The key of a fragment's datagram: RFC 791, section 3.2, and RFC 8200, section 4.5; and by which interface it came, so
/// that who forges fragments elsewhere cannot disturb it.
#[inline(always)]
#[must_use]
pub const fn key(packet: &Packet, fragment: &Fragment, ingress_slot: u16) -> DatagramKey {
    let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (packet.src_addr.words(), packet.dst_addr.words());
    // The fragments of an IPv6 datagram may disagree about the header behind.
    let protocol = if packet.is_ipv4() { fragment.protocol } else { 0 };
    let rest = fragment.id as u64
        | (protocol as u64) << 32
        | (packet.src_addr.family as u64) << 40
        | (ingress_slot as u64) << 48;
    DatagramKey { words: [join(s0, s1), join(s2, s3), join(d0, d1), join(d2, d3), rest] }
}

/// The family of the datagram with this key.
#[must_use]
pub const fn is_ipv4(key: &DatagramKey) -> bool {
    let [.., rest] = key.words;
    (rest >> 40) & 0xff == 4
}

/// Two words as one.
#[inline(always)]
const fn join(first: u32, second: u32) -> u64 {
    first as u64 | (second as u64) << 32
}

/// Bytes of a TCP header without options, and the position of its data offset.
const TCP_LEN: usize = 20;
const TCP_DATA_OFFSET: usize = 12;
/// Bytes of SCTP's common header, of the header of a chunk, and of the tag that an INIT has behind it.
const SCTP_LEN: usize = 20;
/// Bytes of the headers of UDP, ICMP and ICMPv6.
const OTHER_LEN: usize = 8;

/// Whether a first fragment, with `len` bytes at `offset` behind the network headers, holds the whole transport header (RFC
/// 1858, section 3.1). Of protocols without ports the policy reads nothing.
#[inline(never)]
pub fn check_transport_header(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    packet: &Packet,
) -> Result<(), DropReason> {
    let needed = match packet.protocol {
        protocol::TCP if len >= TCP_LEN => {
            let [data_offset]: [u8; 1] = frame.bytes(offset + TCP_DATA_OFFSET).ok_or(DropReason::FragmentTiny)?;
            usize::from(data_offset >> 4) * 4
        }
        protocol::TCP => TCP_LEN,
        protocol::SCTP => SCTP_LEN,
        protocol::UDP | protocol::ICMP | protocol::ICMPV6 => OTHER_LEN,
        _ => 0,
    };
    if len < needed { Err(DropReason::FragmentTiny) } else { Ok(()) }
}

/// Whether a packet of this kind may be a first fragment, or have a fragment header.
///
/// Neighbour discovery may not (RFC 6980, section 5). Errors are shorter than what any link carries (RFC 1812, section
/// 4.3.2.3; RFC 4443, section 2.4 (c)), and belong to no flow that their later fragments could be counted to. A SYN carries next to
/// nothing; and a connection whose numbers are not known from its first segment on could be opened in another's name.
#[inline(always)]
pub const fn check_kind(packet: &Packet) -> Result<(), DropReason> {
    match packet.kind {
        Kind::NeighbourDiscovery | Kind::IcmpError => Err(DropReason::FragmentControl),
        Kind::Tcp if matches!(packet.part, Part::First) && packet.tcp_flags & tcp_flag::SYN != 0 => {
            Err(DropReason::FragmentControl)
        }
        Kind::Tcp
        | Kind::Udp
        | Kind::IcmpQuery
        | Kind::IcmpReply
        | Kind::MulticastListener
        | Kind::Fragment
        | Kind::Sctp
        | Kind::Other => Ok(()),
    }
}
