//! IPv6 headers and their extension headers.

use super::{Extent, Frame, Packet, Part};
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
    if packet.part != Part::Whole {
        return read_behind_fragment_header(frame, l3_offset, extent, packet);
    }
    packet.l4_offset = (l3_offset + IPV6_LEN) as u16;
    let extensions = skip_extensions(frame, l3_offset + IPV6_LEN, extent, packet)?;
    if extensions > payload_len {
        return Err(DropReason::Ipv6ExtensionChain);
    }
    packet.l4_offset = (l3_offset + IPV6_LEN + extensions) as u16;
    Ok(payload_len - extensions)
}

/// Bytes of a fragment header (RFC 8200, section 4.5).
const FRAGMENT_HEADER_LEN: usize = 8;
/// The offset in the word in the middle of it.
const FRAGMENT_OFFSET: u16 = 0xfff8;

/// Goes on behind the fragment header at [`Packet::l4_offset`], where the parser has stopped before; the length of what
/// follows the extension headers.
///
/// VERIFIER: a function of its own, so that packets without a fragment header are verified without it. Test:
/// `prog_run::maps::the_programs_stay_far_from_the_limit_of_the_verifier`.
#[inline(never)]
fn read_behind_fragment_header(
    frame: &impl Frame,
    l3_offset: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<usize, DropReason> {
    let start = frame.offset(usize::from(packet.l4_offset) + FRAGMENT_HEADER_LEN);
    let end = l3_offset + usize::from(packet.ip_len);
    let len = end.checked_sub(start).ok_or(DropReason::FragmentLength)?;
    packet.protocol = packet.behind_fragment_header;
    if packet.part == Part::Later {
        packet.l4_offset = start as u16;
        return Ok(len);
    }
    if packet.protocol == protocol::HOP_BY_HOP {
        return Err(DropReason::Ipv6HopByHop);
    }
    let extensions = match skip_extensions(frame, start, extent, packet) {
        Ok(extensions) if extensions <= len => extensions,
        // A fragment of a fragment is nothing that a host sends.
        Err(DropReason::Fragment) => return Err(DropReason::Ipv6ExtensionChain),
        Ok(_) | Err(DropReason::Ipv6ExtensionChain) if packet.part == Part::First => {
            return Err(DropReason::FragmentHeaderChain);
        }
        Ok(_) => return Err(DropReason::Ipv6ExtensionChain),
        Err(reason) => return Err(reason),
    };
    packet.l4_offset = (start + extensions) as u16;
    Ok(len - extensions)
}

/// Skips the extension headers at `offset`, leaves the transport protocol in the packet, and returns their length.
///
/// At a fragment header it stops, and leaves its offset in [`Packet::l4_offset`]; in what an ICMP error quotes it skips
/// that of a first fragment.
///
/// A number that is not known may be that of a transport protocol as well as that of a new extension header: the policy
/// judges it by the number, and what is behind it is not looked at (RFC 7045, section 2.1, wants unknown headers to be a
/// matter of policy). The numbers for experiments are dropped, as the same section allows: what they carry is agreed on
/// between two parties, and a rule by number would let anything through.
#[inline(always)]
fn skip_extensions(
    frame: &impl Frame,
    offset: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<usize, DropReason> {
    let next = &mut packet.protocol;
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
            protocol::FRAGMENT if extent == Extent::Quoted => 8,
            protocol::FRAGMENT => {
                packet.l4_offset = (offset + skipped) as u16;
                return Err(DropReason::Fragment);
            }
            protocol::EXPERIMENT_1 | protocol::EXPERIMENT_2 => return Err(DropReason::Ipv6Experimental),
            _ => return Ok(skipped),
        };
        let [following, mut len, routing_type, segments_left]: [u8; 4] =
            frame.bytes(offset + skipped).ok_or(DropReason::Ipv6ExtensionChain)?;
        if extent == Extent::Quoted && *next == protocol::FRAGMENT {
            if u16::from_be_bytes([routing_type, segments_left]) & FRAGMENT_OFFSET != 0 {
                return Err(DropReason::Fragment);
            }
            // It has no length.
            len = 0;
        }
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
