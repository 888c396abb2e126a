//! The flow tables: find, insert, remove.
//!
//! Each flow holds a slot of its table's clock, which is how the sweep walks a hash that cannot be walked from a program.
//! Slots come from a counter of those never used and, after that, from a queue of those given back.

use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_NOEXIST;
use fw_common::DropReason;
use fw_common::abi::event::{EndReason, FlowEnd};
use fw_common::abi::flow::{ClockHand, ClockSlot4, ClockSlot6, DYING, Flow, FlowKey6, flow_flags};
use fw_common::conntrack::{self, State};

use crate::atomic;
use crate::job::Job;
use crate::maps::{CLOCK_HANDS, CLOCK4, CLOCK6, CONFIG, EVENTS, FLOWS4, FLOWS6, FREE4, FREE6};
use crate::stage::{count, sweep};

/// `-EEXIST` of Linux.
const EEXIST: i32 = -17;

/// Finds the flow of a packet, and notes its key in the job.
#[inline(always)]
pub(crate) fn find(job: &mut Job) -> Option<NonNull<Flow>> {
    if job.packet.is_ipv4() {
        (job.key4, job.sender_is_high) = conntrack::key4(&job.packet);
        FLOWS4.get_ptr_mut(&job.key4).and_then(NonNull::new)
    } else {
        (job.key6, job.sender_is_high) = conntrack::key6(&job.packet);
        FLOWS6.get_ptr_mut(&job.key6).and_then(NonNull::new)
    }
}

/// Whether the flow has not idled past its time-out.
#[inline(always)]
pub(crate) fn is_alive(flow: NonNull<Flow>, now: u32) -> bool {
    // SAFETY: a live map value; both words are read once.
    let (last_seen, timeout) = unsafe { ((*flow.as_ptr()).last_seen, (*flow.as_ptr()).timeout) };
    conntrack::is_alive(last_seen, timeout, now)
}

/// Claims a flow for removal or reuse; of several processors one gets it.
#[inline(always)]
pub(crate) fn claim(flow: NonNull<Flow>) -> bool {
    // SAFETY: a live map value.
    let last_seen = unsafe { (*flow.as_ptr()).last_seen };
    // SAFETY: `last_seen` is an aligned word of a map value.
    last_seen != DYING && unsafe { atomic::compare_and_swap(&raw mut (*flow.as_ptr()).last_seen, last_seen, DYING) }
}

/// Stores `job.flow` under the packet's key.
///
/// [`DropReason::FlowRace`]: another processor was faster, and its flow is there.
#[inline(never)]
pub(crate) fn insert(job: &mut Job) -> Result<(), DropReason> {
    let ipv4 = job.packet.is_ipv4();
    sweep::advance(ipv4, job.now);
    let clock_slot = take_clock_slot(ipv4)?;
    job.flow.clock_slot = clock_slot;
    let inserted = if ipv4 {
        FLOWS4.insert(&job.key4, &job.flow, u64::from(BPF_NOEXIST))
    } else {
        FLOWS6.insert(&job.key6, &job.flow, u64::from(BPF_NOEXIST))
    };
    if let Err(error) = inserted {
        give_back_clock_slot(ipv4, clock_slot);
        return Err(if error == EEXIST { DropReason::FlowRace } else { DropReason::TableFull });
    }
    let marked = if ipv4 {
        CLOCK4.set(clock_slot, ClockSlot4 { key: job.key4, used: 1 }, 0)
    } else {
        CLOCK6.set(clock_slot, ClockSlot6 { key: job.key6, used: 1 }, 0)
    };
    marked.map_err(|_| DropReason::TableFull)
}

/// Removes the packet's flow, which the caller has claimed, and reports its end.
#[inline(never)]
pub(crate) fn remove(job: &Job, flow: NonNull<Flow>, reason: EndReason) {
    report_end_of(job, flow, reason);
    // SAFETY: a map value that only this processor may remove.
    let clock_slot = unsafe { (*flow.as_ptr()).clock_slot };
    let ipv4 = job.packet.is_ipv4();
    let removed = if ipv4 { FLOWS4.remove(&job.key4) } else { FLOWS6.remove(&job.key6) };
    if removed.is_ok() {
        clear_clock_slot(ipv4, clock_slot);
    }
}

