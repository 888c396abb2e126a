//! A TCP segment of a flow: the numbers of both ends come out of the flow, and those of the sender go back into it.

use core::ptr::NonNull;

use fw_common::DropReason;
use fw_common::abi::flow::{Flow, flow_flags};
use fw_common::conntrack::State;
use fw_common::tcp::{self, End, IgnoredSyn, Judgement, Segment, Side};

use super::Progress;
use super::said::{self, CONTINUES, REOPENS, WRONG_NUMBER, WRONG_STATE, progress};
use super::side::index_of;
use crate::job::Job;
use crate::stage::{limits, table};
use crate::verified_once::verified_once;

/// Lets a segment change the state and the numbers of its connection.
#[inline(always)]
pub(super) fn advance(job: &mut Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    progress(advance_tcp(job, flow, side as u32), DropReason::TcpState, DropReason::TcpWindow)
}

verified_once! {
    fn advance_tcp(job: &mut Job, &flow: Flow, side: u32) -> u32 {
        judge(job, flow, said::side(side))
    } else WRONG_NUMBER
}

#[inline(always)]
fn judge(job: &mut Job, flow: NonNull<Flow>, side: Side) -> u32 {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value. The numbers of an end are written by the processor that receives its segments.
    let (state, liberal) =
        unsafe { (State::from_number((*pointer).state), (*pointer).flags & flow_flags::LIBERAL != 0) };
    let own = index_of(side);
    let (mut sender, mut receiver) = (read(flow, own), read(flow, 1 - own));
    let before = sender;
    // SAFETY: as above.
    let mut ignored = IgnoredSyn(unsafe { (*pointer).ignored_syn });
    let noted = ignored;
    let segment = Segment::of(&job.packet);
    match tcp::judge(state, side, &segment, &mut sender, &mut receiver, &mut ignored, liberal) {
        Judgement::Pass(next) => {
            write(flow, own, &before, &sender);
            if next != state {
                // SAFETY: as above.
                unsafe { (*pointer).state = next as u8 };
                // Closed connections wait for late packets, and do not count for the limits of their rule meanwhile.
                if matches!(next, State::TimeWait | State::Closed) {
                    limits::release(flow);
                }
            }
            CONTINUES
        }
        Judgement::Tolerate => {
            if ignored != noted {
                // SAFETY: as above; only the originator's packets are noted.
                unsafe { (*pointer).ignored_syn = ignored.0 };
            }
            job.heeded = false;
            CONTINUES
        }
        Judgement::Restart => {
            table::set_flags(flow, flow_flags::LIBERAL);
            // SAFETY: as above. A segment of the old connection that another processor judges meanwhile finds the numbers of
            // one or the other; the new ones are complete when the originator acknowledges the answer, which is still to leave.
            unsafe {
                (*pointer).ignored_syn = ignored.0;
                (*pointer).state = State::SynReceived as u8;
            }
            write(flow, own, &before, &sender);
            let before = read(flow, 1 - own);
            write(flow, 1 - own, &before, &receiver);
            CONTINUES
        }
        Judgement::Reopen => REOPENS,
        Judgement::WrongState => WRONG_STATE,
        Judgement::OutOfWindow => WRONG_NUMBER,
    }
}

/// What the flow knows of an end.
#[inline(always)]
pub(crate) fn read(flow: NonNull<Flow>, index: usize) -> End {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value, and both fields of an array of two.
    unsafe {
        let direction = (&raw const (*pointer).directions).cast::<fw_common::abi::flow::Direction>().add(index & 1);
        let [end, right_edge, max_ack] = (*direction).memory;
        End {
            end,
            right_edge,
            max_ack,
            max_window: *(&raw const (*pointer).max_window).cast::<u16>().add(index & 1),
            window: *(&raw const (*pointer).window).cast::<u8>().add(index & 1),
            flags: *(&raw const (*pointer).tcp_flags).cast::<u8>().add(index & 1),
        }
    }
}

/// Stores what has changed of an end.
#[inline(always)]
fn write(flow: NonNull<Flow>, index: usize, before: &End, after: &End) {
    let pointer = flow.as_ptr();
    // SAFETY: as above.
    unsafe {
        let direction = (&raw mut (*pointer).directions).cast::<fw_common::abi::flow::Direction>().add(index & 1);
        (*direction).memory = after.numbers();
        // What both directions share is written only when it changes, so that the line stays with both processors.
        if after.max_window != before.max_window {
            *(&raw mut (*pointer).max_window).cast::<u16>().add(index & 1) = after.max_window;
        }
        if after.window != before.window {
            *(&raw mut (*pointer).window).cast::<u8>().add(index & 1) = after.window;
        }
        if after.flags != before.flags {
            *(&raw mut (*pointer).tcp_flags).cast::<u8>().add(index & 1) = after.flags;
        }
    }
}
