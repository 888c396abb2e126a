//! Half-open flows: those of which one end only has been heard, and connections whose handshake is not over. How many there may
//! be, and which one gives way.
//!
//! Their addresses may be forged, so that anyone can make as many as a line carries. Each one has a place in a ring of fixed
//! size, the map `HALF_OPEN`. When as many places are taken as there may be half-open flows, the flow that has the oldest
//! one is ended, if it is half-open still; its slot is kept for a moment before it goes to another. So a handshake is
//! safe that takes less time than as many others need to begin. See `docs/adr/0013-half-open-flows.md`.

use crate::conntrack::State;

/// In [`crate::abi::flow::Flow::half_open`]: the flow was ended to make room, and its slot waits to be given free.
pub const RETIRED: u32 = 1 << 31;

/// [`crate::abi::flow::Flow::half_open`] of a flow that counts, but has no place: it is never ended for others.
pub const UNPLACED: u32 = RETIRED - 1;

/// Units of [`Entry::retired`] for which the slot of an ended flow is not given to another: two units of 16.8 ms are at least
/// one whole one. A processor that found the flow alive has forgotten it by then, unless a hypervisor has stopped it.
pub const QUARANTINE: u32 = 2;

/// The least limit for which the ring has room, unless the table itself is smaller.
const SMALLEST: u32 = 1024;

/// How many half-open flows there may be of each family, unless configured: a quarter of the table.
#[must_use]
pub const fn default_limit(max_flows: u32) -> u32 {
    let quarter = max_flows / 4;
    if quarter >= SMALLEST {
        quarter
    } else if max_flows < SMALLEST {
        max_flows
    } else {
        SMALLEST
    }
}

/// Places of the ring: the limit, a quarter of it for flows that were ended and whose slots are kept, and those for the host.
#[must_use]
pub const fn ring(limit: u32) -> u32 {
    limit + at_least_16(limit / 4) + for_host(limit)
}

/// Places that only flows from and to the host may take, so that it can be reached while others open faster than places can be
/// given free.
#[inline(always)]
#[must_use]
pub const fn for_host(limit: u32) -> u32 {
    at_least_16(limit / 64)
}

#[inline(always)]
const fn at_least_16(places: u32) -> u32 {
    if places < 16 { 16 } else { places }
}

/// Whether a flow in `state` is no longer half-open, given which ends have been heard: the originator, the responder.
///
/// Of TCP, the last acknowledgement of the handshake proves that the originator's address is not forged; of SCTP, the cookie
/// that it gives back under the responder's tag. Other protocols have no such proof: an answer is all there is.
#[inline(always)]
#[must_use]
pub const fn is_confirmed(state: State, [originator, responder]: [bool; 2]) -> bool {
    let proven = match state {
        State::Established | State::FinWait | State::TimeWait => true,
        State::UdpNew | State::UdpReplied | State::Icmp | State::Other => true,
        State::SctpCookieEchoed | State::SctpEstablished | State::SctpClosed => true,
        State::SctpShutdownSent | State::SctpShutdownReceived | State::SctpShutdownAckSent => true,
        State::SynSent | State::SynReceived | State::Closed | State::Ended => false,
        State::SctpCookieWait | State::SctpHeartbeatSent => false,
    };
    proven && originator && responder
}

/// Value of the map `HALF_OPEN`: who has a place of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl Entry {
    /// Nobody.
    pub const FREE: Self = Self(0);

    /// The flow in a slot.
    #[inline(always)]
    #[must_use]
    pub const fn held(slot: u32) -> Self {
        Self(slot as u64 + 1)
    }

    /// The flow in a slot, which was ended at a moment, in units of [`crate::abi::flow::OPENED_SHIFT`].
    #[inline(always)]
    #[must_use]
    pub const fn retired(slot: u32, at: u32) -> Self {
        Self((slot as u64 + 1) | (at as u64 | 1) << 32)
    }

    /// Whether nobody has the place.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self) -> bool {
        self.0 as u32 == 0
    }

    /// The slot of its flow; meaningless if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }

    /// Whether its flow was ended.
    #[inline(always)]
    #[must_use]
    pub const fn is_retired(self) -> bool {
        self.0 >> 32 != 0
    }

    /// Whether its flow, which was ended, has been over for long enough at `now` that its slot may go to another.
    #[inline(always)]
    #[must_use]
    pub const fn is_quiet(self, now: u32) -> bool {
        // The lowest bit says that there is a time; it makes it one unit later at most. Another processor's clock may be
        // behind: then it is not long ago.
        let since = now.wrapping_sub((self.0 >> 32) as u32);
        since >= QUARANTINE && since < 1 << 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_handshake_must_be_over_and_both_ends_heard() {
        use State::*;
        for state in State::ALL {
            assert!(!is_confirmed(state, [true, false]), "{state:?}: nobody has answered");
            assert!(!is_confirmed(state, [false, true]), "{state:?}: picked up by its answer");
        }
        let confirmed: std::vec::Vec<State> =
            State::ALL.into_iter().filter(|state| is_confirmed(*state, [true; 2])).collect();
        let of_sctp = [
            SctpCookieEchoed,
            SctpEstablished,
            SctpShutdownSent,
            SctpShutdownReceived,
            SctpShutdownAckSent,
            SctpClosed,
        ];
        let others = [Established, FinWait, TimeWait, UdpNew, UdpReplied, Icmp, Other];
        assert_eq!(confirmed, [others.as_slice(), of_sctp.as_slice()].concat());
        assert!(!is_confirmed(Ended, [true; 2]));
    }

    #[test]
    fn small_tables_may_be_full_of_half_open_flows_and_large_ones_to_a_quarter() {
        for (max_flows, limit) in [(64, 64), (1024, 1024), (2048, 1024), (4096, 1024), (1_000_000, 250_000)] {
            assert_eq!(default_limit(max_flows), limit);
            assert!(ring(limit) < UNPLACED);
        }
    }

    proptest! {
        #[test]
        fn an_entry_says_what_was_put_in(slot in 0..u32::MAX - 1, at: u32, later in 0u32..1 << 30) {
            prop_assert!(Entry::FREE.is_free() && !Entry::FREE.is_retired());
            let held = Entry::held(slot);
            prop_assert!(!held.is_free() && !held.is_retired());
            prop_assert_eq!(held.slot(), slot);
            let retired = Entry::retired(slot, at);
            prop_assert!(!retired.is_free() && retired.is_retired());
            prop_assert_eq!(retired.slot(), slot);
            prop_assert!(!retired.is_quiet(at) && !retired.is_quiet(at.wrapping_add(1)) && !retired.is_quiet(at.wrapping_sub(1)));
            prop_assert!(retired.is_quiet(at.wrapping_add(QUARANTINE + 1 + later)));
        }
    }
}
