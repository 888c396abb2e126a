//! TCP as the flow table sees it: which segment fits its connection, and what it makes of the connection.
//!
//! In: the state, who sends, the segment, and what is known of both ends. Out: a [`Judgement`]; the caller stores the
//! sender's numbers that it holds. Windows follow Guido van Rooij's "Real Stateful TCP Packet Filtering in IP Filter"
//! (2001), as nf_conntrack and pf do; resets and FINs count only in their place (RFC 5961).

mod segment;
mod state;
#[cfg(test)]
mod tests;
mod window;

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
    /// The connection is over, and the segment opens it anew: the policy is asked again.
    Reopen,
    /// It does not fit the state.
    WrongState,
    /// It does not fit the window, or it is a reset that its receiver would not heed.
    OutOfWindow,
}

/// Judges a segment of a connection; changes what is known of its sender if it passes.
///
/// `liberal`: the numbers are kept, but windows are not checked.
#[inline(always)]
#[must_use]
pub fn judge(
    state: State,
    side: Side,
    segment: &Segment,
    sender: &mut End,
    receiver: &End,
    liberal: bool,
) -> Judgement {
    if segment.flags & RST != 0 {
        return reset(state, side, segment, sender, receiver, liberal);
    }
    match segment.flags & (SYN | ACK) {
        // The first of this side, a repetition, or another attempt of a host that has restarted.
        SYN if state == State::SynSent => sender.begin(segment),
        // It is answered with a challenge (RFC 5961, section 4), so it must reach its receiver, and changes nothing.
        SYN => {}
        // There are no windows any more, and of an end that has only reset it there never was one.
        _ if state == State::Closed => return Judgement::WrongState,
        flags
            if state == State::SynSent
                && side == Side::Responder
                && (flags & SYN == 0 || !acknowledges_syn(segment, receiver)) =>
        {
            // The responder holds an older connection: its acknowledgement makes the originator reset that.
            return stray_acknowledgement(segment, sender);
        }
        flags if flags == SYN | ACK && state == State::SynSent => sender.begin(segment),
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
    if matches!(state, State::Closed | State::Ended) {
        return Judgement::WrongState;
    }
    let refuses = matches!((state, side), (State::SynSent, Side::Responder));
    let exact = if refuses {
        // RFC 9293, section 3.10.7.3: a reset of a connection that is being opened must acknowledge the SYN.
        acknowledges_syn(segment, receiver)
    } else {
        segment.seq == sender.end || (receiver.has_acknowledged() && segment.seq == receiver.max_ack)
    };
    if exact || (liberal && !sender.is_seen()) {
        // Not its ACK: its numbers are not taken over, and the flag says that there are some.
        sender.flags |= RST;
        return Judgement::Pass(State::Closed);
    }
    let in_window = !refuses
        && receiver.has_acknowledged()
        && !before(segment.seq, receiver.max_ack)
        && !after(segment.seq, receiver.right_edge);
    if in_window || liberal { Judgement::Pass(state) } else { Judgement::OutOfWindow }
}
