//! SCTP as the flow table sees it: which packet fits its association, and what it makes of the association.
//!
//! In: the state, who sends, what the packet says, and the verification tags of both ends. Out: a [`Judgement`]; the caller
//! stores what has changed of the ends. States and tags follow nf_conntrack (net/netfilter/nf_conntrack_proto_sctp.c) and RFC
//! 9260, sections 5.2 and 8.5. The checksum (CRC32c) is not looked at: the receiver verifies it.
//!
//! A flow is one path of an association: a pair of addresses. Further paths of a multi-homed association are flows of their
//! own, which a HEARTBEAT opens; which paths belong together is not known.

#[cfg(test)]
mod chunk_tests;
mod chunks;
mod end;
mod state;
#[cfg(test)]
mod stranger_tests;
#[cfg(test)]
mod tests;

pub use chunks::{Chunks, MAX_CHUNKS, Walk, chunk_type, read_chunks};
pub use end::{ECHO_HOLD, End, end_flags};

use self::state::{is_over, is_unanswered};
use crate::DropReason;
use crate::conntrack::{Opening, State};
use crate::tcp::Side;
use crate::wire::Packet;

/// What of a packet is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The verification tag in the common header (RFC 9260, section 3.1): the one that the receiver has announced.
    pub tag: u32,
    /// The initiate tag of an INIT or INIT ACK: the one that the sender announces.
    pub initiate_tag: u32,
    /// The chunks.
    pub chunks: Chunks,
}

impl Message {
    /// The message in a packet whose chunks have been read.
    #[inline(always)]
    #[must_use]
    pub const fn of(packet: &Packet) -> Self {
        Self { tag: packet.verification_tag, initiate_tag: packet.initiate_tag, chunks: packet.chunks }
    }

    /// What its sender and its receiver are known by when it opens a flow.
    #[inline(always)]
    #[must_use]
    pub const fn ends(&self) -> (End, End) {
        (End::tagged(self.initiate_tag), End::tagged(self.tag))
    }
}

/// What becomes of a packet and of its association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It passes, and the association is in this state.
    Pass(State),
    /// It passes for its receiver to answer or discard, and says nothing about the association: not even that it is alive.
    Tolerate,
    /// The association is over, or is not known to have begun, and the packet opens one: the policy is asked again.
    Reopen,
    /// Its verification tag is not the receiver's.
    WrongTag,
    /// It does not fit the state.
    WrongState,
}

/// Judges a packet that belongs to no flow.
///
/// `pick_up`: a packet from the middle of an association may open a flow.
#[inline(always)]
#[must_use]
pub const fn opening(message: &Message, pick_up: bool) -> Opening {
    let chunks = message.chunks;
    if chunks.has(Chunks::INIT) {
        // RFC 9260, section 8.5.1 (A).
        return if message.tag == 0 {
            Opening::Flow(State::SctpCookieWait)
        } else {
            Opening::Refused(DropReason::SctpTag)
        };
    }
    if message.tag == 0 {
        return Opening::Refused(DropReason::SctpTag);
    }
    // A path of an association is tried with HEARTBEATs (RFC 9260, section 5.4) before anything else is sent on it.
    let opens = if pick_up {
        !chunks.has_any(Chunks::INIT_ACK.and(Chunks::ABORT).and(Chunks::SHUTDOWN_COMPLETE))
    } else {
        chunks.is_only(Chunks::HEARTBEAT)
    };
    if opens { Opening::Flow(State::SctpHeartbeatSent) } else { Opening::Refused(DropReason::SctpNotInit) }
}

/// Whether who sends these chunks without a flow is the end that opens it: the one that begins an association, or tries a path.
#[inline(always)]
#[must_use]
pub const fn names_originator(chunks: Chunks) -> bool {
    chunks.has(Chunks::INIT) || chunks.is_only(Chunks::HEARTBEAT)
}

