//! What is known of an end of a connection, and whether a segment fits the windows.

use super::segment::{Segment, after, before};
use crate::abi::flow::window_flags::{FIN, SACK, SCALE, SCALED, SCALES};
use crate::wire::parse::tcp_flag;

/// What is known of one end, from the segments it has sent. Kept in [`crate::abi::flow::Flow`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The sequence number behind the last byte sent.
    pub end: u32,
    /// The highest sequence number that this end has announced to take from the other.
    pub right_edge: u32,
    /// The highest acknowledgement number sent; before the first, the own initial sequence number.
    pub max_ack: u32,
    /// The largest window announced: in bytes, or in units of the scale with [`SCALED`].
    pub max_window: u16,
    /// Scale, and bits of [`crate::abi::flow::window_flags`].
    pub window: u8,
    /// Bit-wise or of the flags seen.
    pub flags: u8,
}

/// How far acknowledgements may lag behind what the other end has sent, at the least: the largest window without scaling
/// and a segment (nf_conntrack's `MAXACKWINCONST`).
const ACK_LAG: u32 = 66_000;

impl End {
    /// The numbers, as they are kept in [`crate::abi::flow::Direction::memory`].
    #[inline(always)]
    #[must_use]
    pub const fn numbers(&self) -> [u32; 3] {
        [self.end, self.right_edge, self.max_ack]
    }

    /// Whether this end has sent a segment.
    #[inline(always)]
    #[must_use]
    pub const fn is_seen(&self) -> bool {
        self.flags != 0
    }

    /// Whether this end has sent more than resets, so that its numbers are known.
    #[inline(always)]
    #[must_use]
    pub const fn has_numbers(&self) -> bool {
        self.flags & (tcp_flag::SYN | tcp_flag::ACK) != 0
    }

    /// Whether this end has acknowledged anything, so that `max_ack` and `right_edge` are what their names say.
    #[inline(always)]
    #[must_use]
    pub const fn has_acknowledged(&self) -> bool {
        self.flags & tcp_flag::ACK != 0
    }

    /// The initial sequence number of an end that has sent nothing but a SYN.
    #[inline(always)]
    #[must_use]
    pub const fn initial_number(&self) -> u32 {
        self.max_ack
    }

    /// Whether this end has sent all it will: a FIN that came in its place, or one that the other has acknowledged.
    #[inline(always)]
    #[must_use]
    pub const fn has_finished(&self, other: &Self) -> bool {
        self.window & FIN != 0
            || (self.flags & tcp_flag::FIN != 0 && other.has_acknowledged() && other.max_ack == self.end)
    }

    /// By how many bits this end's windows are shifted: by none unless both have announced a scale (RFC 7323, section 2.2).
    #[inline(always)]
    const fn shift(&self, other: &Self) -> u32 {
        if self.window & SCALES != 0 && other.window & SCALES != 0 { (self.window & SCALE) as u32 } else { 0 }
    }

    /// The largest window that this end has announced, in bytes.
    #[inline(always)]
    const fn largest_window(&self, other: &Self) -> u32 {
        let shift = if self.window & SCALED != 0 { self.shift(other) } else { 0 };
        (self.max_window as u32) << shift
    }

    /// An end that opens a flow: with a SYN, or in the middle of a connection.
    #[inline(always)]
    #[must_use]
    pub fn opening(segment: &Segment) -> Self {
        let mut end = Self::default();
        if segment.flags & tcp_flag::SYN != 0 {
            end.begin(segment);
        } else {
            end.advance(segment, &Self::default());
        }
        end
    }

    /// Takes over the first segment of this end, or the first of another attempt.
    #[inline(always)]
    pub(super) fn begin(&mut self, segment: &Segment) {
        let repeats = self.flags == tcp_flag::SYN && self.max_ack == segment.seq;
        // A SYN with data (RFC 7413) is repeated without.
        if !repeats || after(segment.end(), self.end) {
            self.end = segment.end();
        }
        self.max_window = segment.window;
        self.window = segment.announced;
        self.max_ack = segment.seq;
        self.right_edge = 0;
        // Not added: what an older connection of this end has acknowledged is no part of this one.
        self.flags = segment.flags;
        if segment.flags & tcp_flag::ACK != 0 {
            self.max_ack = segment.ack;
            // The window of a SYN is never scaled (RFC 7323, section 2.2).
            self.right_edge = segment.ack.wrapping_add(at_least_one(u32::from(segment.window)));
        }
    }

