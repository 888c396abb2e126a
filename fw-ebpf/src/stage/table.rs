//! The flow tables: find, insert, remove.
//!
//! Each flow holds a slot of its table's clock, which is how the sweep walks a hash that cannot be walked from a program.
//! Slots come from a counter of those never used and, after that, from a queue of those given back.

use core::ptr::NonNull;

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::maps::ring_buf::RingBufEntry;
use fw_common::DropReason;
use fw_common::abi::event::{EndReason, FlowEnd};
use fw_common::abi::flow::{ClockHand, ClockSlot4, ClockSlot6, DYING, Flow, FlowKey6, USED, flow_flags};
use fw_common::conntrack::{self, State};

use crate::atomic;
use crate::job::Job;
use crate::maps::{CLOCK_HANDS, CLOCK4, CLOCK6, CONFIG, EVENTS, FLOWS4, FLOWS6, FREE4, FREE6, RULE_TIMEOUTS};
use crate::stage::{count, sweep};

/// `-E2BIG` of Linux: the hash is full.
const E2BIG: i32 = -7;
/// Slots that are looked at when a flow opens: two, so that the hand goes round before a table of dead flows is full.
const STEPS_PER_FLOW: u32 = 2;
/// Slots that are looked at when there is no free one.
const STEPS_WHEN_FULL: u32 = 64;

/// Finds the flow of a packet, and notes its key in the job.
#[inline(always)]
pub(crate) fn find(job: &mut Job) -> Option<NonNull<Flow>> {
    if job.packet.is_ipv4() {
        (job.key4, job.sender_is_high) = conntrack::key4(&job.packet);
        FLOWS4.get_ptr_mut(&job.key4).and_then(|flow| NonNull::new(flow.cast()))
    } else {
        (job.key6, job.sender_is_high) = conntrack::key6(&job.packet);
        FLOWS6.get_ptr_mut(&job.key6).and_then(NonNull::new)
    }
}

/// Whether the flow has not idled past its time-out; notes in the job what that was judged by.
#[inline(always)]
pub(crate) fn is_alive(job: &mut Job, flow: NonNull<Flow>) -> bool {
    // SAFETY: a live map value; the word is read once.
    job.judged = unsafe { (&raw const (*flow.as_ptr()).last_seen).read_volatile() };
    conntrack::is_alive(job.judged, timeout_of(flow), job.now)
}

/// The idle time-out of a flow in seconds: its rule's, in states in which data flows and if it has one, else its state's.
#[inline(always)]
pub(crate) fn timeout_of(flow: NonNull<Flow>) -> u32 {
    // SAFETY: a live map value.
    let (state, flags, rule) = unsafe { ((*flow.as_ptr()).state, (*flow.as_ptr()).flags, (*flow.as_ptr()).rule) };
    if flags & flow_flags::RULE_TIMEOUT != 0 && State::from_number(state).carries_data() {
        if let Some(seconds) = RULE_TIMEOUTS.get(rule) {
            return *seconds;
        }
    }
    match CONFIG.get(0).and_then(|config| config.timeouts.seconds.get(usize::from(state))) {
        Some(seconds) => *seconds,
        None => 0,
    }
}

/// Claims a flow that was judged by `judged`; of several processors one gets it.
///
/// If the element holds another flow meanwhile, its word is another: that flow was seen after this one was judged.
#[inline(always)]
pub(crate) fn claim(flow: NonNull<Flow>, judged: u32) -> bool {
    // SAFETY: `last_seen` is an aligned word of a map value.
    judged != DYING && unsafe { atomic::compare_and_swap(&raw mut (*flow.as_ptr()).last_seen, judged, DYING) }
}

/// Stores `job.flow` under the packet's key.
///
/// [`DropReason::FlowRace`]: another processor was faster, and its flow is there; or the table was locked.
#[inline(never)]
pub(crate) fn insert(job: &mut Job) -> Result<(), DropReason> {
    let ipv4 = job.packet.is_ipv4();
    sweep::advance(ipv4, job.now, STEPS_PER_FLOW);
    let mut taken = take_clock_slot(ipv4);
    if taken.is_none() {
        // The dead are elsewhere: look further before a new flow is turned away.
        sweep::advance(ipv4, job.now, STEPS_WHEN_FULL);
        taken = take_clock_slot(ipv4);
    }
    let Some(clock_slot) = taken else {
        count::happening(|happenings| happenings.table_full += 1);
        return Err(DropReason::TableFull);
    };
    job.flow.flow.clock_slot = clock_slot;
    // The slot first: a flow that is in the table can end at once, and its slot is free then. The sweep passes over a slot
    // whose flow is not there yet.
    let inserted = if ipv4 {
        let _ = CLOCK4.set(clock_slot, ClockSlot4 { key: job.key4, used: 1 }, 0);
        FLOWS4.insert(&job.key4, &job.flow, u64::from(BPF_NOEXIST))
    } else {
        let _ = CLOCK6.set(clock_slot, used6(job.key6), 0);
        FLOWS6.insert(&job.key6, &job.flow.flow, u64::from(BPF_NOEXIST))
    };
    let Err(error) = inserted else { return Ok(()) };
    clear_clock_slot(ipv4, clock_slot);
    if error == E2BIG {
        count::happening(|happenings| happenings.table_full += 1);
        return Err(DropReason::TableFull);
    }
    Err(DropReason::FlowRace)
}

/// The clock slot of a flow.
#[inline(always)]
fn used6(mut key: FlowKey6) -> ClockSlot6 {
    key._pad[0] = USED;
    ClockSlot6 { key }
}

/// Ends the packet's flow, which was judged by `judged`: it is over from now on, and the sweep will remove it.
#[inline(never)]
pub(crate) fn end_now(job: &Job, flow: NonNull<Flow>, judged: u32, reason: EndReason) {
    if !claim(flow, judged) {
        return;
    }
    report_end_of(job, flow, judged, reason);
    let pointer = flow.as_ptr();
    // SAFETY: a map value that this processor has claimed; `last_seen` gives it free again and is written last.
    unsafe {
        (*pointer).flags &= !flow_flags::LOG;
        (*pointer).state = State::Ended as u8;
        (&raw mut (*pointer).last_seen).write_volatile(job.now.saturating_sub(1));
    }
}

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

/// A slot of the clock for a new flow, if there is one that was never used or that was given back.
#[inline(always)]
fn take_clock_slot(ipv4: bool) -> Option<u32> {
    let capacity = u64::from(CONFIG.get(0)?.max_flows);
    let hand: *mut ClockHand = CLOCK_HANDS.get_ptr_mut(if ipv4 { 0 } else { 1 })?;
    // SAFETY: an aligned word of a map value. The counter stops a few steps behind the capacity at most.
    unsafe {
        if (*hand).fresh < capacity {
            let fresh = atomic::fetch_add(&raw mut (*hand).fresh, 1);
            if fresh < capacity {
                return Some(fresh as u32);
            }
        }
    }
    let freed = if ipv4 { FREE4.pop() } else { FREE6.pop() };
    freed.ok().flatten()
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
