//! TCP as the flow table sees it: which segment fits its connection, and what it makes of the connection.
//!
//! In: the state, who sends, the segment, and what is known of both ends. Out: a [`Judgement`]; the caller stores the
//! sender's numbers that it holds. Windows follow Guido van Rooij's "Real Stateful TCP Packet Filtering in IP Filter"
//! (2001), as nf_conntrack and pf do; resets and FINs count only in their place (RFC 5961).

mod forgotten;
pub mod mss;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod window;

pub use forgotten::IgnoredSyn;
pub use segment::{Segment, after, before};
pub use state::{Fins, Side, Step, step};
pub use window::{End, is_in_flight};

use crate::abi::flow::window_flags;
use crate::conntrack::State;
use crate::wire::parse::tcp_flag::{ACK, FIN, RST, SYN};

/// What becomes of a segment and of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It passes; the connection is in this state, and the sender's numbers are those that were handed back.
    Pass(State),
    /// It passes for its receiver to answer, and says nothing about the connection: not even that it is alive.
    Tolerate,
    /// It passes, and starts the connection anew, which is in [`State::SynReceived`]: the numbers of both ends are those that
    /// were handed back, and windows are not checked any more.
    Restart,
    /// The connection is over, and the segment opens it anew: the policy is asked again.
    Reopen,
    /// It does not fit the state.
    WrongState,
    /// It does not fit the window, or it is a reset that its receiver would not heed.
    OutOfWindow,
}

/// Judges a segment of a connection; changes what is known of its sender if it passes, and of its receiver if it starts the
/// connection anew.
///
/// `ignored`: the last SYN that was tolerated. `liberal`: the numbers are kept, but windows are not checked.
#[inline(always)]
#[must_use]
pub fn judge(
    state: State,
    side: Side,
    segment: &Segment,
    sender: &mut End,
    receiver: &mut End,
    ignored: &mut IgnoredSyn,
    liberal: bool,
) -> Judgement {
    if segment.flags & RST != 0 {
        return reset(state, side, segment, sender, receiver, liberal);
    }
    match segment.flags & (SYN | ACK) {
        // The first of this side, a repetition, or another attempt of a host that has restarted.
        SYN if state == State::SynSent => sender.begin(segment),
        SYN => return syn_in_connection(state, side, segment, sender, ignored),
        // Both ends agree on another connection.
        flags
            if flags == SYN | ACK
                && side == Side::Responder
                && matches!(state, State::SynReceived | State::Established | State::FinWait)
                && ignored.is_answered_by(segment) =>
        {
            sender.begin(segment);
            *receiver = ignored.sender();
            *ignored = IgnoredSyn::default();
            return Judgement::Restart;
        }
        // Who has not got the reset goes on, and must be told again. Of an end that has only reset it no numbers are known.
        _ if state == State::Closed => {
            return if !sender.has_numbers() || !receiver.has_numbers() {
                Judgement::WrongState
            } else if liberal || window::fits(segment, sender, receiver) {
                Judgement::Tolerate
            } else {
                Judgement::OutOfWindow
            };
        }
        flags
            if state == State::SynSent
                && side == Side::Responder
                && (flags & SYN == 0 || !acknowledges_syn(segment, receiver)) =>
        {
            // The responder holds an older connection: its acknowledgement makes the originator reset that.
            return stray_acknowledgement(segment, sender);
        }
        // The first answer, or that of a responder that has restarted since, while the originator has seen none.
        flags
            if flags == SYN | ACK
                && (state == State::SynSent
                    || (state == State::SynReceived
                        && side == Side::Responder
                        && !receiver.has_acknowledged()
                        && acknowledges_syn(segment, receiver))) =>
        {
            sender.begin(segment);
        }
        _ => {
            if !liberal && !fits(state, side, segment, sender, receiver) {
                return Judgement::OutOfWindow;
            }
            sender.advance(segment, receiver);
        }
    }
    let fins = match side {
        Side::Originator => {
            Fins { originator: sender.has_finished(receiver), responder: receiver.has_finished(sender) }
        }
        Side::Responder => Fins { originator: receiver.has_finished(sender), responder: sender.has_finished(receiver) },
    };
    match step(state, side, segment.flags, fins) {
        Step::To(next) => Judgement::Pass(next),
        Step::Reopen => Judgement::Reopen,
        Step::Invalid => Judgement::WrongState,
    }
}