    /// Notes an acknowledgement of an older connection, before this end's SYN: until that comes, its numbers are the ones that
    /// the other end's reset, and an ICMP error, must name.
    #[inline(always)]
    pub(super) fn stray(&mut self, segment: &Segment) {
        self.end = segment.end();
        self.max_ack = segment.ack;
        self.right_edge = segment.ack.wrapping_add(at_least_one(u32::from(segment.window)));
        self.flags |= segment.flags;
    }

    /// Takes over a segment that fits.
    #[inline(always)]
    pub(super) fn advance(&mut self, segment: &Segment, other: &Self) {
        let is_syn = segment.flags & tcp_flag::SYN != 0;
        let in_place = !after(segment.seq, self.end) && !before(segment.end(), self.end);
        let mut flags = segment.flags;
        if flags & tcp_flag::FIN != 0 {
            if in_place || !self.is_seen() {
                self.window |= FIN;
            } else if before(segment.end(), self.end) {
                // Its receiver has passed it, and does not heed it: it must not count when it acknowledges what came later.
                flags &= !tcp_flag::FIN;
            }
        }
        if after(segment.end(), self.end) || !self.is_seen() {
            self.end = segment.end();
            if flags & tcp_flag::FIN == 0 {
                // Data behind a FIN: the connection is not over.
                self.flags &= !tcp_flag::FIN;
            }
        }
        self.widen(segment.window, is_syn, self.shift(other));
        if segment.flags & tcp_flag::ACK != 0 {
            let shift = if is_syn { 0 } else { self.shift(other) };
            let edge = segment.ack.wrapping_add(at_least_one(u32::from(segment.window) << shift));
            let first = !self.has_acknowledged();
            if first || after(segment.ack, self.max_ack) {
                self.max_ack = segment.ack;
            }
            if first || after(edge, self.right_edge) {
                self.right_edge = edge;
            }
        }
        self.flags |= flags;
    }

    /// Takes over the window of a segment, if it is the largest until now. Behind the first segment that is no SYN it is kept in
    /// units of the scale, and what a SYN announced, in bytes, is rounded up to them.
    #[inline(always)]
    fn widen(&mut self, announced: u16, is_syn: bool, shift: u32) {
        if !is_syn && self.window & SCALED == 0 {
            self.window |= SCALED;
            self.max_window = units(self.max_window, shift);
        }
        let window = if is_syn && self.window & SCALED != 0 { units(announced, shift) } else { announced };
        if window > self.max_window {
            self.max_window = window;
        }
    }
}

/// Bytes as units of the scale, rounded up.
#[inline(always)]
const fn units(bytes: u16, shift: u32) -> u16 {
    ((bytes as u32 + (1 << shift) - 1) >> shift) as u16
}

/// A closed window is probed with one byte (RFC 9293, section 3.8.6.1).
#[inline(always)]
const fn at_least_one(window: u32) -> u32 {
    if window == 0 { 1 } else { window }
}

/// Whether data and acknowledgement of a segment lie where they can.
#[inline(always)]
pub(super) const fn fits(segment: &Segment, sender: &End, receiver: &End) -> bool {
    if !receiver.is_seen() {
        return true;
    }
    // Not beyond what the receiver takes.
    if receiver.has_acknowledged() && after(segment.seq, receiver.right_edge) {
        return false;
    }
    // Not older than a window before what the sender has sent.
    if sender.is_seen()
        && before(segment.end(), sender.end.wrapping_sub(receiver.largest_window(sender)).wrapping_sub(1))
    {
        return false;
    }
    if segment.flags & tcp_flag::ACK == 0 {
        return true;
    }
    // Nothing is acknowledged that was never sent, selectively or not; and nothing very old.
    if after(segment.ack, receiver.end) {
        return false;
    }
    if sender.window & receiver.window & SACK != 0 && after(segment.sack, receiver.end) {
        return false;
    }
    let window = sender.largest_window(receiver);
    let lag = if window > ACK_LAG { window } else { ACK_LAG };
    !before(segment.ack, receiver.end.wrapping_sub(lag))
}

/// Whether a segment that an ICMP error quotes can be under way from its sender (RFC 5927, section 4.1).
#[inline(always)]
#[must_use]
pub const fn is_in_flight(seq: u32, sender: &End, receiver: &End) -> bool {
    // Of an end that has at most reset the connection no number is known, and 0 is not one.
    if !sender.has_numbers() {
        return false;
    }
    let oldest = if receiver.has_acknowledged() {
        receiver.max_ack
    } else if sender.has_acknowledged() {
        // Its initial number is no longer known; what it has sent is bounded by the receiver's window.
        sender.end.wrapping_sub(receiver.largest_window(sender)).wrapping_sub(1)
    } else {
        sender.initial_number()
    };
    !before(seq, oldest) && !after(seq, sender.end)
}