/// Reports the end of the packet's flow.
#[inline(always)]
pub(crate) fn report_end_of(job: &Job, flow: NonNull<Flow>, reason: EndReason) {
    if job.packet.is_ipv4() {
        report_end(flow, 4, reason, job.now_ns, |key| *key = FlowKey6::from(job.key4));
    } else {
        report_end(flow, 6, reason, job.now_ns, |key| *key = job.key6);
    }
}

/// Tells the agent that a flow has ended, if its rule asks for records.
#[inline(always)]
pub(crate) fn report_end(
    flow: NonNull<Flow>,
    family: u8,
    reason: EndReason,
    now_ns: u64,
    write_key: impl FnOnce(&mut FlowKey6),
) {
    // SAFETY: a live map value.
    if unsafe { (*flow.as_ptr()).flags } & flow_flags::LOG == 0 {
        return;
    }
    match EVENTS.reserve_untyped::<FlowEnd>(0) {
        Some(mut record) => {
            let end = record.as_mut_ptr();
            // SAFETY: the record is ours until it is submitted, and every field of it is written. The flow is a live map
            // value; a concurrent update of a counter may be missed, never torn, as every counter is one word.
            unsafe {
                copy_flow(flow.as_ptr(), &raw mut (*end).flow);
                write_key(&mut (*end).key);
                (&raw mut (*end).family).write(family);
                (&raw mut (*end).reason).write(reason as u8);
                (&raw mut (*end)._pad).write([0; 6]);
                (&raw mut (*end).ended_at).write(now_ns);
            }
            record.submit(0);
        }
        None => count::happening(|happenings| happenings.events_lost += 1),
    }
}

/// Copies a flow word by word: volatile, since the source may be changing, and without a detour over the small stack.
///
/// # Safety
/// Both are valid and do not overlap.
#[inline(always)]
pub(crate) unsafe fn copy_flow(from: *const Flow, to: *mut Flow) {
    const WORDS: usize = size_of::<Flow>() / 8;
    const _: () = assert!(size_of::<Flow>().is_multiple_of(8) && align_of::<Flow>() == 8);
    let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
    for word in 0..WORDS {
        // SAFETY: the caller's; a flow has no padding.
        unsafe { to.add(word).write_volatile(from.add(word).read_volatile()) };
    }
}

/// Why a flow that is over in this state has ended.
#[inline(always)]
pub(crate) const fn end_reason(state: u8) -> EndReason {
    match State::from_number(state) {
        State::Closed => EndReason::Reset,
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

/// A slot of the clock for a new flow.
#[inline(always)]
fn take_clock_slot(ipv4: bool) -> Result<u32, DropReason> {
    let capacity = u64::from(CONFIG.get(0).ok_or(DropReason::TableFull)?.max_flows);
    let hand: *mut ClockHand = CLOCK_HANDS.get_ptr_mut(if ipv4 { 0 } else { 1 }).ok_or(DropReason::TableFull)?;
    // SAFETY: an aligned word of a map value. The counter stops a few steps behind the capacity at most.
    unsafe {
        if (*hand).fresh < capacity {
            let fresh = atomic::fetch_add(&raw mut (*hand).fresh, 1);
            if fresh < capacity {
                return Ok(fresh as u32);
            }
        }
    }
    let freed = if ipv4 { FREE4.pop() } else { FREE6.pop() };
    if let Ok(Some(slot)) = freed {
        return Ok(slot);
    }
    count::happening(|happenings| happenings.table_full += 1);
    Err(DropReason::TableFull)
}

/// Makes a slot whose flow is gone free again.
#[inline(always)]
pub(crate) fn clear_clock_slot(ipv4: bool, clock_slot: u32) {
    let cleared = if ipv4 {
        CLOCK4.set(clock_slot, ClockSlot4::default(), 0)
    } else {
        CLOCK6.set(clock_slot, ClockSlot6::default(), 0)
    };
    if cleared.is_ok() {
        give_back_clock_slot(ipv4, clock_slot);
    }
}

/// Puts a slot into the queue of free ones, which has room for every slot.
#[inline(always)]
fn give_back_clock_slot(ipv4: bool, clock_slot: u32) {
    let _ = if ipv4 { FREE4.push(clock_slot, 0) } else { FREE6.push(clock_slot, 0) };
}
