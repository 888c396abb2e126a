//! A connection that both ends have forgotten, and the firewall has not: they open another one between the same ports.
//!
//! Its SYN cannot be told from one that a stranger sends into a living connection, so it passes, because its receiver answers
//! with a challenge if it knows the connection, and changes nothing. But it is noted: if the answer is a SYN that acknowledges
//! it, both ends agree on a new connection, and so must the firewall (nf_conntrack's "ignored" SYN,
//! net/netfilter/nf_conntrack_proto_tcp.c). Without this the ends could not connect for as long as the old flow lives.

use super::segment::Segment;
use super::window::End;
use crate::abi::flow::IgnoredSyn;
use crate::wire::parse::tcp_flag::{ACK, SYN};

impl IgnoredSyn {
    /// Notes a SYN. Data in it is not noted: an answer that acknowledges data (RFC 7413) will not be known.
    #[inline(always)]
    #[must_use]
    pub const fn of(segment: &Segment) -> Self {
        Self { seq: segment.seq, window: segment.window, announced: segment.announced, is_set: 1 }
    }

    /// Whether a segment of the responder is the answer to the noted SYN.
    #[inline(always)]
    #[must_use]
    pub const fn is_answered_by(&self, segment: &Segment) -> bool {
        self.is_set != 0 && segment.flags & (SYN | ACK) == SYN | ACK && segment.ack == self.seq.wrapping_add(1)
    }

    /// What the noted SYN says of its sender.
    #[inline(always)]
    #[must_use]
    pub fn sender(&self) -> End {
        End::opening(&Segment {
            seq: self.seq,
            ack: 0,
            len: 1,
            window: self.window,
            flags: SYN,
            announced: self.announced,
            sack: 0,
        })
    }
}
