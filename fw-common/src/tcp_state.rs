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
        return if matches!(state, State::Closed) { Step::Invalid } else { Step::To(State::Closed) };
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
        State::SynSent
        | State::TimeWait
        | State::Closed
        | State::UdpNew
        | State::UdpReplied
        | State::Icmp
        | State::Other
        | State::Ended => Step::Invalid,
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ORIGINATOR: Side = Side::Originator;
    const RESPONDER: Side = Side::Responder;

    /// Plays segments from the first SYN on, remembering FINs as the program does; the last step.
    fn play(segments: &[(Side, u8)]) -> Step {
        let mut state = State::SynSent;
        let mut seen_fin = [false; 2];
        let mut last = Step::To(state);
        for (side, flags) in segments {
            seen_fin[*side as usize] |= flags & FIN != 0;
            last = step(state, *side, *flags, seen_fin);
            match last {
                Step::To(next) => state = next,
                Step::Reopen | Step::Invalid => return last,
            }
        }
        last
    }

    #[test]
    fn a_connection_opens_and_closes() {
        let open = [(RESPONDER, SYN | ACK), (ORIGINATOR, ACK)];
        assert_eq!(play(&open), Step::To(State::Established));
        let closed = [
            (RESPONDER, SYN | ACK),
            (ORIGINATOR, ACK),
            (ORIGINATOR, FIN | ACK),
            (RESPONDER, ACK),
            (RESPONDER, FIN | ACK),
            (ORIGINATOR, ACK),
        ];
        assert_eq!(play(&closed), Step::To(State::TimeWait));
        assert_eq!(play(&closed[..4]), Step::To(State::FinWait), "half-closed: the other side may still send");
    }

    #[test]
    fn both_sides_may_open_at_once() {
        let segments = [(RESPONDER, SYN), (ORIGINATOR, SYN | ACK), (RESPONDER, SYN | ACK), (ORIGINATOR, ACK)];
        assert_eq!(play(&segments), Step::To(State::Established));
    }

    #[test]
    fn what_nobody_may_send() {
        assert_eq!(step(State::SynSent, ORIGINATOR, ACK, [false; 2]), Step::Invalid, "nothing to acknowledge yet");
        assert_eq!(step(State::SynSent, ORIGINATOR, SYN | ACK, [false; 2]), Step::Invalid);
        assert_eq!(step(State::SynSent, RESPONDER, FIN | ACK, [false, true]), Step::Invalid);
        assert_eq!(step(State::Closed, RESPONDER, ACK, [false; 2]), Step::Invalid);
        assert_eq!(step(State::Closed, ORIGINATOR, RST, [false; 2]), Step::Invalid);
    }

    #[test]
    fn an_old_connection_is_reopened_by_a_syn_only() {
        for state in [State::TimeWait, State::Closed] {
            assert_eq!(step(state, ORIGINATOR, SYN, [true; 2]), Step::Reopen);
            assert_ne!(step(state, ORIGINATOR, ACK, [true; 2]), Step::Reopen);
        }
        assert_eq!(step(State::Established, ORIGINATOR, SYN, [false; 2]), Step::To(State::Established));
    }

    proptest! {
        #[test]
        fn nothing_is_established_without_the_responder(flags in proptest::collection::vec(0u8..64, 0..40)) {
            let mut state = State::SynSent;
            for flags in flags {
                if let Step::To(next) = step(state, ORIGINATOR, flags, [flags & FIN != 0, false]) {
                    state = next;
                }
                prop_assert!(matches!(state, State::SynSent | State::Closed));
            }
        }

        #[test]
        fn a_reset_closes_every_state_but_a_closed_one(number in 0u8..6, responder: bool, flags in 0u8..64) {
            let side = if responder { RESPONDER } else { ORIGINATOR };
            let state = State::from_number(number);
            let expected = if state == State::Closed { Step::Invalid } else { Step::To(State::Closed) };
            prop_assert_eq!(step(state, side, flags | RST, [false; 2]), expected);
        }

        #[test]
        fn states_of_other_protocols_never_come_out(number in 0u8..6, responder: bool, flags in 0u8..64, fins: [bool; 2]) {
            let side = if responder { RESPONDER } else { ORIGINATOR };
            if let Step::To(next) = step(State::from_number(number), side, flags, fins) {
                prop_assert!((next as u8) < 6);
            }
        }
    }
}
