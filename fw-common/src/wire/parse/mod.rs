//! What a frame says: link layer, IP header, extension headers and the first bytes of the transport header.
//!
//! In: a [`Frame`] (a slice on the host, a packet pointer with its end in the kernel). Out: a [`Packet`], or the reason to
//! drop the frame. Every length that the frame claims is checked against the bytes that are there.

mod ipv4;
mod ipv6;
mod packet;
mod sctp;
mod tcp;
#[cfg(test)]
mod tests;
mod transport;

pub use packet::{Extent, Kind, Link, Packet, Part, tcp_flag};

use super::{ETHERNET_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN};
use crate::{DropReason, fragment};

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

/// The most 802.1Q tags that are skipped.
const MAX_TAGS: usize = 2;

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
        ETHERTYPE_IPV4 => ipv4::read(frame, l3_offset, extent, packet)?,
        ETHERTYPE_IPV6 => ipv6::read(frame, l3_offset, extent, packet)?,
        _ => return Err(DropReason::Ethertype),
    };
    let l4_offset = frame.offset(usize::from(packet.l4_offset));
    if packet.part != Part::Whole {
        if packet.part == Part::Later {
            packet.kind = Kind::Fragment;
            return Ok(());
        }
        fragment::check_transport_header(frame, l4_offset, l4_len, packet)?;
    }
    transport::read(frame, l4_offset, l4_len, extent, packet)?;
    if packet.part == Part::Whole { Ok(()) } else { fragment::check_kind(packet) }
}

/// Reads a whole frame, link layer included.
pub fn frame(frame: &impl Frame) -> Result<Packet, DropReason> {
    let mut packet = Packet::EMPTY;
    let link = link(frame)?;
    network(frame, link.ethertype, link.l3_offset, Extent::Whole, &mut packet)?;
    Ok(packet)
}
