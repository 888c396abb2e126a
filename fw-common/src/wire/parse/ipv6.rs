//! IPv6 headers and their extension headers.

use super::{Extent, Frame, Packet};
use crate::DropReason;
use crate::wire::{Address, protocol};

/// The most extension headers that are skipped.
const MAX_EXTENSIONS: usize = 8;
/// The most bytes of extension headers that are skipped.
const MAX_EXTENSIONS_LEN: usize = 2048;
/// Bytes of an IPv6 header.
const IPV6_LEN: usize = 40;

/// Reads an IPv6 header (RFC 8200) and its extension headers; the length of what follows.
#[inline(always)]
pub(super) fn read(
    frame: &impl Frame,
    l3_offset: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<usize, DropReason> {
    let fixed: [u8; 8] = frame.bytes(l3_offset).ok_or(DropReason::Truncated)?;
    let src_addr: [u8; 16] = frame.bytes(l3_offset + 8).ok_or(DropReason::Truncated)?;
    let dst_addr: [u8; 16] = frame.bytes(l3_offset + 24).ok_or(DropReason::Truncated)?;
    let payload_len = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    // A packet of more than 65,535 bytes (a jumbogram, or a length that lies) does not occur on these links.
    if fixed[0] >> 4 != 6 || payload_len > usize::from(u16::MAX) - IPV6_LEN {
        return Err(DropReason::Ipv6Header);
    }
    if extent == Extent::Whole && !frame.reaches(l3_offset + IPV6_LEN + payload_len) {
        return Err(DropReason::IpLength);
    }
    packet.src_addr = Address::v6(src_addr);
    packet.dst_addr = Address::v6(dst_addr);
    packet.protocol = fixed[6];
    packet.ttl = fixed[7];
    packet.dont_fragment = true;
    packet.ip_len = (IPV6_LEN + payload_len) as u16;
    let extensions = skip_extensions(frame, l3_offset + IPV6_LEN, &mut packet.protocol)?;
    if extensions > payload_len {
        return Err(DropReason::Ipv6ExtensionChain);
    }
    packet.l4_offset = (l3_offset + IPV6_LEN + extensions) as u16;
    Ok(payload_len - extensions)
}

/// Skips the extension headers at `offset`, leaves the transport protocol in `next`, and returns their length.
///
/// A number that is not known may be that of a transport protocol as well as that of a new extension header: the policy
/// judges it by the number, and what is behind it is not looked at (RFC 7045, section 2.1, wants unknown headers to be a
/// matter of policy). The numbers for experiments are dropped, as the same section allows: what they carry is agreed on
/// between two parties, and a rule by number would let anything through.
#[inline(always)]
fn skip_extensions(frame: &impl Frame, offset: usize, next: &mut u8) -> Result<usize, DropReason> {
    let mut skipped = 0usize;
    for position in 0..MAX_EXTENSIONS {
        let units = match *next {
            // RFC 8200, section 4.1: only directly behind the IPv6 header, and so at most once.
            protocol::HOP_BY_HOP if position > 0 => return Err(DropReason::Ipv6HopByHop),
            protocol::HOP_BY_HOP
            | protocol::DESTINATION_OPTIONS
            | protocol::ROUTING
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => 8,
            // RFC 4302, section 2.2: the length of an authentication header counts words of four bytes.
            protocol::AH => 4,
            protocol::FRAGMENT => return Err(DropReason::Fragment),
            protocol::EXPERIMENT_1 | protocol::EXPERIMENT_2 => return Err(DropReason::Ipv6Experimental),
            _ => return Ok(skipped),
        };
        let [following, len, routing_type, segments_left]: [u8; 4] =
            frame.bytes(offset + skipped).ok_or(DropReason::Ipv6ExtensionChain)?;
        if *next == protocol::ROUTING {
            // RFC 5095: never honoured, whatever is left of it.
            if routing_type == 0 {
                return Err(DropReason::Ipv6RoutingType0);
            }
            // Of whatever type: the destination is not the one that the policy would judge.
            if segments_left != 0 {
                return Err(DropReason::Ipv6RoutingHeader);
            }
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
        | protocol::HIP
        | protocol::SHIM6
        | protocol::AH
        | protocol::FRAGMENT
        | protocol::EXPERIMENT_1
        | protocol::EXPERIMENT_2 => Err(DropReason::Ipv6ExtensionChain),
        _ => Ok(skipped),
    }
}
