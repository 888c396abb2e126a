//! TCP headers and their options.

use super::transport::ports_and_number;
use super::{Extent, Frame, Kind, Packet, tcp_flag};
use crate::DropReason;
use crate::abi::flow::window_flags;

/// Bytes of a TCP header without options.
const TCP_LEN: usize = 20;

/// Reads a TCP header (RFC 9293) at `offset`, behind which the packet has `len` bytes with the header.
#[inline(always)]
pub(super) fn read(
    frame: &impl Frame,
    offset: usize,
    len: usize,
    extent: Extent,
    packet: &mut Packet,
) -> Result<(), DropReason> {
    packet.kind = Kind::Tcp;
    packet.seq = ports_and_number(frame, offset, extent, packet)?;
    if extent == Extent::Quoted {
        return Ok(());
    }
    let [a0, a1, a2, a3, data_offset, flags, w0, w1]: [u8; 8] = frame.bytes(offset + 8).ok_or(DropReason::TcpHeader)?;
    let header_len = usize::from(data_offset >> 4) * 4;
    if header_len < TCP_LEN || header_len > len {
        return Err(DropReason::TcpHeader);
    }
    packet.tcp_flags = flags & 0x3f;
    if !flags_are_sane(packet.tcp_flags) {
        return Err(name_of(packet.tcp_flags));
    }
    packet.tcp_header_len = header_len as u8;
    packet.ack = u32::from_be_bytes([a0, a1, a2, a3]);
    packet.sack = packet.ack;
    packet.tcp_window = u16::from_be_bytes([w0, w1]);
    packet.tcp_announced = 0;
    packet.mss_offset = 0;
    if header_len > TCP_LEN && !has_timestamp_only(frame, offset + TCP_LEN, header_len, packet.tcp_flags) {
        read_options(frame, offset + TCP_LEN, header_len - TCP_LEN, packet);
    }
    Ok(())
}

/// Whether a stack that follows RFC 9293 can have sent these flags.
#[inline(always)]
pub(super) const fn flags_are_sane(flags: u8) -> bool {
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

/// Which of the known scans and contradictions it is, of flags that are not sane.
#[inline(always)]
pub(super) const fn name_of(flags: u8) -> DropReason {
    use tcp_flag::{ACK, FIN, PSH, RST, SYN, URG};
    if flags & (SYN | FIN) == SYN | FIN {
        DropReason::TcpSynFin
    } else if flags & (SYN | RST) == SYN | RST {
        DropReason::TcpSynRst
    } else if flags & (FIN | RST) == FIN | RST {
        DropReason::TcpFlags
    } else if flags & (SYN | FIN | RST | ACK) == 0 {
        DropReason::TcpNull
    } else if flags & (PSH | URG) == PSH | URG {
        DropReason::TcpXmas
    } else {
        DropReason::TcpFinWithoutAck
    }
}

/// The options of most segments: no operation twice, and a timestamp (RFC 7323, appendix A).
const TIMESTAMP_ONLY: [u8; 4] = [1, 1, 8, 10];
/// Bytes of a header with these options.
const TIMESTAMP_ONLY_LEN: usize = 32;

/// Whether the options are those of most segments, of which nothing is needed.
#[inline(always)]
fn has_timestamp_only(frame: &impl Frame, options: usize, header_len: usize, flags: u8) -> bool {
    flags & tcp_flag::SYN == 0 && header_len == TIMESTAMP_ONLY_LEN && frame.bytes::<4>(options) == Some(TIMESTAMP_ONLY)
}

/// The most options that are looked at: no stack sends more than nine in a SYN.
const MAX_OPTIONS: usize = 12;
/// Kinds of options (IANA "TCP Option Kind Numbers").
const SEGMENT_SIZE: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK_BLOCKS: u8 = 5;

/// Reads from the options what the window check needs. Options that are malformed end the reading, as in the stacks that
/// the packet is for.
#[inline(never)]
fn read_options(frame: &impl Frame, options: usize, len: usize, packet: &mut Packet) {
    let is_syn = packet.tcp_flags & tcp_flag::SYN != 0;
    let mut position = 0usize;
    for _ in 0..MAX_OPTIONS {
        if position >= len {
            return;
        }
        let Some([kind]) = frame.bytes(options + position) else { return };
        // End of options, and no operation, have no length.
        if kind == 0 {
            return;
        }
        if kind == 1 {
            position = frame.offset(position + 1);
            continue;
        }
        let Some([option_len]) = frame.bytes(options + position + 1) else { return };
        let next = position + usize::from(option_len);
        if option_len < 2 || next > len {
            return;
        }
        match (kind, option_len) {
            (WINDOW_SCALE, 3) if is_syn => {
                let Some([scale]) = frame.bytes(options + position + 2) else { return };
                // RFC 7323, section 2.3: a larger one counts as 14.
                let scale = if scale > 14 { 14 } else { scale };
                packet.tcp_announced |= scale | window_flags::SCALES;
            }
            (SEGMENT_SIZE, 4) if is_syn => packet.mss_offset = (options + position + 2) as u16,
            (SACK_PERMITTED, 2) if is_syn => packet.tcp_announced |= window_flags::SACK,
            (SACK_BLOCKS, 10 | 18 | 26 | 34) => highest_edge(frame, options + position + 2, option_len, packet),
            _ => {}
        }
        position = frame.offset(next);
    }
}

/// The most blocks in an option (RFC 2018, section 3).
const MAX_BLOCKS: usize = 4;

/// Notes the highest right edge of the blocks.
#[inline(always)]
fn highest_edge(frame: &impl Frame, blocks: usize, option_len: u8, packet: &mut Packet) {
    for block in 0..MAX_BLOCKS {
        if block * 8 + 2 >= usize::from(option_len) {
            return;
        }
        let Some(edge) = frame.bytes(blocks + block * 8 + 4) else { return };
        let edge = u32::from_be_bytes(edge);
        if crate::tcp::after(edge, packet.sack) {
            packet.sack = edge;
        }
    }
}