/// Judges a packet of an association, and changes what is known of both ends unless it is dropped.
///
/// `liberal`: the association was not seen from its beginning. `now`: seconds of any clock.
#[inline(always)]
#[must_use]
pub fn judge(
    state: State,
    side: Side,
    message: &Message,
    sender: &mut End,
    receiver: &mut End,
    liberal: bool,
    now: u32,
) -> Judgement {
    let chunks = message.chunks;
    if state == State::Ended {
        return Judgement::Reopen;
    }
    if chunks.has(Chunks::INIT) {
        return init(state, side, message, sender, receiver, now);
    }
    if message.tag == 0 {
        return Judgement::WrongTag;
    }
    if chunks.has(Chunks::ABORT) {
        return abort(state, side, message, sender, receiver, liberal);
    }
    if chunks.has(Chunks::SHUTDOWN_COMPLETE) {
        return shutdown_complete(state, message, sender, receiver);
    }
    if is_over(state) {
        // Who has not heard of the end goes on, and must be told again.
        return if receiver.is_addressed_by(message.tag) { Judgement::Tolerate } else { Judgement::WrongTag };
    }
    if matches!(state, State::SctpCookieWait | State::SctpCookieEchoed) {
        in_handshake(state, side, message, sender, receiver)
    } else {
        in_association(state, side, message, sender, receiver, liberal, now)
    }
}

/// An INIT begins an association, or another one in its place.
#[inline(always)]
fn init(state: State, side: Side, message: &Message, sender: &mut End, receiver: &mut End, now: u32) -> Judgement {
    if message.tag != 0 {
        return Judgement::WrongTag;
    }
    // An association that was only heard of from its middle, by one packet that anyone may have sent, keeps nobody out.
    if is_over(state) || state == State::SctpHeartbeatSent {
        return Judgement::Reopen;
    }
    if state == State::SctpCookieWait {
        // The first of this side (both may begin: RFC 9260, section 5.2.1), a repetition, or another attempt. The tag of
        // the first stays good: another attempt may be a stranger's.
        if sender.tag == 0 {
            sender.tag = message.initiate_tag;
        } else if sender.tag != message.initiate_tag {
            sender.offer(message.initiate_tag);
        }
        return Judgement::Pass(State::SctpCookieWait);
    }
    if message.initiate_tag == sender.tag {
        return Judgement::Tolerate;
    }
    // What the policy allowed is that the originator begins associations.
    if side == Side::Responder {
        return Judgement::WrongState;
    }
    // Its receiver answers, and changes nothing until the sender has proved with a cookie that it got the answer (RFC 9260,
    // section 5.2.2). So does this: the tag is noted, and counts when both have agreed on it.
    // While a cookie is on its way, the tag that was announced before may be the one that the answer to it has.
    let is_held = sender.has_announced() && (state == State::SctpCookieEchoed || receiver.is_held(now));
    if !is_held && sender.offer(message.initiate_tag) {
        receiver.forget_offer();
    }
    Judgement::Tolerate
}

/// Until both ends agree, each may have announced two tags, in attempts of which the other has got one or the other.
#[inline(always)]
fn in_handshake(state: State, side: Side, message: &Message, sender: &mut End, receiver: &mut End) -> Judgement {
    let chunks = message.chunks;
    if !receiver.is_addressed_by(message.tag) {
        // The responder is still closing an older association (RFC 9260, section 9.2): the originator answers it with the
        // same tag.
        if state == State::SctpCookieWait && side == Side::Responder && chunks.is_only(Chunks::SHUTDOWN_ACK) {
            receiver.suppose(message.tag, end_flags::CLOSING);
            return Judgement::Tolerate;
        }
        return Judgement::WrongTag;
    }
    if chunks.has(Chunks::INIT_ACK) {
        answer(state, message, sender, receiver);
        // A cookie that is on its way is not waited for any longer because somebody's INIT was answered.
        return if state == State::SctpCookieWait { Judgement::Pass(state) } else { Judgement::Tolerate };
    }
    if chunks.has(Chunks::COOKIE_ECHO) {
        // Who has announced no tag has got no cookie. So both tags are known from here on.
        if sender.tag == 0 {
            return Judgement::WrongState;
        }
        receiver.settle(message.tag);
        return Judgement::Pass(State::SctpCookieEchoed);
    }
    if state == State::SctpCookieWait {
        // Until a cookie is on its way, there is nobody who could have anything else to say.
        return if chunks.has_any(Chunks::ERROR.and(Chunks::SHUTDOWN_ACK)) {
            Judgement::Tolerate
        } else {
            Judgement::WrongState
        };
    }
    if chunks.has(Chunks::COOKIE_ACK) {
        receiver.settle(message.tag);
        sender.forget_offer();
        return Judgement::Pass(state::next(State::SctpEstablished, side, chunks));
    }
    Judgement::Pass(state::next(state, side, chunks))
}

