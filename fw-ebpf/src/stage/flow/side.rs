//! The two halves of a flow.

use core::ptr::NonNull;

use fw_common::abi::flow::{Direction, Flow};
use fw_common::conntrack;
use fw_common::tcp::Side;

use crate::job::Job;

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
    // SAFETY: there are two halves and two sides, and both halves lie in the live map value.
    unsafe { (&raw mut (*flow.as_ptr()).directions).cast::<Direction>().add(index_of(side)) }
}

/// The half that the other side sends.
#[inline(always)]
pub(super) fn other_direction_of(flow: NonNull<Flow>, side: Side) -> *mut Direction {
    // SAFETY: as in `direction_of`.
    unsafe { (&raw mut (*flow.as_ptr()).directions).cast::<Direction>().add(1 - index_of(side)) }
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

/// Where the flow keeps the reference to the next hop of a side's packets.
#[inline(always)]
pub(super) fn next_hop_of(flow: NonNull<Flow>, side: Side) -> *mut u16 {
    // SAFETY: as in `direction_of`.
    unsafe { (&raw mut (*flow.as_ptr()).next_hops).cast::<u16>().add(index_of(side)) }
}

/// 0 or 1.
///
/// VERIFIER: the compiler drops a mask because it knows that there are two sides; the verifier, which sees a byte that was
/// read from memory, needs it. Test: `prog_run::the_programs_load`.
#[inline(always)]
pub(crate) fn index_of(side: Side) -> usize {
    let mut index = side as usize;
    // SAFETY: changes a register only.
    unsafe { core::arch::asm!("{0} &= 1", inout(reg) index, options(pure, nomem, nostack, preserves_flags)) };
    index
}
