//! A TCP segment of a flow: the numbers of both ends come out of the flow, and those of the sender go back into it.

use core::ptr::NonNull;

use fw_common::DropReason;
use fw_common::abi::flow::{Flow, flow_flags};
use fw_common::conntrack::State;
use fw_common::tcp::{self, End, Judgement, Segment, Side};

use super::Progress;
use super::side::index_of;
use crate::job::Job;

/// Lets a segment change the state and the numbers of its connection.
#[inline(never)]
pub(super) fn advance(job: &Job, flow: NonNull<Flow>, side: Side) -> Result<Progress, DropReason> {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value. The numbers of an end are written by the processor that receives its segments.
    let (state, liberal) =
        unsafe { (State::from_number((*pointer).state), (*pointer).flags & flow_flags::LIBERAL != 0) };
    let own = index_of(side);
    let (mut sender, receiver) = (read(flow, own), read(flow, 1 - own));
    let before = sender;
    let segment = Segment::of(&job.packet);
    match tcp::judge(state, side, &segment, &mut sender, &receiver, liberal) {
        Judgement::Pass(next) => {
            write(flow, own, &before, &sender);
            if next != state {
                // SAFETY: as above.
                unsafe { (*pointer).state = next as u8 };
            }
            Ok(Progress::Continues)
        }
        Judgement::Reopen => Ok(Progress::Reopens),
        Judgement::WrongState => Err(DropReason::TcpState),
        Judgement::OutOfWindow => Err(DropReason::TcpWindow),
    }
}

/// What the flow knows of an end.
#[inline(always)]
pub(crate) fn read(flow: NonNull<Flow>, index: usize) -> End {
    let pointer = flow.as_ptr();
    // SAFETY: a live map value, and both fields of an array of two.
    unsafe {
        let direction = (&raw const (*pointer).directions).cast::<fw_common::abi::flow::Direction>().add(index & 1);
        End {
            end: (*direction).end,
            right_edge: (*direction).right_edge,
            max_ack: (*direction).max_ack,
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
        (*direction).end = after.end;
        (*direction).right_edge = after.right_edge;
        (*direction).max_ack = after.max_ack;
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