/// An INIT ACK before both ends agree: which place its tag takes.
#[inline(always)]
fn answer(state: State, message: &Message, sender: &mut End, receiver: &mut End) {
    let tag = message.initiate_tag;
    let first = message.tag == receiver.tag;
    if first && sender.tag == 0 {
        sender.tag = tag;
    } else if first && state == State::SctpCookieWait && receiver.was_answered() && sender.was_answered() {
        // The other places are those of a second attempt and of its answer, and stay so.
        sender.tag = tag;
    } else if tag != sender.tag {
        sender.note(tag);
        sender.mark_answered(tag);
    }
    if !first {
        receiver.mark_answered(message.tag);
    }
}

/// A packet of an association whose ends agree.
#[inline(always)]
fn in_association(
    state: State,
    side: Side,
    message: &Message,
    sender: &mut End,
    receiver: &mut End,
    liberal: bool,
    now: u32,
) -> Judgement {
    let chunks = message.chunks;
    // Of an association that was not seen from its beginning, what was learnt first need not have been right.
    let is_right = message.tag == receiver.tag || receiver.tag == 0;
    if is_right && liberal && chunks.has(Chunks::HEARTBEAT_ACK) && sender.is_tried() {
        sender.settle(sender.offered);
    }
    if message.tag == receiver.tag {
        if chunks.has(Chunks::HEARTBEAT) {
            receiver.forget_trial();
        }
        // It goes on with this association: an INIT that was noted was a stranger's.
        if side == Side::Originator {
            sender.forget_announced();
            receiver.forget_announced();
        }
        // Both ends have been heard.
        let heard = is_unanswered(state) && sender.tag != 0 && !chunks.is_only(Chunks::HEARTBEAT);
        return Judgement::Pass(state::next(if heard { State::SctpEstablished } else { state }, side, chunks));
    }
    if receiver.tag == 0 {
        // Of the receiver nothing was heard that would have told its tag: the sender knows it.
        receiver.settle(message.tag);
        let established = if chunks.is_only(Chunks::HEARTBEAT) { state } else { State::SctpEstablished };
        return Judgement::Pass(state::next(established, side, chunks));
    }
    if chunks.is_only(Chunks::HEARTBEAT) {
        // The association was begun anew on another of its paths: its receiver answers if so, and discards it if not.
        receiver.suppose(message.tag, end_flags::TRIED);
        return Judgement::Tolerate;
    }
    if chunks.is_only(Chunks::HEARTBEAT_ACK) && sender.is_tried() {
        sender.settle(sender.offered);
        receiver.settle(message.tag);
        return Judgement::Pass(state);
    }
    if message.tag == receiver.offered && receiver.has_announced() {
        return restart(side, message, sender, receiver, now);
    }
    Judgement::WrongTag
}

