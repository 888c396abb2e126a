//! Records of the ends of flows.

use core::ptr::NonNull;

use aya_ebpf::maps::ring_buf::RingBufEntry;
use fw_common::abi::event::{EndReason, FlowEnd};
use fw_common::abi::flow::{Flow, FlowKey6, flow_flags};
use fw_common::conntrack::State;

use crate::job::Job;
use crate::maps::EVENTS;
use crate::stage::count;

/// Reports the end of the packet's flow, which this processor has claimed.
#[inline(always)]
pub(crate) fn report_end_of(job: &Job, flow: NonNull<Flow>, last_seen: u32, reason: EndReason) {
    let record = if job.packet.is_ipv4() {
        record_end(flow, last_seen, reason, (4, job.now_ns), |key| *key = FlowKey6::from(job.key4))
    } else {
        record_end(flow, last_seen, reason, (6, job.now_ns), |key| *key = job.key6)
    };
    if let Some(record) = record {
        record.submit(0);
    }
}

/// A record of the end of a flow, to be submitted or discarded; `None` if its rule asks for none, or if there is no room.
#[inline(always)]
pub(crate) fn record_end(
    flow: NonNull<Flow>,
    last_seen: u32,
    reason: EndReason,
    (family, now_ns): (u8, u64),
    write_key: impl FnOnce(&mut FlowKey6),
) -> Option<RingBufEntry<FlowEnd>> {
    // SAFETY: a live map value.
    if unsafe { (*flow.as_ptr()).flags } & flow_flags::LOG == 0 {
        return None;
    }
    let Some(mut record) = EVENTS.reserve_untyped::<FlowEnd>(0) else {
        count::happening(|happenings| happenings.events_lost += 1);
        return None;
    };
    let end = record.as_mut_ptr();
    // SAFETY: the record is ours until it is submitted, and every field of it is written. The flow is a live map value; a
    // concurrent update of a counter may be missed, never torn, as every counter is one word.
    unsafe {
        copy_flow(flow.as_ptr(), &raw mut (*end).flow);
        (&raw mut (*end).flow.last_seen).write(last_seen);
        write_key(&mut (*end).key);
        (&raw mut (*end).family).write(family);
        (&raw mut (*end).reason).write(reason as u8);
        (&raw mut (*end)._pad).write([0; 6]);
        (&raw mut (*end).ended_at).write(now_ns);
    }
    Some(record)
}

/// Copies a flow word by word: volatile, since the source may be changing, and without a detour over the small stack. The
/// word with `last_seen`, by which others judge the flow, comes last.
///
/// # Safety
/// Both are valid and do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy_flow(from: *const Flow, to: *mut Flow) {
    const WORDS: usize = size_of::<Flow>() / 8;
    const _: () = assert!(size_of::<Flow>().is_multiple_of(8) && align_of::<Flow>() == 8);
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    for word in (0..WORDS).rev() {
        // SAFETY: the caller's; a flow has no padding.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// Why a flow that is over in this state has ended.
#[inline(always)]
pub(crate) const fn end_reason(state: u8) -> EndReason {
    match State::from_number(state) {
        State::Closed | State::Ended => EndReason::Reset,
        State::TimeWait => EndReason::Closed,
        State::SynSent
        | State::SynReceived
        | State::Established
        | State::FinWait
        | State::UdpNew
        | State::UdpReplied
        | State::Icmp
        | State::Other => EndReason::Idle,
    }
}
