//! IPv4 headers and their options.

use super::{Extent, Frame, Packet, Part};
use crate::DropReason;
use crate::wire::{Address, checksum};

/// Bytes of an IPv4 header without options.
const IPV4_LEN: usize = 20;

/// The fragment offset, in units of eight bytes, in the word behind the identification.
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// In the same word: another fragment follows.
const MORE_FRAGMENTS: u16 = 0x2000;

/// Reads an IPv4 header (RFC 791); the length of what follows.
#[inline(always)]
pub(super) fn read(
    frame: &impl Frame,
    l3_offset: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<usize, DropReason> {
    let header: [u8; IPV4_LEN] = frame.bytes(l3_offset).ok_or(DropReason::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let ip_len = u16::from_be_bytes([header[2], header[3]]);
    if header[0] >> 4 != 4 || header_len < IPV4_LEN || usize::from(ip_len) < header_len {
        return Err(DropReason::Ipv4Header);
    }
    if extent == Extent::Whole && !frame.reaches(l3_offset + usize::from(ip_len)) {
        return Err(DropReason::IpLength);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    packet.src_addr = Address::v4([header[12], header[13], header[14], header[15]]);
    packet.dst_addr = Address::v4([header[16], header[17], header[18], header[19]]);
    packet.protocol = header[9];
    packet.ttl = header[8];
    packet.dont_fragment = fragment & 0x4000 != 0;
    packet.l4_offset = (l3_offset + header_len) as u16;
    packet.ip_len = ip_len;
    let mut sum = checksum::sum_of_header(&header);
    if header_len > IPV4_LEN {
        let options = l3_offset + IPV4_LEN;
        let len = header_len - IPV4_LEN;
        sum += options_sum(frame, options, len)?;
        check_options(frame, options, len)?;
    }
    if extent == Extent::Whole && checksum::fold(sum) != 0xffff {
        return Err(DropReason::Ipv4Checksum);
    }
    // More fragments follow, or this is not the first. What an error quotes may be a first one.
    let parts = if extent == Extent::Quoted { FRAGMENT_OFFSET } else { FRAGMENT_OFFSET | MORE_FRAGMENTS };
    if fragment & parts != 0 && packet.part == Part::Whole {
        return Err(DropReason::Fragment);
    }
    Ok(usize::from(ip_len) - header_len)
}

/// Options that record or steer the route, which RFC 7126, sections 4.3 to 4.5, advises to drop.
const RECORD_ROUTE: u8 = 7;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;
/// The most bytes of options that the header length can express.
const MAX_OPTIONS_LEN: usize = 40;
/// The most options that are looked at; no option that is in use comes more often than a few times.
const MAX_OPTIONS: usize = 10;

/// The sum of the options for the checksum.
#[inline(always)]
fn options_sum(frame: &impl Frame, offset: usize, len: usize) -> Result<u64, DropReason> {
    let mut sum = 0u64;
    for position in (0..MAX_OPTIONS_LEN).step_by(4) {
        if position >= len {
            break;
        }
        let word: [u8; 4] = frame.bytes(offset + position).ok_or(DropReason::Truncated)?;
        sum += u64::from(u32::from_ne_bytes(word));
    }
    Ok(sum)
}

/// Walks the options of an IPv4 header.
#[inline(never)]
fn check_options(frame: &impl Frame, offset: usize, len: usize) -> Result<(), DropReason> {
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
        match kind {
            RECORD_ROUTE => return Err(DropReason::Ipv4RecordRoute),
            LOOSE_SOURCE_ROUTE => return Err(DropReason::Ipv4LooseSourceRoute),
            STRICT_SOURCE_ROUTE => return Err(DropReason::Ipv4StrictSourceRoute),
            _ => {}
        }
        let next = position + usize::from(option_len);
        if option_len < 2 || next > len {
            return Err(DropReason::Ipv4Options);
        }
        position = frame.offset(next);
    }
    if position >= len { Ok(()) } else { Err(DropReason::Ipv4Options) }
}
