//! Records of the ends of flows.

use core::ptr::NonNull;

use aya_ebpf::maps::ring_buf::RingBufEntry;
use fw_common::abi::event::{EndReason, FlowEnd};
use fw_common::abi::flow::{Flow, FlowKey6, flow_flags};
use fw_common::conntrack::State;

use crate::job::Job;
use crate::maps::EVENTS;
use crate::stage::{count, observe};

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

/// Reports the end of a flow to observers; and, for the flow log, a record that is to be submitted or discarded: `None` if its rule asks
/// for none, or if there is no room.
#[inline(always)]
pub(crate) fn record_end(
    flow: NonNull<Flow>,
    last_seen: u32,
    reason: EndReason,
    (family, now_ns): (u8, u64),
    write_key: impl Fn(&mut FlowKey6),
) -> Option<RingBufEntry<FlowEnd>> {
    // SAFETY: a live map value.
    let (state, flags) = unsafe { ((*flow.as_ptr()).state, (*flow.as_ptr()).flags) };
    // Of a flow that was ended, the end has been reported when it was.
    if state != State::Ended as u8 {
        observe::ended(flow, last_seen, reason, (family, now_ns), &write_key);
    }
    if flags & flow_flags::LOG == 0 {
        return None;
    }
    let Some(mut record) = EVENTS.reserve_untyped::<FlowEnd>(0) else {
        count::happening(|happenings| happenings.events_lost += 1);
        return None;
    };
    // SAFETY: the record is ours until it is submitted, and the flow is a live map value.
    unsafe {
        write_flow_record(record.as_mut_ptr(), flow.as_ptr(), (reason as u8, last_seen, now_ns), family, write_key);
    }
    Some(record)
}

/// Writes every field of a record. A concurrent update of a counter of the flow may be missed, never torn, as every counter is
/// one word.
///
/// # Safety
/// Both are valid, and nobody else has the record.
#[inline(always)]
pub(crate) unsafe fn write_flow_record(
    record: *mut FlowEnd,
    flow: *const Flow,
    (reason, last_seen, at_ns): (u8, u32, u64),
    family: u8,
    write_key: impl FnOnce(&mut FlowKey6),
) {
    // SAFETY: the caller's.
    unsafe {
        copy_flow(flow, &raw mut (*record).flow);
        (&raw mut (*record).flow.last_seen).write(last_seen);
        write_key(&mut (*record).key);
        (&raw mut (*record).family).write(family);
        (&raw mut (*record).reason).write(reason);
        (&raw mut (*record)._pad).write([0; 6]);
        (&raw mut (*record).ended_at).write(at_ns);
    }
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
        State::TimeWait | State::SctpClosed => EndReason::Closed,
        State::SynSent
        | State::SynReceived
        | State::Established
        | State::FinWait
        | State::UdpNew
        | State::UdpReplied
        | State::Icmp
        | State::Other
        | State::SctpCookieWait
        | State::SctpCookieEchoed
        | State::SctpEstablished
        | State::SctpShutdownSent
        | State::SctpShutdownReceived
        | State::SctpShutdownAckSent
        | State::SctpHeartbeatSent => EndReason::Idle,
    }
}