/// A SYN in a connection is answered with a challenge (RFC 5961, section 4) if its receiver knows the connection, so it must
/// get there.
///
/// Only one of the originator is noted: what the policy allowed is that this end opens connections to the other.
#[inline(always)]
fn syn_in_connection(state: State, side: Side, segment: &Segment, sender: &End, ignored: &mut IgnoredSyn) -> Judgement {
    match step(state, side, SYN, Fins::default()) {
        Step::Reopen => return Judgement::Reopen,
        Step::Invalid => return Judgement::WrongState,
        // The one that opened the connection, again.
        Step::To(State::SynReceived) if segment.end() == sender.end => return Judgement::Pass(State::SynReceived),
        Step::To(_) => {}
    }
    if side == Side::Originator {
        *ignored = IgnoredSyn::of(segment);
    }
    Judgement::Tolerate
}

/// Whether an answer acknowledges the originator's SYN: more than its initial number, no more than it sent.
#[inline(always)]
const fn acknowledges_syn(segment: &Segment, originator: &End) -> bool {
    segment.flags & ACK != 0 && after(segment.ack, originator.initial_number()) && !after(segment.ack, originator.end)
}

/// An acknowledgement of another connection: the originator may answer with a reset of exactly this number.
#[inline(always)]
fn stray_acknowledgement(segment: &Segment, sender: &mut End) -> Judgement {
    if segment.flags & ACK == 0 || segment.flags & FIN != 0 {
        return Judgement::WrongState;
    }
    sender.stray(segment);
    Judgement::Pass(State::SynSent)
}

/// Whether a segment fits the windows.
#[inline(always)]
const fn fits(state: State, side: Side, segment: &Segment, sender: &End, receiver: &End) -> bool {
    // The last step of the handshake proves that the originator has seen the responder's number: exactly, unless the
    // responder has sent data already.
    if matches!(state, State::SynReceived)
        && matches!(side, Side::Originator)
        && receiver.window & window_flags::SCALED == 0
        && segment.flags & ACK != 0
        && segment.ack != receiver.end
    {
        return false;
    }
    window::fits(segment, sender, receiver)
}

/// Judges a reset: it closes the connection only if its number is the one that the receiver expects (RFC 5961, section
/// 3.2); one elsewhere in the window passes, since the receiver answers it with a challenge, and changes nothing.
#[inline(always)]
fn reset(state: State, side: Side, segment: &Segment, sender: &mut End, receiver: &End, liberal: bool) -> Judgement {
    if state == State::Ended {
        return Judgement::WrongState;
    }
    // Also one that is repeated: what it refuses has never begun.
    let refuses =
        (state == State::SynSent && side == Side::Responder) || (state == State::Closed && !sender.has_numbers());
    let exact = if refuses {
        // RFC 9293, section 3.10.7.3: a reset of a connection that is being opened must acknowledge the SYN.
        acknowledges_syn(segment, receiver)
    } else {
        segment.seq == sender.end || (receiver.has_acknowledged() && segment.seq == receiver.max_ack)
    };
    if state == State::Closed {
        // The first may be lost.
        return if exact || liberal { Judgement::Tolerate } else { Judgement::OutOfWindow };
    }
    if exact || (liberal && !sender.is_seen()) {
        // Not its ACK: its numbers are not taken over, and the flag says that there are some.
        sender.flags |= RST;
        return Judgement::Pass(State::Closed);
    }
    let in_window = !refuses
        && receiver.has_acknowledged()
        && !before(segment.seq, receiver.max_ack)
        && !after(segment.seq, receiver.right_edge);
    if in_window || liberal { Judgement::Tolerate } else { Judgement::OutOfWindow }
}
