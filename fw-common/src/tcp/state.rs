//! The TCP state machine of a flow, by flags.
//!
//! In: the state, who sends, the flags of the segment, and which ends have finished. Out: the new state, or that the
//! segment does not fit. The table follows nf_conntrack (net/netfilter/nf_conntrack_proto_tcp.c); sequence numbers and
//! windows, and resets, are judged one level above.

use crate::conntrack::State;
use crate::wire::parse::tcp_flag::{ACK, FIN, SYN};

/// Who sent a packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// The end that opened the flow.
    Originator = 0,
    /// The other end.
    Responder = 1,
}

/// What a segment does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The segment passes and the flow is in this state now.
    To(State),
    /// The flow is over and this segment opens it anew: the policy is asked again.
    Reopen,
    /// The segment does not fit the state.
    Invalid,
}

/// Which ends have finished: a FIN of theirs was sent in its place, or acknowledged; with or before this segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fins {
    /// The end that opened the flow.
    pub originator: bool,
    /// The other end.
    pub responder: bool,
}

impl Fins {
    #[inline(always)]
    const fn any(self) -> bool {
        self.originator || self.responder
    }

    #[inline(always)]
    const fn both(self) -> bool {
        self.originator && self.responder
    }
}

/// Judges one segment that is no reset.
#[inline(always)]
#[must_use]
pub const fn step(state: State, side: Side, flags: u8, fins: Fins) -> Step {
    match flags & (SYN | ACK | FIN) {
        SYN => syn(state, side),
        x if x == SYN | ACK => syn_ack(state, side),
        x if x & FIN != 0 => fin(state, fins),
        _ => ack(state, side, fins),
    }
}

/// A segment that starts a handshake, or repeats its start.
#[inline(always)]
const fn syn(state: State, side: Side) -> Step {
    match (state, side) {
        (State::SynSent, Side::Originator) => Step::To(State::SynSent),
        // Simultaneous open (RFC 9293, section 3.5).
        (State::SynSent, Side::Responder) | (State::SynReceived, _) => Step::To(State::SynReceived),
        // The receiver answers with a challenge acknowledgement (RFC 5961, section 4), so it must see the segment.
        (State::Established, _) => Step::To(State::Established),
        (State::FinWait, _) => Step::To(State::FinWait),
        _ => Step::Reopen,
    }
}

/// The answer to a SYN.
#[inline(always)]
const fn syn_ack(state: State, side: Side) -> Step {
    match (state, side) {
        (State::SynSent, Side::Responder) | (State::SynReceived, _) => Step::To(State::SynReceived),
        (State::Established, _) => Step::To(State::Established),
        (State::FinWait | State::TimeWait, Side::Responder) => Step::To(state),
        _ => Step::Invalid,
    }
}

/// A segment that ends one direction. One that is ahead of a gap ends it when it is acknowledged.
#[inline(always)]
const fn fin(state: State, fins: Fins) -> Step {
    match (state, fins.any()) {
        (State::SynReceived | State::Established, false) => Step::To(state),
        (State::SynReceived | State::Established | State::FinWait, _) => Step::To(State::FinWait),
        // A retransmission after the last acknowledgement was lost.
        (State::TimeWait, _) => Step::To(State::TimeWait),
        _ => Step::Invalid,
    }
}

/// A segment with data or an acknowledgement.
#[inline(always)]
const fn ack(state: State, side: Side, fins: Fins) -> Step {
    match (state, side) {
        // Before the handshake is over the originator has nothing to acknowledge; the responder may hold an old
        // connection and must get its acknowledgement out, so that the originator resets it.
        (State::SynSent, Side::Originator) => Step::Invalid,
        (State::SynSent, Side::Responder) => Step::To(State::SynSent),
        (State::SynReceived, Side::Originator) => Step::To(State::Established),
        (State::SynReceived, Side::Responder) => Step::To(State::SynReceived),
        (State::Established, _) if fins.any() => Step::To(State::FinWait),
        (State::Established, _) => Step::To(State::Established),
        (State::FinWait, _) if fins.both() => Step::To(State::TimeWait),
        (State::FinWait, _) => Step::To(State::FinWait),
        (State::TimeWait, _) => Step::To(State::TimeWait),
        _ => Step::Invalid,
    }
}