/// A packet with a tag that its receiver has offered, but that counts for nothing yet (RFC 9260, section 5.2.2).
#[inline(always)]
fn restart(side: Side, message: &Message, sender: &mut End, receiver: &mut End, now: u32) -> Judgement {
    let chunks = message.chunks;
    if side == Side::Originator {
        if !chunks.has(Chunks::COOKIE_ECHO) {
            return Judgement::WrongTag;
        }
        // Only who got the INIT ACK knows this tag. From now on no INIT takes the place of this attempt.
        receiver.echo(now);
        sender.forget_answer();
        return Judgement::Tolerate;
    }
    if chunks.has(Chunks::INIT_ACK) {
        // Who has given a cookie back heeds no other (RFC 9260, section 5.2.3).
        if !sender.is_echoed() {
            sender.note(message.initiate_tag);
        }
        receiver.mark_answered(message.tag);
        return Judgement::Tolerate;
    }
    // The responder has verified the cookie: of both ends only the new tags are right.
    if chunks.has(Chunks::COOKIE_ACK) && sender.is_echoed() {
        receiver.settle(message.tag);
        sender.settle(sender.offered);
        return Judgement::Pass(state::next(State::SctpEstablished, side, chunks));
    }
    if !chunks.has(Chunks::ERROR) {
        return Judgement::WrongTag;
    }
    // The responder has not kept the cookie (RFC 9260, section 5.2.6): the originator begins again, perhaps under the same tag.
    if chunks.has(Chunks::STALE_COOKIE) {
        receiver.forget_offer();
    }
    Judgement::Tolerate
}

/// An ABORT ends the association only if its tag is right (RFC 9260, section 8.5.1 (B)): that of the receiver, or of a
/// sender that does not know the association, its own, by which it was addressed.
#[inline(always)]
fn abort(
    state: State,
    side: Side,
    message: &Message,
    sender: &mut End,
    receiver: &mut End,
    liberal: bool,
) -> Judgement {
    let reflected = message.chunks.has(Chunks::REFLECTED);
    // As of any other packet, what it says is believed of a receiver of which nothing is known.
    let is_learnt = !reflected && liberal && receiver.tag == 0;
    let end = if reflected { sender } else { receiver };
    if !is_learnt && !end.is_addressed_by(message.tag) {
        return Judgement::WrongTag;
    }
    if is_over(state) {
        return Judgement::Tolerate;
    }
    if !is_learnt && end.tag != message.tag {
        // It refuses an association that was offered and has not begun: the one that there is goes on.
        end.forget_announced();
        return Judgement::Tolerate;
    }
    // Until both agree, a stranger may know the tag of one end: that of his own INIT, which was the first in its name. So the
    // attempt that there is besides goes on; and that of the originator, if the responder forgets one of its own.
    let is_open = matches!(state, State::SctpCookieWait | State::SctpCookieEchoed);
    let is_forgotten = state == State::SctpCookieWait && reflected && matches!(side, Side::Responder);
    if (is_open && end.has_announced()) || is_forgotten {
        end.forget_first();
        return Judgement::Tolerate;
    }
    Judgement::Pass(State::Closed)
}

/// A SHUTDOWN COMPLETE ends an association that both ends have shut down (RFC 9260, section 8.5.1 (C)).
#[inline(always)]
fn shutdown_complete(state: State, message: &Message, sender: &End, receiver: &End) -> Judgement {
    let reflected = message.chunks.has(Chunks::REFLECTED);
    let end = if reflected { sender } else { receiver };
    if end.tag == message.tag && state == State::SctpShutdownAckSent {
        return Judgement::Pass(State::SctpClosed);
    }
    let is_known = end.is_addressed_by(message.tag) || (reflected && end.is_closing(message.tag));
    if is_known { Judgement::Tolerate } else { Judgement::WrongTag }
}

/// Whether a packet that an ICMP error quotes can be under way from its sender (RFC 9260, section 10.1, ICMP7): it has
/// the receiver's tag, or is the INIT that announced the sender's.
#[inline(always)]
#[must_use]
pub const fn is_in_flight(tag: u32, initiate_tag: u32, sender: &End, receiver: &End) -> bool {
    if tag == 0 { sender.is_addressed_by(initiate_tag) } else { receiver.is_addressed_by(tag) }
}
