//! The common header of SCTP, and the tag that its first chunk announces.

use super::transport::ports_and_number;
use super::{Extent, Frame, Kind, Packet};
use crate::DropReason;
use crate::sctp::chunk_type;

/// Bytes of the common header.
const COMMON_HEADER_LEN: usize = 12;
/// Bytes of a chunk's header.
const CHUNK_HEADER_LEN: usize = 4;

/// Reads the header of SCTP (RFC 9260, section 3) at `offset`, behind which the packet has `len` bytes with the header.
#[inline(never)]
pub(super) fn read(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    packet.kind = Kind::Sctp;
    packet.initiate_tag = 0;
    packet.verification_tag = ports_and_number(frame, offset, extent, packet)?;
    if extent != Extent::Quoted && len < COMMON_HEADER_LEN + CHUNK_HEADER_LEN {
        return Err(DropReason::SctpChunks);
    }
    // A quoted packet may end anywhere behind its first eight bytes (RFC 792).
    let first: Option<[u8; 8]> = frame.bytes(offset + COMMON_HEADER_LEN);
    if let Some([chunk_type::INIT | chunk_type::INIT_ACK, _, _, _, t0, t1, t2, t3]) = first
        && len >= COMMON_HEADER_LEN + 2 * CHUNK_HEADER_LEN
    {
        packet.initiate_tag = u32::from_be_bytes([t0, t1, t2, t3]);
    }
    Ok(())
}
