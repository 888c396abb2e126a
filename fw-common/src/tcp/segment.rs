//! What of a segment is judged.

use crate::wire::Packet;
use crate::wire::parse::tcp_flag;

/// A segment, as far as it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Acknowledgement number, meaningful with the ACK flag.
    pub ack: u32,
    /// Sequence numbers that it occupies: its data, and one each for SYN and FIN.
    pub len: u32,
    /// Window, not scaled.
    pub window: u16,
    /// Flags, see [`tcp_flag`].
    pub flags: u8,
    /// Scale and bits of [`crate::abi::flow::window_flags`] that the options of a SYN announce.
    pub announced: u8,
    /// The highest sequence number that it acknowledges selectively; that of `ack` if it has no such option.
    pub sack: u32,
}

impl Segment {
    /// The segment in a parsed packet.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Packet) -> Self {
        let headers = (packet.l4_offset - packet.l3_offset) as u32 + packet.tcp_header_len as u32;
        let data = (packet.ip_len as u32).saturating_sub(headers);
        let flags = packet.tcp_flags;
        Self {
            seq: packet.seq,
            ack: packet.ack,
            len: data + (flags & tcp_flag::SYN != 0) as u32 + (flags & tcp_flag::FIN != 0) as u32,
            window: packet.tcp_window,
            flags,
            announced: packet.tcp_announced,
            sack: packet.sack,
        }
    }

    /// The sequence number behind its last.
    #[inline(always)]
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len)
    }
}

/// Whether `one` is before `other` in the circle of sequence numbers (RFC 9293, section 3.4).
#[inline(always)]
#[must_use]
pub const fn before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

/// Whether `one` is after `other`.
#[inline(always)]
#[must_use]
pub const fn after(one: u32, other: u32) -> bool {
    before(other, one)
}
