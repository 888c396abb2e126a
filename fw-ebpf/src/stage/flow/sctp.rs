//! A packet of an SCTP association: the tags of both ends come out of the flow, and what has changed of them goes back into it.

use core::mem::offset_of;
use core::ptr::NonNull;

use fw_common::DropReason;
use fw_common::abi::flow::{Direction, Flow, flow_flags};
use fw_common::conntrack::State;
use fw_common::sctp::{self, End, Judgement, Message};
use fw_common::tcp::Side;

use super::Progress;
use super::said::{self, CONTINUES, REOPENS, WRONG_NUMBER, WRONG_STATE, progress};
use super::side::index_of;
use crate::job::Job;
use crate::stage::limits;
use crate::verified_once::verified_once;

/// Lets a packet change the state and the tags of its association.
#[inline(always)]
pub(super) fn advance(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    progress(advance_sctp(job, flow, side as u32), DropReason::SctpState, DropReason::SctpTag)
}

verified_once! {
    fn advance_sctp(job: &mut Job, &flow: Flow, side: u32) -> u32 {
        judge(job, flow, said::side(side))
    } else WRONG_NUMBER
}

#[inline(always)]
fn judge(job: &mut Job, flow: NonNull<Flow>, side: Side) -> u32 {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value.
    let (state, liberal) =
        unsafe { (State::from_number((*pointer).state), (*pointer).flags & flow_flags::LIBERAL != 0) };
    let own = index_of(side);
    let (mut sender, mut receiver) = (read(flow, own), read(flow, 1 - own));
    let before = (sender, receiver);
    let message = Message::of(&job.packet);
    match sctp::judge(state, side, &message, &mut sender, &mut receiver, liberal, job.now) {
        Judgement::Pass(next) => {
            if next != state {
                // SAFETY: as above.
                unsafe { (*pointer).state = next as u8 };
                // As of TCP: what is over does not count for the limits of its rule.
                if matches!(next, State::SctpClosed | State::Closed) {
                    limits::release(flow);
                }
            }
        }
        Judgement::Tolerate => job.heeded = false,
        Judgement::Reopen => return REOPENS,
        Judgement::WrongState => return WRONG_STATE,
        Judgement::WrongTag => return WRONG_NUMBER,
    }
    write(flow, own, &before.0, &sender);
    write(flow, 1 - own, &before.1, &receiver);
    CONTINUES
}

/// What the flow knows of an end.
#[inline(always)]
pub(crate) fn read(flow: NonNull<Flow>, index: usize) -> End {
    let (offer, tag) = words_of(flow, index);
    // SAFETY: a live map value, each word aligned: see `words_of`.
    let (offer, tag) = unsafe { (offer.read_volatile(), tag.read_volatile()) };
    End::from_memory([offer as u32, (offer >> 32) as u32, tag])
}

/// Stores what has changed of an end: little after the handshake, and what another processor changes meanwhile stays
/// ([`Direction`]).
#[inline(always)]
fn write(flow: NonNull<Flow>, index: usize, before: &End, after: &End) {
    let (offer, tag) = words_of(flow, index);
    if (before.offered, before.flags) != (after.offered, after.flags) {
        let [low, high, _] = after.to_memory();
        // SAFETY: as in `read`.
        unsafe { offer.write_volatile(u64::from(low) | u64::from(high) << 32) };
    }
    if before.tag != after.tag {
        // SAFETY: as in `read`.
        unsafe { tag.write_volatile(after.tag) };
    }
}

/// Where an end is kept: what is offered with its flags, as one word, so that no flags ever come beside the tag of others; and its
/// tag. BPF is little-endian here.
#[inline(always)]
fn words_of(flow: NonNull<Flow>, index: usize) -> (*mut u64, *mut u32) {
    const { assert!(offset_of!(Direction, memory) % align_of::<u64>() == 0) };
    const { assert!(align_of::<Direction>() == align_of::<u64>() && cfg!(target_endian = "little")) };
    // SAFETY: a live map value, and a field of an array of two.
    unsafe {
        let direction = (&raw mut (*flow.as_ptr()).directions).cast::<Direction>().add(index & 1);
        let memory = (&raw mut (*direction).memory).cast::<u32>();
        (memory.cast(), memory.add(2))
    }
}
