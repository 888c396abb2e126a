//! The TCP state machine of a flow, by flags.
//!
//! In: the state, who sends, the flags of the segment and those that each side has sent before. Out: the new state, or
//! that the segment does not fit. The table follows nf_conntrack (net/netfilter/nf_conntrack_proto_tcp.c); sequence
//! numbers and windows are judged elsewhere.

use crate::conntrack::State;
use crate::wire::parse::tcp_flag::{ACK, FIN, RST, SYN};

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

/// Judges one segment.
///
/// `seen_fin` tells which sides, [`Side::Originator`] first, have sent FIN before or with this segment.
#[inline(always)]
#[must_use]
pub const fn step(state: State, side: Side, flags: u8, seen_fin: [bool; 2]) -> Step {
    if flags & RST != 0 {
        return match state {
            State::Closed => Step::Invalid,
            _ => Step::To(State::Closed),
        };
    }
    match flags & (SYN | ACK | FIN) {
        SYN => syn(state, side),
        x if x == SYN | ACK => syn_ack(state, side),
        x if x & FIN != 0 => fin(state, seen_fin),
        _ => ack(state, side, seen_fin),
    }
}

/// A segment that starts a handshake, or repeats its start.
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
const fn syn_ack(state: State, side: Side) -> Step {
    match (state, side) {
        (State::SynSent, Side::Responder) | (State::SynReceived, _) => Step::To(State::SynReceived),
        (State::Established, _) => Step::To(State::Established),
        (State::FinWait | State::TimeWait, Side::Responder) => Step::To(state),
        _ => Step::Invalid,
    }
}

/// A segment that ends one direction.
const fn fin(state: State, seen_fin: [bool; 2]) -> Step {
    match state {
        State::SynReceived | State::Established | State::FinWait => Step::To(State::FinWait),
        // A retransmission after the last acknowledgement was lost.
        State::TimeWait if seen_fin[0] && seen_fin[1] => Step::To(State::TimeWait),
        _ => Step::Invalid,
    }
}

/// A segment with data or an acknowledgement.
const fn ack(state: State, side: Side, seen_fin: [bool; 2]) -> Step {
    match (state, side) {
        // Before the handshake is over the originator has nothing to acknowledge; the responder may hold an old
        // connection and must get its acknowledgement out, so that the originator resets it.
        (State::SynSent, Side::Originator) => Step::Invalid,
        (State::SynSent, Side::Responder) => Step::To(State::SynSent),
        (State::SynReceived, Side::Originator) => Step::To(State::Established),
        (State::SynReceived, Side::Responder) => Step::To(State::SynReceived),
        (State::Established, _) => Step::To(State::Established),
        (State::FinWait, _) if seen_fin[0] && seen_fin[1] => Step::To(State::TimeWait),
        (State::FinWait, _) => Step::To(State::FinWait),
        (State::TimeWait, _) => Step::To(State::TimeWait),
        _ => Step::Invalid,
    }
}
