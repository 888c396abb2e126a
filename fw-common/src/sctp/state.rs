//! The states of an association, by the chunks of a packet whose tag is right.
//!
//! The table follows nf_conntrack (net/netfilter/nf_conntrack_proto_sctp.c). What opens an association, or ends one at once,
//! is judged one level above.

use super::chunks::Chunks;
use crate::conntrack::State;
use crate::tcp::Side;

/// Whether the association is over.
#[inline(always)]
pub(super) const fn is_over(state: State) -> bool {
    matches!(state, State::Closed | State::SctpClosed | State::Ended)
}

/// Whether of an association that was not seen from its beginning one end only is known to be there.
#[inline(always)]
pub(super) const fn is_unanswered(state: State) -> bool {
    matches!(state, State::SctpHeartbeatSent)
}

/// The state after a packet.
#[inline(always)]
pub(super) const fn next(state: State, side: Side, chunks: Chunks) -> State {
    match (state, side) {
        // The responder has not kept the cookie (RFC 9260, section 5.2.6): the originator must begin again.
        (State::SctpCookieEchoed, Side::Responder) if chunks.has(Chunks::STALE_COOKIE) => State::Closed,
        (State::SctpEstablished, Side::Originator) if chunks.has(Chunks::SHUTDOWN) => State::SctpShutdownSent,
        (State::SctpEstablished, Side::Responder) if chunks.has(Chunks::SHUTDOWN) => State::SctpShutdownReceived,
        (State::SctpShutdownSent | State::SctpShutdownReceived, _) if chunks.has(Chunks::SHUTDOWN_ACK) => {
            State::SctpShutdownAckSent
        }
        _ => state,
    }
}
