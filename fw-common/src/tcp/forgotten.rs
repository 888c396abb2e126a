//! A connection that both ends have forgotten, and the firewall has not: they open another one between the same ports.
//!
//! Its SYN cannot be told from one that a stranger sends into a living connection, so it passes, because its receiver answers
//! with a challenge if it knows the connection, and changes nothing. But its number is noted: if the answer is a SYN that
//! acknowledges it, both ends agree on a new connection, and so must the firewall (nf_conntrack's "ignored" SYN,
//! net/netfilter/nf_conntrack_proto_tcp.c). Without this the ends could not connect for as long as the old flow lives.

use super::segment::Segment;
use super::window::End;
use crate::wire::parse::tcp_flag::{ACK, SYN};

/// A SYN that a connection did not heed: its sequence number; 0 if there was none, so that one of number 0 is not noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoredSyn(pub u32);

impl IgnoredSyn {
    /// Notes a SYN. Data in it is not noted: an answer that acknowledges data (RFC 7413) will not be known.
    #[inline(always)]
    #[must_use]
    pub const fn of(segment: &Segment) -> Self {
        Self(segment.seq)
    }

    /// Whether a segment of the responder is the answer to the noted SYN.
    #[inline(always)]
    #[must_use]
    pub const fn is_answered_by(self, segment: &Segment) -> bool {
        self.0 != 0 && segment.flags & (SYN | ACK) == SYN | ACK && segment.ack == self.0.wrapping_add(1)
    }

    /// What the noted SYN says of its sender. Its window and its scale are forgotten, so that windows cannot be checked.
    #[inline(always)]
    #[must_use]
    pub fn sender(self) -> End {
        End::opening(&Segment { seq: self.0, ack: 0, len: 1, window: u16::MAX, flags: SYN, announced: 0, sack: 0 })
    }
}
