//! The two halves of a flow.

use core::ptr::NonNull;

use fw_common::abi::flow::{Direction, Flow};
use fw_common::conntrack::{self, State};
use fw_common::tcp_state::Side;

use crate::job::Job;
use crate::maps::CONFIG;

/// Which side of the flow sent the packet.
///
/// VERIFIER: goes through memory, so that what follows is verified once and not for each side. Test:
/// `prog_run::the_programs_load`.
#[inline(always)]
pub(super) fn side_of(job: &mut Job, flow: NonNull<Flow>) -> Side {
    // SAFETY: a live map value; and what was just written, read back because it is volatile.
    unsafe {
        job.side = conntrack::side((*flow.as_ptr()).flags, job.sender_is_high);
        core::ptr::read_volatile(&raw const job.side)
    }
}

/// The half of the flow that a side sends.
#[inline(always)]
pub(super) fn direction_of(flow: NonNull<Flow>, side: Side) -> *mut Direction {
    // SAFETY: there are two halves and two sides, and both halves lie in the live map value. VERIFIER: the mask tells it.
    unsafe { (&raw mut (*flow.as_ptr()).directions).cast::<Direction>().add(side as usize & 1) }
}

/// The zones of the sender and of the receiver of a packet.
#[inline(always)]
pub(super) fn zones_of(flow: NonNull<Flow>, side: Side) -> (u8, u8) {
    // SAFETY: a live map value.
    let (from_zone, to_zone) = unsafe { ((*flow.as_ptr()).from_zone, (*flow.as_ptr()).to_zone) };
    match side {
        Side::Originator => (from_zone, to_zone),
        Side::Responder => (to_zone, from_zone),
    }
}

/// The idle time-out of a state: the rule's for states in which data flows, else the configured one.
#[inline(always)]
pub(super) fn timeout_of(state: State, rule_timeout: u32) -> u32 {
    let rules = matches!(state, State::Established | State::UdpReplied | State::UdpNew | State::Icmp | State::Other);
    if rules && rule_timeout != 0 {
        return rule_timeout;
    }
    match CONFIG.get(0).and_then(|config| config.timeouts.seconds.get(state as usize)) {
        Some(seconds) => *seconds,
        None => 0,
    }
}
